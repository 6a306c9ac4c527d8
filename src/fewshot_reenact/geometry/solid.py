"""The head as a solid: how a face is turned in space, who it is and what it does, from its 83 points alone.

Coordinates: x to the right of the picture, y down, z out of the picture towards the viewer. A head has axes of its own,
the same three when it looks straight at the camera, its origin between the outer eye corners; the unit is the distance
of the mean head's outer eye corners. `head_shape.npz` (made by scripts/build/fit_head_shape.py from the points of
training clips, no pictures) holds the mean head, modes of identity and of expression, and how exact each point is.

Angles are relative to the line of sight: a face that looks at the camera from the picture's corner has none.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from fewshot_reenact.geometry.rotation import angles_of
from fewshot_reenact.geometry.solid_fit import HeadShapes, Solution, project, solve, unproject
from fewshot_reenact.geometry.topology import N_POINTS
from fewshot_reenact.weights import WEIGHTS, load_arrays

MODEL = WEIGHTS / "head_shape.npz"
# How many frames of a track count for who it is: neighbours err alike, so a long track proves no unusual face.
FRAMES_OF_IDENTITY = 30.0
_SAMPLE = 120  # frames from which a track's identity is found
_AT_ONCE = 256  # frames solved together: 20 MB


@cache
def head_shapes() -> HeadShapes:
    """The mean head and its modes, read once. Raises ModelError: the file is missing or damaged."""
    data = load_arrays(MODEL, ("mean", "identity", "expression", "spread", "nearness"))
    mean, identity, expression, spread, nearness = (data[name].astype(np.float64) for name in data)
    return HeadShapes(mean, identity, expression, spread, float(nearness))


@dataclass(frozen=True)
class HeadPose:
    """A head in a picture, or one person's head in T pictures ("..." is nothing, or T).

    rotation: (..., 3, 3), from the head's own axes to the picture's. scale: (...), pixels an eye distance at the head's
    origin. translation: (..., 2), where the origin is seen, pixels. identity: (I,), one for all frames. expression:
    (..., E). Coefficients are in standard deviations of the people and frames of the training clips.
    """

    rotation: np.ndarray
    scale: np.ndarray
    translation: np.ndarray
    identity: np.ndarray
    expression: np.ndarray

    @property
    def angles(self) -> np.ndarray:
        """(..., 3) degrees: yaw, pitch, roll, see `geometry.rotation.angles_of`."""
        return angles_of(self.rotation)

    @property
    def yaw(self) -> np.ndarray:
        """(...) degrees, positive towards the right side of the picture."""
        return self.angles[..., 0]

    @property
    def pitch(self) -> np.ndarray:
        """(...) degrees, positive upwards."""
        return self.angles[..., 1]

    @property
    def roll(self) -> np.ndarray:
        """(...) degrees, positive clockwise in the picture."""
        return self.angles[..., 2]

    def rest(self) -> np.ndarray:
        """This person's head without expression in its own axes, (83, 3) eye distances."""
        shapes = head_shapes()
        return shapes.mean + np.tensordot(self.identity, shapes.identity, 1)

    def solid(self) -> np.ndarray:
        """The head with its expression in its own axes, (..., 83, 3) eye distances."""
        return self.rest() + np.tensordot(self.expression, head_shapes().expression, 1)

    def placed(self, solid: np.ndarray | None = None) -> np.ndarray:
        """A head (..., 83, 3), None: this one, where this pose shows it: (..., 83, 3).

        x and y are pixels of the picture, z pixels towards the viewer from the origin.
        """
        solid = self.solid() if solid is None else solid
        return project(solid, self.rotation, self.scale, self.translation, head_shapes().nearness)

    def lifted(self, points: np.ndarray) -> np.ndarray:
        """Points of the picture as a solid in the head's own axes. (..., 83, 2) pixels -> (..., 83, 3) eye distances.

        They are seen exactly where they are; their depth is that of the fitted head.
        """
        there = np.concatenate([points, self.placed()[..., 2:]], -1)
        return unproject(there, self.rotation, self.scale, self.translation, head_shapes().nearness)


