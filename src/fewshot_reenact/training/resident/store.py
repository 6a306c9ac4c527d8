"""All clips on one device: their frames as one tensor, what is known of each frame measured once.

On disk, in a run's folder, it is frames.npy and index.npz. Opened from there it is mapped into memory, so on a CPU it
costs no more memory than the operating system has to spare.
"""

from __future__ import annotations

import os
import shutil
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from torch import Tensor

from fewshot_reenact.errors import UsageError
from fewshot_reenact.training.data.plan import FrameTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fewshot_reenact.training.data.clips import LoadedClips

_FRAMES, _INDEX = "frames.npy", "index.npz"


@dataclass(frozen=True)
class Store:
    """C clips of N frames. frames: (N, 3, P, P) uint8 RGB, on the device. table: the frames' points and what was
    measured of them. first, count: (C,), where each clip stands in the frames. videos: (C,), the number of the video
    that each is of. people: who is in each. fingerprint: the same for the same clips.
    """

    frames: Tensor
    table: FrameTable
    first: np.ndarray
    count: np.ndarray
    videos: np.ndarray
    people: list[str]
    fingerprint: str

    @property
    def side(self) -> int:
        """P, pixels."""
        return self.frames.shape[-1]

    def to(self, device: torch.device) -> Store:
        """The same with its frames there."""
        return Store(self.frames.to(device), *(getattr(self, name) for name in list(self.__dataclass_fields__)[1:]))


def picture_bytes(frames: int, side: int) -> int:
    """What so many frames need."""
    return frames * 3 * side * side


def one_side(clips: LoadedClips) -> int | None:
    """The side of all clips' pictures, by the first frame of each; None when they are of several."""
    sides = {tuple(_decode(clip.frames[0]).shape[:2]) for clip in clips}
    height, width = next(iter(sides))
    return height if len(sides) == 1 and height == width else None


def build_store(clips: LoadedClips, folder: Path | None, key: str = "") -> Store:
    """The store of clips in memory, on the CPU. folder: where it is kept, replacing what was there; None: nowhere.

    key: what `open_store` is to find. Raises UsageError when the clips' pictures are not all of one side.
    """
    side = one_side(clips)
    if side is None:
        raise UsageError("data.resident: the clips' pictures are not squares of one side; say data.resident: false")
    shape = (clips.frames, 3, side, side)
    partial = None
    frames: np.ndarray
    if folder is None:
        frames = np.empty(shape, np.uint8)
    else:
        partial = folder.with_name(folder.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        frames = np.lib.format.open_memmap(partial / _FRAMES, "w+", np.uint8, shape)
    _fill(frames, [frame for clip in clips for frame in clip.frames])
    points = np.concatenate([clip.points for clip in clips])
    count = np.array([len(clip.frames) for clip in clips])
    store = store_of(torch.from_numpy(frames), points, count, clips.people, clips.videos, clips.fingerprint)
    if folder is not None and partial is not None:
        assert isinstance(frames, np.memmap)
        frames.flush()
        np.savez(
            partial / _INDEX,
            points=points,
            count=count,
            videos=store.videos,
            people=np.array(clips.people),
            fingerprint=np.array(clips.fingerprint),
            key=np.array(key),
        )
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    return store


def store_of(
    frames: Tensor,
    points: np.ndarray,
    count: np.ndarray,
    people: Sequence[str],
    videos: Sequence[int] | np.ndarray,
    fingerprint: str,
) -> Store:
    """A store of these frames (N, 3, P, P) with their points (N, 83, 2)."""
    table = FrameTable.of(np.ascontiguousarray(points, np.float32))
    first = np.cumsum(count) - count
    return Store(frames, table, first, np.asarray(count), np.asarray(videos), list(people), fingerprint)


def open_store(folder: Path, key: str) -> Store | None:
    """The store that `build_store` left there under that key, mapped into memory; None when there is none."""
    try:
        with np.load(folder / _INDEX, allow_pickle=False) as index:
            if str(index["key"]) != key:
                return None
            known = {name: index[name] for name in ("points", "count", "people", "videos", "fingerprint")}
        # Copy on write: nothing is written, but torch warns of memory that cannot be.
        frames = np.load(folder / _FRAMES, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    if len(frames) != len(known["points"]) or known["count"].sum() != len(frames):
        return None
    people = [str(person) for person in known["people"]]
    fingerprint = str(known["fingerprint"])
    return store_of(torch.from_numpy(frames), known["points"], known["count"], people, known["videos"], fingerprint)


def _decode(frame: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8, blue first where it was a JPEG."""
    if frame.ndim == 3:
        return frame
    picture = cv2.imdecode(frame, cv2.IMREAD_COLOR)
    assert picture is not None  # it was encoded here
    return picture


def _fill(frames: np.ndarray, encoded: list[np.ndarray]) -> None:
    def one(number: int) -> None:
        picture = _decode(encoded[number])
        frames[number] = (picture if encoded[number].ndim == 3 else picture[..., ::-1]).transpose(2, 0, 1)

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # OpenCV decodes without holding Python's lock
        for done in pool.map(one, range(len(encoded))):
            assert done is None
