"""Retargeting in three dimensions, on heads whose turns and expressions are known."""

import numpy as np
import pytest

from fewshot_reenact.errors import UsageError
from fewshot_reenact.geometry.rotation import angles_of, exponential, logarithm, rotation_from
from fewshot_reenact.geometry.solid import HeadPose, fit_head, fit_track, head_shapes
from fewshot_reenact.motion.heads import HeadMotion, Lift, lift
from fewshot_reenact.motion.retarget import Retargeting
from fewshot_reenact.motion.solid_retarget import retarget_solid as heads_of

FRAMES = 12
TIMES = np.arange(FRAMES) / 25


def retarget_solid(driver: HeadMotion, portrait: Lift, times: np.ndarray, **how) -> np.ndarray:
    """Where the portrait's points are: (T, 83, 3), pixels and depth."""
    made = heads_of(driver, portrait, times, **how)
    assert np.allclose(made.points, made.pose.placed(made.solid)[..., :2], atol=1e-3) and len(made) == len(driver.solid)
    return made.pose.placed(made.solid)


def person(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.8, len(head_shapes().identity))


def film(
    angles: np.ndarray, who: int = 1, expression: np.ndarray | None = None, scale: float = 60.0, at: object = (128, 120)
) -> np.ndarray:
    """A driver's points (T, 83, 2)."""
    count, modes = len(angles), len(head_shapes().expression)
    pose = HeadPose(
        rotation_from(angles),
        np.full(count, scale),
        np.broadcast_to(np.asarray(at, float), (count, 2)),
        person(who),
        np.zeros((count, modes)) if expression is None else expression,
    )
    return pose.placed()[..., :2]


def portrait(angles: tuple[float, float, float] = (0, 0, 0)) -> np.ndarray:
    return film(np.array([angles], float), who=2, scale=140.0, at=(300, 260))[0]


def turning() -> np.ndarray:
    angles = np.zeros((FRAMES, 3))
    angles[:, 0], angles[:, 1], angles[:, 2] = np.linspace(0, 30, FRAMES), np.linspace(0, -8, FRAMES), 4
    angles[0] = 0
    return angles


def smile(strength: float = 2.0) -> np.ndarray:
    """Coefficients that change the mouth most, rising over the frames."""
    modes = head_shapes().expression
    of_mouth = (modes[:, 48:68] ** 2).sum((1, 2))
    chosen = np.zeros((FRAMES, len(modes)))
    chosen[:, int(of_mouth.argmax())] = np.linspace(0, strength, FRAMES)
    return chosen


def test_logarithm_is_the_inverse():
    vectors = np.random.default_rng(0).normal(0, 0.8, (20, 3))
    assert np.allclose(logarithm(exponential(vectors)), vectors) and np.allclose(logarithm(np.eye(3)), 0)


def test_a_portrait_keeps_its_points():
    points = portrait((25, 5, -8)) + np.random.default_rng(0).normal(0, 1.5, (83, 2))
    lifted = lift(points)
    assert np.allclose(lifted.pose.placed(lifted.solid)[:, :2], points)


def test_at_the_reference_nothing_moves():
    points = portrait((15, 0, 0))
    driver = HeadMotion.of(film(turning(), expression=smile()))
    made = retarget_solid(driver, lift(points), TIMES, reference=3)
    assert np.allclose(made[3, :, :2], points, atol=1e-6) and made.shape == (FRAMES, 83, 3)
    assert np.linalg.norm(made[-1, :, :2] - points, axis=1).max() > 15


@pytest.mark.parametrize("own", [(0, 0, 0), (-20, 6, 0)])
def test_the_portrait_turns_by_the_drivers_angle(own):
    made = retarget_solid(HeadMotion.of(film(turning())), lift(portrait(own)), TIMES, reference=0)
    found = fit_track(made[..., :2])
    wanted = rotation_from(turning()) @ rotation_from(own)
    assert np.abs(angles_of(found.rotation) - angles_of(wanted)).max() < 1
    assert np.allclose(found.scale, 140, rtol=0.02), "neither nearer nor farther"


def test_a_smile_seen_from_the_side_is_the_smile_from_the_front():
    """The same expressions of the same person, filmed from the front and turned by 30 degrees."""
    front = HeadMotion.of(film(np.zeros((FRAMES, 3)), expression=smile()))
    side = HeadMotion.of(film(np.tile([30.0, 0, 0], (FRAMES, 1)), expression=smile()))
    still, how = lift(portrait()), Retargeting(region="expression")
    one, other = (retarget_solid(driver, still, TIMES, how=how, reference=0) for driver in (front, side))
    moved = np.linalg.norm(one[-1] - one[0], axis=1)
    assert moved[48:68].max() > 4, "pixels: there is a smile"
    assert np.linalg.norm(other - one, axis=2).max() < 0.15 * moved.max()
    assert np.abs(fit_track(other[..., :2]).angles).max() < 1.5, "and no turn comes with it"


