"""Face frames, boxes and crops about a head, pasting the change back."""

import cv2
import numpy as np
import pytest

from fewshot_reenact.geometry.affine import invert, transform
from fewshot_reenact.geometry.face_frame import face_frame
from fewshot_reenact.geometry.head_crop import cut_square, head_box, square_about
from fewshot_reenact.geometry.topology import LEFT_EYE, MOUTH, RIGHT_EYE
from fewshot_reenact.rendering.paste import (
    cut_face,
    frame_bounds,
    hiding_gate,
    onto_picture,
    paste_change,
    sample_picture,
)
from painted_clips import face_points

# ---- the face's own frame ----


def similarity(angle: float, scale: float, x: float, y: float) -> np.ndarray:
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[c, -s, x], [s, c, y]])


@pytest.mark.parametrize(
    "move", [(0, 1, 20, -7), (0, 2.5, 0, 0), (0.6, 1, 0, 0), (-2.0, 0.4, 300, 100), (3.1, 7, -50, 5)]
)
def test_the_frame_goes_along_with_the_face(move):
    """Moved, turned and enlarged, a face looks the same in its frame."""
    points, matrix = face_points(100, opened=0.2).astype(np.float64), similarity(*move)
    before, after = face_frame(points, 64), face_frame(transform(matrix, points), 64)
    corners = np.array([[0, 0], [63, 0], [0, 63], [20, 40]], float)
    assert np.allclose(
        transform(after, corners), transform(matrix, transform(before, corners)), atol=1e-6 * move[1] * 100
    )


def test_eyes_and_mouth_stand_at_the_same_place_on_every_face():
    for face in (face_points(100), face_points(100, wide=1.25), face_points(300, angle=0.4), face_points(80, wide=0.8)):
        seen = transform(invert(face_frame(face, 128)), face.astype(np.float64)) / 128
        eyes, mouth = (seen[LEFT_EYE].mean(0) + seen[RIGHT_EYE].mean(0)) / 2, seen[MOUTH].mean(0)
        assert np.allclose(eyes, [0.5, 0.32], atol=0.06) and np.allclose(mouth, [0.5, 0.67], atol=0.06)
        assert seen[8, 1] < 1.05, "down to the chin"


def test_speech_does_not_pump_the_frame():
    shut, wide = (face_frame(face_points(100, opened=opened), 64) for opened in (0.0, 0.5))
    assert np.allclose(shut, wide, atol=1e-9)


def test_the_frames_size_is_only_its_resolution():
    points, corners = face_points(100), np.array([[-0.5, -0.5], [63.5, -0.5], [63.5, 63.5]])
    small, large = face_frame(points, 64), face_frame(points, 128)
    assert np.allclose(transform(small, corners), transform(large, 2 * (corners + 0.5) - 0.5), atol=1e-9)


def test_points_in_one_place_still_have_a_frame():
    frame = face_frame(np.full((83, 2), 7.0), 64)
    assert np.isfinite(frame).all() and np.linalg.det(frame[:, :2]) > 0


def test_matrices_invert():
    matrix, points = similarity(0.7, 3, 10, -4), np.random.default_rng(0).normal(0, 50, (4, 83, 2))
    assert np.allclose(transform(invert(matrix), transform(matrix, points)), points)
    assert transform(matrix, np.zeros(2)).tolist() == [10, -4]


# ---- boxes and crops ----


@pytest.mark.parametrize("size", [(200, 160), (160, 200), (30, 20), (2, 2)])
@pytest.mark.parametrize("at", [(0.5, 0.5), (0, 0), (1, 1), (-0.5, 0.5), (1.6, 0.5), (0.5, 3), (-40, -40), (40, 40)])
def test_the_box_lies_inside_the_picture(size, at):
    x0, y0, x1, y1 = head_box(face_points(100, at=at)[None], size)
    assert 0 <= x0 < x1 <= size[0] and 0 <= y0 < y1 <= size[1]
    assert all(isinstance(v, int) for v in (x0, y0, x1, y1))


