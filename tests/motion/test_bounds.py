"""What a portrait can show of a motion: turns fade beyond 40 degrees, ways end where the picture has no room."""

from dataclasses import replace

import numpy as np
import pytest

from fewshot_reenact.geometry.rotation import angle_between, rotation_from
from fewshot_reenact.geometry.solid import HeadPose, head_shapes
from fewshot_reenact.motion.bounds import TURN, Bounds, limit_turn, limit_way
from fewshot_reenact.motion.heads import HeadMotion, Lift, lift

SIZE = (600, 600)
SCALE = 80.0


def portrait(angles: tuple[float, float, float] = (0, 0, 0), at: tuple[float, float] = (300, 260)) -> Lift:
    zeros = [np.zeros(len(modes)) for modes in (head_shapes().identity, head_shapes().expression)]
    pose = HeadPose(rotation_from(np.array(angles, float)), np.float64(SCALE), np.array(at, float), *zeros)
    return lift(pose.placed()[:, :2])


def moved(own: Lift, angles: np.ndarray | None = None, way: np.ndarray | None = None, size: float = 1.0) -> HeadMotion:
    """The portrait turned by angles (T, 3), and gone by (T, 2) eye distances."""
    count = len(angles if angles is not None else way)  # type: ignore[arg-type]
    turn = np.broadcast_to(np.eye(3), (count, 3, 3)) if angles is None else rotation_from(angles)
    gone = np.zeros((count, 2)) if way is None else way
    scale = float(own.pose.scale)
    pose = replace(
        own.pose,
        rotation=turn @ own.pose.rotation,
        scale=np.full(count, scale * size),
        translation=own.pose.translation + gone * scale,
        expression=np.broadcast_to(own.pose.expression, (count, len(own.pose.expression))),
    )
    return HeadMotion(pose, np.broadcast_to(own.solid, (count, *own.solid.shape)))


@pytest.mark.parametrize("own", [(0, 0, 0), (-20, 5, 10)])
def test_turns_fade_beyond_forty_degrees(own):
    still = portrait(own)
    yaws = np.linspace(-70, 70, 57)
    wanted = moved(still, np.column_stack([yaws, 0 * yaws, 0 * yaws]))
    made, turned, limits = limit_turn(wanted, still)
    near = turned <= limits
    assert np.allclose(made.pose.rotation[near], wanted.pose.rotation[near]) and near.sum() > 20
    after = limit_turn(made, still)[1]
    assert after.max() < TURN + 8.01 and (np.diff(after[yaws > 0]) > -1e-6).all(), "never back"
    steps = angle_between(made.pose.rotation[1:], made.pose.rotation[:-1])
    assert steps.max() < 2.6, "and nothing jumps"
    bounds = Bounds(turned, limits, np.zeros(len(yaws), bool))
    assert bounds.beyond.sum() == (~near).sum() >= (turned > TURN).sum() > 0
    assert f"in {bounds.beyond.sum()} of 57 frames" in bounds.notes()[0]


@pytest.mark.parametrize("own", [(-30, -11, 9), (35, 0, 0), (50, 0, 0)])
def test_no_head_is_turned_into_a_profile_that_its_portrait_does_not_show(own):
    still = portrait(own)
    yaws = np.sign(own[0]) * np.linspace(-60, 60, 61)
    wanted = moved(still, np.column_stack([yaws, 0 * yaws, 0 * yaws]))
    made, _, limits = limit_turn(wanted, still)
    aside = np.degrees(np.arccos(made.pose.rotation[:, 2, 2]))
    itself = float(np.degrees(np.arccos(still.pose.rotation[2, 2])))
    assert aside[30:].max() < max(40.0, itself) + 8.01 and (np.diff(aside[35:]) > -1e-6).all()
    assert limits[40:].max() == pytest.approx(max(0.0, 40 - itself), abs=3)
    back = np.abs(yaws[:30]) < 39
    assert np.allclose(made.pose.rotation[:30][back], wanted.pose.rotation[:30][back]), "to the front it turns freely"


def test_inclination_in_the_plane_is_no_turn():
    still = portrait((5, 0, 0))
    rolls = np.array([[0, 0, 60.0], [0, 0, -80.0]])
    made, turned, _ = limit_turn(moved(still, rolls), still)
    assert turned.max() < 12 and np.allclose(made.pose.rotation, moved(still, rolls).pose.rotation)


def test_a_whole_head_goes_over_an_eye_distance_and_no_farther():
    still = portrait()
    way = np.linspace(0, 6, 61)[:, None] * [[1.0, 0.0]]
    made, farther = limit_way(moved(still, way=way), still, SIZE)
    went = (made.pose.translation - still.pose.translation)[:, 0] / still.pose.scale
    assert np.allclose(went[:6], way[:6, 0], atol=1e-6), "a short way is the driver's"
    assert went.max() == pytest.approx(1.4, abs=0.01) and (np.diff(went) >= 0).all()
    assert not farther[:14].any() and farther[20:].all()
    assert "--travel" in Bounds(np.zeros(61), np.full(61, TURN), farther).notes()[0]


@pytest.mark.parametrize(
    ("at", "toward", "most"),
    [
        ((300, 60), (0, 1), 0.2),  # the crown is cut off: it does not come down
        ((300, 480), (0, -1), 0.2),  # the neck is: the head does not rise
        ((60, 260), (1, 0), 0.2),  # a side is
        ((60, 260), (-1, 0), 1.41),  # farther out of the picture it may go
    ],
)
def test_what_is_cut_off_stays_at_the_pictures_edge(at, toward, most):
    still = portrait(at=at)
    made, _ = limit_way(moved(still, way=np.array([toward], float) * 3), still, SIZE)
    went = np.abs(made.pose.translation - still.pose.translation).max() / still.pose.scale
    assert most - 0.1 < went < most


def test_sizes_stay_within_bounds():
    still = portrait()
    for size, least, most in ((1.0, 1, 1), (1.1, 1.08, 1.1), (4.0, 1.5, 1.7), (0.2, 0.6, 0.7)):
        made, _ = limit_way(moved(still, way=np.zeros((1, 2)), size=size), still, SIZE)
        assert least - 1e-6 <= made.pose.scale[0] / still.pose.scale <= most + 1e-6
