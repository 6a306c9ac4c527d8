"""A smile and an open mouth taken out of a portrait."""

import numpy as np
import pytest

from fake_face import REST
from fewshot_reenact.errors import UsageError
from fewshot_reenact.geometry.topology import LEFT_LIDS, REGIONS, RIGHT_LIDS
from fewshot_reenact.inputs.portrait import Portrait
from fewshot_reenact.motion.blendshapes import NAMES, rig
from fewshot_reenact.motion.builtins import load_builtin_motion
from fewshot_reenact.motion.heads import Lift, lift
from fewshot_reenact.motion.neutral import at_rest
from fewshot_reenact.motion.retarget import Retargeting
from fewshot_reenact.rendering.plan import plan_motion

BEAMING = max(load_builtin_motion("smile").points, key=lambda points: points[54, 0] - points[48, 0])
SHOUTING = max(load_builtin_motion("surprise").points, key=lambda points: points[66, 1] - points[62, 1])


def measured(one: Lift, name: str) -> float:
    return float(rig().coefficients(one.solid[None])[0, NAMES.index(name)])


@pytest.mark.parametrize(
    ("points", "name"), [(BEAMING, "MouthSmileLeft"), (BEAMING, "MouthSmileRight"), (SHOUTING, "JawOpen")]
)
def test_what_the_mouth_does_is_taken_out(points: np.ndarray, name: str) -> None:
    own = lift(points)
    calm = at_rest(own)
    assert measured(own, name) > 0.25 and measured(calm, name) < 0.35 * measured(own, name)
    assert abs(calm.solid[66, 1] - calm.solid[62, 1]) < 1e-6, "the lips are closed"
    kept = [*REGIONS["left_eye"], *REGIONS["right_eye"], *REGIONS["left_brow"], *REGIONS["forehead"]]
    assert np.array_equal(calm.solid[kept], own.solid[kept]) and calm.pose is own.pose


def test_a_face_at_rest_stays_nearly_as_it_is() -> None:
    own = lift(REST)
    assert np.abs(at_rest(own).solid - own.solid).max() < 0.06


def test_motion_begins_from_there() -> None:
    """A driver that only blinks leaves a smile where it is, and with neutral none."""
    portrait = Portrait(np.zeros((512, 512, 3), np.uint8), BEAMING)
    blink = load_builtin_motion("blink")
    smiling, calm = (plan_motion(blink, portrait, Retargeting(neutral=neutral), 0).moves for neutral in (False, True))
    width = [float(np.linalg.norm(points[0, 54] - points[0, 48])) for points in (smiling, calm)]
    assert width[1] < 0.9 * width[0]
    for pairs in (LEFT_LIDS, RIGHT_LIDS):
        (up, low), *_ = pairs
        assert np.allclose(smiling[:, low] - smiling[:, up], calm[:, low] - calm[:, up], atol=1.0)


def test_for_relative_motion_only() -> None:
    with pytest.raises(UsageError, match="--neutral change relative motion only"):
        Retargeting("absolute", neutral=True)
