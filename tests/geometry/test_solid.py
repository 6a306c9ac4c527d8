"""The head as a solid: rotations and their angles, projection, and poses of heads whose answer is known."""

from pathlib import Path

import numpy as np
import pytest

from fewshot_reenact.errors import ModelError
from fewshot_reenact.geometry.rotation import about, angle_between, angles_of, exponential, rotation_from
from fewshot_reenact.geometry.solid import HeadPose, fit_head, fit_track, head_shapes
from fewshot_reenact.geometry.solid_fit import project, unproject
from fewshot_reenact.geometry.topology import FLIP, LEFT_OUTER_CORNER, RIGHT_OUTER_CORNER, mirror
from fewshot_reenact.weights import load_arrays

TURNS = [(0, 0, 0), (30, 0, 0), (-40, 10, 5), (15, -25, -30), (0, 20, 170), (-8, 3, 1)]


def heads(angles: np.ndarray, identity: float = 0.0, expression: float = 0.0, seed: int = 0) -> HeadPose:
    """One person, turned as the angles (T, 3) say, in a picture; coefficients drawn with these deviations."""
    rng, shapes = np.random.default_rng(seed), head_shapes()
    count = len(angles)
    return HeadPose(
        rotation_from(angles),
        np.full(count, 80.0),
        np.tile([200.0, 150.0], (count, 1)),
        rng.normal(0, identity, len(shapes.identity)),
        rng.normal(0, expression, (count, len(shapes.expression))),
    )


def seen(pose: HeadPose, noise: float = 0.0) -> np.ndarray:
    points = pose.placed()[..., :2]
    return points + np.random.default_rng(1).normal(0, noise, points.shape)


# ---- rotations ----


def test_angles_come_back_from_their_rotation():
    wanted = np.array(TURNS, float)
    rotation = rotation_from(wanted)
    assert np.allclose(angles_of(rotation), wanted, atol=1e-9)
    assert np.allclose(rotation @ np.swapaxes(rotation, 1, 2), np.eye(3)) and np.allclose(np.linalg.det(rotation), 1)


def test_signs_are_those_people_use():
    """The direction in which the face looks is the head's z axis: right, up, and clockwise are positive."""
    assert rotation_from([20, 0, 0])[0, 2] > 0.3, "towards the right of the picture"
    assert rotation_from([0, 20, 0])[1, 2] < -0.3, "upwards, y grows downwards"
    assert rotation_from([0, 0, 20])[1, 0] > 0.3, "the right end of the line through the eyes goes down"


def test_small_and_large_turns_are_exact():
    assert np.array_equal(exponential(np.zeros(3)), np.eye(3))
    assert np.allclose(exponential([0, 0, np.pi / 2]) @ [1, 0, 0], [0, 1, 0])
    assert angle_between(about(1, 0.3), about(1, -0.2)) == pytest.approx(np.degrees(0.5))


def test_what_is_projected_can_be_lifted_again():
    rng = np.random.default_rng(0)
    solid, rotation = rng.normal(0, 0.5, (4, 83, 3)), rotation_from(rng.normal(0, 20, (4, 3)))
    scale, translation = rng.uniform(20, 200, 4), rng.normal(0, 100, (4, 2))
    placed = project(solid, rotation, scale, translation, 0.12)
    assert np.allclose(unproject(placed, rotation, scale, translation, 0.12), solid)
    near, far = project(np.array([[0.5, 0, 0.5], [0.5, 0, -0.5]]), np.eye(3), 100.0, np.zeros(2), 0.12)
    assert near[0] > 50 > far[0] and near[2] == 50, "nearer is larger"
    assert np.allclose(project(solid, rotation, scale, translation, 0)[..., 2], placed[..., 2])


# ---- heads whose answer is known ----


def test_a_head_turned_by_known_angles_comes_back_with_them():
    angles = np.array(TURNS, float)
    pose = heads(angles)
    found = fit_track(seen(pose))
    assert np.allclose(found.angles, angles, atol=0.02)
    assert np.allclose(found.scale, 80, rtol=1e-3) and np.allclose(found.translation, [200, 150], atol=0.1)
    assert np.abs(found.identity).max() < 0.02 and np.abs(found.expression).max() < 0.02
    alone = fit_head(seen(pose)[2])
    assert alone.angles == pytest.approx(angles[2], abs=0.05)
    assert (alone.yaw, alone.pitch, alone.roll) == tuple(alone.angles)


def test_persons_and_expressions_do_not_pass_for_turns():
    rng = np.random.default_rng(3)
    angles = np.column_stack([rng.uniform(-35, 35, 60), rng.uniform(-15, 15, 60), rng.uniform(-10, 10, 60)])
    for seed in range(3):
        pose = heads(angles, identity=1, expression=1, seed=seed)
        found = fit_track(seen(pose, noise=0.5))
        assert np.abs(found.angles - angles).mean(0) == pytest.approx([0, 0, 0], abs=1.2)
        assert np.corrcoef(found.identity, pose.identity)[0, 1] > 0.9
        assert np.corrcoef(found.expression.ravel(), pose.expression.ravel())[0, 1] > 0.9


