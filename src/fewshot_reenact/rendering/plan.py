"""From a driver's motion to the portrait's: smoothed, each shot with a reference of its own, retargeted."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fewshot_reenact.geometry.rotation import views_apart
from fewshot_reenact.geometry.smoothstep import smoothstep
from fewshot_reenact.inputs.portrait import Portrait
from fewshot_reenact.motion.bounds import Bounds, limit_turn, limit_way
from fewshot_reenact.motion.heads import HeadMotion, Lift, lift
from fewshot_reenact.motion.motion import Motion
from fewshot_reenact.motion.neutral import at_rest
from fewshot_reenact.motion.retarget import Retargeting, find_most_similar, find_reference, scale_to_picture
from fewshot_reenact.motion.smoothing import smooth_motion
from fewshot_reenact.motion.solid_retarget import retarget_solid

# Degrees between two heads up to which skin of the one is where the other's is, and from which on it is elsewhere.
_ALIKE, _UNLIKE = 10.0, 30.0
# How much the skin of a stranger counts: on 20 pairs all of it made outputs less like the portrait (csim 0.877 without,
# 0.871 with half, 0.858 with all) and brought the expression no nearer.
_STRANGER = 0.5


@dataclass(frozen=True)
class Plan:
    """What is to be rendered of T frames.

    heads: the portrait's head. steady: (T, 83, 2), the driver's own, without gaps and smoothed.
    nearest: (T,), for each frame the one of its shot in which the driver looks most as the portrait does. references:
    the frame of each shot that motion is relative to, None where it is absolute. alike: (T,), 1 where the portrait is
    rendered as the driver is, 0 where one looks at the camera and the other past it: so far the driver's skin tells of
    the portrait's. bounds: how much of the motion the portrait can show.
    """

    heads: HeadMotion
    steady: np.ndarray
    nearest: np.ndarray
    references: list[int | None]
    alike: np.ndarray
    bounds: Bounds

    @property
    def moves(self) -> np.ndarray:
        """(T, 83, 2), the portrait's points, pixels."""
        return self.heads.points

    def report(self) -> dict[str, Any]:
        """The head's angles, and what was kept within bounds: plain data, for JSON."""
        return self.bounds.report(self.heads)


def plan_motion(
    motion: Motion, portrait: Portrait, how: Retargeting, smooth: float, *, references_from: int = 0
) -> Plan:
    """The portrait's head in every frame. references_from: frames before this one are no references.

    Each shot has a reference of its own: after a cut the driver's head is elsewhere, and the portrait's must not jump.
    """
    sure = np.where(np.arange(len(motion)) < references_from, 0, motion.confidence)
    steady = smooth_motion(motion.filled().points, motion.times, smooth, motion.cuts)
    nearest, alike = np.zeros(len(motion), np.int64), np.ones(len(motion), np.float32)
    references: list[int | None] = []
    shots: list[HeadMotion] = []
    own = begin(portrait, how)
    for first, end in motion.shots:
        shot = slice(first, end)
        # A single pose has no rest to compare with; then the mean face stands for it.
        reference = find_reference(steady[shot], own.points, sure[shot]) if len(motion) > 1 else None
        similar = first + find_most_similar(steady[shot], portrait.points, sure[shot])
        if how.motion == "absolute":
            shots.append(HeadMotion.of(scale_to_picture(steady[shot], motion.size, portrait.size), own))
        else:
            driver, times = HeadMotion.of(steady[shot]), motion.times[shot]
            shots.append(retarget_solid(driver, own, times, how=how, reference=reference))
            # A portrait keeps its own turn, and adds the driver's change to it.
            alike[shot] = skin_counts(own.pose.rotation, driver.pose.rotation[similar - first])
        nearest[shot] = similar
        references.append(None if reference is None or how.motion == "absolute" else first + reference)
    heads, turned, limits = limit_turn(HeadMotion.joined(shots), own)
    farther = np.zeros(len(motion), bool)
    if how.motion == "relative":
        heads, farther = limit_way(heads, own, portrait.size)
    return Plan(heads, steady, nearest, references, alike, Bounds(turned, limits, farther))


def begin(portrait: Portrait, how: Retargeting) -> Lift:
    """The head that motion begins from: the portrait's own, or at rest."""
    own = lift(portrait.points)
    return at_rest(own) if how.neutral else own


def skin_counts(one: np.ndarray, other: np.ndarray) -> float:
    """How much a driver's skin tells of a portrait's: most for heads turned alike, 0 for heads turned otherwise;
    inclination in the picture does not count. one, other: (3, 3), rotations.
    """
    apart = float(views_apart(one, other))
    return _STRANGER * smoothstep(float(np.clip((_UNLIKE - apart) / (_UNLIKE - _ALIKE), 0, 1)))
