"""`reenact prepare`: videos -> shards of square clips with points, for training on data of any size.

The list of videos alone decides which of them go into which shard (sources.spread), and a shard is a function of its
videos and the options. So any process may make any shard, in any order; a shard is done when its JSON file is there,
which is written after its tar, both whole or not at all; and a run that was killed goes on with the shards that are
missing. At the end all of it is put into one index.
"""

import errno
import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal

from fewshot_reenact._version import __version__
from fewshot_reenact.device import choose_device
from fewshot_reenact.errors import InputError, ReenactError, UsageError
from fewshot_reenact.landmarks.base import BACKENDS, LandmarkBackend, load_backend
from fewshot_reenact.training import engines
from fewshot_reenact.training.clipping import MAX_SIDE, ClipOptions, CutVideo, cut_video
from fewshot_reenact.training.contact_sheet import contact_sheet
from fewshot_reenact.training.shards import (
    CLIPS,
    INDEX,
    PLAN,
    SCHEMA,
    SKIPPED,
    SUMMARY,
    ShardWriter,
    clip_key,
    is_ours,
    is_partial,
    read_json,
    shard_name,
    write_json,
    write_lines,
)
from fewshot_reenact.training.sources import Source, fingerprint, list_sources, spread
from fewshot_reenact.training.storage import Folder, is_url, open_filesystem

Engine = Literal["processes", "ray"]
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True)
class Done:
    """How far a run is: videos, clips and skipped videos of this run so far, seconds of video read, and since when."""

    videos: int
    of: int
    clips: int
    skipped: int
    seconds: float
    elapsed: float


@dataclass(frozen=True)
class _Unit:
    """A shard to make."""

    number: int
    sources: list[Source]


@dataclass(frozen=True)
class _Task:
    """What every worker needs to know."""

    out: str
    options: ClipOptions
    landmarks: str
    device: str


def prepare(
    videos: str | Path,
    out: str | Path,
    *,
    options: ClipOptions | None = None,
    videos_per_shard: int | None = None,
    landmarks: str = "builtin",
    device: str = "cpu",
    workers: int = 1,
    engine: Engine = "processes",
    address: str | None = None,
    overwrite: bool = False,
    progress: Callable[[Done], None] | None = None,
) -> dict[str, Any]:
    """Make shards of clips from videos, or go on making them. Returns the index's totals and this run's rates.

    videos: a folder, a list file, one video, or an fsspec address; see sources.list_sources. out: a folder, or an
    address. workers: processes here, or Ray tasks at a time. engine, address: "ray" works on that cluster; `out` and
    `videos` must then mean the same on each of its machines. overwrite: begin anew where other videos or options were
    prepared. progress: called after each shard.

    Raises UsageError: bad options, `out` holds something else; InputError: no videos, none of them usable; ModelError;
    engines.WorkerDied.
    """
    options = options or ClipOptions()
    _check(options, landmarks, workers, engine, address)
    sources = list_sources(videos)
    folder = Folder(out)
    in_this_process = engine == "processes" and workers == 1
    if not in_this_process and str(out).startswith("memory://"):
        raise UsageError(f"{out}: is this process's memory, which other workers cannot write to; use --workers 1")
    units = [_Unit(number, some) for number, some in enumerate(spread(sources, videos_per_shard))]
    plan = {
        "schema": SCHEMA,
        "version": __version__,
        "videos": len(sources),
        "shards": len(units),
        "fingerprint": fingerprint(sources),
        "landmarks": landmarks,
        "options": asdict(options),
    }
    finished = _begin(folder, plan, overwrite)
    where, _ = choose_device(device)
    missing = [unit for unit in units if unit.number not in finished]
    work = partial(_make_shard, _Task(str(out), options, landmarks, str(where)))
    if in_this_process or (engine == "processes" and len(missing) < 2):
        results = engines.run_here(work, missing)
    elif engine == "processes":
        results = engines.run_processes(work, missing, min(workers, len(missing)))
    else:
        results = engines.run_ray(work, missing, workers, address, where.type == "cuda")
    try:
        run = _follow(results, sum(len(unit.sources) for unit in missing), progress)
    finally:
        folder.remove([name for name in folder.sizes() if is_partial(name)])  # of workers that were stopped
    return {**_finish(folder, plan, units), "run": run, "device": str(where)}


