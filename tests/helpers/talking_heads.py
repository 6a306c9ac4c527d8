"""Short videos of the bundled portraits, in which the built-in extractor finds the face, laid out as VoxCeleb is."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from fewshot_reenact.media.pictures import read_picture
from fewshot_reenact.media.writer import VideoWriter
from places import ROOT
from video_samples import make_video, steady

ASSETS = ROOT / "src" / "fewshot_reenact" / "assets"
FPS = Fraction(10)
_HEADS: dict[tuple[str, int], np.ndarray] = {}


def head(name: str, side: int = 160) -> np.ndarray:
    """A bundled portrait's upper part as a square picture."""
    if (name, side) not in _HEADS:
        picture = read_picture(ASSETS / name)
        width = min(picture.shape[:2])
        left = (picture.shape[1] - width) // 2
        square = picture[:width, left : left + width]
        _HEADS[name, side] = cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA)
    return _HEADS[name, side]


def film(path: Path, *shots: tuple[str, int], seed: int = 0) -> Path:
    """A video of (portrait, frames) one after another, each swaying a little; the portrait "" is a grey wall."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    tick = 0
    with VideoWriter(path, 160, 160, 1 / FPS, FPS) as writer:
        for name, frames in shots:
            for t in range(frames):
                shift = np.array([[1, 0, 3 * np.sin(t + seed)], [0, 1, rng.uniform(-1, 1)]])
                still = head(name) if name else np.full((160, 160, 3), 120, np.uint8)
                writer.write(cv2.warpAffine(still, shift, (160, 160), borderMode=cv2.BORDER_REPLICATE), tick)
                tick += 1
    return path


def voxceleb(folder: Path) -> Path:
    """Two people in id/video/clip.mp4, one video cut in two; a video without a face, and one that is none."""
    film(folder / "id1" / "aaa" / "00001.mp4", ("astronaut.jpg", 12))
    film(folder / "id1" / "bbb" / "00001.mp4", ("astronaut.jpg", 11), ("grace_hopper.jpg", 12), seed=1)
    film(folder / "id2" / "ccc" / "00001.mp4", ("grace_hopper.jpg", 12), seed=2)
    make_video(folder / "id2" / "ccc" / "00002.mp4", *steady(12, FPS), size=(96, 96))
    (folder / "id2" / "ccc" / "00003.mp4").write_text("no video at all")
    (folder / "id2" / "ccc" / "00001.txt").write_text("as beside VoxCeleb's videos")
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, hidden ones too."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
