"""A person in a video driven by another: the expression takes the place of the video's own, nothing is added up."""

import numpy as np
import pytest

from fewshot_reenact.geometry.rotation import rotation_from
from fewshot_reenact.geometry.solid import HeadPose, head_shapes
from fewshot_reenact.geometry.topology import LEFT_LIDS, LIP_PAIRS, REGIONS, RIGHT_LIDS
from fewshot_reenact.motion.drift import Drift
from fewshot_reenact.motion.heads import HeadMotion
from fewshot_reenact.motion.neutral import unrest
from fewshot_reenact.motion.replaced import FaceAtRest, replaced, shared, turned_too
from fewshot_reenact.motion.retarget import Retargeting

FRAMES = 30
TIMES = np.arange(FRAMES) / 25
STILL = np.zeros((FRAMES, 3))


def head(angles: np.ndarray = STILL, opened: np.ndarray | None = None, who: int = 1, scale: float = 90.0) -> HeadMotion:
    """opened: (T,), how far the lower lip and the chin are down, eye distances."""
    count = len(angles)
    modes = len(head_shapes().expression)
    identity = np.random.default_rng(who).normal(0, 0.6, len(head_shapes().identity))
    pose = HeadPose(
        rotation_from(angles), np.full(count, scale), np.full((count, 2), 200.0), identity, np.zeros((count, modes))
    )
    solid = np.repeat(pose.rest()[None], count, 0)
    down = np.zeros(count) if opened is None else opened
    for k, share in [*((k, 1.0) for k in (56, 57, 58, 65, 66, 67)), (55, 0.5), (59, 0.5), (7, 0.6), (8, 0.6), (9, 0.6)]:
        solid[:, k, 1] += share * down
    return HeadMotion(pose, solid)


def gaps(heads: HeadMotion) -> np.ndarray:
    return np.mean([heads.solid[:, low, 1] - heads.solid[:, up, 1] for up, low in LIP_PAIRS], 0)


def talk(phase: float, most: float = 0.2) -> np.ndarray:
    """Closed in the first frame."""
    return most * np.sin(np.linspace(0, 6, FRAMES) * phase) ** 2


def test_the_mouth_is_the_drivers_and_not_the_sum():
    own, driver = head(opened=talk(1.0)), head(opened=talk(1.7), who=2)
    made = replaced(own, FaceAtRest.at(own, 0), driver, FaceAtRest.at(driver, 0), Retargeting(region="expression"))
    apart = np.abs(gaps(made) - gaps(made)[0] - (gaps(driver) - gaps(driver)[0]))
    assert apart.max() < 0.25 * talk(1.7).max()
    summed = gaps(own) + gaps(driver) - gaps(driver)[0]
    assert np.abs(gaps(made) - summed).max() > 0.1, "the sum is something else here"
    silent = head(who=2)
    made = replaced(own, FaceAtRest.at(own, 0), silent, FaceAtRest.at(silent, 0), Retargeting(region="lips"))
    assert np.ptp(gaps(made)) < 0.01 < 0.15 < np.ptp(gaps(own)), "who is driven by somebody silent is silent"


def test_driven_by_itself_it_stays():
    angles = np.stack([12 * np.sin(TIMES * 4), 5 * np.cos(TIMES * 3), STILL[:, 0]], 1)
    own = head(angles, talk(1.3))
    rest = FaceAtRest.at(own, 4)
    for region in ("expression", "lips", "all"):
        made = replaced(own, rest, own, rest, Retargeting(region=region))
        assert np.abs(made.solid - own.solid).max() < 1e-9 and made.pose is own.pose


@pytest.mark.parametrize(("region", "moved"), [("lips", ("mouth", "jaw")), ("eyes", ("left_eye", "right_eye"))])
def test_what_is_not_driven_stays_the_frames_own(region, moved):
    own, driver = head(opened=talk(1.0)), head(opened=talk(1.7), who=2)
    own.solid[:, REGIONS["left_brow"], 1] -= talk(2.0)[:, None]
    for eye in ("left_eye", "right_eye"):
        driver.solid[:, REGIONS[eye], 1] += talk(1.0)[:, None] / 10
    made = replaced(own, FaceAtRest.at(own, 0), driver, FaceAtRest.at(driver, 0), Retargeting(region=region))
    for name, points in REGIONS.items():
        same = (made.solid[:, points] == own.solid[:, points]).all()
        assert same == (name not in moved), name


