"""What the tests of `animate` share: painted portraits and drivers, the command line in this process, what came out."""

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from click.testing import CliRunner, Result

from fake_face import PaintedFaces, paint
from fewshot_reenact.cli import main
from fewshot_reenact.media.reader import VideoReader
from fewshot_reenact.media.writer import VideoWriter
from video_samples import beeps, make_video

Rectangle = tuple[int, int, int, int]
RATE = Fraction(30000, 1001)
FACE: Rectangle = (50, 30, 60, 70)
# A face that goes right and grows, in a picture of 160 x 120 pixels.
WALK: list[list[Rectangle]] = [[(40 + 2 * t, 30, 50 + t, 60)] for t in range(12)]


def run(*args: object) -> Result:
    """`reenact ARGS`."""
    return CliRunner().invoke(main, [str(arg) for arg in args])


def complaint(result: Result, code: int) -> str:
    """The one line on stderr of a command that failed with that code."""
    assert result.exit_code == code, result.output
    lines = result.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("reenact: "), result.stderr
    assert "Traceback" not in result.output
    return lines[0].removeprefix("reenact: ")


def face_picture(*rectangles: Rectangle, scale: int = 1) -> np.ndarray:
    """A picture of 160 x 120 pixels (times scale); its painted faces have a pattern, so that what moves is seen."""
    size = (160 * scale, 120 * scale)
    picture = paint(*((x * scale, y * scale, w * scale, h * scale) for x, y, w, h in rectangles), size=size)
    noise = np.random.default_rng(7).integers(0, 256, (30 * scale, 40 * scale), np.uint8)
    pattern = cv2.resize(noise, size, interpolation=cv2.INTER_LINEAR).astype(np.float32) / 255
    inside = picture[..., 0] > 150
    # Where the backend still takes it for a face: red over 150, green under 110.
    picture[inside] = (np.stack([190 + 60 * pattern, 5 + 75 * pattern, 255 * pattern], -1))[inside].astype(np.uint8)
    return picture


def portrait_file(path: Path, *rectangles: Rectangle, scale: int = 1) -> Path:
    cv2.imwrite(str(path), face_picture(*(rectangles or (FACE,)), scale=scale)[..., ::-1])
    return path


def film(path: Path, rectangles: list[list[Rectangle]], pts: list[int] | None = None, sound: bool = False) -> Path:
    """A video of painted faces, a list of rectangles a frame, at 29.97 frames a second or at pts (1/30000 s)."""
    pts = pts or [1001 * i for i in range(len(rectangles))]
    other = None
    if sound:
        seconds = (pts[-1] + 1001) / 30000
        other = make_video(path.with_suffix(".tmp.mp4"), [0, 1], Fraction(1, 25), sound=beeps(seconds, [0.2]))
    with VideoWriter(path, 160, 120, Fraction(1, 30000), RATE, audio_from=other, crf=8) as writer:
        for faces, tick in zip(rectangles, pts, strict=True):
            writer.write(paint(*faces), tick)
    if other is not None:
        other.unlink()
    return path


def frames_of(path: Path) -> np.ndarray:
    """(T, H, W, 3) int16."""
    with VideoReader(path) as reader:
        return np.stack([frame.picture for frame in reader]).astype(np.int16)


def box_in(picture: np.ndarray) -> np.ndarray:
    """x, y, width and height of the painted face that is in a picture."""
    box = PaintedFaces().detect(picture.astype(np.uint8))[0].box
    return np.concatenate([box[:2], box[2:] - box[:2]])


def names_in(folder: Path) -> list[str]:
    """Hidden files too: what is half written is one."""
    return sorted(file.name for file in folder.iterdir())
