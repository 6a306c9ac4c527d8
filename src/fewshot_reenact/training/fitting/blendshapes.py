"""The rig of the 52 blendshapes (`motion.blendshapes`) from labelled frames: points, and a teacher's scores of them.

From points to scores: ridge regression on the points of the solid head in its own axes, person and all; the teacher
too sees no rest of a person. Bounded least squares through the rig was tried: it correlates with the teacher by 0.58,
this by 0.74 (docs/motion.md). From scores to points: ridge regression of the changes within a clip, so that whose face
it is does not count. Every frame counts twice, once mirrored.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fewshot_reenact.errors import InputError
from fewshot_reenact.geometry.solid import fit_track
from fewshot_reenact.geometry.topology import FLIP, N_POINTS
from fewshot_reenact.motion.blendshapes import NAMES, Rig

# Correlation with the teacher on clips of other people, for 0.001, 0.01, 0.1: 0.740, 0.743, 0.745; mean error 0.0564,
# 0.0563, 0.0573.
_HOLD_SCORES = 0.03
# Of the points' changes the teacher's scores explain, for 0.1, 1, 10: 54, 54 and 51 %.
_HOLD_POINTS = 1.0
LEAST = 0.015  # standard deviation of a score over the frames; what varies less is left out of the rig
_TURNED = 15.0  # degrees between the most turned frames of a clip from which on it tells about what the head turns
_MIRROR = np.array([-1.0, 1.0, 1.0])
_OTHER_SIDE = [
    NAMES.index(name.replace("Left", "?").replace("Right", "Left").replace("?", "Right"))
    for name in NAMES
]  # fmt: skip


@dataclass(frozen=True)
class LabelledClip:
    """Frames of one clip. solid: (T, 83, 3), points in the head's own axes, eye distances. scores: (T, 52) by NAMES.
    rotation (F, 3, 3), translation (F, 2) pixels and scale (F,): of all frames of the clip with a face.
    """

    name: str
    solid: np.ndarray
    scores: np.ndarray
    rotation: np.ndarray
    translation: np.ndarray
    scale: np.ndarray


def read_labelled(labels: Path, clips: Path) -> list[LabelledClip]:
    """labels: what scripts/build/label_blendshapes.py wrote; clips: a folder with the points of each clip, NAME.npz.

    Names are matched whatever their case; a name that the teacher lacks has scores of 0. Raises InputError: none there.
    """
    with np.load(labels, allow_pickle=False) as data:
        names = [str(name).lower() for name in data["names"]]
        of, at, given = data["clip"], data["frame"], data["scores"].astype(np.float64)
    scores = np.zeros((len(given), len(NAMES)))
    for column, name in enumerate(NAMES):
        if name.lower() in names:
            scores[:, column] = given[:, names.index(name.lower())]
    found = []
    for name in np.unique(of).tolist():
        if not (clips / f"{name}.npz").is_file():
            continue
        with np.load(clips / f"{name}.npz", allow_pickle=False) as data:
            points = data["points"].astype(np.float64)
        mine = (of == name) & (at < len(points))
        mine[mine] = np.isfinite(points[at[mine]]).all((1, 2))
        if mine.any():
            pose = fit_track(points)
            seen = np.isfinite(pose.scale)
            solid = pose.lifted(points)[at[mine]]
            found.append(
                LabelledClip(name, solid, scores[mine], pose.rotation[seen], pose.translation[seen], pose.scale[seen])
            )
    if not found:
        raise InputError(f"{clips}: no clip there is among the labels of {labels}")
    return found


def fit_rig(clips: list[LabelledClip]) -> Rig:
    """The rig that the clips tell."""
    solids, scores = [], []
    for one in clips:
        solids += [one.solid, one.solid[:, FLIP] * _MIRROR]
        scores += [one.scores, one.scores[:, _OTHER_SIDE]]
    rows = [solid.reshape(len(solid), -1) for solid in solids]
    every, wanted = np.concatenate(rows), np.concatenate(scores)
    weight = _ridge(every - every.mean(0), wanted - wanted.mean(0), _HOLD_SCORES)
    changes = np.concatenate([row - row.mean(0) for row in rows])
    live = wanted.std(0) >= LEAST
    weight = weight * live
    shapes = np.zeros((len(NAMES), 3 * N_POINTS))
    shapes[live] = _ridge(np.concatenate([one - one.mean(0) for one in scores])[:, live], changes, _HOLD_POINTS)
    rest = every.mean(0) - wanted.mean(0) @ shapes
    return Rig(
        rest.reshape(N_POINTS, 3),
        shapes.reshape(-1, N_POINTS, 3),
        weight,
        (wanted.mean(0) - every.mean(0) @ weight) * live,
        _pivot(clips),
    )


def _ridge(given: np.ndarray, wanted: np.ndarray, hold: float) -> np.ndarray:
    """What makes the wanted of the given, both without their means. (N, A), (N, B) -> (A, B)."""
    return np.linalg.solve(given.T @ given + hold * np.eye(given.shape[1]), given.T @ wanted)


def _pivot(clips: list[LabelledClip]) -> np.ndarray:
    """About which point of their own heads turn: the one that stays where it is as far as can be, in the middle plane.

    A clip's head is seen at translation = place - scale * (rotation @ pivot), and everybody has a place of their own.
    """
    left, right = [], []
    for one in clips:
        if np.ptp(np.degrees(np.arcsin(np.clip(one.rotation[:, :2, 2], -1, 1))), axis=0).max() < _TURNED:
            continue
        unit = float(np.median(one.scale))
        rows = -one.rotation[:, :2, 1:] * (one.scale / unit)[:, None, None]
        seen = one.translation / unit
        left.append((rows - rows.mean(0)).reshape(-1, 2))
        right.append((seen - seen.mean(0)).ravel())
    found = np.linalg.lstsq(np.concatenate(left), np.concatenate(right), rcond=None)[0]
    return np.array([0.0, *found])


@dataclass(frozen=True)
class Agreement:
    """How well scores from points agree with the teacher's, for each coefficient. correlation (52,), NaN where the
    teacher's never varies; error (52,), mean absolute; spread (52,), the teacher's standard deviation; frames.
    explained: which share of the points' changes within a clip the rig makes of the teacher's scores.
    """

    correlation: np.ndarray
    error: np.ndarray
    spread: np.ndarray
    frames: int
    explained: float


def agreement(rig: Rig, clips: list[LabelledClip]) -> Agreement:
    """On clips of other people than those of the fit."""
    made = np.concatenate([rig.coefficients(one.solid) for one in clips])
    told = np.concatenate([one.scores for one in clips])
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = ((made - made.mean(0)) * (told - told.mean(0))).mean(0) / (made.std(0) * told.std(0))
    true = np.concatenate([one.solid - one.solid.mean(0) for one in clips])[..., :2]
    shown = np.concatenate([rig.solid(one.scores) - rig.solid(one.scores).mean(0) for one in clips])[..., :2]
    explained = 1 - float(((true - shown) ** 2).sum() / (true**2).sum())
    return Agreement(correlation, np.abs(made - told).mean(0), told.std(0), len(told), explained)
