"""Work for the tests of engines, in a module that a new process imports at once."""

from __future__ import annotations

import os


def length_or_crash(words: list[str]) -> int:
    if "crash" in words:
        os._exit(1)
    return len(words)


def without_the_crash(words: list[str]) -> list[str] | None:
    return [word for word in words if word != "crash"] if "known" in words else None
