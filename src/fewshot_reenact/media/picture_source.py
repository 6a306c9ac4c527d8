"""Moving pictures that are no video file: an animated WebP, or a folder of numbered frames; read as a video is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from av.video.frame import VideoFrame

from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.media.file_types import PICTURE_SUFFIXES, open_image
from fewshot_reenact.media.pictures import read_picture

_MILLISECOND = Fraction(1, 1000)  # WebP's clock
_SHORTEST = 10  # milliseconds: browsers show a frame that claims less for a tenth of a second, and so is it shown here
_INSTEAD = 100
# Frames and pixels in all beyond which an animation is a mistake or an attack, unless any size is asked for.
MOST_FRAMES = 20_000


class PictureSource:
    """What VideoSource is to a video file. fps: of a folder of frames, which says nothing of it itself.

    Raises InputError: no frame in it, a frame that cannot be read, frames of several sizes; UsageError without fps.
    """

    def __init__(self, path: Path, fps: Fraction | None = None, any_size: bool = False) -> None:
        self.path = path
        self.damaged: str | None = None
        self.partial = False
        self.jumps: list[Fraction] = []
        self.origin_ticks, self.origin = 0, Fraction(0)
        if path.is_dir():
            if fps is None:
                raise UsageError(f"{path}: is a folder; say how many frames a second it holds: --fps N")
            self._files = numbered_frames(path)
            self.time_base, count = 1 / fps, len(self._files)
            rate = fps
        else:
            self._files = []
            self.time_base = _MILLISECOND
            durations = _durations(path)
            count, rate = len(durations), Fraction(1000 * len(durations), sum(durations))
            self._durations = durations
        if count > MOST_FRAMES and not any_size:
            raise InputError(f"{path}: {count} frames are too many; make a video of it first, or use --any-size")
        length = count if self._files else sum(self._durations)
        self.stream: Any = SimpleNamespace(
            average_rate=rate, guessed_rate=None, sample_aspect_ratio=None, duration=length, frames=count,
            time_base=self.time_base, index_entries=None,
        )  # fmt: skip
        self.container: Any = SimpleNamespace(duration=None, streams=SimpleNamespace(audio=[]))

    def close(self) -> None:
        """Nothing stays open between frames of a folder; an animation is closed by whoever reads its frames."""

    def seek(self, seconds: Fraction) -> bool:  # noqa: ARG002
        """Never: it is read from the beginning."""
        return False

    def frames(self) -> Iterator[VideoFrame]:
        """The frames in order, their pts in the source's clock."""
        size: tuple[int, ...] | None = None
        for picture, pts, name in self._from_files() if self._files else self._from_animation():
            if size is not None and picture.shape != size:
                raise InputError(f"{name}: has another size than the frames before; all frames are of one size")
            size = picture.shape
            frame = VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = pts, self.time_base
            yield frame

    def _from_files(self) -> Iterator[tuple[np.ndarray, int, Path]]:
        for number, file in enumerate(self._files):
            yield read_picture(file), number, file

    def _from_animation(self) -> Iterator[tuple[np.ndarray, int, Path]]:
        pts = 0
        with open_image(self.path) as image:
            for number, duration in enumerate(self._durations):
                try:
                    image.seek(number)
                    frame = image.convert("RGBA")
                except Exception as error:  # Pillow's decoders raise what they like
                    self.damaged = f"it breaks off after {number} of {len(self._durations)} frames ({error})"
                    return
                white = np.full((*frame.size[::-1], 3), 255, np.float32)
                values = np.asarray(frame, np.float32)
                shown = white + values[..., 3:] / 255 * (values[..., :3] - white)
                yield np.ascontiguousarray(shown.round().astype(np.uint8)), pts, self.path
                pts += duration


def numbered_frames(folder: Path) -> list[Path]:
    """A folder's pictures in the order of the last number in their names. InputError: none, or one number twice."""
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in PICTURE_SUFFIXES or path.name.startswith("."):
            continue
        numbers = re.findall(r"\d+", path.stem)
        if not numbers:
            continue
        number = int(numbers[-1][:18])
        if number in found:
            raise InputError(f"{folder}: {found[number].name} and {path.name} have the same number; keep one of them")
        found[number] = path
    if not found:
        raise InputError(f"{folder}: holds no numbered pictures; frames are named like frame_0001.png")
    return [found[number] for number in sorted(found)]


def _durations(path: Path) -> list[int]:
    """Milliseconds that each frame of an animated WebP is shown."""
    out = []
    try:
        with open_image(path) as image:
            for number in range(getattr(image, "n_frames", 1)):
                image.seek(number)
                image.load()
                out.append(int(image.info.get("duration", _INSTEAD)))
    except Exception as error:
        if not out:
            raise InputError(f"{path}: the animation cannot be read ({error}); get it again") from error
    return [duration if duration >= _SHORTEST else _INSTEAD for duration in out]