def _check(options: ClipOptions, landmarks: str, workers: int, engine: str, address: str | None) -> None:
    if not 64 <= options.size <= MAX_SIDE or options.size % 2:
        raise UsageError(f"clips of {options.size} pixels: the side must be even, 64 to {MAX_SIDE}")
    if not 0 < options.min_seconds <= options.max_seconds:
        raise UsageError("a clip's shortest length must be above zero, and not above its longest")
    if landmarks not in BACKENDS:
        raise UsageError(f"landmarks backend {landmarks!r} is not known: choose one of {', '.join(BACKENDS)}")
    if workers < 1:
        raise UsageError("there must be one worker at least")
    if engine not in ("processes", "ray"):
        raise UsageError(f"engine {engine!r} is not known: choose processes or ray")
    if engine == "ray":
        engines.import_ray()
    elif address is not None:
        raise UsageError("--address is a Ray cluster's: add --engine ray")


def _begin(folder: Folder, plan: dict[str, Any], overwrite: bool) -> set[int]:
    """The numbers of the shards that are there already. Raises UsageError when something else is."""
    sizes = folder.sizes()
    kept = {name for name in sizes if not name.startswith(".")}
    if PLAN in kept and (read_json(folder, PLAN) == plan):
        folder.remove([name for name in sizes if is_partial(name)])
        return {number for number in range(plan["shards"]) if _is_finished(folder, number, sizes)}
    if kept and not overwrite:
        if PLAN not in kept:
            raise UsageError(f"{folder.name}: holds other files; give a folder that is empty or not there yet")
        differs = ", ".join(_differences(read_json(folder, PLAN), plan))
        raise UsageError(
            f"{folder.name}: was prepared otherwise ({differs}); give another, or --overwrite to begin anew"
        )
    folder.remove([name for name in sizes if is_ours(name)])
    folder.make()
    write_json(folder, PLAN, plan)
    return set()


def _is_finished(folder: Folder, number: int, sizes: dict[str, int]) -> bool:
    if shard_name(number, ".json") not in sizes:
        return False
    made = read_json(folder, shard_name(number, ".json"))
    return not made["clips"] or sizes.get(shard_name(number)) == made["bytes"]


