"""Where the work of `reenact prepare` is done: in this process, in several, or on many machines with Ray.

Each engine runs a function on every item and yields the results as they come, in any order.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from fewshot_reenact.errors import MissingExtra, ReenactError, UsageError
from fewshot_reenact.training.data.retries import RetryQueue, Try, WorkerDied

Item = TypeVar("Item")
Result = TypeVar("Result")
_TASKS_A_CARD = 8  # the networks are small: one graphics card serves so many workers


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
    work: Callable[[Item], Result],
    items: Sequence[Item],
    workers: int | None,
    address: str | None,
    cuda: bool,
    without: Callable[[Item], Item | None] = lambda item: None,
) -> Generator[Result]:
    """With Ray: on the cluster at `address`, or on this machine. Raises UsageError without the package or the cluster.

    workers: tasks at a time; None: as many as the cluster has processors. An item whose worker dies, or whose task
    fails for reasons of the moment, is tried again, ever later. After three deaths it is replaced by `without(item)`;
    where that is None it is given up, and the others go on. Raises WorkerDied at the end with a list of those given up,
    and at once when more tries failed than the budget allows: then it is the cluster, not the items.
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
        # Its own retries know neither a pause nor an end that others survive.
        task = ray.remote(num_cpus=1, num_gpus=1 / _TASKS_A_CARD if cuda else 0, max_retries=0)(_call)
        most = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        queue = RetryQueue(items, without)
        running: dict[Any, Try[Item]] = {}
        while queue or running:
            while len(running) < most and (one := queue.take()) is not None:
                running[task.remote(work, one.item)] = one
            if not running:
                time.sleep(queue.pause() or 0)
                continue
            # Not for ever: what waits for its next try may become due while long tasks run.
            done, _ = ray.wait(list(running), num_returns=1, timeout=queue.pause() if len(running) < most else None)
            for reference in done:
                one = running.pop(reference)
                try:
                    result = ray.get(reference)
                except ray.exceptions.RayTaskError as error:
                    if isinstance(error.cause, ReenactError):  # what is asked for is wrong: no other try mends it
                        raise error.cause from None
                    queue.failed(one, str(error.cause or error), died=False)
                except ray.exceptions.RayError as error:
                    queue.failed(one, str(error), died=True)
                else:
                    yield result
        queue.tell_given_up()
    finally:
        if mine:
            ray.shutdown()


def _call(work: Callable[[Item], Result], item: Item) -> Result:
    return work(item)


def import_ray() -> Any:
    """Ray, or UsageError saying how to get it."""
    try:
        return import_module("ray")
    except ImportError as error:
        raise MissingExtra("--engine ray needs Ray, which is not installed", "cluster") from error
