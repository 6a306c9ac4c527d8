"""Training clips with the built-in extractor's points, so that the model is trained with the errors it will meet."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from fewshot_reenact.files import partial_file
from fewshot_reenact.geometry.topology import eye_distance
from fewshot_reenact.landmarks.builtin import BuiltinLandmarks
from fewshot_reenact.media.reader import VideoReader

DISAGREE = 0.12
FRAME_STEP = 2  # as data.frame_step of configs/meta.yaml


def relabel(clips: Path, out: Path) -> list[float]:
    """For each NAME.mp4 with NAME.npz (the teacher's points, `identity`) in `clips`: `out` gets NAME.npz with the
    extractor's own points and a link to the clip.

    Every second frame is measured, from where the teacher's points are; where the two disagree by more than 12 % of the
    eye distance the teacher's stay. What is there already is kept: an interrupted run goes on. Returns the mean
    differences of the frames measured, in eye distances.
    """
    cv2.setNumThreads(1)
    backend = BuiltinLandmarks()
    out.mkdir(parents=True, exist_ok=True)
    errors: list[float] = []
    for clip in tqdm(sorted(clips.glob("*.mp4")), unit="clip", disable=None):
        target, link = out / f"{clip.stem}.npz", out / clip.name
        if not link.is_symlink():
            link.symlink_to(clip.resolve())
        if target.is_file():
            continue
        with np.load(clip.with_suffix(".npz"), allow_pickle=False) as labels:
            fields: dict[str, Any] = {name: labels[name] for name in labels.files}
        fields["points"] = fields["points"].astype(np.float32)
        errors += measure(backend, clip, fields["points"])
        with partial_file(target) as partial, partial.open("wb") as file:
            np.savez(file, **fields)
    return errors


def measure(backend: BuiltinLandmarks, clip: Path, points: np.ndarray) -> list[float]:
    """Replaces points (frames, 83, 2) in place. Returns the mean differences, in eye distances."""
    errors = []
    with VideoReader(clip) as reader:
        for frame in reader:
            if frame.index % FRAME_STEP or frame.index >= len(points):
                continue
            teacher = points[frame.index]
            face = backend.refine(frame.picture, teacher)
            if face is None:
                continue
            error = float(np.linalg.norm(face.points - teacher, axis=1).mean() / max(eye_distance(teacher), 1.0))
            errors.append(error)
            if error < DISAGREE:
                points[frame.index] = face.points
    return errors
