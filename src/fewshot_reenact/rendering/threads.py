"""Threads beside a renderer, which is a generator: whoever takes its pictures may leave it at any moment."""

import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock, current_thread
from typing import TypeVar
from uuid import uuid4

Work = TypeVar("Work")

_TURN = 2e-4  # seconds
_asking, _asked, _usual = Lock(), 0, 0.0


@contextmanager
def own_thread() -> Iterator[ThreadPoolExecutor]:
    """One thread, waited for at the end; not by itself, as where it clears away what nobody wants any more."""
    name = f"renderer-{uuid4().hex}"
    pool = ThreadPoolExecutor(1, thread_name_prefix=name)
    try:
        yield pool
    finally:
        pool.shutdown(wait=not current_thread().name.startswith(name), cancel_futures=True)


@contextmanager
def short_turns() -> Iterator[None]:
    """While it lasts Python's threads take turns more often. Between two steps of the networks their thread asks for a
    turn; whoever computes in Python beside it would keep it waiting for up to 5 ms. Rendering took an eighth less.
    """
    global _asked, _usual  # of the process, as turns are
    with _asking:
        if not _asked:
            _usual = sys.getswitchinterval()
            sys.setswitchinterval(min(_TURN, _usual))
        _asked += 1
    try:
        yield
    finally:
        with _asking:
            _asked -= 1
            if not _asked:
                sys.setswitchinterval(_usual)


def beside(work: Callable[[], Work]) -> Future[Work]:
    """What `work` returns or raises, found on a thread that ends with it."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="beside")
    done = pool.submit(work)
    pool.shutdown(wait=False)
    return done


def begun(work: Iterable[Work]) -> Iterator[Work]:
    """Each piece of work, when the one after it has been begun. work: begins a piece when it is asked for one."""
    last: list[Work] = []
    for one in work:
        yield from last
        last = [one]
    yield from last
