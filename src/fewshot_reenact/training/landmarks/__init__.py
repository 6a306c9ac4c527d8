"""Training of the face detector and of the point network."""
