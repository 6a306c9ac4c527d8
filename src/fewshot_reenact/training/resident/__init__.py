"""Training with all clips on the device: episodes as batched tensor operations, with nothing to wait for in a step."""
