"""The solver behind `geometry.solid`: poses, one identity and the expressions of a track by Gauss-Newton steps.

A head's point at (x, y, z) in the picture's axes, in eye distances from the head's origin, is seen at
scale * (x, y) / (1 - nearness * z) + translation: weak perspective, but for what is nearer being larger. What is sought
is the most probable pose and coefficients: points err by their own spread, with heavy tails (Student's t), coefficients
have a standard normal prior. A frame's own unknowns are eliminated first (the Schur complement), so that a track costs
as much as its frames one by one.
"""

from dataclasses import dataclass

import numpy as np

from fewshot_reenact.geometry.rotation import exponential, nearest_rotation

TAILS = 6.0  # degrees of freedom of Student's t: points three spreads off count for half
NEAREST = 0.8  # share of the way to the camera: nearer, perspective grows no more
RIGID = 6  # unknowns of a pose: rotation 3, logarithm of the scale 1, translation 2


@dataclass(frozen=True)
class HeadShapes:
    """Heads of N points that the solver may choose from, in eye distances.

    mean: (N, 3). identity (I, N, 3) and expression (E, N, 3): modes, each as large as its standard deviation. spread:
    (N,), by how much a point is wrong in each direction of the picture. nearness: 1 over the camera's distance, 0 for a
    camera far away. x to the right of the picture, y down, z towards the viewer.
    """

    mean: np.ndarray
    identity: np.ndarray
    expression: np.ndarray
    spread: np.ndarray
    nearness: float = 0.0


@dataclass(frozen=True)
class Solution:
    """What was found of T frames.

    rotation (T, 3, 3), scale (T,) pixels an eye distance, translation (T, 2) pixels, identity (I,), expression (T, E),
    weight (T, N): how much each point counted, 1 where it fits. identity_doubt (I, I) and expression_doubt (T, E, E):
    covariances.
    """

    rotation: np.ndarray
    scale: np.ndarray
    translation: np.ndarray
    identity: np.ndarray
    expression: np.ndarray
    weight: np.ndarray
    identity_doubt: np.ndarray
    expression_doubt: np.ndarray


def enlarged(depth: np.ndarray, nearness: float) -> np.ndarray:
    """How much larger than at the origin a thing is seen for being so many eye distances nearer. (...) -> (...)."""
    return 1 / (1 - np.minimum(nearness * depth, NEAREST))


def project(
    solid: np.ndarray, rotation: np.ndarray, scale: np.ndarray, translation: np.ndarray, nearness: float
) -> np.ndarray:
    """Where a head's points are seen, and how near. solid: (..., N, 3) in the head's own axes, eye distances.

    Returns (..., N, 3): x and y in pixels of the picture; z in pixels of the origin's size, towards the viewer.
    """
    turned, size = solid @ np.swapaxes(rotation, -1, -2), np.asarray(scale)[..., None, None]
    flat = size * enlarged(turned[..., 2:], nearness) * turned[..., :2] + np.asarray(translation)[..., None, :]
    return np.concatenate([flat, size * turned[..., 2:]], -1)


def unproject(
    placed: np.ndarray, rotation: np.ndarray, scale: np.ndarray, translation: np.ndarray, nearness: float
) -> np.ndarray:
    """The inverse of `project`."""
    size = np.asarray(scale)[..., None, None]
    depth = placed[..., 2:] / size
    flat = (placed[..., :2] - np.asarray(translation)[..., None, :]) / (size * enlarged(depth, nearness))
    return np.concatenate([flat, depth], -1) @ rotation


