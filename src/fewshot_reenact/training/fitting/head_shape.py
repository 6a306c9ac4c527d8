"""A head in three dimensions from the points of clips alone: no pictures, no other network's depth.

Structure from motion under weak perspective (Tomasi and Kanade 1992), with a shape that bends as in Torresani et al.
2008: a point's place is the mean's, plus what is the person's (constant in a clip), plus what is the expression's. In
turn every clip's poses and coefficients are found with the shapes known (`geometry.solid_fit`), and the shapes by
weighted least squares with the poses known (expectation and maximisation). Three things are not in the data and are
laid down: the scale (the mean's outer eye corners are 1 apart), the origin (between these corners), and what is level
(the mean of the clips' mean pitches is 0). Modes hold no turning: their rigid points stay where they are on the whole.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from fewshot_reenact.geometry.rotation import about, angles_of
from fewshot_reenact.geometry.shape import RIGID
from fewshot_reenact.geometry.solid import FRAMES_OF_IDENTITY
from fewshot_reenact.geometry.solid_fit import HeadShapes, Solution, enlarged, project, solve
from fewshot_reenact.geometry.topology import (
    FLIP,
    FOREHEAD,
    LEFT_OUTER_CORNER,
    RIGHT_OUTER_CORNER,
    eye_distance,
)

# What expressions move least: nose, eye corners, and the forehead from temple to temple. With nose and eye corners
# alone yaw came out 3 to 15 % larger, and farther from that of a network that sees pictures.
STILL = [*RIGID, *range(FOREHEAD.start, FOREHEAD.stop)]
_NOSE = {27: 0.05, 28: 0.15, 29: 0.25, 30: 0.35, 31: 0.15, 32: 0.2, 33: 0.2, 34: 0.2, 35: 0.15}
# 1 over the camera's distance in eye distances. What the mean head leaves of the points of turned frames, in eye
# distances, for 0, 0.06, 0.12 and 0.25: 0.0361, 0.0328, 0.0303, 0.0307.
NEARNESS = 0.12
_MIRROR = np.array([-1.0, 1.0, 1.0])
_TURNED = 10.0  # degrees of yaw from which on a frame tells of depth
_LEAST_SPREAD = 0.008  # eye distances: no point of a clip is taken to be known better than that


@dataclass(frozen=True)
class Quality:
    """How well the shapes tell the points, in eye distances, means over points and frames.

    rigid: the mean head alone, every frame's pose its own. rigid_turned: the same in frames turned by more than 20
    degrees. full, full_turned: with identity and expression. frames, turned: how many there were.
    """

    rigid: float
    rigid_turned: float
    full: float
    full_turned: float
    frames: int
    turned: int


def pick_frames(clips: list[np.ndarray], most: int) -> list[np.ndarray]:
    """At most so many frames of each clip, evenly spread, none without a face. clips: (T, 83, 2) each."""
    kept = []
    for points in clips:
        seen = points[np.isfinite(points).all((1, 2))]
        if len(seen):
            kept.append(seen[np.unique(np.linspace(0, len(seen) - 1, most).round().astype(int))].astype(np.float64))
    return kept


def fit_head_shape(
    clips: list[np.ndarray],
    *,
    identities: int = 10,
    expressions: int = 10,
    rigid_rounds: int = 15,
    rounds: int = 8,
    nearness: float = NEARNESS,
    progress: Callable[[str], None] = lambda line: None,
) -> tuple[HeadShapes, Quality]:
    """The mean head and its modes, and how well they fit the same clips. clips: (T, 83, 2) pixels each, a person each.

    rounds: with modes. Not until nothing changes: from round 8 to 30 what is left of the points fell by 3 % only
    (0.0062 to 0.0060), the tip of the nose crept forward by 5 %, and pitch came out smaller (docs/training-log.md).
    """
    shapes = replace(_dome(clips), nearness=nearness)
    for turn in range(rigid_rounds):
        found = [_each_alone(points, shapes) for points in clips]
        moved = _level(_symmetric(_maximise(clips, found, shapes)), found)
        change, shapes = float(np.abs(moved.mean - shapes.mean).max()), moved
        progress(f"rigid {turn + 1}: mean moved by {change:.4f}, spread {shapes.spread.mean():.4f}")
        if change < 1e-4:
            break
    rigid = shapes
    shapes = _first_modes(clips, shapes, identities, expressions)
    for turn in range(rounds):
        found = [solve(points, shapes, frames_of_identity=FRAMES_OF_IDENTITY) for points in clips]
        moved = _maximise(clips, found, shapes)
        moved = _level(_symmetric(_without_turning(moved)), found)
        change, shapes = float(np.abs(moved.mean - shapes.mean).max()), moved
        progress(f"modes {turn + 1}: mean moved by {change:.4f}, spread {shapes.spread.mean():.4f}")
    return shapes, _quality(clips, rigid, shapes)


def _dome(clips: list[np.ndarray]) -> HeadShapes:
    """Where the search begins: the median face, laid over an ellipsoid, the nose standing off it."""
    rows = [(p - p[:, 27:28]) / eye_distance(p)[:, None, None] for p in clips]
    flat = np.median(np.concatenate(rows), axis=0)
    flat = flat - (flat[LEFT_OUTER_CORNER] + flat[RIGHT_OUTER_CORNER]) / 2
    flat = flat / eye_distance(flat)
    inside = 1 - (flat[:, 0] / 1.1) ** 2 - ((flat[:, 1] - 0.2) / 1.6) ** 2
    depth = np.sqrt(np.maximum(inside, 0.05))
    depth[list(_NOSE)] += list(_NOSE.values())
    mean = np.column_stack([flat, depth])
    none = np.zeros((0, *mean.shape))
    return _symmetric(HeadShapes(mean, none, none, np.where(np.isin(np.arange(len(mean)), STILL), 0.03, 0.08)))


def _each_alone(points: np.ndarray, shapes: HeadShapes) -> Solution:
    return solve(points, shapes, frames_of_identity=FRAMES_OF_IDENTITY, rounds=3)


def _maximise(clips: list[np.ndarray], found: list[Solution], shapes: HeadShapes) -> HeadShapes:
    """The shapes that fit best with poses and coefficients as found: every point's own by weighted least squares.

    A point is seen at R2 (mean + modes) z, z the coefficients with a 1 before them. Their doubt counts as spread of z,
    so that a mode that nobody is sure of stays small.
    """
    n_modes = 1 + len(shapes.identity) + len(shapes.expression)
    size, points = 3 * n_modes, len(shapes.mean)
    left, right = np.zeros((size, size)), np.zeros((size, points))
    for seen, one in zip(clips, found, strict=True):
        plane = one.rotation[:, :2]
        place = (seen - one.translation[:, None]) / one.scale[:, None, None]
        place = place / enlarged((_solid(one, shapes) @ np.swapaxes(one.rotation, 1, 2))[..., 2:], shapes.nearness)
        z, second = _moments(one)
        weight = _weight(one)
        rows = np.einsum("t,tci,tcj->tij", weight, plane, plane)
        left += np.einsum("tij,tkl->kilj", rows, second).reshape(size, size)
        flat = np.einsum("t,tci,tnc->tin", weight, plane, place)
        right += np.einsum("tk,tin->kin", z, flat).reshape(size, points)
    hold = np.ones((n_modes, 3))
    hold[0] = 1e-3  # the mean is free; modes are held to nothing
    solved = np.linalg.solve(left + np.diag(hold.ravel()), right).reshape(n_modes, 3, points).transpose(0, 2, 1)
    split = 1 + len(shapes.identity)
    moved = replace(shapes, mean=solved[0], identity=solved[1:split], expression=solved[split:])
    return replace(moved, spread=_spread(clips, found, moved))


def _moments(one: Solution) -> tuple[np.ndarray, np.ndarray]:
    """The coefficients of each frame with a 1 before them, (T, K), and their second moments, (T, K, K)."""
    count, n_identity = len(one.expression), len(one.identity)
    z = np.concatenate([np.ones((count, 1)), np.tile(one.identity, (count, 1)), one.expression], 1)
    second = z[:, :, None] * z[:, None]
    split = 1 + n_identity
    second[:, 1:split, 1:split] += one.identity_doubt
    second[:, split:, split:] += one.expression_doubt
    return z, second


def _weight(one: Solution) -> np.ndarray:
    """How much frames count, (T,): turned ones four times, for there are few of them; less where points do not fit."""
    yaw = angles_of(one.rotation)[:, 0]
    return np.where(np.abs(yaw) > _TURNED, 4.0, 1.0) * one.weight.mean(1)


def _shown(one: Solution, shapes: HeadShapes) -> np.ndarray:
    """Where the points should be seen, (T, N, 2) pixels."""
    return project(_solid(one, shapes), one.rotation, one.scale, one.translation, shapes.nearness)[..., :2]


def _solid(one: Solution, shapes: HeadShapes) -> np.ndarray:
    """The heads in their own axes, (T, N, 3)."""
    person = np.tensordot(one.identity, shapes.identity, 1)
    return shapes.mean + person + np.tensordot(one.expression, shapes.expression, 1)


def _spread(clips: list[np.ndarray], found: list[Solution], shapes: HeadShapes) -> np.ndarray:
    """Each point's standard deviation in one direction, (N,), by what is left; mirror images share theirs."""
    total, weights = np.zeros(len(shapes.mean)), np.zeros(len(shapes.mean))
    for seen, one in zip(clips, found, strict=True):
        left = ((seen - _shown(one, shapes)) / one.scale[:, None, None]) ** 2
        total += (one.weight * left.sum(-1)).sum(0) / 2
        weights += one.weight.sum(0)
    spread = np.sqrt(total / np.maximum(weights, 1e-9))
    return np.maximum(spread, _LEAST_SPREAD)


