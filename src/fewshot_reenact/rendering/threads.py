"""Threads beside a renderer, which is a generator: whoever takes its pictures may leave it at any moment."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import current_thread
from uuid import uuid4


@contextmanager
def own_thread() -> Iterator[ThreadPoolExecutor]:
    """One thread, waited for at the end; not by itself, as where it clears away what nobody wants any more."""
    name = f"renderer-{uuid4().hex}"
    pool = ThreadPoolExecutor(1, thread_name_prefix=name)
    try:
        yield pool
    finally:
        pool.shutdown(wait=not current_thread().name.startswith(name), cancel_futures=True)
