"""`reenact prepare` on a Ray cluster: a pool of actors for each stage, as many as the work wants.

Ray's own pools do not do: Ray Data answers a worker's death by trying for ever or by ending, has no way to leave out
the one video that kills it, and needs pyarrow; ray.util.ActorPool neither grows nor survives a death. What is used of
Ray is its core: actors, objects that stay where they were made until another machine needs them, and demand for
resources, by which a cluster that scales itself grows.
"""

import contextlib
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

from fewshot_reenact.errors import ReenactError
from fewshot_reenact.training.data.retries import RetryQueue, Try, WorkerDied

IDLE = 30.0  # seconds after which an actor that has nothing to do is let go
FAILED_STARTS = 20  # of actors, in a row
_POLL = 1.0  # seconds


@dataclass(frozen=True)
class RayStage:
    """A step of the work.

    work: called with the item and with what each stage before made of it, the latest first; what the last stage makes
    is the result. cpus, gpus: what an actor takes up; one that takes up no processor waits for a net or a disk, and is
    not counted as a worker. most: actors; None: as many as there are workers.
    """

    name: str
    work: Callable[..., Any]
    cpus: float = 1
    gpus: float = 0
    most: int | None = None


class _Actor:
    """Does one thing at a time; what it loads (networks) it keeps."""

    def ready(self) -> None:
        """Answers once it is there."""

    def run(self, work: Callable[..., Any], last: bool, *given: Any) -> tuple[Any, Any]:
        """(what the driver is to see, what the next stage is to get)."""
        made = work(*given)
        return (made, None) if last else (None, made)


@dataclass
class _Job:
    """An item on its way. stage: it is in, or waits for. made: references to what the stages before made of it."""

    one: Try[Any]
    stage: int = 0
    made: list[Any] = field(default_factory=list)


class _Pool:
    """The actors of a stage. starting, busy: by the reference that tells when they are ready or done."""

    def __init__(self, ray: Any, stage: RayStage, least: int) -> None:
        self.ray, self.stage, self.least = ray, stage, least
        self.waiting: deque[_Job] = deque()
        self.starting: dict[Any, Any] = {}
        self.busy: dict[Any, tuple[Any, _Job, Any]] = {}
        self.idle: list[tuple[Any, float]] = []
        self._kind = ray.remote(num_cpus=stage.cpus, num_gpus=stage.gpus, max_restarts=0)(_Actor)

    def __len__(self) -> int:
        return len(self.starting) + len(self.busy) + len(self.idle)

    def wanted(self, most: int) -> int:
        """How many more there should be."""
        unserved = len(self.waiting) - len(self.idle) - len(self.starting)
        return min(most - len(self), max(unserved, self.least - len(self)))

    def start(self) -> None:
        """One more; Ray makes it once its resources are free, or the cluster has grown."""
        actor = self._kind.remote()
        self.starting[actor.ready.remote()] = actor

    def dispatch(self, last: bool) -> None:
        """Give what waits to who is idle."""
        while self.waiting and self.idle:
            (actor, _), job = self.idle.pop(), self.waiting.popleft()
            seen, made = actor.run.options(num_returns=2).remote(
                self.stage.work, last, job.one.item, *reversed(job.made)
            )
            self.busy[seen] = actor, job, made

    def rest(self, actor: Any) -> None:
        """It has nothing to do."""
        self.idle.append((actor, time.monotonic()))

    def trim(self, *, now: bool = False) -> bool:
        """Let go of who has been idle for long, or of one at once; also of who is not there yet and has no work.

        Returns whether anybody went.
        """
        before = len(self)
        if not self.waiting:
            for reference in list(self.starting)[: max(0, len(self) - self.least)]:
                self.kill(self.starting.pop(reference))
        old = time.monotonic() - (0 if now else IDLE)
        while self.idle and len(self) > self.least and self.idle[0][1] <= old:
            self.kill(self.idle.pop(0)[0])
            if now:
                break
        return len(self) < before

    def kill(self, actor: Any) -> None:
        """End an actor, if it lives."""
        with contextlib.suppress(Exception):
            self.ray.kill(actor)

    def close(self) -> None:
        """End all."""
        busy = [actor for actor, _, _ in self.busy.values()]
        for actor in [*self.starting.values(), *busy, *(actor for actor, _ in self.idle)]:
            self.kill(actor)


