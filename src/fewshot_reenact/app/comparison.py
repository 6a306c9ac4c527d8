"""The output beside its driver: two films in one place, with a line that is pushed over them (assets/page.html)."""

from __future__ import annotations

import html
import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

import cv2
import numpy as np

from fewshot_reenact.inputs.driver import DriverSource
from fewshot_reenact.media.marks import PlainNote
from fewshot_reenact.media.pictures import is_picture, read_picture, write_picture
from fewshot_reenact.media.reader import VideoReader
from fewshot_reenact.media.writer import VideoWriter
from fewshot_reenact.pipelines.animate import Animation

_LARGEST_SIDE = 640  # pixels of what the output is compared with
_QUALITY = 26.0  # x264's crf of that
_CARE = 'draggable="false"'


def head() -> str:
    """What the page's head needs for it."""
    return (files("fewshot_reenact") / "assets" / "page.html").read_text("utf-8")


class _Copy(PlainNote):
    """What is compared with is a smaller copy of what somebody put in: nothing says that it is AI-generated."""

    def metadata(self) -> dict[str, str]:
        return {"comment": "A smaller copy of an input, for a comparison in fewshot-reenact's page"}


def compare(
    made: Animation,
    portraits: Sequence[str],
    driver: DriverSource,
    folder: Path,
    tell: Callable[[int], None] = lambda frame: None,
) -> str:
    """HTML that shows the output and the part of the driver that moves it, at the same time each; for a motion without
    pictures, the portrait. "" where there is nothing to compare with. folder: where smaller copies go, which the page
    must serve. tell: called with each frame's number. Raises InputError: the driver can no longer be read.
    """
    place = Path(tempfile.mkdtemp(dir=folder))
    if driver.is_video:
        other, name = _film(driver, place / "driver.mp4", tell), "Driver"
    elif driver.is_still:
        assert driver.path is not None
        other, name = _picture(driver.path, place / "driver.jpg", mirror=driver.mirror), "Driver"
    elif is_picture(Path(portraits[0])):
        other, name = _picture(Path(portraits[0]), place / "portrait.jpg"), "Portrait"
    else:  # a person, by a motion without pictures
        return ""
    return _wipe(made.output, other, name, made.width / made.height)


def _film(driver: DriverSource, path: Path, tell: Callable[[int], None]) -> Path:
    """The frames that move the portrait, at the output's own times, in a form that every browser shows."""
    assert driver.path is not None
    with VideoReader(
        driver.path, driver.start, driver.end, fps=driver.fps, mirror=driver.mirror, any_size=driver.any_size
    ) as reader:
        frames = ((frame.pts, _small(frame.picture)) for frame in reader)
        _write(path, frames, reader, tell)
    return path


def _write(
    path: Path, frames: Iterator[tuple[int, np.ndarray]], reader: VideoReader, tell: Callable[[int], None]
) -> None:
    first = next(frames)
    height, width = first[1].shape[:2]
    with VideoWriter(
        path, width, height, reader.info.time_base, reader.info.fps, marks=_Copy(), crf=_QUALITY, inputs=[reader.path]
    ) as writer:
        writer.write(first[1], first[0])
        for number, (pts, picture) in enumerate(frames, 2):
            tell(number)
            writer.write(picture, pts)


def _picture(path: Path, copy: Path, *, mirror: bool = False) -> Path:
    picture = _small(read_picture(path))
    write_picture(
        copy, np.ascontiguousarray(picture[:, ::-1]) if mirror else picture, False, inputs=[path], marks=_Copy()
    )
    return copy


def _small(picture: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8, its longer side at most so many pixels."""
    scale = min(1.0, _LARGEST_SIDE / max(picture.shape[:2]))
    if scale == 1:
        return picture
    size = [max(2, round(scale * side)) for side in picture.shape[1::-1]]
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def _wipe(made: Path, other: Path, name: str, shape: float) -> str:
    """The parts that assets/page.html moves. shape: width by height."""
    moves = made.suffix != ".png" and made.suffix != ".jpg"
    bar = (
        '<div class="wipe-bar"><button type="button" class="wipe-play">Play</button>'
        '<input type="range" class="wipe-time" aria-label="Time" min="0" max="1" step="0.01" value="0"></div>'
    )
    return (
        f'<div class="wipe" style="--at: 50%"><div class="wipe-stage" style="aspect-ratio: {shape:.4f}">'
        f"{_shown(made, 'made', 'Output')}{_shown(other, 'other', name)}"
        f'<span class="wipe-name" style="left: 6px">{name}</span>'
        '<span class="wipe-name" style="right: 6px">Output</span>'
        '<div class="wipe-line"></div><input type="range" class="wipe-slider" min="0" max="100" step="0.1" value="50" '
        f'aria-label="{name} at the left, output at the right"></div>{bar if moves else ""}</div>'
    )


def _shown(path: Path, part: str, name: str) -> str:
    """A film or a picture, by the address under which gradio serves it, relative to the page."""
    address = html.escape("gradio_api/file=" + quote(path.as_posix()))
    if path.suffix in (".png", ".jpg"):
        return f'<img class="wipe-{part}" src="{address}" alt="{name}" {_CARE}>'
    return f'<video class="wipe-{part}" src="{address}" aria-label="{name}" muted playsinline preload="auto"></video>'