def rigid_start(points: np.ndarray, mean: np.ndarray, spread: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rotations, scales and translations by linear least squares. points: (T, N, 2), mean: (N, 3), spread: (N,)."""
    weight = spread**-2 / (spread**-2).sum()
    middle, centre = weight @ mean, np.einsum("n,tnc->tc", weight, points)
    solid, seen = mean - middle, points - centre[:, None]
    weighted = weight[:, None] * solid
    linear = np.swapaxes(seen, 1, 2) @ weighted @ np.linalg.inv(solid.T @ weighted)
    rotation, scale = nearest_rotation(linear)
    scale = np.maximum(scale, 1e-6)
    return rotation, scale, centre - scale[:, None] * (rotation[:, :2] @ middle)


def solve(points: np.ndarray, shapes: HeadShapes, *, frames_of_identity: float, rounds: int = 5) -> Solution:
    """points: (T, N, 2) pixels of one person, T at least 1. frames_of_identity: how many frames at most count for the
    identity: neighbouring frames err alike, so a long track is no proof of an unusual face.
    """
    count, n_identity = len(points), len(shapes.identity)
    rotation, scale, translation = rigid_start(points, shapes.mean, shapes.spread)
    seen = (points - translation[:, None]) / scale[:, None, None]  # in eye distances: sizes do not matter from here
    size, shift = np.ones(count), np.zeros((count, 2))
    identity, expression = np.zeros(n_identity), np.zeros((count, len(shapes.expression)))
    share = min(1.0, frames_of_identity / count)
    for _ in range(rounds):
        solid = (
            shapes.mean + np.tensordot(identity, shapes.identity, 1) + np.tensordot(expression, shapes.expression, 1)
        )
        turned = solid @ np.swapaxes(rotation, 1, 2)
        larger = enlarged(turned[..., 2], shapes.nearness)
        shown = (size[:, None] * larger)[..., None] * turned[..., :2]
        error = seen - shown - shift[:, None]
        far = (error**2).sum(-1) / shapes.spread**2
        weight = (TAILS + 2) / (TAILS + far)
        root = (np.sqrt(weight) / shapes.spread)[..., None]
        plane = _plane(turned, larger, size, shapes.nearness) * root[..., None]
        own = np.concatenate(
            [_pose_slopes(turned, shown, plane, root), _mode_slopes(plane, rotation, shapes.expression)], -1
        )
        other = _mode_slopes(plane, rotation, shapes.identity)
        step = _step(own, other, error * root, identity, expression, share)
        rotation = exponential(step.own[:, :3]) @ rotation
        size, shift = size * np.exp(np.clip(step.own[:, 3], -0.3, 0.3)), shift + step.own[:, 4:6]
        expression, identity = expression + step.own[:, RIGID:], identity + step.identity
    return Solution(
        rotation,
        scale * size,
        translation + scale[:, None] * shift,
        identity,
        expression,
        weight,
        step.identity_doubt,
        step.own_doubt[:, RIGID:, RIGID:],
    )


def _plane(turned: np.ndarray, larger: np.ndarray, size: np.ndarray, nearness: float) -> np.ndarray:
    """How points are seen to move as they move along the picture's axes. (T, N, 3), (T, N), (T,) -> (T, N, 2, 3)."""
    plane = np.zeros((*larger.shape, 2, 3))
    plane[..., 0, 0] = plane[..., 1, 1] = 1
    plane[..., 2] = nearness * larger[..., None] * turned[..., :2]
    return (size[:, None] * larger)[..., None, None] * plane


def _pose_slopes(turned: np.ndarray, shown: np.ndarray, plane: np.ndarray, root: np.ndarray) -> np.ndarray:
    """How points are seen to move as the six unknowns of a pose grow: (T, N, 2, 6), weighted as `plane` is."""
    turns = np.zeros((*turned.shape, 3))
    x, y, z = np.moveaxis(turned, -1, 0)
    turns[..., 1, 0], turns[..., 2, 0] = -z, y
    turns[..., 0, 1], turns[..., 2, 1] = z, -x
    turns[..., 0, 2], turns[..., 1, 2] = -y, x
    slopes = np.zeros((*shown.shape, RIGID))
    slopes[..., :3] = plane @ turns
    slopes[..., 3] = root * shown
    slopes[..., 0, 4] = slopes[..., 1, 5] = root[..., 0]
    return slopes


def _mode_slopes(plane: np.ndarray, rotation: np.ndarray, modes: np.ndarray) -> np.ndarray:
    """How points are seen to move as coefficients of modes (K, N, 3) grow: (T, N, 2, K)."""
    return (plane @ rotation[:, None]) @ modes.transpose(1, 2, 0)


@dataclass(frozen=True)
class _Step:
    own: np.ndarray
    identity: np.ndarray
    own_doubt: np.ndarray
    identity_doubt: np.ndarray


def _step(
    own: np.ndarray,
    other: np.ndarray,
    error: np.ndarray,
    identity: np.ndarray,
    expression: np.ndarray,
    share: float,
) -> _Step:
    """One Gauss-Newton step for all unknowns at once; identity's data count by `share`."""
    count, n_own = len(own), own.shape[-1]
    error = error.reshape(count, -1, 1)
    own, other = own.reshape(count, len(error[0]), n_own), other.reshape(count, len(error[0]), len(identity))
    own_across, other_across = np.swapaxes(own, 1, 2), np.swapaxes(other, 1, 2)
    prior = np.concatenate([np.full(RIGID, 1e-6), np.ones(n_own - RIGID)])
    inverse = np.linalg.inv(own_across @ own + np.diag(prior))
    slope = (own_across @ error)[..., 0]
    slope[:, RIGID:] -= expression
    alone = (inverse @ slope[..., None])[..., 0]
    if not len(identity):
        return _Step(alone, np.zeros(0), inverse, np.zeros((0, 0)))
    cross = other_across @ own  # (T, I, own)
    carried = cross @ inverse
    left = share * (other_across @ other - carried @ np.swapaxes(cross, 1, 2)).sum(0) + np.eye(len(identity))
    right = share * ((other_across @ error)[..., 0] - (carried @ slope[..., None])[..., 0]).sum(0) - identity
    doubt = np.linalg.inv(left)
    step = doubt @ right
    return _Step(alone - step @ carried, step, inverse, doubt)
