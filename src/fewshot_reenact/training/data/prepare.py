"""`reenact prepare`: videos -> shards of square clips with points, for training on data of any size.

The list of videos alone decides which of them go into which shard (sources.spread), and a shard is a function of its
videos and the options. So any process may make any shard, in any order; a shard is done when its JSON file is there,
which is written after its tar, both whole or not at all; and a run that was killed goes on with the shards that are
missing. At the end all of it is put into one index.
"""

import os
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from fewshot_reenact._version import __version__
from fewshot_reenact.device import choose_device
from fewshot_reenact.errors import UsageError
from fewshot_reenact.files import held_folder
from fewshot_reenact.landmarks.registry import BACKENDS, Landmarks
from fewshot_reenact.training.data import engines
from fewshot_reenact.training.data.clipping import MAX_SIDE, ClipOptions
from fewshot_reenact.training.data.index import shard_list, write_index
from fewshot_reenact.training.data.shard_worker import ShardTask, Unit, make_shard, without_crashing
from fewshot_reenact.training.data.shards import PLAN, SCHEMA, is_ours, is_partial, read_json, write_json
from fewshot_reenact.training.data.sources import fingerprint, list_sources, spread
from fewshot_reenact.training.data.stages import fetched_bytes, ray_stages
from fewshot_reenact.training.data.storage import Folder