def test_the_box_holds_every_pose_and_room_about_it():
    poses = np.stack([face_points(300, at=(x, 0.5), scale=0.08) for x in (0.4, 0.5, 0.6)])
    x0, y0, x1, y1 = head_box(poses, (300, 300))
    low, high = poses.min((0, 1)), poses.max((0, 1))
    room = 0.5 * np.ptp(poses[0, :, 1])
    assert x0 < low[0] - room and y0 < low[1] - room and x1 > high[0] + room and y1 > high[1] + room
    assert (x0, y0, x1, y1) != (0, 0, 300, 300)


@pytest.mark.parametrize("at", [(0.5, 0.5), (0.05, 0.1), (0.98, 0.9)])
@pytest.mark.parametrize("scale", [0.05, 0.2, 0.5])
def test_a_square_about_the_head_lies_inside_the_picture(at, scale):
    points = face_points(200, at=at, scale=scale)
    x0, y0, side = square_about(points, (200, 260))
    assert x0 >= 0 and y0 >= 0 and x0 + side <= 200.001 and y0 + side <= 260.001 and side > 0
    if at == (0.5, 0.5) and scale == 0.05:
        assert np.allclose([x0 + side / 2, y0 + side / 2], (points.min(0) + points.max(0)) / 2, atol=1e-3)
        assert side > 1.5 * np.ptp(points[:, 1])


@pytest.mark.parametrize("square", [(20.0, 30.0, 60.0), (20.25, 30.5, 61.3), (0.0, 0.0, 200.0), (7.7, 3.2, 17.0)])
@pytest.mark.parametrize("size", [64, 150])
def test_a_dot_is_where_the_crops_matrix_says(square, size):
    dot = np.array([round(square[0] + 0.4 * square[2]), round(square[1] + 0.6 * square[2])])
    picture = np.zeros((200, 220, 3), np.uint8)
    picture[dot[1], dot[0]] = 255
    crop, matrix = cut_square(cv2.GaussianBlur(picture, (0, 0), 2.0), square, size)
    assert crop.shape == (size, size, 3)
    weight = crop[..., 0].astype(float)
    found = np.array([(weight * axis).sum() for axis in np.meshgrid(np.arange(size), np.arange(size))]) / weight.sum()
    assert np.allclose(found, transform(matrix, dot.astype(float)), atol=0.5 + 0.1 * size / square[2])
    corners = transform(matrix, np.array([[square[0] - 0.5, square[1] - 0.5], [square[0] + square[2] - 0.5] * 2]))
    assert np.allclose(corners[0], -0.5, atol=1.5), "the square's corner is the crop's"


@pytest.mark.parametrize("x, y", [(150, 90), (-40, -30), (420, 260)])
@pytest.mark.parametrize("scale", [1.7, 2.83, 6.0])
def test_a_face_cut_from_a_part_is_that_cut_from_the_whole(x: int, y: int, scale: float) -> None:
    """Also where its frame reaches beyond the picture."""
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (40, 60, 3), np.uint8)
    picture = cv2.resize(noise, (611, 397), interpolation=cv2.INTER_CUBIC)
    frame = similarity(0.2, scale, x, y)
    small = cv2.resize(picture, (round(611 / scale), round(397 / scale)), interpolation=cv2.INTER_AREA)
    share = np.array([small.shape[1] / 611, small.shape[0] / 397])
    own = np.concatenate([frame[:, :2] * share[:, None], ((frame[:, 2] + 0.5) * share - 0.5)[:, None]], 1)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    want = cv2.warpAffine(small, own, (SIDE, SIDE), flags=flags, borderMode=cv2.BORDER_REPLICATE).astype(int)
    apart = np.abs(cut_face(picture, frame, SIDE).astype(int) - want)
    assert (apart <= 1).mean() > 0.99 and apart.max() <= 8


# ---- pasting ----

FRAME = similarity(0.3, 1.6, 40, 20)  # a face frame of 48 pixels in a picture of 160 x 140
SIDE = 48


def feather() -> np.ndarray:
    window = np.hanning(SIDE).astype(np.float32)
    return np.outer(window, window)


def paste(change: np.ndarray, magnified: float, value: int = 100, warped: float = 0.8) -> tuple[np.ndarray, np.ndarray]:
    """A flat picture with the change pasted, and its frame coordinates (H, W, 2)."""
    picture = np.full((140, 160, 3), value, np.uint8)
    seen = np.full((SIDE, SIDE, 3), warped, np.float32)
    paste_change(picture, change, seen, feather(), FRAME, magnified)
    pixels = np.stack(np.meshgrid(np.arange(160), np.arange(140)), -1).astype(float)
    return picture, transform(invert(FRAME), pixels)


