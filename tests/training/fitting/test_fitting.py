"""What is fitted to points: on faces whose answer is known, and against the files in the package."""

from pathlib import Path

import numpy as np
import pytest

from fewshot_reenact.errors import InputError
from fewshot_reenact.geometry.shape import BASIS, basis, take_out, turned
from fewshot_reenact.geometry.topology import FLIP, LEFT_LIDS, RIGHT_LIDS
from fewshot_reenact.landmarks.fan import FOREHEAD_FILE, KNOWN, forehead_frame
from fewshot_reenact.motion.builtins import FILE, FPS
from fewshot_reenact.training.fitting import motions
from fewshot_reenact.training.fitting.forehead import fit_forehead, read_faces
from fewshot_reenact.training.fitting.shape_basis import fit_shape_basis, read_points
from fewshot_reenact.weights import open_weights
from painted_clips import face_points


def turning_clips(count: int = 6, frames: int = 30) -> list[np.ndarray]:
    """People who turn their heads as the shipped basis says, at different places and sizes."""
    rng, clips = np.random.default_rng(0), []
    for _ in range(count):
        turn = 0.3 * np.sin(np.linspace(0, 6, frames)[:, None] + rng.uniform(0, 6, 2))
        clips.append((basis().mean + turned(turn)) * rng.uniform(40, 90) + rng.uniform(100, 200, 2))
    return clips


def test_the_basis_that_made_the_clips_is_found_again() -> None:
    found, explained = fit_shape_basis(turning_clips())
    assert explained > 0.97
    assert np.abs(found.mean - found.mean[FLIP] * [-1, 1]).max() < 1e-9, "symmetric"
    x = np.linspace(-0.3, 0.3, 7)[:, None]
    for axis in (0, 1):
        turn = np.zeros((7, 2))
        turn[:, axis : axis + 1] = x
        features = np.stack([turn[:, 0], turn[:, 1], turn[:, 0] ** 2, turn[:, 1] ** 2, turn[:, 0] * turn[:, 1]], 1)
        again = (features @ found.turn.reshape(5, -1)).reshape(7, 83, 2)
        want = turned(turn)
        assert np.abs((again - again[3]) - (want - want[3])).mean() < 0.15 * np.abs(want - want[3]).mean()


def test_a_forehead_that_follows_from_the_face_is_found(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    points = np.stack([face_points(256, scale=s, angle=a) for s, a in rng.uniform((0.1, -0.5), (0.25, 0.5), (200, 2))])
    points = points.astype(np.float64) + rng.normal(0, 0.2, points.shape)
    matrix, note = fit_forehead(points, 1e-6)
    assert "180 faces; error on 20 others 0." in note, note
    origin, turn = forehead_frame(points[:1])
    own = (points[:1] - origin[:, None]) @ turn
    known = np.append(own[0, KNOWN].ravel(), 1)
    made = (known @ matrix).reshape(13, 2) @ np.linalg.inv(turn[0]) + origin[0]
    assert np.linalg.norm(made - points[0, 68:81], axis=1).mean() < 1.5
    with pytest.raises(InputError, match="no such file; give a folder of stills and clips"):
        read_faces(tmp_path)
    with pytest.raises(InputError, match=r"no clips \(NAME\.npz\)"):
        read_points(tmp_path)


# ---- motions


def test_a_course_goes_through_its_points_and_stops_softly() -> None:
    values = motions.course([(0.0, 0.0), (0.4, 1.0), (0.8, 0.2)], 1.0)
    assert len(values) == FPS + 1
    assert values[[0, round(0.4 * FPS), -1]] == pytest.approx([0, 1, 0.2])
    assert abs(values[1] - values[0]) < abs(values[5] - values[4]), "no jump at the start"


def test_a_composed_motion_begins_and_ends_with_the_mean_face() -> None:
    mean = basis().mean
    change = np.full((30, 83, 2), 0.1)
    head = np.stack([np.full(30, np.exp(0.1j)), np.full(30, 0.2 + 0j)], 1)
    made = motions.composed(mean, change, head)
    assert made.shape == (30, 83, 2)
    assert np.allclose(made[0], made[-1]) and np.allclose(made[0], motions.composed(mean, change * 0)[0])
    assert np.linalg.norm(made[15] - made[0], axis=1).min() > 1


def test_blinks_close_the_lids_of_the_face() -> None:
    closed = motions.blinks([0.2, 1.0], 1.6)
    assert closed.max() == pytest.approx(1) and closed[[0, -1]] == pytest.approx([0, 0])
    assert (np.diff((closed > 0.5).astype(int)) == 1).sum() == 2
    shut, wide = face_points(256, closed=1.0), face_points(256)
    assert motions.lid_gap(shut, LEFT_LIDS) < 0.01 * motions.lid_gap(wide, RIGHT_LIDS)


def test_aligned_faces_lose_place_size_and_turn() -> None:
    faces = np.stack([face_points(256, scale=0.1, angle=0.4), face_points(256, at=(0.3, 0.6), scale=0.2)])
    own, pose = motions.align(faces.astype(np.float64), faces[1].astype(np.float64))
    assert np.abs(own[0] - own[1]).max() < 0.01
    assert abs(pose[0, 0]) == pytest.approx(0.5, abs=1e-4) and np.angle(pose[0, 0]) == pytest.approx(0.4, abs=1e-4)


def test_clips_that_motions_cannot_be_made_of(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no clips"):
        motions.load_clips(tmp_path)
    np.savez(tmp_path / "a.npz", points=np.zeros((3, 83, 2)))
    with pytest.raises(InputError, match=r"a\.npz: not the points of a clip, with fps"):
        motions.load_clips(tmp_path)
    np.savez(tmp_path / "a.npz", points=np.zeros((3, 83, 2)), fps=25.0)
    with pytest.raises(InputError, match="p150_01, p213_00, p272_01, p308_00 are missing"):
        motions.make_motions(motions.load_clips(tmp_path))


# ---- the files in the package


@pytest.mark.slow
def test_the_shipped_files_are_what_the_clips_give(shared: Path) -> None:
    """Within the last digit: another processor adds in another order."""
    clips = shared / "data" / "clips" / "train"
    with np.load(BASIS) as there:
        made, _ = fit_shape_basis(read_points(clips))
        assert np.allclose(made.mean, there["mean"], atol=1e-5) and np.allclose(made.turn, there["turn"], atol=1e-4)
    matrix, note = fit_forehead(read_faces(shared / "data"), 1e-3)
    with open_weights(FOREHEAD_FILE, "missing") as file:
        assert np.allclose(matrix, file.tensors()["forehead"].numpy(), atol=1e-4) and note in file.meta["note"]
    with np.load(FILE) as there:
        found = motions.stored(motions.make_motions(motions.load_clips(clips)))
        assert found.keys() == set(there.files)
        assert all(np.abs(found[name].astype(int) - there[name]).max() <= 1 for name in found)


def test_the_mean_face_stays_where_it_is() -> None:
    placed = take_out(basis().mean[None] * 50 + 100)
    assert np.abs(placed.shape[0] - basis().mean).max() < 1e-6
