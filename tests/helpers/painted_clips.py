"""Painted faces that move: pictures, their exact points, and a folder of training clips made of them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from fewshot_reenact.geometry.raster import raster
from fewshot_reenact.geometry.shape import basis
from fewshot_reenact.geometry.topology import LEFT_LIDS, RIGHT_LIDS
from fewshot_reenact.media.writer import VideoWriter

_LOWER = [5, 6, 7, 8, 9, 10, 11, 55, 56, 57, 58, 59, 65, 66, 67]  # chin and lower lips


def face_points(
    size: int = 64,
    opened: float = 0.0,
    closed: float = 0.0,
    at: tuple[float, float] = (0.5, 0.42),
    scale: float = 0.19,
    angle: float = 0.0,
    wide: float = 1.0,
) -> np.ndarray:
    """(83, 2) float32 pixels of a square picture: the mean face.

    opened: how far the lower lip falls, in units of the mean face (eye distance about 1). closed: share of the lids'
    way, 0..1. at: the point between the eyes, and scale: one unit, both in shares of the side. angle: radians. wide:
    factor on x.
    """
    points = basis().mean.copy()
    points[_LOWER, 1] += opened
    for up, low in (*LEFT_LIDS, *RIGHT_LIDS):
        middle = (points[up] + points[low]) / 2
        points[up] += closed * (middle - points[up])
        points[low] += closed * (middle - points[low])
    points[:, 0] *= wide
    c, s = np.cos(angle), np.sin(angle)
    turned = points @ np.array([[c, s], [-s, c]])
    return (turned * scale * size + np.array(at) * size).astype(np.float32)


def paint_face(points: np.ndarray, size: int, seed: int = 0) -> np.ndarray:
    """(size, size, 3) uint8: the face with these points before a smooth background that the seed decides."""
    rng = np.random.default_rng(seed)
    ground = cv2.resize(rng.uniform(40, 200, (5, 5, 3)).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    skin = rng.uniform(120, 220, 3)
    picture = np.clip(ground, 0, 255)
    head = np.zeros((size, size), np.uint8)
    cv2.fillConvexPoly(head, cv2.convexHull(np.round(points).astype(np.int32)), 255, cv2.LINE_AA)
    cover = head[..., None] / 255
    picture = picture * (1 - cover) + skin * cover
    drawn = raster(points, size).astype(np.float32)
    cover = drawn.max(2, keepdims=True) / 255
    picture = picture * (1 - cover) + drawn * 0.6 * cover
    return np.round(picture).astype(np.uint8)


def write_clip(
    path: Path, person: str, frames: int = 8, size: int = 64, seed: int = 0, points: Sequence[np.ndarray] | None = None
) -> None:
    """NAME.mp4 with NAME.npz beside it, as training.data.episodes reads them: someone who talks, blinks and sways."""
    if points is None:
        points = [
            face_points(
                size,
                opened=0.25 * (1 - np.cos(1.3 * t)) / 2,
                closed=float(t % 5 == 4),
                at=(0.5 + 0.03 * np.sin(t), 0.42),
                angle=0.06 * np.sin(0.7 * t),
            )
            for t in range(frames)
        ]
    with VideoWriter(path, size, size, Fraction(1, 25), Fraction(25)) as writer:
        for t, one in enumerate(points):
            writer.write(paint_face(one, size, seed), t)
    np.savez(path.with_suffix(".npz"), points=np.stack(points).astype(np.float16), identity=np.array(person))


def write_clips(folder: Path, people: int = 2, frames: int = 8, size: int = 64, first: int = 0) -> Path:
    """A folder with a clip of each of a few people, numbered from `first` on."""
    folder.mkdir(exist_ok=True)
    for number in range(first, first + people):
        write_clip(folder / f"person{number}_0.mp4", f"person{number}", frames, size, seed=number)
    return folder