Engine = Literal["processes", "ray"]


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
class Prepared:
    """Shards of clips. out: where they are. videos, skipped: how many were given, and could not be used. clips, people,
    frames, bytes: in the shards. notes: of videos that were used all the same. run: rates of this run, which may have
    found everything done before. device: what measured. index: what stands in the shards' index, without the list of
    files.
    """

    out: str
    videos: int
    skipped: int
    clips: int
    people: int
    frames: int
    bytes: int
    notes: list[dict[str, str]]
    run: dict[str, Any]
    device: str
    index: dict[str, Any]

    def report(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {**self.index, "run": self.run, "device": self.device}


def prepare(
    videos: str | Path,
    out: str | Path,
    *,
    options: ClipOptions | None = None,
    videos_per_shard: int | None = None,
    landmarks: Landmarks = "builtin",
    device: str = "cpu",
    workers: int | None = 1,
    min_workers: int = 1,
    engine: Engine = "processes",
    address: str | None = None,
    overwrite: bool = False,
    progress: Callable[[Done], None] | None = None,
) -> Prepared:
    """Make shards of clips from videos, or go on making them.

    videos: a folder, a list file, one video, or an fsspec address; see sources.list_sources. out: a folder, or an
    address. options: size and lengths of the clips; None: see ClipOptions. videos_per_shard: None: a 32nd of all, up to
    64, fewer where they are large. landmarks: "builtin" or "fan". device: "auto", "cpu", "cuda", "cuda:1", "mps".
    workers: processes here, or Ray actors at most; None: as many as there are processors. min_workers: Ray actors of
    each stage that stay while nothing waits; others come and go with the work. engine: "processes" on this machine, or
    "ray" on many. address: of the Ray cluster; `out` and `videos` must then mean the same on each of its machines.
    overwrite: begin anew where other videos or options were prepared. progress: called with a
    training.data.prepare.Done after each shard.

    Returns a Prepared. Raises UsageError (bad options, `out` holds something else), InputError (no videos, none of them
    usable), ModelError, and ReenactError when a worker process died.

    Example:

        from fewshot_reenact import prepare

        made = prepare("videos", "shards")
        print(made.clips, made.people, made.skipped)
    """
    options = options or ClipOptions()
    _check(options, landmarks, workers, min_workers, engine, address)
    sources = list_sources(videos)
    folder = Folder(out)
    if engine == "processes" and workers is None:
        workers = os.cpu_count() or 1
    in_this_process = engine == "processes" and workers == 1
    if not in_this_process and str(out).startswith("memory://"):
        raise UsageError(f"{out}: is this process's memory, which other workers cannot write to; use --workers 1")
    units = [Unit(number, some) for number, some in enumerate(spread(sources, videos_per_shard))]
    plan = {
        "schema": SCHEMA,
        "version": __version__,
        "videos": len(sources),
        "shards": len(units),
        "fingerprint": fingerprint(sources),
        "landmarks": landmarks,
        # An option that lifts limits counts only where it was given: older shards do not have it.
        "options": {name: value for name, value in asdict(options).items() if name != "any_size" or value},
    }
    where, _ = choose_device(device)
    task = ShardTask(str(out), options, landmarks, str(where))
    with _alone_in(folder):
        finished = _begin(folder, plan, overwrite)
        missing = [unit for unit in units if unit.number not in finished]
        try:
            with tempfile.TemporaryDirectory(prefix="reenact-") as in_hand:
                if in_this_process or not missing or (engine == "processes" and len(missing) < 2):
                    results = engines.run_here(partial(make_shard, task), missing)
                elif engine == "processes":
                    task = replace(task, in_hand=in_hand)
                    some = min(workers or 1, len(missing))
                    again = partial(without_crashing, task)
                    results = engines.run_processes(partial(make_shard, task), missing, some, again)
                else:
                    # Where any machine can note it, and this one read it: beside the shards.
                    task = replace(task, in_hand=str(out))
                    again = partial(without_crashing, task)
                    results = engines.run_ray(
                        ray_stages(task, missing, workers),
                        missing,
                        workers,
                        address,
                        least=min_workers,
                        without=again,
                        size_of=fetched_bytes,
                    )
                run = _follow(results, sum(len(unit.sources) for unit in missing), progress)
        finally:
            folder.remove([name for name in folder.sizes() if is_partial(name)])  # of workers that were stopped
        index = write_index(folder, plan, units)
    counts = {name: index[name] for name in ("videos", "skipped", "clips", "people", "frames", "bytes", "notes")}
    return Prepared(str(out), **counts, run=run, device=str(where), index=index)


def _alone_in(folder: Folder) -> AbstractContextManager[None]:
    """No two runs in one local OUT, where each would remove the other's partial files. Raises UsageError."""
    if folder.local is None:
        return nullcontext()  # uploads appear whole, under their name
    folder.sizes()  # says it is a file, where it is one
    return held_folder(folder.local, f"{folder.name}: another `reenact prepare` is at work there; wait for it")


def _check(
    options: ClipOptions, landmarks: str, workers: int | None, min_workers: int, engine: str, address: str | None
) -> None:
    if not 64 <= options.size <= MAX_SIDE or options.size % 2:
        raise UsageError(f"clips of {options.size} pixels: the side must be even, 64 to {MAX_SIDE}")
    if not 0 < options.min_seconds <= options.max_seconds:
        raise UsageError("a clip's shortest length must be above zero, and not above its longest")
    if landmarks not in BACKENDS:
        raise UsageError(f"landmarks backend {landmarks!r} is not known: choose one of {', '.join(BACKENDS)}")
    if workers is not None and workers < 1:
        raise UsageError("there must be one worker at least")
    if not 1 <= min_workers <= (workers or min_workers):
        raise UsageError(f"{min_workers} workers that stay: there must be one at least, and no more than in all")
    if min_workers > 1 and engine != "ray":
        raise UsageError("--min-workers is for Ray's actors: add --engine ray")
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
        found = engines.run_threads(lambda number: shard_list(folder, number, sizes) is not None, range(plan["shards"]))
        return {number for number, there in enumerate(found) if there}
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


def _differences(before: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    """What two plans disagree about."""
    if before.get("fingerprint") != now["fingerprint"]:
        yield "other videos"
    yield from (f"{k} {before.get(k)}" for k in ("schema", "version", "landmarks") if before.get(k) != now[k])
    old = before.get("options")
    old = old if isinstance(old, dict) else {}
    yield from (f"{name} {old.get(name)}" for name, value in now["options"].items() if old.get(name) != value)
    if before.get("fingerprint") == now["fingerprint"] and before.get("shards") != now["shards"]:
        yield f"{before.get('shards')} shards"


def _follow(results: Generator[dict[str, Any]], of: int, progress: Callable[[Done], None] | None) -> dict[str, Any]:
    """Wait for the shards, telling how far they are. Returns what this run did, and how fast."""
    begun = time.monotonic()
    videos = clips = skipped = frames = 0
    seconds = 0.0
    with closing(results):  # at once, so that processes end when something goes wrong here
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
