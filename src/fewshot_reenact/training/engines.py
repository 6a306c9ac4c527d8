"""Where the work of `reenact prepare` is done: in this process, in several, or on many machines with Ray.

Each engine runs a function on every item and yields the results as they come, in any order.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from fewshot_reenact.errors import ReenactError, UsageError

Item = TypeVar("Item")
Result = TypeVar("Result")
_TASKS_A_CARD = 8  # the networks are small: one graphics card serves so many workers


class WorkerDied(ReenactError):
    """A worker process ended without a word: killed, out of memory, or a decoder that crashed."""


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """A worker's setting, for a block: one thread, since how torch adds up numbers depends on the count of threads, and
    what is prepared must not depend on the machine's cores.
    """
    import cv2
    import torch

    threads, cv_threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        cv2.setNumThreads(cv_threads)


def run_here(work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """One after another, in this process."""
    for item in items:
        with one_thread():
            result = work(item)
        yield result


def run_processes(work: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Iterator[Result]:
    """In processes on this machine. They end when this one does, however it does. Raises WorkerDied."""
    context = multiprocessing.get_context("spawn")  # forked, torch's and OpenCV's threads would be missing
    listen, alive = context.Pipe(duplex=False)
    with alive, listen:
        pool = ProcessPoolExecutor(workers, context, _begin_worker, (listen,))
        try:
            futures = {pool.submit(work, item): item for item in items}
            for future in as_completed(futures):
                del futures[future]  # results are not kept until the end
                yield future.result()
        except BrokenProcessPool as error:
            raise WorkerDied(
                "a worker process died (out of memory, or a video that crashes the decoder); what is done is kept: "
                "give fewer --workers and run the same command again"
            ) from error
        finally:
            # After an error or Ctrl-C: nobody waits for the shard in hand.
            if any(not future.done() for future in futures):
                alive.close()
            pool.shutdown(wait=True, cancel_futures=True)


def _begin_worker(listen: Connection) -> None:
    """Ctrl-C reaches the whole process group; only the parent answers it."""
    import cv2
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)

    def end_with_parent() -> None:
        # Nothing is ever sent. The pipe ends when the parent closes it, or is killed and the system does.
        with contextlib.suppress(EOFError, OSError):
            listen.recv_bytes()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def run_ray(
    work: Callable[[Item], Result], items: Sequence[Item], workers: int | None, address: str | None, cuda: bool
) -> Iterator[Result]:
    """With Ray: on the cluster at `address`, or on this machine. Raises UsageError without the package or the cluster.

    workers: tasks at a time; None: as many as the cluster has processors. A task that dies is tried again by Ray.
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
        task = ray.remote(num_cpus=1, num_gpus=1 / _TASKS_A_CARD if cuda else 0)(_in_one_thread)
        most = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        waiting = list(reversed(items))
        running: list[Any] = []
        while waiting or running:
            while waiting and len(running) < most:
                running.append(task.remote(work, waiting.pop()))
            done, running = ray.wait(running, num_returns=1)
            try:
                yield ray.get(done[0])
            except ray.exceptions.RayTaskError as error:
                raise error.cause if isinstance(error.cause, ReenactError) else error from None
            except ray.exceptions.RayError as error:
                raise WorkerDied(
                    f"a Ray task died ({str(error).splitlines()[0]}); run the same command again"
                ) from error
    finally:
        if mine:
            ray.shutdown()


def _in_one_thread(work: Callable[[Item], Result], item: Item) -> Result:
    with one_thread():
        return work(item)


def import_ray() -> Any:
    """Ray, or UsageError saying how to get it."""
    try:
        return import_module("ray")
    except ImportError as error:
        raise UsageError(
            "--engine ray needs Ray, which is not installed: pip install 'fewshot-reenact[cluster]'"
        ) from error
