"""The head in three dimensions, fitted to tracks of heads whose shape is known."""

import numpy as np
import pytest

from fewshot_reenact.geometry.rotation import angles_of, rotation_from
from fewshot_reenact.geometry.solid import head_shapes
from fewshot_reenact.geometry.solid_fit import HeadShapes, project, solve
from fewshot_reenact.geometry.topology import FLIP
from fewshot_reenact.training.fitting.head_shape import fit_head_shape, pick_frames
from fewshot_reenact.training.fitting.point_spread import backend_spread, spread_in_use

NEARNESS = 0.1


def truth() -> HeadShapes:
    """The shipped mean, deeper, with a mode of identity (a wider jaw) and one of expression (an open mouth)."""
    mean = head_shapes().mean * [1, 1, 1.25]
    wide, opened = np.zeros((2, 83, 3))
    wide[:17, 0] = 0.06 * np.sign(mean[:17, 0])
    opened[[57, 58, 56, 66, 65, 67], 1] = 0.05
    opened[5:12, 1] = 0.03
    return HeadShapes(mean, wide[None], opened[None], np.full(83, 0.01), NEARNESS)


def tracks(shapes: HeadShapes, persons: int = 30, frames: int = 8) -> tuple[list[np.ndarray], np.ndarray]:
    """Clips (T, 83, 2) pixels of heads that turn, and their angles (persons * T, 3)."""
    rng, clips, turns = np.random.default_rng(0), [], []
    for _ in range(persons):
        angles = rng.normal(0, [22, 7, 5], (frames, 3))
        who, what = rng.normal(0, 1, 1), rng.normal(0, 1, (frames, 1))
        solid = shapes.mean + np.tensordot(who, shapes.identity, 1) + np.tensordot(what, shapes.expression, 1)
        placed = project(
            solid, rotation_from(angles), rng.uniform(50, 90, frames), rng.normal(128, 9, (frames, 2)), NEARNESS
        )
        clips.append(placed[..., :2] + rng.normal(0, 0.5, (frames, 83, 2)))
        turns.append(angles)
    return clips, np.concatenate(turns)


@pytest.fixture(scope="module")
def fitted():
    clips, turns = tracks(truth())
    said: list[str] = []
    shapes, quality = fit_head_shape(
        clips, identities=1, expressions=1, rigid_rounds=12, rounds=4, nearness=NEARNESS, progress=said.append
    )
    return clips, turns, shapes, quality, said


def test_depth_is_found_from_two_dimensions(fitted):
    _, _, shapes, quality, said = fitted
    wanted = truth().mean
    # What is level is a matter of agreement: the head as found, nodded onto the true one.
    left, _, right = np.linalg.svd(shapes.mean.T @ (wanted - wanted.mean(0)))
    there = (shapes.mean - shapes.mean.mean(0)) @ (left @ right) + wanted.mean(0)
    assert np.abs(there - wanted).mean() < 0.015, "eye distances; the search begins at an ellipsoid"
    assert np.allclose(shapes.mean, shapes.mean[FLIP] * [-1, 1, 1])
    assert quality.full < 0.6 * quality.rigid and quality.full_turned < quality.rigid_turned
    assert quality.frames == 240 and 60 < quality.turned < 120
    assert len(said) <= 16 and "mean moved by" in said[0]


def test_what_stays_in_a_clip_is_identity_and_what_varies_expression(fitted):
    _, _, shapes, _, _ = fitted
    for found, wanted in ((shapes.identity[0], truth().identity[0]), (shapes.expression[0], truth().expression[0])):
        share = abs((found * wanted).sum()) / np.linalg.norm(found) / np.linalg.norm(wanted)
        assert share > 0.85
        assert np.linalg.norm(found) == pytest.approx(np.linalg.norm(wanted), rel=0.3)


def test_its_poses_are_the_true_ones(fitted):
    clips, turns, shapes, _, _ = fitted
    found = [solve(points, shapes, frames_of_identity=30) for points in clips]
    error = np.concatenate([angles_of(one.rotation) for one in found]) - turns
    assert np.abs(error - np.median(error, axis=0)).mean(0) == pytest.approx([0, 0, 0], abs=1)


def test_the_extractors_own_error_is_measured_alike_for_both_sides():
    rng = np.random.default_rng(0)
    labelled = [points + 0 for points in tracks(truth(), persons=6, frames=30)[0]]
    unit = np.array([np.linalg.norm(points[:, 45] - points[:, 36], axis=1).mean() for points in labelled])
    measured = [p + 0.02 * u * rng.normal(size=p.shape) for p, u in zip(labelled, unit, strict=True)]
    for points, truth_of in zip(measured, labelled, strict=True):
        points[:, 30] += 0.04 * 50 * rng.normal(size=(30, 2))
        points[::3] = truth_of[::3]  # not measured: no proof of exactness
    spread = backend_spread(measured, labelled)
    assert spread[45] == spread[36] and spread[45] == pytest.approx(0.022, abs=0.006)
    assert spread[30] > 1.3 * spread[27], "the worse point is known"
    used = spread_in_use(np.full(83, 0.01), spread)
    assert used[30] == pytest.approx(np.hypot(0.01, spread[30])) and used[8] == pytest.approx(
        3 * np.hypot(0.01, spread[8])
    )


def test_frames_are_picked_evenly_and_without_gaps():
    points = np.arange(10.0)[:, None, None] * np.ones((10, 83, 2))
    points[3] = np.nan
    (kept,) = pick_frames([points, np.full((4, 83, 2), np.nan)], 3)
    assert kept[:, 0, 0].tolist() == [0, 5, 9]
