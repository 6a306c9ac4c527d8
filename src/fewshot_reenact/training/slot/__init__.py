"""Training in a short slot on a machine with a GPU: packed here, run there with few packages, merged back here."""
