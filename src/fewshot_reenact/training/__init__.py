"""Learning: the meta-learning loop, its losses and checkpoints, and fine-tuning to a person."""