def fit_head(points: np.ndarray) -> HeadPose:
    """The most probable head of one face. points: (83, 2) pixels, no NaN."""
    one = fit_track(np.asarray(points)[None])
    return HeadPose(one.rotation[0], one.scale[0], one.translation[0], one.identity, one.expression[0])


def fit_track(points: np.ndarray, identity: np.ndarray | None = None) -> HeadPose:
    """The most probable head of one person in T frames: one identity, held to the mean, and a pose a frame.

    points: (T, 83, 2) pixels; frames with NaN get NaN. identity: (I,) where it is known already, as from another track
    of the same person. Raises ValueError: no frame without NaN.
    """
    points = np.asarray(points, np.float64)
    if points.ndim != 3 or points.shape[1:] != (N_POINTS, 2):
        raise ValueError(f"points have shape {points.shape}, not (frames, {N_POINTS}, 2)")
    known = np.flatnonzero(np.isfinite(points).all((1, 2)))
    if not len(known):
        raise ValueError("no frame has points: there is no head to fit")
    shapes = head_shapes()
    if identity is None:
        sample = known[np.unique(np.linspace(0, len(known) - 1, _SAMPLE).round().astype(int))]
        found = solve(points[sample], shapes, frames_of_identity=FRAMES_OF_IDENTITY)
        if len(sample) == len(known):
            return _pose([found], found.identity, known, len(points))
        identity = found.identity
    parts = _in_parts(points[known], shapes, identity)
    return _pose(parts, identity, known, len(points))


def completed(points: np.ndarray) -> np.ndarray:
    """Points of one person of which some are not known, the same ones in every frame, put where the fitted head has
    them. (T, 83, 2) pixels, NaN where they are not known -> (T, 83, 2). Raises ValueError: fewer than four are known.
    """
    points = np.asarray(points, np.float64)
    known = np.isfinite(points).all((0, 2))
    if known.sum() < 4:
        raise ValueError(f"{int(known.sum())} points are known in every frame: there is no head to fit")
    shapes = head_shapes()
    part = HeadShapes(
        shapes.mean[known],
        shapes.identity[:, known],
        shapes.expression[:, known],
        shapes.spread[known],
        shapes.nearness,
    )
    sample = np.unique(np.linspace(0, len(points) - 1, _SAMPLE).round().astype(int))
    identity = solve(points[sample][:, known], part, frames_of_identity=FRAMES_OF_IDENTITY).identity
    parts = _in_parts(points[:, known], part, identity)
    fitted = _pose(parts, identity, np.arange(len(points)), len(points)).placed()[..., :2]
    return np.where(np.isfinite(points), points, fitted)


def _in_parts(points: np.ndarray, shapes: HeadShapes, identity: np.ndarray) -> list[Solution]:
    """A pose for each frame of one person whose identity (I,) is known, some frames at once. points: (T, N, 2) pixels,
    those of `shapes`.
    """
    mean = shapes.mean + np.tensordot(identity, shapes.identity, 1)
    own = HeadShapes(mean, shapes.identity[:0], shapes.expression, shapes.spread, shapes.nearness)
    starts = range(0, len(points), _AT_ONCE)
    return [solve(points[first : first + _AT_ONCE], own, frames_of_identity=1) for first in starts]


def _pose(parts: list[Solution], identity: np.ndarray, known: np.ndarray, count: int) -> HeadPose:
    """What was found part by part, with NaN in the frames of which nothing is known."""

    def field(name: str) -> np.ndarray:
        values = np.concatenate([getattr(part, name) for part in parts])
        out = np.full((count, *values.shape[1:]), np.nan)
        out[known] = values
        return out

    return HeadPose(field("rotation"), field("scale"), field("translation"), identity, field("expression"))
