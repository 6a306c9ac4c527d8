"""Pictures and films in which two people are beside each other."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np


def two_people(assets: Path, path: Path) -> Path:
    """A picture of 1024 x 512 pixels with one in each half."""
    halves = [cv2.resize(cv2.imread(str(assets / f"{name}.jpg")), (512, 512)) for name in ("astronaut", "grace_hopper")]
    cv2.imwrite(str(path), np.hstack(halves))
    return path


def film(pictures: Sequence[Path], path: Path) -> Path:
    """Two frames of each picture, 25 a second."""
    inputs = [part for picture in pictures for part in ("-loop", "1", "-t", "0.08", "-r", "25", "-i", str(picture))]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *inputs]
    joined = ["-filter_complex", f"concat=n={len(pictures)}:v=1", "-pix_fmt", "yuv420p"]
    subprocess.run([*command, *joined, path], check=True)
    return path