def test_expression_is_scaled_by_the_mouths_width():
    points = portrait()
    wide = points.copy()
    middle = points[48:68].mean(0)
    wide[48:68, 0] = middle[0] + 1.3 * (points[48:68, 0] - middle[0])
    driver, how = HeadMotion.of(film(np.zeros((FRAMES, 3)), expression=smile())), Retargeting(region="expression")
    moves = []
    for own in (points, wide):
        made = retarget_solid(driver, lift(own), TIMES, how=how, reference=0)
        moves.append(np.abs(made[-1, 54, :2] - made[0, 54, :2]).max())
    assert moves[1] == pytest.approx(1.3 * moves[0], rel=0.1)


def test_way_and_size_are_in_proportion_and_travel_limits_them():
    at = np.column_stack([128 + np.linspace(0, 30, FRAMES), np.full(FRAMES, 120.0)])  # half an eye distance
    driver, still = HeadMotion.of(film(np.zeros((FRAMES, 3)), at=at)), lift(portrait())
    for travel in (0.0, 0.5, 1.0):
        made = retarget_solid(driver, still, TIMES, reference=0, how=Retargeting(travel=travel))
        way = (made[-1, :, :2] - made[0, :, :2]).mean(0)
        assert way == pytest.approx([travel * 70, 0], abs=0.5)
    with pytest.raises(UsageError, match="travel 2 is not between 0 and 1"):
        Retargeting(travel=2)


def test_regions_and_strength():
    driver, still = HeadMotion.of(film(turning(), expression=smile())), lift(portrait())

    def made(**how) -> np.ndarray:
        return retarget_solid(driver, still, TIMES, how=Retargeting(**how), reference=0)

    assert np.allclose(made(strength=0)[-1], made(strength=0)[0], atol=1e-6)
    pose = made(region="pose")
    assert fit_head(pose[-1, :, :2]).yaw == pytest.approx(30, abs=1)
    assert fit_head(made(region="pose", strength=0.5)[-1, :, :2]).yaw == pytest.approx(15, abs=1)
    lips = made(region="lips")
    changed = np.linalg.norm(lips[-1] - lips[0], axis=1) > 0.01
    assert changed[48:68].any() and not changed[17:48].any() and not changed[68:].any()
    with pytest.raises(ValueError, match="absolute"):
        retarget_solid(driver, still, TIMES, how=Retargeting(motion="absolute"))


def test_a_single_pose_is_relative_to_rest():
    driver = HeadMotion.of(film(np.array([[20.0, 0, 0]])))
    made = retarget_solid(driver, lift(portrait()), np.zeros(1))
    assert fit_head(made[0, :, :2]).yaw == pytest.approx(20, abs=1)


def test_closed_eyes_come_out_closed():
    """On a portrait with other eyes than the driver's: the lids' gap goes to none, not below."""
    points = film(np.tile([20.0, 0, 0], (FRAMES, 1)))
    share = np.linspace(1, 0, FRAMES)[:, None]
    for up, low in ((37, 41), (38, 40), (43, 47), (44, 46)):
        middle, half = (points[:, up] + points[:, low]) / 2, (points[:, low] - points[:, up]) / 2
        points[:, up], points[:, low] = middle - share * half, middle + share * half
    made = retarget_solid(HeadMotion.of(points), lift(portrait()), TIMES, reference=0)
    for up, low in ((37, 41), (38, 40), (43, 47), (44, 46)):
        gap = made[:, low, 1] - made[:, up, 1]
        assert gap[0] > 5 and abs(gap[-1]) < 1.5


@pytest.mark.parametrize(("yaw", "left", "right"), [(0, 0.0, 1.0), (25, 0.0, 0.0), (-25, 1.0, 1.0)])
def test_an_eye_that_is_turned_away_goes_with_the_nearer_one(yaw, left, right):
    """Its lids are measured badly; from the front a wink is a wink."""
    points = film(np.tile([float(yaw), 0, 0], (FRAMES, 1)))
    for up, low in ((37, 41), (38, 40)):
        points[-1, [up, low]] = points[-1, [up, low]].mean(0)
    made = retarget_solid(HeadMotion.of(points), lift(portrait()), TIMES, reference=0)
    for pairs, wanted in ((((37, 41), (38, 40)), left), (((43, 47), (44, 46)), right)):
        gaps = [made[:, low, 1] - made[:, up, 1] for up, low in pairs]
        assert np.mean(gaps, 0)[-1] / np.mean(gaps, 0)[0] == pytest.approx(wanted, abs=0.15)
