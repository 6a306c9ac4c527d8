"""What a watermark outlasts: videos made by `animate`, and what is done to them, as services and people do it."""

import json
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np

from fewshot_reenact import animate
from fewshot_reenact.media.marks import PlainNote
from fewshot_reenact.media.reader import VideoReader
from fewshot_reenact.media.writer import VideoWriter
from fewshot_reenact.provenance.detector import Detection, detect
from fewshot_reenact.provenance.watermark import Watermarker

PAYLOAD = 0x9A3CF1275BE80D46
SIDES = (256, 512, 1024)
SECONDS = 2.0


def _even(factor: str) -> str:
    return f"scale=trunc(iw*{factor}/2)*2:trunc(ih*{factor}/2)*2:flags=bicubic"


def _turned(degrees: float) -> str:
    """Turned, and cropped so that no corner is empty."""
    return f"rotate={degrees}*PI/180:fillcolor=gray,crop=trunc(iw*0.45)*2:trunc(ih*0.45)*2"


def _x264(crf: int) -> list[str]:
    return ["-c:v", "libx264", "-preset", "medium", "-crf", str(crf)]


_CROP = "crop=trunc(iw*0.45)*2:trunc(ih*0.45)*2:iw*0.03:ih*0.07"
_480P = "scale=-2:'min(480,ih)':flags=bicubic"
VP9 = ["-c:v", "libvpx-vp9", "-crf", "38", "-b:v", "0", "-deadline", "good", "-cpu-used", "4", "-f", "webm"]
AV1 = ["-c:v", "libsvtav1", "-crf", "40", "-preset", "8"]
HEVC = ["-c:v", "libx265", "-preset", "medium", "-crf", "28", "-x265-params", "log-level=error"]
# What is done to a marked video: generations of ffmpeg's filter and encoder.
TREATMENTS: dict[str, list[tuple[str, list[str]]]] = {
    "nothing": [],
    "CRF 23": [("null", _x264(23))],
    "CRF 28": [("null", _x264(28))],
    "half size, CRF 23": [(_even("0.5"), _x264(23))],
    "half size, CRF 28": [(_even("0.5"), _x264(28))],
    "cropped by 10 %, CRF 28": [(_CROP, _x264(28))],
    "mirrored, CRF 28": [("hflip", _x264(28))],
    "brightness 0.9, CRF 28": [("lutyuv=y=16+(val-16)*0.9", _x264(28))],
    "brightness 1.1, CRF 28": [("lutyuv=y=16+(val-16)*1.1", _x264(28))],
    "15 frames a second, CRF 28": [("fps=15", _x264(28))],
    "24 frames a second, CRF 28": [("fps=24", _x264(28))],
    "one second recorded at 0.8 times the size, CRF 28": [(f"trim=duration=1,{_even('0.8')}", _x264(28))],
    "one second recorded at 1.37 times the size, CRF 28": [(f"trim=duration=1,{_even('1.37')}", _x264(28))],
    "mirrored, cropped, 0.75 times the size, CRF 26": [(f"hflip,{_CROP},{_even('0.75')}", _x264(26))],
    "turned by 2 degrees, CRF 23": [(_turned(2), _x264(23))],
    "turned by 5 degrees, CRF 23": [(_turned(-5), _x264(23))],
    "stretched to 4:3, CRF 23": [("scale=trunc(iw*1.155/2)*2:trunc(ih*0.866/2)*2:flags=bicubic", _x264(23))],
    "cropped to 9:16, CRF 23": [("crop=trunc(ih*9/32)*2:ih", _x264(23))],
    "bars to 16:9, CRF 23": [("pad=trunc(ih*8/9)*2:ih:(ow-iw)/2:0", _x264(23))],
    "two services: CRF 26, then CRF 28": [("null", _x264(26)), ("null", _x264(28))],
    "480 lines at most, CRF 26": [(_480P, _x264(26))],
    "VP9, CRF 38": [("null", VP9)],
    "AV1, CRF 40": [("null", AV1)],
    "HEVC, CRF 28": [("null", HEVC)],
    "one frame of the CRF 28 copy": [("null", _x264(28))],
}
# In how many of eight videos it is to be found at 256 pixels.
TARGETS = {"CRF 28": 8, "half size, CRF 28": 7, "one second recorded": 7}


class _Kept(PlainNote):
    """Keeps the pictures as they were made."""

    def __init__(self) -> None:
        self.pictures: list[np.ndarray] = []

    def label(self, picture: np.ndarray, seconds: float = 0.0) -> np.ndarray:
        self.pictures.append(picture.copy())
        return picture


