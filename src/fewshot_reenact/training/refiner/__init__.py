"""Training of the refiners of mouth and eyes on a finished model's faces."""
