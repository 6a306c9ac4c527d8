"""One shard of `reenact prepare`: a function of its videos and the options, so that any process may make it."""

import errno
import logging
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import cv2
import torch

from fewshot_reenact.errors import InputError, ReenactError
from fewshot_reenact.landmarks.backend import LandmarkBackend
from fewshot_reenact.landmarks.registry import load_backend
from fewshot_reenact.training.data.clipping import (
    ClipOptions,
    CutVideo,
    TrackedVideo,
    cut_tracked,
    cut_video,
    find_clips,
)
from fewshot_reenact.training.data.shards import ShardWriter, clip_key, shard_name, write_json
from fewshot_reenact.training.data.sources import ListedVideo
from fewshot_reenact.training.data.storage import Folder, is_url, open_filesystem, retried

Made = TypeVar("Made")
Film = bytes | str | None  # of a video: its bytes, why there are none, or None where it is read by its path
_DOWNLOADS = 8  # at once, of an actor
_LARGE = 1 << 28  # bytes; a larger video goes to the disk of whoever cuts it, never through memory
_NOT_THERE = "no such file"
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True)
class Unit:
    """A shard to make. crashing: names of videos that ended the process that read them."""

    number: int
    sources: list[ListedVideo]
    crashing: frozenset[str] = frozenset()


@dataclass(frozen=True)
class ShardTask:
    """What every worker needs to know. in_hand: a folder or an address for notes of which video is read, or None."""

    out: str
    options: ClipOptions
    landmarks: str
    device: str
    in_hand: str | None = None


def note_name(number: int) -> str:
    """A unit's note. By its name it is a partial file of the shard's: whoever tidies up removes it too."""
    return f".{shard_name(number, '.json')}.{number:08x}.partial"


def without_crashing(task: ShardTask, unit: Unit) -> Unit | None:
    """What to make instead of a unit whose worker died: the same without the video it had in hand; None: not known."""
    if task.in_hand is None:
        return None
    notes, name = Folder(task.in_hand), note_name(unit.number)
    if name not in notes.sizes():
        return None
    at = int(notes.read(name))
    notes.remove([name])
    return replace(unit, crashing=unit.crashing | {unit.sources[at].name})


@lru_cache(maxsize=1)
def _backend(landmarks: str, device: str) -> LandmarkBackend:
    return load_backend(landmarks, device)


def fetch_videos(unit: Unit) -> list[Film]:
    """The videos of a unit that lie behind an address, as an own stage: several at once, ahead of who needs them."""
    with ThreadPoolExecutor(_DOWNLOADS) as pool:
        return list(pool.map(_download, unit.sources))


def track_videos(task: ShardTask, unit: Unit, films: list[Film] | None = None) -> list[TrackedVideo | str]:
    """The networks' part of a shard as an own stage. A video that cannot be used is the reason for that."""
    backend = _backend(task.landmarks, task.device)
    with _one_thread(), _without_warnings():
        found = _in_turn(task, unit, films, lambda _at, path: find_clips(path, backend, task.options))
        return [seen for _, seen in found]


def write_shard(
    task: ShardTask, unit: Unit, found: list[TrackedVideo | str], films: list[Film] | None = None
) -> dict[str, Any]:
    """What is left of `make_shard` after these."""

    def cut(at: int, path: Path) -> CutVideo:
        seen = found[at]
        if isinstance(seen, str):
            raise InputError(seen)
        return cut_tracked(path, unit.sources[at].person, seen, task.options)

    return _write(task, unit, films, cut)


def make_shard(task: ShardTask, unit: Unit, films: list[Film] | None = None) -> dict[str, Any]:
    """Make a shard: its tar, then the JSON file that says it is done, which is returned. Runs in any worker.

    films: of `fetch_videos`; None: each is fetched when it is needed.
    """
    backend = _backend(task.landmarks, task.device)
    people = [source.person for source in unit.sources]
    return _write(task, unit, films, lambda at, path: cut_video(path, people[at], backend, task.options))


