"""The protocol, the metrics and the picture sheets by which methods are compared."""
