#!/usr/bin/env python3
"""Measure how steady the tracked and smoothed points are on still pictures with noise; how to measure it on clips.

    scripts/measure/measure_steadiness.py --data ../shared/data

Mean movement a frame of a portrait repeated for two seconds with fresh noise, in per cent of the eye distance.
Trembling and lag on clips/val are measured by scripts/measure/measure_landmarks.py with the functions that stand here.
"""

import json
from pathlib import Path

import click
import cv2
import numpy as np
import torch

from fewshot_reenact.geometry.topology import eye_distance
from fewshot_reenact.landmarks.backend import LandmarkBackend
from fewshot_reenact.landmarks.registry import load_backend
from fewshot_reenact.landmarks.tracker import Tracker
from fewshot_reenact.media.pictures import read_picture
from fewshot_reenact.motion.smoothing import smooth_motion

PORTRAITS = ("mona_lisa_crop602.jpg", "generated_person_1.jpg", "einstein_1921.jpg")
NOISE = 2.0  # grey levels, the standard deviation


def track(backend: LandmarkBackend, pictures: list[np.ndarray]) -> np.ndarray:
    """(T, 83, 2); NaN where there is no face."""
    tracker, rows = Tracker(backend), []
    for picture in pictures:
        seen = tracker.update(picture)
        rows.append(seen.points if seen.found else np.full((83, 2), np.nan, np.float32))
    return np.stack(rows)


def still(backend: LandmarkBackend, path: Path, frames: int = 50) -> dict[str, float]:
    rng, picture = np.random.default_rng(0), read_picture(path)
    k = 512 / max(picture.shape[:2])
    picture = cv2.resize(picture, None, fx=k, fy=k, interpolation=cv2.INTER_AREA)
    noisy = [
        np.clip(picture + rng.normal(0, NOISE, picture.shape), 0, 255).round().astype(np.uint8) for _ in range(frames)
    ]
    raw = track(backend, noisy)
    smooth = smooth_motion(raw, np.arange(frames) / 25)
    return {name: round(100 * _movement(points), 4) for name, points in (("raw", raw), ("smoothed", smooth))}


def _movement(points: np.ndarray) -> float:
    steps = np.linalg.norm(np.diff(points[5:-5], axis=0), axis=-1).mean()
    return float(steps / eye_distance(points[len(points) // 2]))


def trembling(points: np.ndarray) -> float:
    """Mean second difference in eye distances. points: (T, 83, 2)."""
    return float(np.linalg.norm(np.diff(points, 2, axis=0), axis=-1).mean() / np.mean(eye_distance(points)))


def lag(ours: np.ndarray, theirs: np.ndarray, reach: int = 4) -> float:
    """Frames by which `ours` (T,) comes later than `theirs` (T,), to a fraction: a parabola through the best three
    correlations.
    """
    inner = slice(reach, len(ours) - reach)
    shifts = range(-reach, reach + 1)
    score = [float(np.corrcoef(np.roll(ours, -s)[inner], theirs[inner])[0, 1]) for s in shifts]
    best = int(np.clip(np.argmax(score), 1, len(score) - 2))
    a, b, c = score[best - 1 : best + 2]
    return best - reach + 0.5 * (a - c) / min(a - 2 * b + c, -1e-9)


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), default=Path("../shared/data"), show_default=True)
@click.option("--threads", default=1, show_default=True)
def main(data: Path, threads: int) -> None:
    torch.set_num_threads(threads)
    backend = load_backend()
    click.echo(json.dumps({name: still(backend, data / "portraits" / name) for name in PORTRAITS}, indent=1))


if __name__ == "__main__":
    main()
