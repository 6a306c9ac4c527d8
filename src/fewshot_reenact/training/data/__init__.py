"""Training data: shards of clips made from videos, read back as clips and cut into episodes."""