def _symmetric(shapes: HeadShapes) -> HeadShapes:
    """The mean, the modes' covariance and the spreads made alike for left and right; origin and scale laid down."""
    mean = (shapes.mean + shapes.mean[FLIP] * _MIRROR) / 2
    mean = mean - (mean[LEFT_OUTER_CORNER] + mean[RIGHT_OUTER_CORNER]) / 2
    scale = np.linalg.norm(mean[RIGHT_OUTER_CORNER] - mean[LEFT_OUTER_CORNER])
    return HeadShapes(
        mean / scale,
        _symmetric_modes(shapes.identity) / scale,
        _symmetric_modes(shapes.expression) / scale,
        np.sqrt((shapes.spread**2 + shapes.spread[FLIP] ** 2) / 2) / scale,
        shapes.nearness,
    )


def _symmetric_modes(modes: np.ndarray) -> np.ndarray:
    """As many modes with the covariance of these and of their mirror images: each the same to both sides, or opposed.

    (K, N, 3) -> (K, N, 3), the largest first, each as large as its standard deviation.
    """
    if not len(modes):
        return modes
    both = np.concatenate([modes, modes[:, FLIP] * _MIRROR]).reshape(2 * len(modes), -1) / np.sqrt(2)
    _, size, direction = np.linalg.svd(both, full_matrices=False)
    return (size[:, None] * direction)[: len(modes)].reshape(modes.shape)


