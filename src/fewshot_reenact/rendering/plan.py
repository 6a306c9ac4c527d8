"""From a driver's motion to the portrait's: smoothed, each shot with a reference of its own, retargeted."""

from dataclasses import dataclass

import numpy as np

from fewshot_reenact.geometry.pose import head_pose
from fewshot_reenact.geometry.smoothstep import smoothstep
from fewshot_reenact.inputs.portrait import Portrait
from fewshot_reenact.motion.motion import Motion
from fewshot_reenact.motion.retarget import Retargeting, find_most_similar, find_reference, retarget
from fewshot_reenact.motion.smoothing import smooth_motion

# Degrees between two heads up to which skin of the one is where the other's is, and from which on it is elsewhere.
_ALIKE, _UNLIKE = 10.0, 30.0
# How much the skin of a stranger counts: on 20 pairs all of it made outputs less like the portrait (csim 0.877 without,
# 0.871 with half, 0.858 with all) and brought the expression no nearer.
_STRANGER = 0.5


@dataclass(frozen=True)
class Plan:
    """What is to be rendered of T frames.

    moves: (T, 83, 2), the portrait's points. steady: (T, 83, 2), the driver's own, without gaps and smoothed.
    nearest: (T,), for each frame the one of its shot in which the driver looks most as the portrait does. references:
    the frame of each shot that motion is relative to, None where it is absolute. alike: (T,), 1 where the portrait is
    rendered as the driver is, 0 where one looks at the camera and the other past it: so far the driver's skin tells of
    the portrait's.
    """

    moves: np.ndarray
    steady: np.ndarray
    nearest: np.ndarray
    references: list[int | None]
    alike: np.ndarray


def plan_motion(
    motion: Motion, portrait: Portrait, how: Retargeting, smooth: float, *, references_from: int = 0
) -> Plan:
    """The portrait's points for every frame. references_from: frames before this one are no references.

    Each shot has a reference of its own: after a cut the driver's head is elsewhere, and the portrait's must not jump.
    """
    sure = np.where(np.arange(len(motion)) < references_from, 0, motion.confidence)
    steady = smooth_motion(motion.filled().points, motion.times, smooth, motion.cuts)
    moves, nearest, alike = np.empty_like(steady), np.zeros(len(motion), np.int64), np.ones(len(motion), np.float32)
    references: list[int | None] = []
    size = (portrait.picture.shape[1], portrait.picture.shape[0])
    for first, end in motion.shots:
        shot = slice(first, end)
        # A single pose has no rest to compare with; then the mean face stands for it.
        reference = find_reference(steady[shot], portrait.points, sure[shot]) if len(motion) > 1 else None
        similar = first + find_most_similar(steady[shot], portrait.points, sure[shot])
        moves[shot] = retarget(
            steady[shot],
            portrait.points,
            motion.times[shot],
            how=how,
            reference=reference,
            driver_size=motion.size,
            portrait_size=size,
        )
        nearest[shot] = similar
        if how.motion == "relative":  # a portrait keeps its own turn, and adds the driver's change to it
            alike[shot] = _STRANGER * _alike(portrait.points, steady[similar])
        references.append(None if reference is None or how.motion == "absolute" else first + reference)
    return Plan(moves, steady, nearest, references, alike)


def _alike(one: np.ndarray, other: np.ndarray) -> float:
    """1 for heads (83, 2) turned alike, 0 for heads turned otherwise; inclination in the picture does not count."""
    apart = float(np.linalg.norm((head_pose(one) - head_pose(other))[:2]))
    return smoothstep(float(np.clip((_UNLIKE - apart) / (_UNLIKE - _ALIKE), 0, 1)))
