"""How a training run is stopped from outside: cleanly, with its state saved."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from fewshot_reenact.errors import ReenactError

EXIT_PREEMPTED = 75  # EX_TEMPFAIL: a scheduler should queue the job again


class Preempted(ReenactError):
    """SIGTERM came: the state is saved."""

    exit_code = EXIT_PREEMPTED

    def __init__(self, step: int):
        super().__init__(f"stopped by SIGTERM at step {step}; saved: run the same command to go on")


@contextmanager
def heeding_sigterm() -> Iterator[list[int]]:
    """Yields a list that gets the number of a signal to stop. The step in hand is finished first.

    Python lets only the main thread say what a signal does: in another one the list stays empty.
    """
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = signal.signal(signal.SIGTERM, lambda number, _frame: asked.append(number))
    try:
        yield asked
    finally:
        signal.signal(signal.SIGTERM, before)
