"""From a driver's motion to the portrait's: smoothed, each shot with a reference of its own, retargeted."""

from dataclasses import dataclass

import numpy as np

from fewshot_reenact.landmarks.motion import Motion
from fewshot_reenact.landmarks.retarget import Retargeting, find_reference, retarget
from fewshot_reenact.landmarks.smoothing import smooth_motion
from fewshot_reenact.renderer import Portrait


@dataclass(frozen=True)
class Plan:
    """What is to be rendered of T frames.

    moves: (T, 83, 2), the portrait's points. steady: (T, 83, 2), the driver's own, without gaps and smoothed.
    nearest: (T,), for each frame the one of its shot in which the driver looks most as the portrait does. references:
    those frames by shot, None where motion is not relative to one.
    """

    moves: np.ndarray
    steady: np.ndarray
    nearest: np.ndarray
    references: list[int | None]


def plan_motion(
    motion: Motion, portrait: Portrait, how: Retargeting, smooth: float, *, references_from: int = 0
) -> Plan:
    """The portrait's points for every frame. references_from: frames before this one are no references.

    Each shot has a reference of its own: after a cut the driver's head is elsewhere, and the portrait's must not jump.
    """
    sure = np.where(np.arange(len(motion)) < references_from, 0, motion.confidence)
    steady = smooth_motion(motion.filled().points, motion.times, smooth, motion.cuts)
    moves, nearest = np.empty_like(steady), np.zeros(len(motion), np.int64)
    references: list[int | None] = []
    size = (portrait.picture.shape[1], portrait.picture.shape[0])
    for first, end in motion.shots:
        shot = slice(first, end)
        found = find_reference(steady[shot], portrait.points, sure[shot])
        # A single pose has no rest to compare with; then the mean face stands for it.
        reference = found if len(motion) > 1 else None
        moves[shot] = retarget(
            steady[shot],
            portrait.points,
            motion.times[shot],
            how=how,
            reference=reference,
            driver_size=motion.size,
            portrait_size=size,
        )
        nearest[shot] = first + found
        references.append(None if reference is None or how.motion == "absolute" else first + reference)
    return Plan(moves, steady, nearest, references)