class Pipeline:
    """Items through stages, each with its pool.

    workers: actors that take up a processor, in all stages together, at most; None: as many as the cluster has
    processors, asked again as it grows. least: of each stage. size_of: bytes of an item; those under way take up half
    of the cluster's object store at most. At most twice as many items are under way as there are actors, so stages run
    ahead by no more than that.
    """

    def __init__(
        self,
        ray: Any,
        stages: Sequence[RayStage],
        workers: int | None,
        least: int,
        size_of: Callable[[Any], int],
    ) -> None:
        self.ray, self.workers, self.size_of = ray, workers, size_of
        self.pools = [_Pool(ray, stage, least if stage.cpus else 1) for stage in stages]
        self.most_bytes = 0.5 * ray.cluster_resources().get("object_store_memory", float("inf"))
        self.under_way: list[_Job] = []
        self._limit, self._asked, self._failed_starts = 0, -IDLE, 0

    def run(self, queue: RetryQueue[Any]) -> Generator[Any]:
        """Yields results as they come. Raises what an item's work raises of ReenactErrors, and as `RetryQueue`."""
        try:
            while queue or self.under_way:
                self._admit(queue)
                self._scale()
                for pool in self.pools:
                    pool.dispatch(pool is self.pools[-1])
                references = [reference for pool in self.pools for reference in (*pool.starting, *pool.busy)]
                pause = min(_POLL, queue.pause() or _POLL)
                if not references:
                    time.sleep(pause)
                    continue
                # Not fetched: what one stage made goes from its machine to that of the next.
                done, _ = self.ray.wait(references, num_returns=1, timeout=pause, fetch_local=False)
                for reference in done:
                    yield from self._done(reference, queue)
        finally:
            for pool in self.pools:
                pool.close()

    def _admit(self, queue: RetryQueue[Any]) -> None:
        """Take up new items as long as few enough are under way."""
        most = 2 * max(1, sum(len(pool) for pool in self.pools))
        size = sum(self.size_of(job.one.item) for job in self.under_way)
        while len(self.under_way) < most and (not self.under_way or size < self.most_bytes):
            one = queue.take()
            if one is None:
                return
            size += self.size_of(one.item)
            self.under_way.append(_Job(one))
            self.pools[0].waiting.append(self.under_way[-1])

    def _scale(self) -> None:
        """Actors where items wait, the later stages first; none where they do not."""
        for pool in self.pools:
            pool.trim()
        for pool in reversed(self.pools):
            if not pool.stage.cpus:
                most = pool.stage.most or self._most()
            else:
                others = [other for other in self.pools if other is not pool and other.stage.cpus]
                most = self._most() - sum(max(len(other), other.least) for other in others)
                most = min(most, pool.stage.most or most)
                if pool.wanted(len(pool) + 1) > 0 and most <= len(pool) and any(o.trim(now=True) for o in others):
                    most = len(pool) + 1
            for _ in range(max(pool.wanted(max(most, pool.least)), 0)):
                pool.start()

    def _most(self) -> int:
        if self.workers is not None:
            return self.workers
        if time.monotonic() - self._asked > IDLE:
            self._asked, self._limit = time.monotonic(), max(1, int(self.ray.cluster_resources().get("CPU", 1)))
        return self._limit

    def _done(self, reference: Any, queue: RetryQueue[Any]) -> Generator[Any]:
        """An actor is there, or has done something, or is dead."""
        pool = next(pool for pool in self.pools if reference in pool.starting or reference in pool.busy)
        if reference in pool.starting:
            self._started(pool, pool.starting.pop(reference), reference)
            return
        actor, job, made = pool.busy.pop(reference)
        exceptions = self.ray.exceptions
        try:
            seen = self.ray.get(reference)
        except exceptions.RayTaskError as error:
            if isinstance(error.cause, ReenactError):  # what is asked for is wrong: no other try mends it
                raise error.cause from None
            pool.rest(actor)
            self._failed(job, queue, str(error.cause or error), died=False)
        except exceptions.RayError as error:
            pool.kill(actor)
            self._failed(job, queue, str(error), died=True)
        else:
            pool.rest(actor)
            job.stage += 1
            if job.stage < len(self.pools):
                job.made.append(made)
                self.pools[job.stage].waiting.append(job)
                return
            self.under_way.remove(job)
            yield seen

    def _failed(self, job: _Job, queue: RetryQueue[Any], reason: str, *, died: bool) -> None:
        """The item begins anew, later: what the stages before made of it may be gone with a machine."""
        self.under_way.remove(job)
        queue.failed(job.one, reason, died=died)

    def _started(self, pool: _Pool, actor: Any, reference: Any) -> None:
        try:
            self.ray.get(reference)
        except self.ray.exceptions.RayError as error:
            pool.kill(actor)
            self._failed_starts += 1
            if self._failed_starts > FAILED_STARTS:
                reason = (str(error).strip().splitlines() or ["no reason given"])[0]
                raise WorkerDied(
                    f"{self._failed_starts} Ray actors could not be started, one after the other ({reason}); what is "
                    "done is kept: see `ray status`, then run the same command again"
                ) from error
        else:
            self._failed_starts = 0
            pool.rest(actor)
