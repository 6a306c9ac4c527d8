"""Where the work of `reenact prepare` is done: in this process, in several, or on many machines with Ray.

Each engine runs a function on every item and yields the results as they come, in any order.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from fewshot_reenact.errors import MissingExtra, UsageError
from fewshot_reenact.training.data.ray_pools import Pipeline, RayStage
from fewshot_reenact.training.data.retries import RetryQueue, WorkerDied

Item = TypeVar("Item")
Result = TypeVar("Result")
THREADS = 16  # that read small files of a store


def run_here(work: Callable[[Item], Result], items: Sequence[Item]) -> Generator[Result]:
    """One after another, in this process."""
    for item in items:
        yield work(item)


def run_processes(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    workers: int,
    without: Callable[[Item], Item | None] = lambda item: None,
) -> Generator[Result]:
    """In processes on this machine. They end when this one does, however it does.

    When a worker dies (killed, out of memory, a crash in a decoder), what was in hand is done again, one at a time. An
    item that ends its worker then too is replaced by `without(item)`. Raises WorkerDied where that is None.
    """
    left = list(items)
    while left:
        yield from _run_pool(work, left, workers)
        for item in left[:workers] if left else []:  # these were in hand
            last: Item | None = item
            while last is not None:
                alone = [last]
                yield from _run_pool(work, alone, 1)
                if not alone:
                    break
                last = without(last)
            if last is None:
                raise WorkerDied(
                    "a worker process died twice at the same shard (out of memory, or a crash); what is done is kept: "
                    "run the same command again"
                )
            left.remove(item)


def _run_pool(work: Callable[[Item], Result], items: list[Item], workers: int) -> Generator[Result]:
    """Yields results and removes from `items` what is done, until all is or a worker died."""
    context = multiprocessing.get_context("spawn")  # forked, torch's and OpenCV's threads would be missing
    listen, alive = context.Pipe(duplex=False)
    with alive, listen:
        pool = ProcessPoolExecutor(workers, context, _begin_worker, (listen,))
        futures = {pool.submit(work, item): item for item in items}
        ended = False
        try:
            for future in as_completed(futures):
                result = future.result()
                # Neither items nor results are kept until the end.
                items.remove(futures.pop(future))
                yield result
            ended = True
        except BrokenProcessPool:
            pass
        finally:
            if not ended:  # an error or Ctrl-C: nobody waits for the shards in hand
                alive.close()
            pool.shutdown(wait=True, cancel_futures=True)


def _begin_worker(listen: Connection) -> None:
    """Ctrl-C reaches the whole process group; only the parent answers it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def end_with_parent() -> None:
        # Nothing is ever sent. The pipe ends when the parent closes it, or is killed and the system does.
        with contextlib.suppress(EOFError, OSError):
            listen.recv_bytes()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def run_ray(
    stages: Sequence[RayStage],
    items: Sequence[Item],
    workers: int | None,
    address: str | None,
    *,
    least: int = 1,
    without: Callable[[Item], Item | None] = lambda item: None,
    size_of: Callable[[Item], int] = lambda item: 0,
) -> Generator[Any]:
    """With Ray: on the cluster at `address`, or on this machine. Raises UsageError without the package or the cluster.

    stages: one after the other, each with a pool of actors. workers, least, size_of: see `ray_pools.Pipeline`. An item
    whose worker dies, or whose task fails for reasons of the moment, is tried again, ever later. After three deaths it
    is replaced by `without(item)`; where that is None it is given up, and the others go on. Raises WorkerDied at the
    end with a list of those given up, and at once when more tries failed than the budget allows: then it is the
    cluster, not the items.
    """
    ray = import_ray()
    mine = not ray.is_initialized()
    if mine:
        local: dict[str, Any] = {} if address else {"num_cpus": workers, "include_dashboard": False}
        try:
            ray.init(address=address, log_to_driver=False, logging_level="error", **local)
        except Exception as error:  # Ray has an error class for each way
            where = f"the Ray cluster at {address}" if address else "Ray on this machine"
            raise UsageError(f"{where} cannot be reached ({str(error).splitlines()[0]}); see `ray status`") from error
    try:
        queue = RetryQueue(items, without)
        yield from Pipeline(ray, stages, workers, least, size_of).run(queue)
        queue.tell_given_up()
    finally:
        if mine:
            ray.shutdown()


def run_threads(work: Callable[[Item], Result], items: Iterable[Item], threads: int = THREADS) -> Generator[Result]:
    """For work that waits for a store: results in the order of the items, a few of which are under way at a time."""
    under_way: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for item in items:
            under_way.append(pool.submit(work, item))
            if len(under_way) > 2 * threads:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()


def import_ray() -> Any:
    """Ray, or UsageError saying how to get it."""
    try:
        return import_module("ray")
    except ImportError as error:
        raise MissingExtra("--engine ray needs Ray, which is not installed", "cluster") from error
