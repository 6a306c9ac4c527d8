"""Clips in memory: square videos about one head, with the points of each frame.

A folder holds NAME.mp4 with NAME.npz: `points` (frames, 83, 2) in pixels, `identity`. Shards made by `reenact prepare`
are read by training.data.dataset.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from fewshot_reenact.errors import InputError, brief
from fewshot_reenact.geometry.topology import N_POINTS, no_faces
from fewshot_reenact.media.reader import VideoReader

_JPEG_QUALITY = 96  # frames wait in memory as JPEG: a tenth of the size, and the clips are lossy anyway


@dataclass(frozen=True)
class Clip:
    """One video of one person. frames: pictures, encoded or (H, W, 3) uint8 RGB. points: (frames, 83, 2) float32
    pixels.
    """

    name: str
    person: str
    frames: Sequence[np.ndarray]
    points: np.ndarray


class Clips(Protocol):
    """Clips by number. people: who is in each. videos: the number of the video that each is of. frames: how many there
    are in all. fingerprint: the same for the same clips.
    """

    people: list[str]
    frames: int

    @property
    def videos(self) -> Sequence[int]:
        """The number of the video that each clip is of."""
        ...

    @property
    def fingerprint(self) -> str:
        """The same for the same clips."""
        ...

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Clip: ...


class LoadedClips(list[Clip]):
    """Clips in memory. videos: None, each clip is a video of its own."""

    def __init__(self, clips: list[Clip], videos: Sequence[int] | None = None) -> None:
        super().__init__(clips)
        self.videos = range(len(clips)) if videos is None else videos
        names = "\n".join(f"{clip.name} {len(clip.frames)}" for clip in clips)
        self.fingerprint = hashlib.sha256(names.encode()).hexdigest()
        self.people = [clip.person for clip in clips]
        self.frames = sum(len(clip.frames) for clip in clips)


def load_clips(folder: Path, step: int, limit: int | None = None, least: int = 2) -> LoadedClips:
    """The clips of a folder, all or the first by name, every step-th frame; those that then have fewer than `least` are
    left out. Raises InputError when there are none or one has no points.
    """
    clips = []
    for path in clip_files(folder, limit):
        points, person = _read_labels(path)
        frames, kept = [], []
        with VideoReader(path) as reader:
            for frame in reader:
                if frame.index % step or frame.index >= len(points):
                    continue
                frames.append(encode(frame.picture))
                kept.append(frame.index)
        if len(frames) >= least:
            clips.append(Clip(path.stem, person, frames, points[kept]))
    if not clips:
        raise InputError(f"{folder}: no clips (NAME.mp4 with NAME.npz) of {least} frames or more")
    return LoadedClips(clips)


def clip_files(folder: Path, limit: int | None = None) -> list[Path]:
    """The films of a folder's clips, all or the first by name."""
    return sorted(folder.glob("*.mp4"))[:limit]


def encode(picture: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB -> JPEG, to wait in memory."""
    bgr = np.ascontiguousarray(picture[..., ::-1])
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]


def _read_labels(clip: Path) -> tuple[np.ndarray, str]:
    """Points (frames, 83, 2) float32 and person of a clip, from the NAME.npz beside it."""
    path = clip.with_suffix(".npz")
    if not path.is_file():
        raise InputError(f"{clip}: has no {path.name} beside it with the points of its frames")
    try:
        with np.load(path, allow_pickle=False) as data:
            points, person = data["points"].astype(np.float32), str(data["identity"])
    except Exception as error:  # whatever damaged bytes make of zip and of NumPy's headers
        raise InputError(f"{path}: not the points of a clip ({brief(error)})") from error
    if points.shape[1:] != (N_POINTS, 2) or not np.isfinite(points).all():
        raise InputError(f"{path}: points must be finite and (frames, {N_POINTS}, 2), not {points.shape}")
    bad = np.flatnonzero(no_faces(points))
    if len(bad):
        raise InputError(
            f"{path}: the points of frame {bad[0]} are no face's ({len(bad)} of {len(points)}); label it again"
        )
    return points, person
