"""The clips that training draws from: in memory, or read from shards of any size as they are needed.

Either way a clip is had by its number, so an episode stays a function of (seed, index): every process and every machine
can make any of them, and a resumed run goes on exactly where it stopped.
"""

import hashlib
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fewshot_reenact.errors import InputError, UsageError, brief
from fewshot_reenact.training.config import DataConfig
from fewshot_reenact.training.data.clips import Clip, Clips, LoadedClips, encode, load_clips
from fewshot_reenact.training.data.codec import ClipFrames
from fewshot_reenact.training.data.shards import (
    CLIPS,
    INDEX,
    SCHEMA,
    StoredClip,
    is_ours,
    read_clip,
    read_json,
    read_lines,
)
from fewshot_reenact.training.data.storage import Folder, is_url


class ShardClips:
    """Clips in shards made by `reenact prepare`, local or behind an address.

    limit: clips at most. least: frames, every step-th, with fewer of which a clip is left out. Memory: some 100 bytes a
    clip, and the one clip that is in use. A clip is read with one access of about 400 kB for eight seconds, and only
    the frames that an episode wants are decoded.

    Raises InputError when there is no index, or it is damaged.
    """

    def __init__(self, folder: str | Path, step: int, limit: int | None = None, least: int = 2) -> None:
        self.folder, self.step = Folder(folder), step
        index = read_json(self.folder, INDEX)
        if index.get("schema") != SCHEMA:
            raise InputError(f"{self.folder / INDEX}: is of another kind ({index.get('schema')}, not {SCHEMA})")
        # Arrays, not rows: they are copied to every worker, and there may be millions.
        self._offsets, self._lengths, self._shards = array("q"), array("l"), array("l")
        self.videos = array("l")
        videos: dict[str, int] = {}
        names = hashlib.sha256(str(step).encode())
        self.people: list[str] = []
        self.frames = 0
        numbers: dict[str, int] = {}
        known: dict[str, str] = {}
        rows = 0
        try:
            for rows, row in enumerate(read_lines(self.folder, CLIPS), 1):  # noqa: B007
                if -(-row["frames"] // step) < least or len(self) == limit:  # one frame is no pair
                    continue
                if not is_ours(row["shard"]):  # nor a path that leads elsewhere
                    raise ValueError(f"{row['shard']!r} is no shard")
                self._offsets.append(row["offset"])
                self._lengths.append(row["length"])
                self._shards.append(numbers.setdefault(row["shard"], len(numbers)))
                self.people.append(known.setdefault(row["person"], row["person"]))
                self.videos.append(videos.setdefault(video_of(row["video"]), len(videos)))
                names.update(row["key"].encode())
                self.frames += -(-row["frames"] // step)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            where = f"{self.folder / CLIPS}: line {rows}"
            raise InputError(f"{where} is damaged ({brief(error)}); run prepare again") from error
        self._names = list(numbers)
        self.fingerprint = names.hexdigest()
        if rows != index.get("clips"):
            raise InputError(f"{self.folder / CLIPS}: has {rows} of {index.get('clips')} clips; run prepare again")
        if not len(self):
            raise InputError(f"{self.folder.name}: no clips of {least} frames or more, {step} frames apart")

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, index: int) -> Clip:
        stored, frames = self._read(index)
        return _clip(stored, frames, self.step)

    def __iter__(self) -> Iterator[Clip]:
        return (self[index] for index in range(len(self)))

    def load(self) -> LoadedClips:
        """All of them, decoded and kept as JPEG."""
        clips = []
        for index in range(len(self)):
            stored, frames = self._read(index)
            clips.append(_clip(stored, [encode(picture) for picture in frames], self.step))
        return LoadedClips(clips, self.videos)

    def _read(self, index: int) -> tuple[StoredClip, ClipFrames]:
        shard = self._names[self._shards[index]]
        stored = read_clip(self.folder, shard, self._offsets[index], self._lengths[index])
        return stored, ClipFrames(stored.film, len(stored.points), self.step, stored.key)


def video_of(source: str) -> str:
    """The video that a source belongs to. In VoxCeleb's layout, person/video/part.mp4, a video comes in parts."""
    folders = source.split("/")
    return "/".join(folders[:-1]) if len(folders) > 2 else source


def _clip(stored: StoredClip, frames: Any, step: int) -> Clip:
    return Clip(stored.key, stored.person, frames, stored.points[::step])


def is_prepared(folder: str | Path) -> bool:
    """Whether this is a folder that `reenact prepare` made. Raises InputError when it was not finished."""
    if not is_url(folder) and not (Path(folder) / "plan.json").is_file():
        return False
    sizes = Folder(folder).sizes()
    if INDEX not in sizes:
        raise InputError(f"{folder}: has no {INDEX}; let `reenact prepare` finish it")
    return True


def open_clips(config: DataConfig) -> Clips:
    """The clips that a configuration names. Raises InputError: none, damaged; UsageError: what cannot be streamed."""
    if not is_prepared(config.clips):
        if config.stream:
            raise UsageError(f"{config.clips}: data.stream needs shards; make them with `reenact prepare`")
        return load_clips(Path(config.clips), config.frame_step, config.limit, config.least_frames)
    clips = ShardClips(config.clips, config.frame_step, config.limit, config.least_frames)
    return clips if config.stream else clips.load()
