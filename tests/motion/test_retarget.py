"""The driver's motion on the portrait's own face; shapes taken out of pictures; landmark pictures."""

import numpy as np
import pytest

from fewshot_reenact.errors import UsageError
from fewshot_reenact.geometry.raster import raster
from fewshot_reenact.geometry.shape import openness, place, take_out, turn_of, turned
from fewshot_reenact.geometry.topology import LEFT_LIDS, LIP_PAIRS, REGIONS, RIGHT_LIDS, eye_distance
from fewshot_reenact.motion.builtins import load_builtin_motion
from fewshot_reenact.motion.heads import HeadMotion, lift
from fewshot_reenact.motion.retarget import Retargeting, find_most_similar, find_reference, scale_to_picture
from fewshot_reenact.motion.solid_retarget import retarget_solid
from painted_clips import face_points

SIZE = 200
FRAMES = 20


def moving(wide: float = 1.0) -> np.ndarray:
    """(T, 83, 2): somebody who talks, blinks at frame 15, tilts and shifts the head; at rest in frame 0."""
    frames = []
    for t in range(FRAMES):
        frames.append(
            face_points(
                SIZE,
                opened=0.3 * np.sin(0.5 * t) ** 2,
                closed=float(t == 15),
                at=(0.5 + 0.05 * np.sin(0.3 * t), 0.42),
                angle=0.1 * np.sin(0.4 * t),
                wide=wide,
            )
        )
    return np.stack(frames)


def portrait() -> np.ndarray:
    """A narrower face with wider eyes, larger, tilted, elsewhere."""
    points = face_points(400, at=(0.45, 0.5), scale=0.15, angle=0.15, wide=0.9)
    own = take_out(points[None])
    for up, low in (*LEFT_LIDS, *RIGHT_LIDS):
        middle = (own.shape[:, up] + own.shape[:, low]) / 2
        own.shape[:, up] += 0.5 * (own.shape[:, up] - middle)
        own.shape[:, low] += 0.5 * (own.shape[:, low] - middle)
    return own.points()[0]


def put(driver: np.ndarray, onto: np.ndarray, reference: int | None = 0, fps: float = 25, **how: object) -> np.ndarray:
    chosen = Retargeting(**how)  # type: ignore[arg-type]
    if chosen.motion == "absolute":
        return scale_to_picture(driver, (SIZE, SIZE), (400, 400))
    times = np.arange(len(driver)) / fps
    return retarget_solid(HeadMotion.of(driver), lift(onto), times, how=chosen, reference=reference).points


def apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Distance of each point, in outer-eye-corner distances of b."""
    return np.linalg.norm(a - b, axis=-1) / eye_distance(b)[..., None]


# ---- relative ----


def test_a_driver_at_rest_leaves_the_portrait_as_it_is():
    out = put(np.repeat(moving()[:1], 5, 0), portrait())
    assert out.shape == (5, 83, 2) and out.dtype == np.float32
    assert apart(out, np.repeat(portrait()[None], 5, 0)).max() < 1e-4


@pytest.mark.parametrize("reference", [0, 7])
def test_at_the_reference_frame_stands_the_portrait(reference):
    out = put(moving(), portrait(), reference)
    assert apart(out[reference], portrait()).max() < 0.01
    assert apart(out, np.repeat(portrait()[None], FRAMES, 0)).max() > 0.1


def test_a_persons_own_motion_comes_out_as_it_was():
    driver = moving()
    out = put(driver, driver[0])
    error = apart(out, driver)
    assert error.mean() < 0.02 and error.max() < 0.13
    assert np.abs(openness(take_out(out).shape) - openness(take_out(driver).shape)).mean() < 0.02


def test_closed_lids_come_out_closed_on_wider_eyes():
    out = openness(take_out(put(moving(), portrait())).shape)
    rest = openness(take_out(portrait()[None]).shape)[0]
    assert (np.abs(out[15, 1:]) < 0.02).all() and (rest[1:] > 0.3).all()
    assert (out[5, 1:] > 0.9 * rest[1:]).all() and (out[:, 1:] < 1.5 * rest[1:] + 0.01).all()


def test_nearly_closed_lids_come_out_closed():
    """Detectors seldom say that an eye is quite shut."""
    driver = np.stack([face_points(SIZE), face_points(SIZE, closed=0.92), face_points(SIZE, closed=0.5)])
    out = openness(take_out(put(driver, portrait())).shape)[:, 1]
    assert abs(out[1]) < 0.01 and 0.3 < out[2] / out[0] < 0.6


def test_closed_lips_come_out_closed_and_opened_ones_open():
    def lips(opened: float, shut: float = 0.0) -> np.ndarray:
        points = face_points(SIZE, opened=opened).copy()
        for up, low in LIP_PAIRS:
            middle = (points[up] + points[low]) / 2
            points[up] += shut * (middle - points[up])
            points[low] += shut * (middle - points[low])
        return points

    out = openness(take_out(put(np.stack([lips(0), lips(0, shut=1), lips(0.3)]), portrait())).shape)[:, 0]
    assert abs(out[1]) < 0.01 < out[0] < out[2] - 0.2
    # From an opened mouth back to a closed one: the portrait's is closed already and stays so.
    closed = lips(0, shut=1)
    back = openness(take_out(put(np.stack([lips(0.3), closed]), closed)).shape)[:, 0]
    assert np.abs(back).max() < 0.02, "lips never cross"


def test_the_drivers_face_leaks_nothing():
    """A face a quarter wider that does the same moves the portrait the same way."""
    narrow, wide = put(moving(), portrait()), put(moving(wide=1.25), portrait())
    went = apart(narrow, np.repeat(portrait()[None], FRAMES, 0))
    assert apart(wide, narrow).mean() < 0.2 * went.mean() and apart(wide, narrow).max() < 0.1
    shape = take_out(wide).shape
    width = np.ptp(shape[:, REGIONS["jaw"], 0], axis=1) / np.ptp(take_out(portrait()[None]).shape[0, REGIONS["jaw"], 0])
    assert np.abs(width - 1).max() < 0.03, "the portrait's jaw stays as wide as it is"


def test_the_portraits_scale_and_place_do_not_matter():
    out = put(moving(), portrait())
    there = put(moving(), portrait() * 2 + [30, -10])
    assert np.allclose(there, out * 2 + [30, -10], atol=0.01)
    assert np.allclose(put(moving() * 3 + 5, portrait()), out, atol=0.01)


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0, 2.0])
def test_strength_scales_all_that_moves(strength):
    out = take_out(put(moving(), portrait(), strength=strength))
    full, own = take_out(put(moving(), portrait())), take_out(portrait()[None])
    assert np.allclose(out.angle - own.angle, strength * (full.angle - own.angle), atol=0.02)
    gap = openness(out.shape)[:, 0] - openness(own.shape)[:, 0]
    assert gap.max() == pytest.approx(
        strength * (openness(full.shape)[:, 0] - openness(own.shape)[:, 0]).max(), abs=0.03
    )
    if strength == 0:
        assert apart(out.points(), np.repeat(portrait()[None], FRAMES, 0)).max() < 1e-4


@pytest.mark.parametrize(
    ("region", "moves", "stay"),
    [
        ("lips", ("mouth", "jaw"), ("left_eye", "right_eye", "nose", "left_brow", "forehead")),
        ("eyes", ("left_eye", "right_eye"), ("mouth", "jaw", "nose", "right_brow", "forehead")),
        ("expression", ("mouth", "left_eye"), ("nose",)),
    ],
)
def test_only_the_region_moves(region, moves, stay):
    away = apart(put(moving(), portrait(), region=region), np.repeat(portrait()[None], FRAMES, 0))
    for part in stay:
        assert away[:, REGIONS[part]].max() < 0.01, part
    for part in moves:
        assert away[:, REGIONS[part]].max() > 0.03, part


def test_the_region_pose_turns_the_head_and_keeps_the_face():
    out, own = take_out(put(moving(), portrait(), region="pose")), take_out(portrait()[None])
    assert np.abs(openness(out.shape) - openness(own.shape)).max() < 0.02
    assert np.ptp(out.angle) == pytest.approx(np.ptp(take_out(moving()).angle), abs=0.02)
    assert np.ptp(out.centre[:, 0]) > 10


def test_a_turned_head_turns_the_portraits():
    turns = np.stack([np.zeros(5), np.linspace(0, 0, 5)], -1)
    turns[:, 0] = [0, 0.1, 0.2, -0.1, -0.2]
    mean = take_out(face_points(SIZE)[None])
    driver = place(mean.shape + turned(turns), np.zeros(5), np.full(5, 3.6), np.full((5, 2), 100.0))
    out = turn_of(take_out(put(driver, portrait())).shape)[:, 0] - turn_of(take_out(portrait()[None]).shape)[0, 0]
    assert np.all(np.sign(out[1:]) == np.sign(turns[1:, 0])) and np.abs(out[[2, 4]]).min() > 0.1


def test_a_smile_does_not_leave_a_turned_face_on_its_far_side():
    """A mouth that widens evenly from the front widens less where a turned head has less mouth to show."""
    front = take_out(face_points(SIZE)[None])
    smile = front.shape.copy()
    smile[:, REGIONS["mouth"], 0] *= 1.4
    driver = np.concatenate([front.points(), place(smile, front.angle, front.log_size, front.centre)])
    aside = place(front.shape + turned(np.array([[0.2, 0.0]])), front.angle, front.log_size, front.centre)[0]
    (rest, wide), (own_rest, own_wide) = put(driver, aside), put(driver, face_points(SIZE))
    far, near = sorted(abs(float(wide[corner, 0] - rest[corner, 0])) for corner in (48, 54))
    left, right = (abs(float(own_wide[corner, 0] - own_rest[corner, 0])) for corner in (48, 54))
    assert far < 0.7 * near and far < 0.8 * left and left == pytest.approx(right, rel=0.05)


def test_a_single_pose_is_measured_from_the_mean_face():
    plain = put(face_points(SIZE)[None], portrait(), reference=None)
    assert apart(plain, portrait()[None]).max() < 0.02
    out = put(face_points(SIZE, opened=0.3, angle=0.2)[None], portrait(), reference=None)
    assert openness(take_out(out).shape)[0, 0] > openness(take_out(portrait()[None]).shape)[0, 0] + 0.2
    assert take_out(out).angle[0] - take_out(portrait()[None]).angle[0] == pytest.approx(0.2, abs=0.02)


def test_pulsing_size_is_slowed_and_a_head_that_comes_nearer_is_not():
    steady = np.repeat(face_points(SIZE)[None], 100, 0)
    middle = steady.mean((0, 1))
    pulse = 1 + 0.05 * (-1) ** np.arange(100)
    nearer = np.linspace(1, 1.3, 100)
    for factor, low, high in ((pulse, 0.0, 0.01), (nearer, 0.2, 0.3)):
        size = take_out(put((steady - middle) * factor[:, None, None] + middle, portrait())).log_size
        assert low <= np.ptp(size) <= high + 1e-6


# ---- absolute ----


def test_absolute_motion_is_the_drivers_own_points():
    driver = moving()
    same = scale_to_picture(driver, (320, 200), (320, 200))
    assert np.array_equal(same, driver)
    twice = scale_to_picture(driver, (320, 200), (640, 400))
    assert np.allclose(twice, 2 * (driver + 0.5) - 0.5, atol=1e-3), "pixel centres are at integers"
    fitted = scale_to_picture(driver, (200, 200), (200, 400))
    assert np.allclose(fitted, driver + np.float32([0, 100])), "scaled evenly, centred"
    assert fitted.dtype == np.float32


# ---- the reference frame ----


def test_the_planted_frame_is_found():
    driver = np.stack([face_points(SIZE, opened=0.4 - 0.02 * (t % 3), angle=0.2, closed=0.3) for t in range(12)])
    driver[8] = face_points(SIZE, angle=-0.3, at=(0.3, 0.6), scale=0.12)
    plain = face_points(400, wide=0.9)
    assert find_reference(driver, plain) == 8, "wherever the head is and however it is tilted"
    confidence = np.full(12, 0.9)
    assert find_reference(driver, plain, confidence) == 8
    confidence[8] = 0.3
    assert find_reference(driver, plain, confidence) != 8, "a frame of which little is sure is not taken"


# ---- what may be asked ----


@pytest.mark.parametrize(
    ("how", "complaint"),
    [
        ({"motion": "sideways"}, "'sideways' is not one of relative, absolute"),
        ({"region": "ears"}, "'ears' is not one of all, expression, pose, lips, eyes"),
        ({"strength": 2.1}, "strength 2.1 is not between 0 and 2"),
        ({"strength": -0.1}, "not between"),
        ({"strength": float("nan")}, "not between"),
        ({"motion": "absolute", "region": "lips"}, "relative motion only"),
        ({"motion": "absolute", "strength": 0.5}, "relative motion only"),
    ],
)
def test_settings_that_are_refused(how, complaint):
    with pytest.raises(UsageError, match=complaint) as caught:
        Retargeting(**how)
    assert caught.value.exit_code == 2


# ---- shapes ----


def test_faces_are_taken_out_and_put_back():
    points = np.concatenate([moving(), load_builtin_motion("talk").points[:5]])
    taken = take_out(points)
    assert taken.points() == pytest.approx(points, abs=1e-3)
    c, s = np.cos(0.5), np.sin(0.5)
    again = take_out(points @ np.array([[c, s], [-s, c]]) * 3 + [7, -9])
    assert np.allclose(again.shape, taken.shape, atol=1e-5), "the shape knows nothing of place, size and tilt"
    assert np.allclose(again.angle - taken.angle, 0.5) and np.allclose(again.log_size - taken.log_size, np.log(3))


def test_openness_is_of_the_shape_and_signed():
    faces = np.stack([face_points(SIZE), face_points(SIZE, closed=1), face_points(SIZE, opened=0.3), face_points(SIZE)])
    up, low = LIP_PAIRS[1]
    for up, low in LIP_PAIRS:
        faces[3][[up, low]] = faces[3][[low, up]]
    rest, shut, wide, crossed = openness(take_out(faces).shape)
    assert (
        (shut[1:] == pytest.approx(0, abs=1e-4)) and wide[0] > rest[0] + 0.3 and crossed[0] == pytest.approx(-rest[0])
    )


# ---- landmark pictures ----


def test_a_quarter_of_a_pixel_shows_and_left_is_not_right():
    points = face_points(64)
    lid = points.copy()
    lid[37:39, 1] += 0.25
    assert raster(points, 64).shape == (64, 64, 3) and raster(points, 64).dtype == np.uint8
    assert (raster(lid, 64) != raster(points, 64)).any() and (raster(points, 64) == raster(points, 64)).all()
    picture = raster(points, 64)
    assert (picture[:, ::-1] != picture).any(-1).sum() > 50
    opened = raster(face_points(64, opened=0.4), 64)
    mouth = tuple(np.round(face_points(64, opened=0.4)[[62, 66]].mean(0)).astype(int)[::-1])
    assert opened[mouth].tolist() == [128, 0, 0], "an opened mouth is filled"


def test_styles_of_landmark_pictures():
    points = face_points(64)
    plain, filled = raster(points, 64, "strokes"), raster(points, 64, "filled")
    at = tuple(np.round(points[73]).astype(int)[::-1])
    assert plain[at].max() == 0 and filled[at].max() > 60, "the paper's 68 points have no forehead"
    assert raster(points + 1e9, 64).max() == 0, "a face far outside is nowhere, not everywhere"
    with pytest.raises(ValueError, match="raster style 'oil' is not one of"):
        raster(points, 64, "oil")


def test_the_frame_whose_every_point_is_the_portraits_is_the_likest():
    """Two frames say the same by mouth, eyes and turn; in one of them the brows are raised."""
    own = face_points(SIZE)
    raised = own.copy()
    raised[17:27, 1] -= 6
    driver = np.stack([face_points(SIZE, opened=0.3), raised, own, face_points(SIZE, closed=1.0)])
    assert find_most_similar(driver, own) == 2
    assert find_most_similar(driver, own, np.array([1.0, 1.0, 0.1, 1.0])) == 1, "what the tracker doubts is not taken"
    assert find_most_similar(own[None], own) == 0