def test_temples_and_hairline_are_never_moved():
    own, driver = head(), head(who=2)
    driver.solid[:] += np.random.default_rng(0).normal(0, 0.02, driver.solid.shape)
    made = replaced(own, FaceAtRest.at(own, 0), driver, FaceAtRest.at(driver, 0), Retargeting(region="expression"))
    still = [0, 1, 15, 16, *range(68, 79)]
    assert np.abs(made.solid[:, still] - own.solid[:, still]).max() < 1e-12
    assert np.abs(made.solid[:, 8] - own.solid[:, 8]).max() > 0.01


def test_the_drivers_turn_is_put_onto_the_heads_own():
    own = head(np.stack([np.linspace(-5, 5, FRAMES), STILL[:, 0], STILL[:, 0]], 1))
    driver = head(np.stack([STILL[:, 0], np.linspace(0, 10, FRAMES), STILL[:, 0]], 1), who=2)
    made = turned_too(own.pose, driver, np.arange(FRAMES), 0, TIMES, Retargeting())
    want = driver.pose.rotation @ driver.pose.rotation[0].T @ own.pose.rotation
    assert np.allclose(made.rotation, want) and np.allclose(made.scale, own.pose.scale)
    part = turned_too(own[10:20].pose, driver, np.arange(10, 20), 0, TIMES, Retargeting())
    assert np.allclose(part.rotation, want[10:20])


def test_what_only_seems_to_move_as_a_head_turns_is_learnt():
    """The outline of a turned head is another place of the skin."""
    angles = np.stack([25 * np.sin(TIMES * 5), STILL[:, 0], STILL[:, 0]], 1)
    own = head(angles)
    own.solid[:, REGIONS["jaw"], 0] += 0.004 * angles[:, :1]
    drift = Drift.of(own, own.solid[0], own.pose.angles[0])
    away = np.abs(drift.rest(own.pose) - own.solid)
    assert away.max() < 0.15 * np.abs(own.solid[0] - own.solid).max()
    # A mouth that opens as the head turns is an expression: it stays one.
    talking = head(angles, opened=0.2 * (angles[:, 0] > 0))
    rest = Drift.of(talking, talking.solid[0], talking.pose.angles[0]).rest(talking.pose)
    assert np.ptp(rest[:, 66, 1] - rest[:, 62, 1]) < 1e-9


def test_a_share_lies_between_a_head_as_it_is_and_as_it_is_made():
    own, made = head(opened=talk(1.0)), head(np.full((FRAMES, 3), 10.0), talk(1.5), scale=110.0)
    share = np.linspace(0, 1, FRAMES)
    between = shared(own, made, share)
    for at, want in ((0, own), (FRAMES - 1, made)):
        assert np.allclose(between.pose.rotation[at], want.pose.rotation[at])
        assert np.allclose(between.solid[at], want.solid[at]) and np.isclose(
            between.pose.scale[at], want.pose.scale[at]
        )
    assert (np.diff(between.pose.scale) > 0).all()


def test_rest_is_a_closed_mouth_from_the_front():
    turned = np.stack([np.linspace(0, 30, FRAMES), STILL[:, 0], STILL[:, 0]], 1)
    score = unrest(head(turned))
    assert score.argmin() == 0 and score[-1] > score[0] + 1
    score = unrest(head(opened=np.linspace(0, 0.3, FRAMES)))
    assert score[-1] > score[0] + 0.3


def test_eyes_that_blink_are_not_opened():
    """But a driver closes those that are open."""
    own, driver = head(), head(who=2)
    for video, closed in ((own, slice(8, 12)), (driver, slice(20, 24))):
        for up, low in (*LEFT_LIDS, *RIGHT_LIDS):
            middle = (video.solid[closed, up] + video.solid[closed, low]) / 2
            video.solid[closed, up], video.solid[closed, low] = middle, middle
    made = replaced(own, FaceAtRest.at(own, 0), driver, FaceAtRest.at(driver, 0), Retargeting(region="expression"))
    opening = np.mean([made.solid[:, low, 1] - made.solid[:, up, 1] for up, low in (*LEFT_LIDS, *RIGHT_LIDS)], 0)
    shut = np.zeros(FRAMES, bool)
    shut[8:12] = shut[20:24] = True
    assert opening[shut].max() < 0.1 * opening[0] and np.allclose(opening[~shut], opening[0])