def _without_turning(shapes: HeadShapes) -> HeadShapes:
    """Modes less the rigid motion and the change of size that their rigid points seem to make."""
    x, y, z = shapes.mean.T
    none, one = np.zeros_like(x), np.ones_like(x)
    rigid = [
        (none, -z, y),
        (z, none, -x),
        (-y, x, none),
        (x, y, z),
        (one, none, none),
        (none, one, none),
        (none, none, one),
    ]
    basis = np.stack([np.stack(row, -1) for row in rigid])

    sure = shapes.spread[STILL][:, None]
    known = (basis[:, STILL] / sure).reshape(len(basis), -1)

    def clean(modes: np.ndarray) -> np.ndarray:
        if not len(modes):
            return modes
        seen = (modes[:, STILL] / sure).reshape(len(modes), -1)
        amount = np.linalg.lstsq(known.T, seen.T, rcond=None)[0]
        return modes - np.einsum("bk,bni->kni", amount, basis)

    return replace(shapes, identity=clean(shapes.identity), expression=clean(shapes.expression))


def _level(shapes: HeadShapes, found: list[Solution]) -> HeadShapes:
    """The head nodded so that the clips' mean pitch is 0."""
    pitch = float(np.mean([np.median(angles_of(one.rotation)[:, 1]) for one in found]))
    turn = about(0, np.radians(pitch)).T
    return replace(
        shapes, mean=shapes.mean @ turn, identity=shapes.identity @ turn, expression=shapes.expression @ turn
    )


def _first_modes(clips: list[np.ndarray], shapes: HeadShapes, identities: int, expressions: int) -> HeadShapes:
    """Modes of what the mean head leaves unexplained, without depth: the means of clips, and what varies about them."""
    persons, frames = [], []
    for points in clips:
        one = _each_alone(points, shapes)
        left = (points - _shown(one, shapes)) / one.scale[:, None, None]
        solid = left @ one.rotation[:, :2]
        persons.append(solid.mean(0))
        frames.append(solid - solid.mean(0))

    def modes(rows: np.ndarray, count: int) -> np.ndarray:
        _, size, direction = np.linalg.svd(rows.reshape(len(rows), -1), full_matrices=False)
        return (size[:, None] * direction)[:count].reshape(-1, *shapes.mean.shape) / np.sqrt(len(rows))

    return replace(
        shapes, identity=modes(np.stack(persons), identities), expression=modes(np.concatenate(frames), expressions)
    )


def _quality(clips: list[np.ndarray], rigid: HeadShapes, full: HeadShapes) -> Quality:
    errors: dict[str, list[np.ndarray]] = {"rigid": [], "full": []}
    turned = []
    for points in clips:
        for name, shapes in (("rigid", rigid), ("full", full)):
            one = solve(points, shapes, frames_of_identity=FRAMES_OF_IDENTITY)
            errors[name].append(np.linalg.norm(points - _shown(one, shapes), axis=-1).mean(1) / one.scale)
        turned.append(np.abs(angles_of(one.rotation)[:, 0]) > 20)
    far = np.concatenate(turned)
    means = {name: np.concatenate(rows) for name, rows in errors.items()}

    def mean(name: str, which: np.ndarray) -> float:
        return float(means[name][which].mean()) if which.any() else float("nan")

    every = np.ones_like(far)
    return Quality(
        mean("rigid", every), mean("rigid", far), mean("full", every), mean("full", far), len(far), int(far.sum())
    )
