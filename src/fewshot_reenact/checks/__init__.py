"""How good an input is, and what to do if it is not good enough."""
