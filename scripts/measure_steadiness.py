#!/usr/bin/env python3
"""Measure how steady the tracked and smoothed points are: on a still picture with noise, and on clips/val.

    scripts/measure_steadiness.py --data ../shared/data [--clips 44]

All in per cent of the eye distance. `still`: mean movement a frame of a portrait repeated for two seconds with fresh
noise. `trembling`: mean second difference on the clips, ours and the teacher's. `lag`: by how many frames the lips' gap
comes late, ours against the teacher's, where their correlation is largest.
"""

import json
from pathlib import Path

import click
import cv2
import numpy as np
import torch

from fewshot_reenact.landmarks.base import LandmarkBackend, load_backend
from fewshot_reenact.landmarks.smoothing import smooth_motion
from fewshot_reenact.landmarks.topology import LIP_PAIRS, eye_distance
from fewshot_reenact.landmarks.tracker import Tracker
from fewshot_reenact.video.pictures import read_picture
from fewshot_reenact.video.reader import VideoReader

PORTRAITS = ("mona_lisa_crop602.jpg", "generated_person_1.jpg", "einstein_1921.jpg")
NOISE = 2.0  # grey levels, the standard deviation


def track(backend: LandmarkBackend, pictures: list[np.ndarray]) -> np.ndarray:
    """(T, 83, 2); NaN where there is no face."""
    tracker, rows = Tracker(backend), []
    for picture in pictures:
        points = tracker.update(picture).points
        rows.append(np.full((83, 2), np.nan, np.float32) if points is None else points)
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
    return {name: 100 * _movement(points) for name, points in (("raw", raw), ("smoothed", smooth))}


def _movement(points: np.ndarray) -> float:
    steps = np.linalg.norm(np.diff(points[5:-5], axis=0), axis=-1).mean()
    return float(steps / eye_distance(points[len(points) // 2]))


def _trembling(points: np.ndarray) -> float:
    return float(np.linalg.norm(np.diff(points, 2, axis=0), axis=-1).mean() / np.mean(eye_distance(points)))


def _gap(points: np.ndarray) -> np.ndarray:
    pairs = np.stack([np.linalg.norm(points[:, a] - points[:, b], axis=-1) for a, b in LIP_PAIRS]).mean(0)
    return pairs / eye_distance(points)


def lag(ours: np.ndarray, theirs: np.ndarray, reach: int = 4) -> float:
    """Frames by which `ours` comes later, to a fraction, by a parabola through the best three correlations."""
    inner = slice(reach, len(ours) - reach)
    shifts = range(-reach, reach + 1)
    score = [float(np.corrcoef(np.roll(ours, -s)[inner], theirs[inner])[0, 1]) for s in shifts]
    best = int(np.clip(np.argmax(score), 1, len(score) - 2))
    a, b, c = score[best - 1 : best + 2]
    return best - reach + 0.5 * (a - c) / min(a - 2 * b + c, -1e-9)


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), default=Path("../shared/data"), show_default=True)
@click.option("--clips", "count", default=44, show_default=True)
@click.option("--threads", default=1, show_default=True)
def main(data: Path, count: int, threads: int) -> None:
    torch.set_num_threads(threads)
    backend = load_backend()
    stills = {name: still(backend, data / "portraits" / name) for name in PORTRAITS}
    ours, theirs, late = [], [], []
    for clip in sorted((data / "clips" / "val").glob("*.mp4"))[:count]:
        with np.load(clip.with_suffix(".npz"), allow_pickle=False) as labels:
            teacher = labels["points"].astype(np.float32)
        with VideoReader(clip) as reader:
            frames = list(reader)[: len(teacher)]
        raw = track(backend, [f.picture for f in frames])
        if not np.isfinite(raw).all():
            continue
        smooth = smooth_motion(raw, np.array([f.time for f in frames]))
        ours.append(_trembling(smooth))
        theirs.append(_trembling(teacher[: len(smooth)]))
        gap = _gap(teacher[: len(smooth)])
        if len(gap) > 30 and gap.std() > 0.01:
            late.append(lag(_gap(smooth), gap))
    report = {
        "still_%_a_frame": {name: {k: round(v, 3) for k, v in row.items()} for name, row in stills.items()},
        "trembling_%": {
            "ours": round(100 * float(np.mean(ours)), 3),
            "teacher": round(100 * float(np.mean(theirs)), 3),
        },
        "lag_frames": {
            "median": round(float(np.median(late)), 3),
            "largest": round(float(np.max(np.abs(late))), 2),
            "clips": len(late),
        },
    }
    click.echo(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
