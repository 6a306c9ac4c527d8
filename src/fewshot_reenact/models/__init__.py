"""The networks, their dimensions, losses and weights files, and nothing else."""
