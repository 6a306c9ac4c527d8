"""Threads beside a renderer, which is a generator: whoever takes its pictures may leave it at any moment."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import current_thread
from typing import TypeVar
from uuid import uuid4

Work = TypeVar("Work")


@contextmanager
def own_thread() -> Iterator[ThreadPoolExecutor]:
    """One thread, waited for at the end; not by itself, as where it clears away what nobody wants any more."""
    name = f"renderer-{uuid4().hex}"
    pool = ThreadPoolExecutor(1, thread_name_prefix=name)
    try:
        yield pool
    finally:
        pool.shutdown(wait=not current_thread().name.startswith(name), cancel_futures=True)


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
