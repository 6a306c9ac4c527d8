"""The `fan` backend: face-alignment's 68 points, completed to 83.

The package fetches its weights over the network when they are first used, and says nothing before; here that is
announced, and a failed download is one clear line. It knows no forehead and no irises: the forehead follows from brows,
nose, eye corners and chin by a linear map (scripts/build/fit_forehead.py), the irises stand in the middle of the eyes.
"""

import importlib
import inspect
import logging
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fewshot_reenact.errors import ModelError, how_to_complete
from fewshot_reenact.geometry.topology import FOREHEAD, LEFT_EYE, RIGHT_EYE
from fewshot_reenact.landmarks.backend import Face
from fewshot_reenact.weights import WEIGHTS, open_weights

FOREHEAD_FILE = WEIGHTS / "forehead.safetensors"
KNOWN = [8, *range(17, 36), 36, 39, 42, 45]  # what hardly differs between how FAN and the 83 points are defined
_WEIGHTS = ("2DFAN4-11f355bf06.pth.tar", "s3fd-619a316812.pth")
_MEGABYTES = 180
_SMALLEST = 16  # pixels; the detector of the package fails on less
_FOUND, _KEPT = 0.35, 0.25  # mean height of the 68 heat-map peaks

log = logging.getLogger(__name__)


def forehead_frame(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The frame in which a forehead is predicted, from eyes and nose base.

    points: (N, 68 or more, 2) pixels. Returns origins (N, 2) and matrices (N, 2, 2): (points - origin) @ matrix is
    upright, in units of the face. The unit mixes width and height, so that a turned head does not shrink it.
    """
    left, right = points[:, LEFT_EYE].mean(1), points[:, RIGHT_EYE].mean(1)
    across, origin = right - left, (left + right) / 2
    down = points[:, 33] - origin
    unit = np.hypot(np.linalg.norm(across, axis=1), np.linalg.norm(down, axis=1)).clip(1e-6)
    axis = across + np.stack([down[:, 1], -down[:, 0]], 1)
    axis = axis / np.linalg.norm(axis, axis=1, keepdims=True).clip(1e-6)
    turn = np.stack([axis, np.stack([-axis[:, 1], axis[:, 0]], 1)], 2)
    return origin, turn / unit[:, None, None]


@cache
def _forehead() -> np.ndarray:
    again = "install the package again"
    with open_weights(
        FOREHEAD_FILE, f"missing or damaged; {again}", f"missing or damaged ({{reason}}); {again}"
    ) as file:
        return file.tensors()["forehead"].numpy().astype(np.float64)


def complete(points: np.ndarray) -> np.ndarray:
    """68 points -> 83. (68, 2) pixels -> (83, 2) float32. Raises ModelError when the fitted forehead is missing."""
    points = np.asarray(points, np.float64)
    origin, turn = forehead_frame(points[None])
    own = (points - origin[0]) @ turn[0]
    above = (np.append(own[KNOWN].ravel(), 1.0) @ _forehead()).reshape(-1, 2)
    out = np.empty((83, 2))
    out[:68] = points
    out[FOREHEAD.start : 81] = above @ np.linalg.inv(turn[0]) + origin[0]
    out[81], out[82] = points[LEFT_EYE].mean(0), points[RIGHT_EYE].mean(0)
    return out.astype(np.float32)


def _announce() -> None:
    """Say that a download is about to start, unless the weights are there."""
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    missing = [name for name in _WEIGHTS if not (folder / name).exists()]
    if missing:
        log.warning(
            "face-alignment downloads its weights (about %d MB) at first use, to %s: %s",
            _MEGABYTES * len(missing) // len(_WEIGHTS),
            folder,
            ", ".join(missing),
        )


def _network(device: str) -> Any:
    """face_alignment.FaceAlignment, its weights fetched. Raises ModelError: no package, or no network."""
    try:
        package = importlib.import_module("face_alignment")
    except (ImportError, RuntimeError, OSError) as error:  # a broken torchvision raises RuntimeError
        reason = str(error).splitlines()[0]
        raise ModelError(
            f"landmarks backend 'fan': the package face-alignment cannot be used ({reason}); "
            f"{how_to_complete()}, or use --landmarks builtin"
        ) from error
    _announce()
    kinds = package.LandmarksType
    kind = getattr(kinds, "TWO_D", None) or kinds._2D
    options: dict[str, Any] = {"device": device, "flip_input": False}
    # Compiling takes minutes at every first run and gains little at one face a frame.
    if "compile" in inspect.signature(package.FaceAlignment).parameters:
        options["compile"] = False
    try:
        return package.FaceAlignment(kind, **options)
    except (OSError, RuntimeError) as error:  # urllib's errors are OSErrors; a cut download is a RuntimeError
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"landmarks backend 'fan': its weights cannot be fetched or read ({reason}); "
            f"go online once, or put them into {Path(torch.hub.get_dir()) / 'checkpoints'}, or use --landmarks builtin"
        ) from error


class FanLandmarks:
    """LandmarkBackend of the face-alignment package. Raises ModelError without the package or its weights."""

    name = "fan"

    def __init__(self, device: str = "cpu") -> None:
        self._net = _network(str(device))

    def detect(self, picture: np.ndarray) -> list[Face]:
        """Every face of a picture (H, W, 3) uint8 RGB, the largest first."""
        if min(picture.shape[:2]) < _SMALLEST:
            return []
        faces = [face for face in self._look(picture, None) if face.confidence >= _FOUND]
        return sorted(faces, key=lambda face: -float(np.prod(face.box[2:] - face.box[:2])))

    def refine(self, picture: np.ndarray, points: np.ndarray) -> Face | None:
        """The face that was at `points` (83, 2), or None when there is none any more."""
        if min(picture.shape[:2]) < _SMALLEST or not np.isfinite(points).all():
            return None
        # The package expects boxes of its detector: from above the brows to the chin.
        low, high = points[:68].min(0), points[:68].max(0)
        low[1] -= 0.15 * (high[1] - low[1])
        faces = self._look(picture, [np.array([*low, *high, 1.0])])
        return faces[0] if faces and faces[0].confidence >= _KEPT else None

    def _look(self, picture: np.ndarray, boxes: list[np.ndarray] | None) -> list[Face]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "No faces were detected."
            points, scores, _ = self._net.get_landmarks_from_image(
                np.ascontiguousarray(picture), detected_faces=boxes, return_bboxes=True, return_landmark_score=True
            )
        if points is None:
            return []
        faces = []
        for one, score in zip(points, scores, strict=True):
            box = np.concatenate([one.min(0), one.max(0)]).astype(np.float32)
            faces.append(Face(complete(one), float(np.clip(np.mean(score), 0, 1)), box))
        return faces
