"""Text files of motions line by line, with limits: a stranger's file is one error, never a full memory."""

from collections.abc import Iterator
from pathlib import Path

from fewshot_reenact.errors import InputError
from fewshot_reenact.motion.limits import MAX_FILE, MAX_FRAMES, MAX_LINE

_MORE = 100  # lines that are no frames: a heading, blank ones


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number from 1, text) of every line that is not blank. Raises InputError: too large, too long, no text."""
    if path.stat().st_size > MAX_FILE:
        raise InputError(f"it is larger than {MAX_FILE >> 30} GB; cut it in parts, or use .npz")
    try:
        with path.open(encoding="utf-8-sig", newline=None) as file:
            number = 0
            while line := file.readline(MAX_LINE + 1):
                number += 1
                if len(line) > MAX_LINE:
                    raise InputError(f"line {number} has more than {MAX_LINE} characters")
                if number > MAX_FRAMES + _MORE:
                    raise InputError(f"it has more than {MAX_FRAMES} frames")
                if line.strip():
                    yield number, line
    except UnicodeDecodeError:
        raise InputError("it is no text (UTF-8)") from None
