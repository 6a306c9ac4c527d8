"""The clips that training draws from: in memory, or read from shards of any size as they are needed.

Either way a clip is had by its number, so an episode stays a function of (seed, index): every process and every machine
can make any of them, and a resumed run goes on exactly where it stopped. Which clips follow each other, and which are
kept on a local disk, is the matter of training.data.order and training.data.cache.
"""

import hashlib
import json
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fewshot_reenact.errors import InputError, UsageError, brief
from fewshot_reenact.training.config import DataConfig
from fewshot_reenact.training.data.cache import ShardCache
from fewshot_reenact.training.data.clips import Clip, Clips, LoadedClips, clip_files, encode, load_clips
from fewshot_reenact.training.data.codec import ClipFrames
from fewshot_reenact.training.data.protected import refuse_protected_clips
from fewshot_reenact.training.data.shards import (
    CLIPS,
    INDEX,
    SCHEMA,
    StoredClip,
    is_ours,
    parse_clip,
    read_json,
    read_lines,
)
from fewshot_reenact.training.data.storage import Folder, is_url


class ShardClips:
    """Clips in shards made by `reenact prepare`, local or behind an address.

    limit: clips at most. least: frames, every step-th, with fewer of which a clip is left out. Memory: some 100 bytes a
    clip, and the one clip that is in use. A clip is read with one access of about 400 kB for eight seconds, and only
    the frames that an episode wants are decoded. shards: the number of the shard that each clip is in; names: theirs.
    cache: None, or where whole shards are kept on the way.

    Raises InputError when there is no index, or it is damaged.
    """

    cache: ShardCache | None = None
    _last: tuple[int, Clip] | None = None

    def __init__(self, folder: str | Path, step: int, limit: int | None = None, least: int = 2) -> None:
        self.folder, self.step = Folder(folder), step
        index = read_json(self.folder, INDEX)
        self._index = index
        if index.get("schema") != SCHEMA:
            raise InputError(f"{self.folder / INDEX}: is of another kind ({index.get('schema')}, not {SCHEMA})")
        # Arrays, not rows: they are copied to every worker, and there may be millions.
        self._offsets, self._lengths, self.shards = array("q"), array("l"), array("l")
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
                self.shards.append(numbers.setdefault(row["shard"], len(numbers)))
                self.people.append(known.setdefault(row["person"], row["person"]))
                self.videos.append(videos.setdefault(video_of(row["video"]), len(videos)))
                names.update(row["key"].encode())
                self.frames += -(-row["frames"] // step)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            where = f"{self.folder / CLIPS}: line {rows}"
            raise InputError(f"{where} is damaged ({brief(error)}); run prepare again") from error
        self.names = list(numbers)
        self.fingerprint = names.hexdigest()
        if rows != index.get("clips"):
            raise InputError(f"{self.folder / CLIPS}: has {rows} of {index.get('clips')} clips; run prepare again")
        if not len(self):
            raise InputError(f"{self.folder.name}: no clips of {least} frames or more, {step} frames apart")

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, index: int) -> Clip:
        if self._last is None or self._last[0] != index:  # an episode asks for its clip more than once
            stored, frames = self._read(index)
            self._last = index, _clip(stored, frames, self.step)
        return self._last[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_last": None}

    def __iter__(self) -> Iterator[Clip]:
        return (self[index] for index in range(len(self)))

    def keep(self, folder: Path, limit: int, window: int | None) -> None:
        """From now on read by way of a cache of whole shards. window: shards that are in use at a time; None: all.

        Raises InputError: the index is damaged; UsageError: they do not fit into the limit.
        """
        try:
            sizes = {file["shard"]: int(file["bytes"]) for file in self._index["files"]}
            needed = sorted((sizes[name] for name in self.names), reverse=True)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{self.folder / INDEX}: is damaged ({brief(error)}); run prepare again") from error
        if window is not None and sum(needed[: 2 * window]) > limit:
            raise UsageError(
                f"data.cache_gb: {limit / 1e9:g} GB are too few for data.shuffle_shards, which has two windows in use: "
                f"{sum(needed[: 2 * window]) / 1e9:.3g} GB of these shards at least, half as much again is better"
            )
        identity, self._index = json.dumps(self._index, sort_keys=True), {}  # workers need no copy of it
        self.cache = ShardCache(self.folder, sizes, identity, folder, limit, ordered=window is not None)

    def load(self) -> LoadedClips:
        """All of them, decoded and kept as JPEG."""
        clips = []
        for index in range(len(self)):
            stored, frames = self._read(index)
            clips.append(_clip(stored, [encode(picture) for picture in frames], self.step))
        return LoadedClips(clips, self.videos)

    def _read(self, index: int) -> tuple[StoredClip, ClipFrames]:
        shard, place = self.names[self.shards[index]], (self._offsets[index], self._lengths[index])
        data = (self.cache or self.folder).read(shard, *place)
        stored = parse_clip(data, self.folder, shard, place[0])
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
    """The clips that a configuration names.

    Raises InputError: none, damaged, not to be used for training; UsageError: what cannot be streamed.
    """
    if not is_prepared(config.clips):
        if config.stream:
            raise UsageError(f"{config.clips}: data.stream needs shards; make them with `reenact prepare`")
        refuse_protected_clips(clip_files(Path(config.clips), config.limit))
        return load_clips(Path(config.clips), config.frame_step, config.limit, config.least_frames)
    clips = ShardClips(config.clips, config.frame_step, config.limit, config.least_frames)
    if not config.stream:
        return clips.load()
    if config.cache is not None:
        clips.keep(config.cache, int(config.cache_gb * 1e9), config.shuffle_shards)
    return clips