def _differences(before: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    """What two plans disagree about."""
    if before.get("fingerprint") != now["fingerprint"]:
        yield "other videos"
    for name in ("schema", "version", "landmarks"):
        if before.get(name) != now[name]:
            yield f"{name} {before.get(name)}"
    old = before.get("options", {})
    yield from (f"{name} {old.get(name)}" for name, value in now["options"].items() if old.get(name) != value)
    if before.get("fingerprint") == now["fingerprint"] and before.get("shards") != now["shards"]:
        yield f"{before.get('shards')} shards"


# ---- one shard -------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _backend(landmarks: str, device: str) -> LandmarkBackend:
    return load_backend(landmarks, device)


def _make_shard(task: _Task, unit: _Unit) -> dict[str, Any]:
    """Make a shard: its tar, then the JSON file that says it is done, which is returned. Runs in any worker."""
    backend = _backend(task.landmarks, task.device)
    folder = Folder(task.out)
    skipped, notes, rows = [], [], []
    seconds, frames = 0.0, 0
    with _without_warnings(), folder.partial(shard_name(unit.number)) as path:
        writer = ShardWriter(path)
        for source in unit.sources:
            try:
                cut = _cut_source(source, backend, task.options)
            except InputError as error:
                skipped.append({"video": source.name, "reason": str(error)})
                continue
            seconds, frames = seconds + cut.seconds, frames + cut.frames
            notes += [{"video": source.name, "note": note} for note in cut.notes]
            for number, clip in enumerate(cut.clips):
                writer.add(clip_key(source.name, number), clip, source.name)
        writer.close()
        rows, size = writer.rows, path.stat().st_size
    if not rows:  # a tar without members would stop other readers
        folder.remove([shard_name(unit.number)])
        size = 0
    made = {
        "shard": shard_name(unit.number),
        "bytes": size,
        "videos": len(unit.sources),
        "seconds": round(seconds, 3),
        "frames": frames,
        "clips": rows,
        "skipped": skipped,
        "notes": notes,
    }
    write_json(folder, shard_name(unit.number, ".json"), made)
    return made


def _cut_source(source: Source, backend: LandmarkBackend, options: ClipOptions) -> CutVideo:
    """Raises InputError for a video that cannot be used, whatever is the matter with it; one among a million must not
    end the run.
    """
    with _fetched(source) as path:
        try:
            return cut_video(path, source.person, backend, options)
        except ReenactError as error:
            raise InputError(_reason(error, path)) from error
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _NO_ROOM:
                raise
            raise InputError(f"internal error: {type(error).__name__}: {error}") from error


@contextmanager
def _fetched(source: Source) -> Iterator[Path]:
    """The video as a file; from an address, a temporary copy."""
    if not is_url(source.path):
        yield Path(source.path)
        return
    fs, inside = open_filesystem(source.path)
    with tempfile.TemporaryDirectory(prefix="reenact-") as folder:
        path = Path(folder) / Path(inside).name
        try:
            fs.get_file(inside, str(path))
        except FileNotFoundError as error:
            raise InputError("no such file") from error
        # Other errors (the net, the keys) are no fault of the video: they end the run, which can be gone on with.
        yield path


def _reason(error: Exception, path: Path) -> str:
    """One line without the file's name, which may be that of a temporary copy."""
    text = " ".join(str(error).split())
    for name in (path, path.name):
        text = text.removeprefix(f"{name}: ")
    return text


@contextmanager
def _without_warnings() -> Iterator[None]:
    """What is wrong with a video is listed; printed too, it would tear the progress bar."""
    logger = logging.getLogger("fewshot_reenact")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


# ---- the whole -------------------------------------------------------------------------------------------------------


def _follow(results: Iterator[dict[str, Any]], of: int, progress: Callable[[Done], None] | None) -> dict[str, Any]:
    """Wait for the shards, telling how far they are. Returns what this run did, and how fast."""
    begun = time.monotonic()
    videos = clips = skipped = frames = 0
    seconds = 0.0
    for made in results:
        videos, skipped, frames = videos + made["videos"], skipped + len(made["skipped"]), frames + made["frames"]
        clips, seconds = clips + len(made["clips"]), seconds + made["seconds"]
        if progress is not None:
            progress(Done(videos, of, clips, skipped, seconds, time.monotonic() - begun))
    took = max(time.monotonic() - begun, 1e-9)
    return {
        "videos": videos,
        "clips": clips,
        "frames": frames,
        "seconds_of_video": round(seconds, 3),
        "took": round(took, 3),
        "clips_a_second": round(clips / took, 3),
        "times_real_time": round(seconds / took, 3),
    }


def _finish(folder: Folder, plan: dict[str, Any], units: list[_Unit]) -> dict[str, Any]:
    """Put the shards' own lists together: index, clips, skipped videos, picture. Returns the totals."""
    sizes = folder.sizes()
    made = []
    for unit in units:
        if not _is_finished(folder, unit.number, sizes):
            raise UsageError(
                f"{folder / shard_name(unit.number)}: was made, and is not there; OUT must be one place for all workers"
            )
        made.append(read_json(folder, shard_name(unit.number, ".json")))
    full = [one for one in made if one["clips"]]
    clips = [{"shard": one["shard"], **clip} for one in full for clip in one["clips"]]
    skipped = sorted((row for one in made for row in one["skipped"]), key=lambda row: row["video"])
    write_lines(folder, SKIPPED, skipped)
    write_lines(folder, CLIPS, clips)
    totals = {
        **plan,
        "clips": len(clips),
        "people": len({clip["person"] for clip in clips}),
        "frames": sum(clip["frames"] for clip in clips),
        "seconds": round(sum(one["seconds"] for one in made), 3),
        "bytes": sum(one["bytes"] for one in full),
        "skipped": len(skipped),
        "notes": [note for one in made for note in one["notes"]],
    }
    if clips:
        folder.write(SUMMARY, contact_sheet(folder, clips))
    shards = [{"shard": one["shard"], "clips": len(one["clips"]), "bytes": one["bytes"]} for one in full]
    write_json(folder, INDEX, {**totals, "files": shards})
    if not clips:
        first = skipped[0]
        raise InputError(
            f"{folder.name}: none of {len(skipped)} videos can be used, see {folder / SKIPPED}; "
            f"the first: {first['video']}: {first['reason']}"
        )
    return totals
