"""Ports of this machine for what a test serves."""

import socket


def free_port() -> int:
    """One that nobody listens at now."""
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])
