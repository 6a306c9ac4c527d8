#!/usr/bin/env python3
"""Make docs/turns.jpg: the bundled portraits turned to both sides, by another version of the tool and by this one.

    git worktree add ../old 1689abf
    scripts/build/make_turn_pictures.py --old ../old

For each portrait the first row is the other version's and the second this one's. The driver is the mean head of
`geometry.solid`, turned in space; motion is relative. Without --old the rows of this version alone are made.
"""

import os
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import click
import cv2
import numpy as np
from PIL import Image

import fewshot_reenact
from fewshot_reenact.geometry.rotation import rotation_from
from fewshot_reenact.geometry.solid import HeadPose, head_shapes
from fewshot_reenact.motion.files import save_motion
from fewshot_reenact.motion.motion import Motion

ASSETS = Path(fewshot_reenact.__file__).parent / "assets"
TARGET = Path(__file__).resolve().parents[2] / "docs" / "turns.jpg"
YAWS = (-40, -25, -12, 0, 12, 25, 40)
HELD = 8  # frames a turn is held, so that smoothing over time does not reach into the last of them
SIDE, FPS = 200, 25

RENDER = """
import sys
from fewshot_reenact import animate
try:
    from fewshot_reenact.media.marks import PlainNote
except ImportError:
    from fewshot_reenact.video.marking import PlainNote
animate(sys.argv[1], sys.argv[2], sys.argv[3], marks=PlainNote(), frame="crop", size=512)
"""


def turning() -> Motion:
    """The mean head, at rest first, then turned to each side in turn, each for a while."""
    shapes = head_shapes()
    yaws = np.repeat([0, *YAWS], HELD).astype(float)
    count = len(yaws)
    pose = HeadPose(
        rotation_from(np.stack([yaws, np.zeros(count), np.zeros(count)], -1)),
        np.full(count, 110.0),
        np.tile([256.0, 230.0], (count, 1)),
        np.zeros(len(shapes.identity)),
        np.zeros((count, len(shapes.expression))),
    )
    points = pose.placed()[..., :2].astype(np.float32)
    number, rate = np.arange(count), Fraction(FPS)
    return Motion(points, np.ones(count), number / FPS, number, 1 / rate, rate, (512, 512))


def row(portrait: Path, motion: Path, source: Path | None, folder: Path) -> np.ndarray:
    """The portrait in all turns, side by side. source: src/ of another version, None: this one."""
    made = folder / "out.mp4"
    made.unlink(missing_ok=True)
    where = os.environ if source is None else os.environ | {"PYTHONPATH": str(source)}
    subprocess.run([sys.executable, "-c", RENDER, str(portrait), str(motion), str(made)], env=where, check=True)
    reader, frames = cv2.VideoCapture(str(made)), []
    while True:
        ok, picture = reader.read()
        if not ok:
            break
        frames.append(cv2.resize(picture[..., ::-1], (SIDE, SIDE), interpolation=cv2.INTER_AREA))
    ends = [(k + 2) * HELD - 1 for k in range(len(YAWS))]
    return np.concatenate([frames[min(end, len(frames) - 1)] for end in ends], 1)


@click.command(help=__doc__.split("\n\n")[0])
@click.option("--old", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Another checkout.")
def main(old: Path | None) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        motion = save_motion(turning(), folder / "turning.npz")
        versions = [None] if old is None else [old.resolve() / "src", None]
        rows = [
            row(portrait, motion, version, folder) for portrait in sorted(ASSETS.glob("*.jpg")) for version in versions
        ]
    Image.fromarray(np.concatenate(rows)).save(TARGET, quality=86, optimize=True)
    print(TARGET, f"{TARGET.stat().st_size / 1024:.0f} kB")


if __name__ == "__main__":
    main()