def test_a_face_in_the_mirror_is_turned_the_other_way():
    points = seen(heads(np.array([[25.0, 10, 8]]), identity=1, expression=1))
    one, other = fit_head(points[0]), fit_head(mirror(points, 400)[0])
    assert other.angles == pytest.approx(one.angles * [-1, 1, -1], abs=0.02)


def test_place_and_size_change_nothing_and_a_turned_picture_only_roll():
    points = seen(heads(np.array([[20.0, -10, 0]]), expression=1), noise=0.5)[0]
    plain = fit_head(points).angles
    assert fit_head(3 * points + 1000).angles == pytest.approx(plain, abs=1e-6)
    turned = fit_head(points @ about(2, np.radians(30))[:2, :2].T).angles
    assert turned == pytest.approx(plain + np.array([0, 0, 30]), abs=1e-4)


def test_one_point_far_off_hardly_matters():
    points = seen(heads(np.array([[20.0, -10, 5]])))[0]
    wrong = points.copy()
    wrong[[8, 30]] += [[60, 0], [0, 40]]
    assert fit_head(wrong).angles == pytest.approx([20, -10, 5], abs=2.5)


def test_frames_without_a_face_stay_so():
    points = seen(heads(np.array(TURNS, float)))
    holes = points.copy()
    holes[[0, 3]] = np.nan
    found = fit_track(holes)
    assert np.isnan(found.angles).all(1).tolist() == [True, False, False, True, False, False]
    assert np.allclose(found.angles[[1, 2, 4, 5]], np.array(TURNS, float)[[1, 2, 4, 5]], atol=0.05)
    with pytest.raises(ValueError, match="no frame has points"):
        fit_track(np.full((2, 83, 2), np.nan))
    with pytest.raises(ValueError, match=r"shape \(83, 2\), not \(frames, 83, 2\)"):
        fit_track(points[0])


def test_a_long_track_is_one_person_and_taken_in_parts():
    """More frames than are solved at once: the same person all through, and no step where the parts meet."""
    angles = np.column_stack([30 * np.sin(np.linspace(0, 9, 600)), np.zeros(600), np.zeros(600)])
    pose = heads(angles, identity=1)
    found = fit_track(seen(pose))
    assert found.identity.shape == pose.identity.shape and np.abs(found.angles - angles).max() < 1
    assert np.abs(np.diff(found.yaw - angles[:, 0])).max() < 0.1
    again = fit_track(seen(pose)[:50], identity=found.identity)
    assert np.allclose(again.angles, found.angles[:50], atol=1e-3)


def test_points_are_lifted_where_they_are():
    points = seen(heads(np.array([[25.0, 5, -10]]), identity=1, expression=1), noise=2)
    pose = fit_track(points)
    solid = pose.lifted(points)
    assert np.allclose(pose.placed(solid)[..., :2], points), "seen exactly where they are"
    assert np.allclose(pose.placed(solid)[..., 2], pose.placed()[..., 2]), "as deep as the fitted head"


def test_points_in_one_place_give_numbers():
    found = fit_head(np.full((83, 2), 7.0))
    assert np.isfinite(found.angles).all() and np.isfinite(found.translation).all()


# ---- the file ----


def test_the_shipped_head_is_what_its_docs_say():
    shapes = head_shapes()
    mean = shapes.mean
    assert np.allclose(mean, mean[FLIP] * [-1, 1, 1], atol=1e-5), "symmetric"
    assert np.allclose(mean[LEFT_OUTER_CORNER], [-0.5, 0, 0], atol=1e-5)
    assert np.allclose(mean[RIGHT_OUTER_CORNER], [0.5, 0, 0], atol=1e-5)
    assert mean[30, 2] == mean[:, 2].max() > 0.4, "the tip of the nose is what stands out most"
    assert mean[16, 2] < -0.3 and mean[78, 2] < -0.2, "jaw's ends and temples lie behind the eyes"
    assert mean[:, 1].argmax() == 8 and len(shapes.identity) <= 12 and len(shapes.expression) <= 12
    for modes in (shapes.identity, shapes.expression):
        sizes = np.sqrt((modes**2).sum((1, 2)))
        assert (np.diff(sizes) < 1e-6).all() and sizes[0] < 0.5, "the largest first, none large"


def test_a_damaged_file_is_told(tmp_path: Path):
    path = tmp_path / "head.npz"
    with pytest.raises(ModelError, match="is missing; install the package again"):
        load_arrays(path, ("mean",))
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ModelError, match="Git-LFS pointer"):
        load_arrays(path, ("mean",))
    path.write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(ModelError, match=r"head.npz: damaged"):
        load_arrays(path, ("mean",))
    np.savez(path, other=np.ones(3))
    with pytest.raises(ModelError, match=r"damaged .*mean"):
        load_arrays(path, ("mean",))
    np.savez(path, mean=np.array([1.0, np.nan]))
    with pytest.raises(ModelError, match="mean holds values that are no numbers"):
        load_arrays(path, ("mean",))
