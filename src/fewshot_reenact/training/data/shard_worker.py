"""One shard of `reenact prepare`: a function of its videos and the options, so that any process may make it."""

import errno
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import torch

from fewshot_reenact.errors import InputError, ReenactError
from fewshot_reenact.landmarks.backend import LandmarkBackend
from fewshot_reenact.landmarks.registry import load_backend
from fewshot_reenact.training.data.clipping import ClipOptions, CutVideo, cut_video
from fewshot_reenact.training.data.shards import ShardWriter, clip_key, shard_name, write_json
from fewshot_reenact.training.data.sources import ListedVideo
from fewshot_reenact.training.data.storage import Folder, is_url, open_filesystem, retried

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


def make_shard(task: ShardTask, unit: Unit) -> dict[str, Any]:
    """Make a shard: its tar, then the JSON file that says it is done, which is returned. Runs in any worker."""
    backend = _backend(task.landmarks, task.device)
    folder = Folder(task.out)
    skipped, notes, rows = [], [], []
    seconds, frames = 0.0, 0
    in_hand, note = Folder(task.in_hand) if task.in_hand else None, note_name(unit.number)
    with _one_thread(), _without_warnings(), folder.partial(shard_name(unit.number)) as path:
        writer = ShardWriter(path)
        for at, source in enumerate(unit.sources):
            if source.name in unit.crashing:
                skipped.append({"video": source.name, "reason": "crashes the decoder, or needs too much memory"})
                continue
            if in_hand is not None:
                in_hand.write(note, b"%d" % at)
            try:
                cut = _cut_source(source, backend, task.options)
            except InputError as error:
                skipped.append({"video": source.name, "reason": str(error)})
                continue
            seconds, frames = seconds + cut.seconds, frames + cut.frames
            notes += [{"video": source.name, "note": line} for line in cut.notes]
            for number, clip in enumerate(cut.clips):
                writer.add(clip_key(source.name, number), clip, source.name)
        writer.close()
        if in_hand is not None:
            in_hand.remove([note])
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


def _cut_source(source: ListedVideo, backend: LandmarkBackend, options: ClipOptions) -> CutVideo:
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
def _fetched(source: ListedVideo) -> Iterator[Path]:
    """The video as a file; from an address, a temporary copy."""
    if not is_url(source.path):
        yield Path(source.path)
        return
    fs, inside = open_filesystem(source.path)
    with tempfile.TemporaryDirectory(prefix="reenact-") as folder:
        path = Path(folder) / Path(inside).name
        try:
            retried(lambda: fs.get_file(inside, str(path)), source.path)
        except FileNotFoundError as error:
            raise InputError("no such file") from error
        # Other errors (the net, the keys) are no fault of the video: what retries do not mend, the engine hears of.
        yield path


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
