"""Training of the matte network."""
