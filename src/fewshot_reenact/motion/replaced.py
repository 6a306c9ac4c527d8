"""The expression of a person in a video replaced by a driver's: not added to what the face does there already.

What is taken of the driver is its change since its reference; it is put onto the person's face at rest as that is seen
in each frame (`motion.drift`), not onto the frame's own expression. What is not taken, the brows where the lips
alone are driven, stays each frame's own; and so does the head's pose, unless that is driven too. Eyes that blink in the
video blink: what is behind closed lids no frame shows, and opened they would have somebody else's eyes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fewshot_reenact.geometry.rotation import exponential, logarithm
from fewshot_reenact.geometry.solid import HeadPose
from fewshot_reenact.geometry.topology import N_POINTS, REGIONS
from fewshot_reenact.motion.drift import Drift
from fewshot_reenact.motion.gaps import blinking
from fewshot_reenact.motion.heads import HeadMotion
from fewshot_reenact.motion.retarget import EXPRESSION_PARTS, Retargeting, slowed
from fewshot_reenact.motion.solid_retarget import expressed, moved

# No expression moves temples and hairline: what is measured there is noise, and would be seen beside the face. Shares
# that are taken of the outline's points, from the ears on down; how many points of the forehead are the hairline's.
_TEMPLES, _HAIRLINE = (0.0, 0.0, 0.3, 0.7), 11


@dataclass(frozen=True)
class FaceAtRest:
    """A person's face at rest in one shot. track: all frames of it. drift: the face at rest, by pose."""

    track: HeadMotion
    drift: Drift

    @classmethod
    def at(cls, track: HeadMotion, reference: int, solid: np.ndarray | None = None) -> FaceAtRest:
        """As in the frame `reference` of the shot. solid: (83, 3), taken in place of that frame's own."""
        own = track.solid[reference] if solid is None else solid
        return cls(track, Drift.of(track, own, track.pose.angles[reference]))


def replaced(own: HeadMotion, rest: FaceAtRest, driver: HeadMotion, theirs: FaceAtRest, how: Retargeting) -> HeadMotion:
    """A person's head in N frames, driven. own: as it is in each of them, driver: the driver's in each. rest, theirs:
    of the person and the driver. The head's pose is `own`'s, in how.region "all" and "pose" with the driver's change
    too, see `turned_too`.
    """
    base, still = own.solid.copy(), rest.drift.rest(own.pose)
    for part in EXPRESSION_PARTS[how.region]:
        base[:, REGIONS[part]] = still[:, REGIONS[part]]
    made = expressed(driver.solid, theirs.drift.rest(driver.pose), base, how, driver.pose.yaw)
    if "left_eye" in EXPRESSION_PARTS[how.region]:
        made = blinking(made, own.solid, still)
    return HeadMotion(own.pose, own.solid + _taken()[:, None] * (made - own.solid))


def _taken() -> np.ndarray:
    """How much of what is made of each point is taken, (83,)."""
    taken = np.ones(N_POINTS)
    taken[REGIONS["forehead"][:_HAIRLINE]] = 0
    for beside, share in enumerate(_TEMPLES):
        taken[[beside, REGIONS["jaw"][-1] - beside]] = share
    return taken


def turned_too(
    own: HeadPose, driver: HeadMotion, wanted: np.ndarray, reference: int, times: np.ndarray, how: Retargeting
) -> HeadPose:
    """A head's poses in N frames with the driver's change since its frame `reference`. own: N poses. driver: its whole
    shot, T frames at `times`, (T,) seconds; wanted: (N,), which of them go with the N.
    """
    # What it is relative to comes first, and goes again.
    rows = np.concatenate([[reference], wanted])
    sizes = slowed(np.log(driver.pose.scale), times)[rows]
    twice = HeadMotion(own, np.zeros((len(wanted), 0, 3)))[np.concatenate([[0], np.arange(len(wanted))])]
    made = moved(driver[rows].pose, twice.pose, times, how, 0, sizes)
    return HeadMotion(made, np.zeros((len(rows), 0, 3)))[1:].pose


def shared(own: HeadMotion, made: HeadMotion, share: np.ndarray) -> HeadMotion:
    """Between a head as it is and as it was made, N frames. share: (N,), 0 for the first, 1 for the second."""
    if (share == 1).all():
        return made
    change = logarithm(made.pose.rotation @ own.pose.rotation.transpose(0, 2, 1))
    a, b = own.pose, made.pose
    pose = replace(
        a,
        rotation=exponential(share[:, None] * change) @ a.rotation,
        scale=a.scale * (b.scale / a.scale) ** share,
        translation=a.translation + share[:, None] * (b.translation - a.translation),
    )
    return HeadMotion(pose, own.solid + share[:, None, None] * (made.solid - own.solid))
