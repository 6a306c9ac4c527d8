"""Many portraits and drivers in one go: networks are loaded once, what failed is told, a second call does the rest."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from fewshot_reenact.device import use_threads
from fewshot_reenact.errors import InputError, ReenactError, UsageError
from fewshot_reenact.media.file_types import PICTURE_SUFFIXES
from fewshot_reenact.pipelines.animate_steps import Networks
from fewshot_reenact.pipelines.options import AnimateOptions
from fewshot_reenact.pipelines.session import Session
from fewshot_reenact.progress import Progress, stage

RESULTS = "results.jsonl"
_OWN = ("portrait", "driver", "output")
_OPTIONS = {one.name for one in fields(AnimateOptions)}
_DONE, _FAILED = "done", "failed"


@dataclass(frozen=True)
class BatchJob:
    """One line: portraits, the driver, the output's path, and how it is animated."""

    portrait: list[str]
    driver: str
    output: str
    options: AnimateOptions

    @property
    def key(self) -> str:
        """What tells a job from another that would write the same file."""
        text = json.dumps([self.portrait, self.driver, self.options.as_data()], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


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


def read_jobs(source: str | Path, folder: str | Path, options: AnimateOptions | None = None) -> list[BatchJob]:
    """The jobs of a file or folder, looked at before anything is done.

    source: JSON lines or CSV with `portrait`, `driver`, perhaps `output` and any of AnimateOptions (paths count from
    that file's folder; in JSON, `portrait` may be a list), or a folder with `portraits/` and `drivers/`, of which every
    one goes with every other. folder: where outputs go. options: what holds where a line says nothing else.
    Raises InputError: unreadable, no jobs. UsageError: an option that is not known, two jobs with one output.
    """
    source, folder, base = Path(source), Path(folder), options or AnimateOptions()
    try:
        rows, home = (list(_pairs(source)), Path()) if source.is_dir() else (list(_lines(source)), source.parent)
    except FileNotFoundError as error:
        raise InputError(f"{source}: no such file; check the name") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{source}: cannot be read ({error}); give JSON lines, CSV or a folder") from error
    jobs = [_job(row, where, home, folder, base) for where, row in rows]
    if not jobs:
        raise InputError(f"{source}: there are no jobs in it")
    taken: dict[str, int] = {}
    for number, job in enumerate(jobs, 1):
        if job.output in taken:
            raise UsageError(f"{source}: jobs {taken[job.output]} and {number} would both write {job.output}")
        taken[job.output] = number
    return jobs


def batch(
    jobs: Sequence[BatchJob],
    folder: str | Path,
    *,
    workers: int = 1,
    retry: bool = False,
    progress: Progress | None = None,
) -> Iterator[BatchResult]:
    """Does what is missing of `jobs`, and yields a result for each, as it is known.

    folder: where `results.jsonl` keeps what became of each, a line a job. workers: processes, each with the networks
    loaded once. retry: try again what failed in an earlier call; without it that is told again, not tried.
    Outputs appear whole; what exists already is never written over. progress: the stage "jobs".
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
    for result in _work(open_jobs, workers):
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
            return replace(before, new=False) if before else _result(job, _DONE, new=False)
        return _result(job, _FAILED, "exists already, from another job; move it away, or name another output")
    if same and before is not None and before.status == _FAILED and not retry:
        return replace(before, new=False)
    return None


def _work(jobs: list[BatchJob], workers: int) -> Iterator[BatchResult]:
    groups = [list(group) for _, group in groupby(sorted(jobs, key=_same_session), _same_session)]
    if workers == 1 or len(jobs) < 2:
        crew = _Crew()
        for group in groups:
            for job in group:
                yield crew.do(job)
        crew.close()
        return
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    threads = max(1, multiprocessing.cpu_count() // workers)
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(threads,)) as pool:
        waiting = {pool.submit(_in_worker, job): job for group in groups for job in group}
        for one in as_completed(waiting):
            try:
                yield one.result()
            except BrokenProcessPool:
                yield _result(waiting[one], _FAILED, "its process ended (out of memory?); use fewer --workers, --retry")


def _same_session(job: BatchJob) -> str:
    return json.dumps([job.portrait, job.options.as_data()], default=str)


class _Crew:
    """The session in use, and the networks for the next one."""

    def __init__(self) -> None:
        self._session: Session | None = None
        self._for = ""
        self._networks: dict[str, Networks] = {}

    def do(self, job: BatchJob) -> BatchResult:
        """Animates; what is wrong with the job is its result."""
        began = time.perf_counter()
        try:
            made = self._opened(job).animate(job.driver, job.output)
        except ReenactError as error:
            return _result(job, _FAILED, str(error), seconds=round(time.perf_counter() - began, 3))
        seconds = round(time.perf_counter() - began, 3)
        return _result(job, _DONE, frames=made.frames, seconds=seconds, warnings=made.warnings)

    def _opened(self, job: BatchJob) -> Session:
        wanted = _same_session(job)
        if self._session is None or self._for != wanted:
            self.close()
            options = job.options
            kind = json.dumps([str(options.model), str(options.landmarks), options.device])
            self._session = Session(job.portrait, options, networks=self._networks.get(kind))
            self._networks[kind], self._for = self._session.networks, wanted
        return self._session

    def close(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None


_crew: list[_Crew] = []  # of this process, where it is a worker: set once, before any job


def _begin(threads: int) -> None:
    use_threads(threads)
    _crew.append(_Crew())


def _in_worker(job: BatchJob) -> BatchResult:
    return _crew[0].do(job)


def _result(job: BatchJob, status: str, reason: str = "", **more: Any) -> BatchResult:
    return BatchResult(job.output, status, job.portrait, job.driver, job.key, " ".join(reason.split()), **more)


def _kept(ledger: Path) -> dict[str, BatchResult]:
    """The last result of each output; lines that cannot be read are left out, as a killed run leaves one."""
    found: dict[str, BatchResult] = {}
    if not ledger.is_file():
        return found
    for line in ledger.read_text("utf-8", errors="replace").splitlines():
        try:
            one = BatchResult(**json.loads(line))
        except (ValueError, TypeError):
            continue
        found[one.output] = one
    return found


def _lines(source: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where, what it says) of each line."""
    text = source.read_text("utf-8-sig")
    if source.suffix.lower() == ".csv":
        for number, row in enumerate(csv.DictReader(io.StringIO(text)), 2):
            yield f"{source}:{number}", {key: _value(value) for key, value in row.items() if value not in (None, "")}
        return
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(f"{source}:{number}: is no JSON ({error}); a job is one line in braces") from error
        if not isinstance(row, dict):
            raise InputError(f"{source}:{number}: is no job; a job is one line in braces")
        yield f"{source}:{number}", row


def _value(text: str) -> Any:
    """A CSV's number or truth value; anything else is text."""
    try:
        value = json.loads(text.lower())
    except ValueError:
        return text
    return value if isinstance(value, int | float | bool) else text


def _pairs(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    inside = {}
    for name in ("portraits", "drivers"):
        if not (folder / name).is_dir():
            raise InputError(f"{folder}: has no folder {name!r}; it needs portraits/ and drivers/, or give a jobs file")
        inside[name] = sorted(one for one in (folder / name).iterdir() if not one.name.startswith("."))
    for portrait in inside["portraits"]:
        if portrait.is_dir() or portrait.suffix.lower() in (*PICTURE_SUFFIXES, ".safetensors"):
            for driver in inside["drivers"]:
                yield str(folder), {"portrait": str(portrait), "driver": str(driver)}


def _job(row: dict[Any, Any], where: str, home: Path, folder: Path, base: AnimateOptions) -> BatchJob:
    unknown = [str(name) for name in row if name not in _OPTIONS and name not in _OWN]
    if unknown:
        raise UsageError(
            f"{where}: {unknown[0]!r} is not known; beside portrait, driver, output: the options of animate"
        )
    for name in ("portrait", "driver"):
        if not row.get(name):
            raise InputError(f"{where}: has no {name}")
    listed = row["portrait"] if isinstance(row["portrait"], list) else [row["portrait"]]
    portraits = [str(home / str(one)) for one in listed]
    driver = str(row["driver"])
    driver = driver if driver.startswith("motion:") else str(home / driver)
    more = {name: value for name, value in row.items() if name in _OPTIONS}
    for name in ("matte", "model", "sign_cert", "sign_key"):
        if more.get(name):
            more[name] = str(home / str(more[name]))
    try:
        options = replace(base, **more)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error
    except TypeError as error:
        raise UsageError(f"{where}: an option has a value of the wrong kind ({error})") from error
    return BatchJob(
        portraits, driver, str(folder / str(row.get("output") or _name(portraits[0], driver, options))), options
    )


def _name(portrait: str, driver: str, options: AnimateOptions) -> str:
    still = Path(driver).suffix.lower() in PICTURE_SUFFIXES
    suffix = (".png" if still else ".mov") if options.background == "transparent" else ".png" if still else ".mp4"
    return f"{Path(portrait).stem}--{Path(driver.removeprefix('motion:')).stem}{suffix}"