def test_exactly_the_change_is_added_in_the_middle_and_nothing_outside():
    change = np.zeros((SIDE, SIDE, 3), np.float32)
    change[4:-4, 4:-4] = [40 / 255, -20 / 255, 0]
    picture, at = paste(change, magnified=1.0)
    middle = ((at > 6) & (at < SIDE - 7)).all(-1)
    outside = ((at < 2) | (at > SIDE - 3)).any(-1)
    assert middle.sum() > 1000 and (picture[middle] == [140, 80, 100]).all()
    assert (picture[outside] == 100).all()


def test_brightness_is_clipped_not_wrapped():
    for change, value, want in ((0.9, 200, 255), (-0.9, 60, 0)):
        full = np.zeros((SIDE, SIDE, 3), np.float32)
        full[4:-4, 4:-4] = change
        picture, at = paste(full, 1.0, value)
        assert (picture[((at > 6) & (at < SIDE - 7)).all(-1)] == want).all()


def test_detail_is_hidden_where_the_change_is_large():
    """In a magnified picture the networks' own, smooth picture replaces the fine detail under a large change."""
    change = np.zeros((SIDE, SIDE, 3), np.float32)
    change[12:-12, 12:-12] = -0.5
    hidden, at = paste(change, magnified=3.0)
    centre = ((at > 22) & (at < 25)).all(-1)
    assert np.allclose(hidden[centre], (0.8 - 0.5) * 255, atol=8), "the warped picture and the change, not the detail"
    kept, _ = paste(change, magnified=1.0)
    assert np.allclose(kept[centre], 0, atol=1)
    small, at = paste(np.full((SIDE, SIDE, 3), 0.03, np.float32), magnified=3.0)
    assert (small[((at > 6) & (at < SIDE - 7)).all(-1)] == 108).all(), "under a small change all detail stays"


def test_the_gate_opens_with_the_change():
    gates = [
        hiding_gate(np.full((64, 64, 3), sign * size, np.float32)) for size in (0, 0.05, 0.12, 0.3) for sign in (1, -1)
    ]
    values = [float(gate[32, 32]) for gate in gates]
    assert values[:4] == [0, 0, 0, 0] and 0.2 < values[4] == values[5] < 0.8 and values[6:] == [1, 1]
    assert gates[0].shape == (64, 64) and gates[0].dtype == np.float32


def test_a_frame_outside_the_picture_changes_nothing():
    for x, y in ((-500, 0), (500, 0), (0, 900), (-300, -300)):
        picture = np.full((140, 160, 3), 90, np.uint8)
        ones = np.ones((SIDE, SIDE, 3), np.float32)
        paste_change(picture, ones, ones, feather(), similarity(0.3, 1.6, x, y), 2.0)
        assert (picture == 90).all()


def test_a_frame_over_the_pictures_edge_is_pasted_as_far_as_it_goes():
    picture = np.full((140, 160, 3), 90, np.uint8)
    change = np.full((SIDE, SIDE, 3), 0.2, np.float32)
    paste_change(picture, change, change, feather(), similarity(0, 2.0, -40, 100), 1.0)
    assert (picture[110:, :40] == 141).all() and (picture[:95] == 90).all()


def test_values_land_where_the_frame_says():
    ramp = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE)), -1).astype(np.float32)
    bounds = frame_bounds(FRAME, SIDE, (160, 140))
    x0, y0, x1, y1 = bounds
    for smooth in (False, True):
        seen = onto_picture(ramp, FRAME, bounds, smooth)
        assert seen.shape == (y1 - y0, x1 - x0, 2)
        y, x = 30, 25
        assert np.allclose(seen[y, x], transform(invert(FRAME), np.array([x + x0, y + y0], float)), atol=0.1)


def test_a_flow_of_zero_shows_the_picture():
    picture = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    still = np.stack(np.meshgrid(np.arange(30), np.arange(20)), -1).astype(np.float32)
    assert (sample_picture(picture, still) == picture).all()
    assert (sample_picture(picture, still[2:8, 3:9] + np.float32([4, 5])) == picture[7:13, 7:13]).all()
