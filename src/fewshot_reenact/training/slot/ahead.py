"""Compiling in a process of its own, while the training goes on uncompiled: minutes of a slot are not spent on waiting.

What that process compiles lies in the compilers' caches afterwards, where the training finds it. It also does some
steps with it, so what does not compile, or does not run, or computes something else, is never switched to.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from fewshot_reenact.files import partial_file
from fewshot_reenact.training.log import say

STEPS = 6  # from warm-up to graphs that are played back
_TIMED = 10
_ALIKE = 0.03  # of the L1: bfloat16 in another order


def try_out(
    ways: Iterable[bool | str], steps: Callable[[bool | str, int], list[dict[str, float]]], batch: int, ready: Path
) -> None:
    """Find the first of these ways to compile in which steps can be done, and write it to `ready`.

    steps: does so many steps compiled in that way, from the start at its first call, and returns their numbers.
    """
    for how in ways:
        try:
            l1 = mean_l1(steps(how, STEPS))
            began = time.monotonic()
            steps(how, _TIMED)
            rate = _TIMED * batch / (time.monotonic() - began)
        except Exception as error:  # whatever a compiler throws; the training goes on without
            say(f"compile: {how} does not work here ({type(error).__name__}: {str(error).splitlines()[0][:200]})")
            continue
        with partial_file(ready) as partial:
            partial.write_text(json.dumps({"compile": how, "l1": l1, "episodes_a_second": round(rate, 1)}))
        return


def mean_l1(numbers: list[dict[str, float]]) -> float:
    """Of some steps."""
    return sum(row["l1"] for row in numbers) / len(numbers)


class Ahead:
    """The process. words: its command line after Python's. ready: the file that it writes. l1: of the training's own
    first steps, with which its own must agree.
    """

    def __init__(self, words: list[str], ready: Path, l1: float) -> None:
        self._process: subprocess.Popen[bytes] | None = subprocess.Popen([sys.executable, *words])
        self._ready, self._l1 = ready, l1

    def found(self) -> dict[str, Any] | None:
        """What works, once and only if that is known: `compile`, `episodes_a_second`. Does not wait."""
        if self._process is None or self._process.poll() is None:
            return None
        self._process = None
        if not self._ready.is_file():
            return None
        found: dict[str, Any] = json.loads(self._ready.read_text())
        if not abs(found["l1"] - self._l1) <= _ALIKE * self._l1:
            say(f"compiled, the L1 of the first steps is {found['l1']} and not {self._l1}: left uncompiled")
            return None
        return found

    def close(self) -> None:
        """End it, if it still goes on."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
