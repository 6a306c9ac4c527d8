"""A slot's training in a process of its own: a GPU's fault ends that process for good, and the minutes are few.

What happened once on a GPU, and is mended by this: compiled networks read an address that was none; nothing can be
computed in such a process any more, and all that was trained was lost, its log with it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from fewshot_reenact.errors import ReenactError
from fewshot_reenact.training.log import say

_RESTARTS = 2
_WORTH = 0.5  # minutes under which nothing is begun again
_LINES = 400  # of the log that come back
_ASKED = {2, 3, 4}  # exit codes of what a second try does not change


class Failed(ReenactError):
    """The training came to no end."""

    exit_code = 4


def supervise(words: Callable[[float, bool], list[str]], out: Path, minutes: float) -> None:
    """Run a training, and where it breaks off begin it again uncompiled from what it wrote last.

    words: arguments for Python, of the minutes that are left and whether anything may be compiled. out: where the
    training writes; its report.json gets what was printed. Raises Failed.
    """
    began, lines, compiled = time.monotonic(), deque[str](maxlen=_LINES), True
    for tries in range(_RESTARTS + 1):
        left = minutes - (time.monotonic() - began) / 60
        code = _watched([sys.executable, *words(left, compiled)], lines)
        left = minutes - (time.monotonic() - began) / 60
        if code == 0 or code in _ASKED or left < _WORTH or tries == _RESTARTS:
            break
        _tell(f"the training ended with {code}; begun again, uncompiled, with {left:.1f} minutes left", lines)
        compiled = False
    report = out / "report.json"
    known = json.loads(report.read_text()) if report.is_file() else {}
    out.mkdir(parents=True, exist_ok=True)
    report.write_text(json.dumps({**known, "log": list(lines)}))
    if code:
        raise Failed(f"the training ended with {code}; {report} has what it said last")


def _watched(command: list[str], lines: deque[str]) -> int:
    """Run it, show what it says and remember that. Returns its exit code."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            _tell(line.rstrip("\n"), lines)
    return process.returncode


def _tell(line: str, lines: deque[str]) -> None:
    lines.append(line)
    say(line)
