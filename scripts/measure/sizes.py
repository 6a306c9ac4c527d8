"""How fast `animate` is at real sizes beside its targets, and beside another checkout in the same run.

Called by `benchmark.py animate`. Each version runs in processes of its own and they take turns, so that what else a
machine does is much the same for all.
"""

import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2

import fewshot_reenact
from fewshot_reenact.media.pictures import read_picture, write_picture
from fewshot_reenact.media.reader import VideoReader
from fewshot_reenact.media.writer import VideoWriter

OWN = Path(fewshot_reenact.__file__).parents[1]
_MONA_LISA = Path("../shared/data/portraits/mona_lisa_800x1192.jpg")
_HD = (1920, 1080)
# Once for what is loaded and compiled on first use; then a whole run is timed.
_CHILD = """
import json, sys, time
from fewshot_reenact import animate
portrait, short, whole, out, runtime = sys.argv[1:6]
how = {} if runtime == "torch" else {"runtime": runtime}
animate(portrait, short, out, overwrite=True, **how)
began, used = time.perf_counter(), time.process_time()
made = animate(portrait, whole, out, overwrite=True, **how)
took = time.perf_counter() - began, time.process_time() - used
print(json.dumps([1000 * seconds / made.frames for seconds in took]))
"""


@dataclass(frozen=True)
class Size:
    """portrait: side in pixels of the square made of the portrait given, or a file. driver: (width, height) of the
    video. rate: frames a second that are wanted on the machine of the targets; times: the rate of commit 1689abf.
    """

    name: str
    portrait: int | Path
    driver: tuple[int, int]
    rate: float
    times: float | None = None


SIZES = (
    Size("512 x 512, driver 512 x 512", 512, (512, 512), 40, 2),
    Size("1024 x 1024, driver 1920 x 1080", 1024, _HD, 25, 3),
    Size("Mona Lisa, 800 x 1192, driver 1920 x 1080", _MONA_LISA, _HD, 25),
    Size("2048 x 2048, driver 1920 x 1080", 2048, _HD, 8),
)


@dataclass(frozen=True)
class Taken:
    """Milliseconds a frame, end to end: on the clock, and of all threads' processor time."""

    clock: float
    processor: float


@dataclass(frozen=True)
class _Version:
    """source: the package's folder. runtime: what computes the networks."""

    source: Path
    runtime: str = "torch"


def measure(portrait: Path, driver: Path, folder: Path, seconds: float, repeat: int, against: Path | None) -> list[str]:
    """A table's lines. portrait, driver: pictures of which portraits and drivers of all sizes are made. against: the
    root of another checkout.
    """
    versions = {"this": _Version(OWN), "int8": _Version(OWN, "onnx-int8")}
    heading = "| portrait | frames a second | with `onnx-int8` | target | ms of processor a frame | with `onnx-int8` |"
    if against is not None:
        versions["other"] = _Version(against.resolve() / "src")
        heading += " the other's frames a second | its ms of processor | times as fast | with `onnx-int8` | target |"
    lines = [heading, "|---" * (heading.count("|") - 1) + "|"]
    for size in SIZES:
        if isinstance(size.portrait, Path) and not size.portrait.exists():
            lines.append(f"| {size.name} | not there: {size.portrait} |" + " |" * (heading.count("|") - 3))
            continue
        files = _portrait(size, portrait, folder), *(_driver(size, driver, folder, s) for s in (0.4, seconds))
        turns = [{name: _run(version, files, folder) for name, version in versions.items()} for _ in range(repeat)]
        lines.append(_line(size, {name: [turn[name] for turn in turns] for name in versions}))
    return lines


def _line(size: Size, taken: dict[str, list[Taken]]) -> str:
    """A row: medians of the rates, the least of processor time, which others at work can only add to."""
    rates = {name: f"{1000 / statistics.median(one.clock for one in runs):.1f}" for name, runs in taken.items()}
    processor = {name: f"{min(one.processor for one in runs):.1f}" for name, runs in taken.items()}
    cells = [size.name, rates["this"], rates["int8"], f"{size.rate:g}", processor["this"], processor["int8"]]
    if "other" in taken:
        times = [
            statistics.median(b.clock / a.clock for a, b in zip(taken[name], taken["other"], strict=True))
            for name in ("this", "int8")
        ]
        cells += [rates["other"], processor["other"], *(f"{one:.2f}" for one in times)]
        cells.append("" if size.times is None else f"{size.times:g}")
    return "| " + " | ".join(cells) + " |"


def _run(version: _Version, files: tuple[Path, ...], folder: Path) -> Taken:
    command = [sys.executable, "-c", _CHILD, *map(str, files), str(folder / "out.mp4"), version.runtime]
    shown = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(version.source)}, capture_output=True, text=True, check=False
    )
    if shown.returncode:
        raise SystemExit(f"{version.source}: {shown.stderr.strip() or shown.stdout.strip()}")
    return Taken(*json.loads(shown.stdout.splitlines()[-1]))


def _portrait(size: Size, source: Path, folder: Path) -> Path:
    if isinstance(size.portrait, Path):
        return size.portrait
    picture = read_picture(source)
    least = min(picture.shape[:2])
    y, x = (picture.shape[0] - least) // 2, (picture.shape[1] - least) // 2
    path, side = folder / f"portrait_{size.portrait}.png", (size.portrait,) * 2
    how = cv2.INTER_CUBIC if size.portrait > least else cv2.INTER_AREA
    write_picture(path, cv2.resize(picture[y : y + least, x : x + least], side, interpolation=how), overwrite=True)
    return path


def _driver(size: Size, source: Path, folder: Path, seconds: float) -> Path:
    """As high as is wanted, its sides mirrored outwards; forwards and backwards until it lasts so long."""
    width, height = size.driver
    path = folder / f"driver_{width}x{height}_{seconds:g}s.mp4"
    if path.exists():
        return path
    with VideoReader(source) as reader:
        frames = [frame.picture for frame in reader]
    there_and_back = [*frames, *frames[-2:0:-1]]
    with VideoWriter(path, width, height, Fraction(1, 25), Fraction(25)) as writer:
        for t in range(round(25 * seconds)):
            picture = there_and_back[t % len(there_and_back)]
            wide = round(picture.shape[1] * height / picture.shape[0])
            scaled = cv2.resize(picture, (min(wide, width), height), interpolation=cv2.INTER_CUBIC)
            left = (width - scaled.shape[1]) // 2
            right = width - scaled.shape[1] - left
            writer.write(cv2.copyMakeBorder(scaled, 0, 0, left, right, cv2.BORDER_REFLECT), t)
    return path
