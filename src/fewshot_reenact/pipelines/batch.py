"""Many portraits and drivers in one go: networks are loaded once, what failed is told, a second call does the rest."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from fewshot_reenact.device import use_threads
from fewshot_reenact.errors import ReenactError
from fewshot_reenact.pipelines.jobs import BatchJob
from fewshot_reenact.pipelines.sessions import Sessions, same_session
from fewshot_reenact.plain_json import read_object
from fewshot_reenact.progress import Progress, stage

RESULTS = "results.jsonl"
_DONE, _FAILED = "done", "failed"


@dataclass(frozen=True)
class BatchResult:
    """What became of a job. status: "done" or "failed"; reason: why it failed; seconds: it took; new: whether it was
    tried in this call, not in an earlier one.
    """

    output: str
    status: str
    portrait: list[str]
    driver: str
    key: str
    reason: str = ""
    frames: int = 0
    seconds: float = 0.0
    warnings: list[str] = field(default_factory=list)
    new: bool = True

    def report(self) -> dict[str, Any]:
        """Plain data, for a line of JSON."""
        return asdict(self)


def batch(
    jobs: Sequence[BatchJob],
    folder: str | Path,
    *,
    workers: int = 1,
    retry: bool = False,
    progress: Progress | None = None,
) -> Generator[BatchResult, None, None]:
    """Does what is missing of `jobs`, and yields a result for each, as it is known.

    folder: where `results.jsonl` keeps what became of each, a line a job. workers: processes, each with the networks
    loaded once. retry: try again what failed in an earlier call; without it that is told again, not tried.
    Outputs appear whole; what exists already is never written over. progress: the stage "jobs". Close the iterator to
    end the workers: what they have made of long videos is kept for the next call.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    ledger, tell, done = folder / RESULTS, stage(progress, "jobs"), 0
    before, open_jobs = _kept(ledger), []
    for job in jobs:
        known = _known(job, before.get(job.output), retry)
        if known is None:
            open_jobs.append(job)
            continue
        done += 1
        tell(done, len(jobs))
        yield known
    with contextlib.closing(_work(open_jobs, workers)) as results:
        for result in results:
            with ledger.open("a", encoding="utf-8") as file:
                file.write(json.dumps(result.report(), ensure_ascii=False) + "\n")
            done += 1
            tell(done, len(jobs))
            yield result


def _known(job: BatchJob, before: BatchResult | None, retry: bool) -> BatchResult | None:
    """What is known of a job without doing it; None: it is to be done."""
    same = before is not None and before.key == job.key
    if Path(job.output).exists():
        if before is None or (same and before.status == _DONE):
            if before is not None:
                return replace(before, new=False)
            return _result(job, _DONE, new=False, warnings=["was there already; nothing is noted of how it was made"])
        return _result(job, _FAILED, "exists already, from another job; move it away, or name another output")
    if same and before is not None and before.status == _FAILED and not retry:
        return replace(before, new=False)
    return None


def _work(jobs: list[BatchJob], workers: int) -> Generator[BatchResult, None, None]:
    # Those of one session after each other.
    jobs = sorted(jobs, key=lambda job: same_session(job.portrait, job.options))
    if workers == 1 or len(jobs) < 2:
        with contextlib.closing(Sessions()) as sessions:
            for job in jobs:
                yield _do(sessions, job)
        return
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    threads, others = max(1, multiprocessing.cpu_count() // workers), set(multiprocessing.active_children())
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(threads,)) as pool:
        waiting = {pool.submit(_in_worker, job): job for job in jobs}
        try:
            for one in as_completed(waiting):
                try:
                    yield one.result()
                except BrokenProcessPool:
                    reason = "its process ended (out of memory?); use fewer --workers, --retry"
                    yield _result(waiting[one], _FAILED, reason)
        except BaseException:  # Ctrl-C, or nobody takes the results any more: what was not begun is not
            pool.shutdown(wait=False, cancel_futures=True)
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()
            raise


def _do(sessions: Sessions, job: BatchJob) -> BatchResult:
    """Animates; what is wrong with the job is its result."""
    began = time.perf_counter()
    try:
        made = sessions.open(job.portrait, job.options).animate(job.driver, job.output)
    except ReenactError as error:
        return _result(job, _FAILED, str(error), seconds=round(time.perf_counter() - began, 3))
    except Exception as error:  # a bug, or no memory: the other jobs go on
        return _result(job, _FAILED, f"internal error: {type(error).__name__}: {error}")
    seconds = round(time.perf_counter() - began, 3)
    return _result(job, _DONE, frames=made.frames, seconds=seconds, warnings=made.warnings)


_sessions: list[Sessions] = []  # of this process, where it is a worker: set once, before any job


def _begin(threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C comes to all; the first process ends the others
    signal.signal(signal.SIGTERM, _end)
    use_threads(threads)
    _sessions.append(Sessions())


def _end(number: int, _stack: Any) -> None:
    raise SystemExit(128 + number)


def _in_worker(job: BatchJob) -> BatchResult:
    try:
        return _do(_sessions[0], job)
    except SystemExit as asked:  # partial files are gone by now; a pool's process would take the next job
        _sessions[0].close()
        os._exit(int(asked.code or 0))


def _result(job: BatchJob, status: str, reason: str = "", **more: Any) -> BatchResult:
    return BatchResult(job.output, status, job.portrait, job.driver, job.key, " ".join(reason.split()), **more)


def _kept(ledger: Path) -> dict[str, BatchResult]:
    """The last result of each output; lines that cannot be read are left out, as a killed run leaves one."""
    found: dict[str, BatchResult] = {}
    if not ledger.is_file():
        return found
    for line in ledger.read_text("utf-8", errors="replace").splitlines():
        try:
            one = BatchResult(**read_object(line))
        except (ValueError, TypeError):
            continue
        if isinstance(one.output, str):
            found[one.output] = one
    return found
