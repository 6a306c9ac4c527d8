"""Work for the tests of engines, in a module that a new process imports at once."""

from __future__ import annotations

import os
import signal
from pathlib import Path


def length_or_crash(words: list[str]) -> int:
    if "crash" in words:
        os._exit(1)
    return len(words)


def without_the_crash(words: list[str]) -> list[str] | None:
    return [word for word in words if word != "crash"] if "known" in words else None


def length_or_killed(words: list[str]) -> int:
    """As by kill -9. A word that is a path: it is killed once, and leaves a mark there that it was."""
    if "crash" in words:
        os.kill(os.getpid(), signal.SIGKILL)
    for word in words:
        if word.startswith("/") and not Path(word).exists():
            Path(word).touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return len(words)
