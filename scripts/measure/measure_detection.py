#!/usr/bin/env python3
"""Measure the built-in detector on composed scenes, beside YuNet: recall by size and false faces.

    scripts/measure/measure_detection.py --data ../shared/data

A scene holds 1 to 8 heads of stills kept out of training, brow to chin 24 to 600 pixels, turned by up to 45 degrees, on
photographs of things, textures and drawn animals; nothing is blurred or darkened. A face counts as found where eyes and
mouth are on the average nearer than 30 % of its size.
"""

import itertools
import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import click
import cv2
import numpy as np
import torch

from fewshot_reenact.geometry import align
from fewshot_reenact.geometry.affine import transform
from fewshot_reenact.landmarks.backend import LandmarkBackend
from fewshot_reenact.landmarks.builtin import BuiltinLandmarks
from fewshot_reenact.landmarks.detector import face_size
from fewshot_reenact.training.landmarks.data import SIDE, LandmarkSource, read_names, read_stills
from measure_landmarks import HELD_OUT

Scene = tuple[np.ndarray, list[np.ndarray]]
Find = Callable[[np.ndarray], list[np.ndarray]]
YUNET = "nets/face_detection_yunet_2026may.onnx"
SIZES = (24, 32, 60, 120, 240, 601)


def compose(source: LandmarkSource, side: int) -> Scene:
    """A scene (side, side, 3) uint8 RGB and the eyes and mouths of its faces, each (3, 2)."""
    rng = source.rng
    canvas, threes = source.empty(side), []
    count = int(rng.integers(1, 9))
    for _ in range(4 * count):
        if len(threes) == count:
            break
        picture, points = source.draw()
        three = align.anchors(points)
        wanted = float(np.exp(rng.uniform(np.log(24), np.log(600))))
        angle, scale = rng.uniform(-np.pi / 4, np.pi / 4), wanted / float(face_size(three))
        turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        margin = min(0.45, 0.7 * wanted / side)
        centre = rng.uniform(margin, 1 - margin, 2) * side
        matrix = np.concatenate([turn, (centre - turn @ three.mean(0))[:, None]], 1)
        placed = transform(matrix, three)
        if wanted > 0.8 * side or any(
            np.linalg.norm(placed.mean(0) - t.mean(0)) < 1.1 * (wanted + float(face_size(t))) for t in threes
        ):
            continue
        if scale < 0.6:  # averaged first, or fine patterns alias
            small = max(2, round(SIDE * scale * 1.6))
            picture = cv2.resize(picture, (small, small), interpolation=cv2.INTER_AREA)
            matrix = np.concatenate([matrix[:, :2] * SIDE / small, matrix[:, 2:]], 1)
        hull = cv2.convexHull((1.4 * (points - points.mean(0)) + points.mean(0)).astype(np.float32))
        mask = np.zeros(picture.shape[:2], np.uint8)
        cv2.fillConvexPoly(mask, (hull * picture.shape[0] / SIDE).astype(np.int32), 255)
        there = cv2.warpAffine(picture, matrix, (side, side), flags=cv2.INTER_LINEAR).astype(np.float32)
        soft = cv2.warpAffine(mask, matrix, (side, side), flags=cv2.INTER_LINEAR)[..., None] / np.float32(255)
        canvas = (canvas + soft * (there - canvas)).round().astype(np.uint8)
        threes.append(placed)
    return canvas, threes


def measure(find: Find, scenes: list[Scene]) -> dict[str, object]:
    """Recall in per cent by size, and false faces in a hundred scenes."""
    found: dict[str, list[bool]] = defaultdict(list)
    false = 0
    for picture, wanted in scenes:
        got, used = find(picture), set()
        for three in wanted:
            size = float(face_size(three))
            far = [float(np.linalg.norm(g.mean(0) - three.mean(0))) for g in got]
            hit = bool(far) and min(far) < 0.3 * size
            low, high = next((a, b) for a, b in itertools.pairwise(SIZES) if size < b)
            found[f"{low}-{high - (high == SIZES[-1])} px"].append(hit)
            found["all"].append(hit)
            if hit:
                used.add(int(np.argmin(far)))
        false += len(got) - len(used)
    recall = {k: [round(100 * float(np.mean(found[k])), 1), len(found[k])] for k in sorted(found, key=_first_number)}
    return {"recall_%_and_faces": recall, "false_in_100_scenes": round(100 * false / len(scenes), 2)}


def _first_number(name: str) -> int:
    return int(name.split("-")[0]) if name[0].isdigit() else 10**6


def yunet(path: Path) -> Find:
    """The peer, at its own threshold of 0.9 -> 0.7 that OpenCV's samples use for recall."""
    net = cv2.FaceDetectorYN.create(str(path), "", (320, 320), 0.7, 0.3, 5000)

    def find(picture: np.ndarray) -> list[np.ndarray]:
        net.setInputSize(picture.shape[1::-1])
        faces = net.detect(np.ascontiguousarray(picture[..., ::-1]))[1]
        rows = [] if faces is None else faces
        # Its own order: right eye, left eye, nose, two corners of the mouth.
        return [np.stack([f[4:6], f[6:8], (f[10:12] + f[12:14]) / 2]) for f in rows]

    return find


def compare(backend: LandmarkBackend, data: Path, count: int, side: int = 1024) -> dict[str, dict[str, object]]:
    """Ours and YuNet on the same scenes."""
    source = read_stills(data, read_names(HELD_OUT), 11)
    scenes = [compose(source, side) for _ in range(count)]
    ways: dict[str, Find] = {"builtin": lambda p: [align.anchors(f.points) for f in backend.detect(p)]}
    ways["yunet"] = yunet(data / YUNET)
    return {name: measure(find, scenes) for name, find in ways.items()}


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), default=Path("../shared/data"), show_default=True)
@click.option("--scenes", "count", default=200, show_default=True)
@click.option("--side", default=1024, show_default=True)
@click.option("--threads", default=1, show_default=True)
def main(data: Path, count: int, side: int, threads: int) -> None:
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    click.echo(json.dumps(compare(BuiltinLandmarks(), data, count, side), indent=1))


if __name__ == "__main__":
    main()
