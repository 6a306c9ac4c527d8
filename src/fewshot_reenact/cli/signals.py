"""Signals that end the command line, so that nothing half-written stays."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType


@contextlib.contextmanager
def exit_on_sigterm() -> Iterator[None]:
    """While it is entered, SIGTERM and SIGHUP (a closed terminal) raise SystemExit(143 or 129) in the main thread,
    so that partial files are removed.

    A library does not change a program's signals unasked. Does nothing outside the main thread, nor where the program
    handles SIGTERM itself.
    """
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    # A program that handles one itself keeps it; under nohup SIGHUP is ignored, and stays so.
    ours = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    if threading.current_thread() is not threading.main_thread() or not ours:
        yield
        return

    def stop(number: int, _stack: FrameType | None) -> None:
        raise SystemExit(128 + number)

    for number in ours:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def ending(stop: Callable[[], None]) -> Iterator[None]:
    """While it is entered, the first Ctrl-C, SIGTERM or SIGHUP calls `stop`, for what then ends by itself; a second one
    raises as usual. When it is left, the first one ends the program after all, with its usual exit code.

    Does nothing outside the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    asked: list[int] = []

    def ask(number: int, _stack: FrameType | None) -> None:
        asked.append(number)
        if len(asked) > 1:
            raise _end(number)
        stop()

    ours = [number for number in numbers if before[number] not in (signal.SIG_IGN, None)]
    for number in ours:
        signal.signal(number, ask)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, before[number])
    if asked:
        raise _end(asked[0])


def _end(number: int) -> BaseException:
    return KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)
