"""Where an output came from, written into the output itself: for its viewers and for the machines that carry it."""