def _write(
    task: ShardTask, unit: Unit, films: list[Film] | None, cut: Callable[[int, Path], CutVideo]
) -> dict[str, Any]:
    """cut: makes clips of a video, by its number."""
    folder = Folder(task.out)
    skipped, notes = [], []
    seconds, frames = 0.0, 0
    with _one_thread(), _without_warnings(), folder.partial(shard_name(unit.number)) as path:
        writer = ShardWriter(path)
        for source, made in _in_turn(task, unit, films, cut):
            if isinstance(made, str):
                skipped.append({"video": source.name, "reason": made})
                continue
            seconds, frames = seconds + made.seconds, frames + made.frames
            notes += [{"video": source.name, "note": line} for line in made.notes]
            for number, clip in enumerate(made.clips):
                writer.add(clip_key(source.name, number), clip, source.name)
        writer.close()
        rows, size = writer.rows, path.stat().st_size
    if not rows:  # a tar without members would stop other readers
        folder.remove([shard_name(unit.number)])
        size = 0
    row = {
        "shard": shard_name(unit.number),
        "bytes": size,
        "videos": len(unit.sources),
        "seconds": round(seconds, 3),
        "frames": frames,
        "clips": rows,
        "skipped": skipped,
        "notes": notes,
    }
    write_json(folder, shard_name(unit.number, ".json"), row)
    return row


def _in_turn(
    task: ShardTask, unit: Unit, films: list[Film] | None, work: Callable[[int, Path], Made]
) -> Iterator[tuple[ListedVideo, Made | str]]:
    """What is made of each video, or why it cannot be used; noting which one is in hand."""
    in_hand, note = Folder(task.in_hand) if task.in_hand else None, note_name(unit.number)
    for at, source in enumerate(unit.sources):
        if source.name in unit.crashing:
            yield source, "crashes the decoder, or needs too much memory"
            continue
        if in_hand is not None:
            in_hand.write(note, b"%d" % at)
        try:
            with _as_file(source, films[at] if films else None) as path:
                made = _usable(work, at, path)
        except InputError as error:
            yield source, str(error)
        else:
            yield source, made
    if in_hand is not None:
        in_hand.remove([note])


def _usable(work: Callable[[int, Path], Made], at: int, path: Path) -> Made:
    """Raises InputError for a video that cannot be used, whatever is the matter with it; one among a million must not
    end the run.
    """
    try:
        return work(at, path)
    except ReenactError as error:
        raise InputError(_reason(error, path)) from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            raise
        raise InputError(f"internal error: {type(error).__name__}: {error}") from error


@contextmanager
def _as_file(source: ListedVideo, film: Film) -> Iterator[Path]:
    """The video as a file; from an address, a temporary copy. Raises InputError: it is not there."""
    if not is_url(source.path):
        yield Path(source.path)
        return
    if isinstance(film, str):
        raise InputError(film)
    fs, inside = open_filesystem(source.path)
    with tempfile.TemporaryDirectory(prefix="reenact-") as folder:
        path = Path(folder) / Path(inside).name
        if film is not None:
            path.write_bytes(film)
        else:
            try:
                retried(lambda: fs.get_file(inside, str(path)), source.path)
            except FileNotFoundError as error:
                raise InputError(_NOT_THERE) from error
            # Other errors (the net, the keys) are no fault of the video: what retries do not mend, the engine hears of.
        yield path


def _download(source: ListedVideo) -> Film:
    if not is_url(source.path) or source.size > _LARGE:
        return None
    fs, inside = open_filesystem(source.path)
    try:
        return retried(lambda: fs.cat_file(inside), source.path)
    except FileNotFoundError:
        return _NOT_THERE


def _reason(error: Exception, path: Path) -> str:
    """One line without the file's name, which may be that of a temporary copy."""
    text = " ".join(str(error).split())
    for name in (path, path.name):
        text = text.removeprefix(f"{name}: ")
    return text


@contextmanager
def _one_thread() -> Iterator[None]:
    """Workers stand for threads. And how torch adds up numbers depends on their count, which must change no shard."""
    threads, cv_threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        cv2.setNumThreads(cv_threads)


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