def made(portrait: Path, driver: Path, side: int, keep: Path | None) -> tuple[np.ndarray, Fraction]:
    """Frames without a mark of two seconds of today's output, and frames a second. keep: a folder of those made
    before.
    """
    known = None if keep is None else keep / f"{portrait.stem}--{driver.stem}--{side}.npz"
    if known is not None and known.is_file():
        with np.load(known) as data:
            return data["frames"], Fraction(str(data["fps"]))
    kept = _Kept()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "made.mp4"
        result = animate(portrait, driver, path, frame="crop", size=side, end=SECONDS, marks=kept)
    frames, fps = np.stack(kept.pictures), Fraction(result.fps).limit_denominator(1001)
    if known is not None:
        known.parent.mkdir(parents=True, exist_ok=True)
        np.savez(known, frames=frames, fps=str(fps))
    return frames, fps


@dataclass
class Survival:
    """By side of the frame. found: by treatment, for each video. psnr, cost (ms): of every frame. wrong: payloads."""

    found: dict[int, dict[str, list[bool]]] = field(default_factory=dict)
    psnr: dict[int, list[float]] = field(default_factory=dict)
    cost: dict[int, list[float]] = field(default_factory=dict)
    wrong: dict[int, int] = field(default_factory=dict)

    def join(self, path: Path, sides: Sequence[int]) -> None:
        """Takes the results of other sides from a file, where it is there, and writes all into it."""
        for name, kept in (json.loads(path.read_text()) if path.is_file() else {}).items():
            for side, result in kept.items():
                if int(side) not in sides:
                    getattr(self, name)[int(side)] = result
        path.write_text(json.dumps(vars(self)))

    def add(self, frames: np.ndarray, fps: Fraction, side: int) -> list[str]:
        """Marks a video, treats it and looks for the mark; returns the treatments after which it is not found."""
        lost = []
        with tempfile.TemporaryDirectory() as name:
            marked = Path(name) / "marked.mp4"
            self._stamp(frames, fps, side, marked)
            for treatment, generations in TREATMENTS.items():
                count = 1 if treatment.startswith("one frame") else None
                mark = detect(_seen(treated(marked, generations), count), turned=True)
                right = mark is not None and fits(mark)
                self.wrong[side] = self.wrong.get(side, 0) + (mark is not None and not right)
                self.found.setdefault(side, {}).setdefault(treatment, []).append(right)
                lost += [] if right else [treatment]
        return lost

    def _stamp(self, frames: np.ndarray, fps: Fraction, side: int, path: Path) -> None:
        stamper = Watermarker(PAYLOAD)
        stamper.stamp(frames[0])
        with VideoWriter(path, *frames.shape[2:0:-1], 1 / fps, fps) as writer:
            for t, picture in enumerate(frames):
                begin = time.thread_time()
                stamped = stamper.stamp(picture, float(t / fps))
                self.cost.setdefault(side, []).append(1000 * (time.thread_time() - begin))
                self.psnr.setdefault(side, []).append(cv2.PSNR(picture, stamped))
                writer.write(stamped, t)

    def table(self) -> list[str]:
        """The lines of a table, with the targets."""
        sides = sorted(self.cost)
        head = ["found, of so many videos", "target at 256 px", *(f"{side} px" for side in sides)]
        lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
        for treatment in TREATMENTS:
            target = next((n for name, n in TARGETS.items() if treatment.removeprefix(name)[:4] in ("", " at ")), None)
            counts = [f"{sum(one)} of {len(one)}" for one in (self.found[side][treatment] for side in sides)]
            lines.append(f"| {treatment} | {f'{target} of 8' if target else ''} | {' | '.join(counts)} |")
        return lines


def fits(mark: Detection) -> bool:
    """Whether it is the payload that was stamped, as far as it is in the picture."""
    return f"{PAYLOAD:016x}".startswith(mark.id)


def treated(marked: Path, generations: Sequence[tuple[str, list[str]]]) -> Path:
    """The file after these generations of encoding, beside the given one."""
    source = marked
    for number, (how, encoder) in enumerate(generations):
        copy = marked.with_name(f"generation{number}.{'webm' if 'webm' in encoder else 'mp4'}")
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error", "-i", str(source), "-vf", how]
        subprocess.run([*command, *encoder, "-pix_fmt", "yuv420p", str(copy)], check=True, stderr=subprocess.PIPE)
        source = copy
    return source


def _seen(path: Path, count: int | None) -> Iterator[tuple[np.ndarray, float]]:
    with VideoReader(path) as reader:
        for number, frame in enumerate(reader):
            if number == count:
                return
            yield frame.picture, frame.time
