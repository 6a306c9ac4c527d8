"""One frame of a driver after the other to the portrait's head, and to the shift that its points miss: no look ahead.

`plan.plan_motion` and `dense_motion` do the same for a whole driver; what they share is in the modules both call.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fewshot_reenact.geometry.topology import mirror
from fewshot_reenact.inputs.portrait import Portrait
from fewshot_reenact.motion.bounds import farthest, limit_turn, limit_way
from fewshot_reenact.motion.heads import HeadMotion
from fewshot_reenact.motion.live import SETTLE, DriverHead, SteadyPoints
from fewshot_reenact.motion.retarget import Retargeting, scale_to_picture
from fewshot_reenact.motion.solid_retarget import retarget_solid
from fewshot_reenact.rendering.dense_motion import Reference, ShiftMeter
from fewshot_reenact.rendering.plan import begin, skin_counts

_FADE = 0.2  # seconds in which dense motion fades in, once the rest is known and after a gap


@dataclass(frozen=True)
class Still:
    """A picture of the driver at rest, (H, W, 3) uint8 RGB, and its points, (83, 2) pixels."""

    picture: np.ndarray
    points: np.ndarray

    def mirrored(self) -> Still:
        """The same with left and right exchanged."""
        return Still(np.ascontiguousarray(self.picture[:, ::-1]), mirror(self.points, self.picture.shape[1]))


class LivePlan:
    """The portrait's head, frame after frame. smooth: 0..1. side: S of the face frames for dense motion, None without.
    settle, still: see motion.live.DriverHead.
    """

    def __init__(
        self,
        portrait: Portrait,
        how: Retargeting,
        smooth: float,
        *,
        side: int | None = None,
        settle: float = SETTLE,
        still: Still | None = None,
    ) -> None:
        self.portrait, self.how, self.still = portrait, how, still
        self.own = begin(portrait, how)
        self.steady = SteadyPoints(smooth)
        self.driver = DriverHead(self.own.points, settle, None if still is None else still.points)
        self.meter = None if side is None or how.region == "pose" else ShiftMeter(side, how.region)
        self.reset()

    def reset(self) -> None:
        """A new shot."""
        self.steady.reset()
        self.driver.reset()
        self._reference: Reference | None = None
        self._turned = np.eye(3)
        if self.still is not None and self.meter is not None:
            self._reference = self.meter.reference(self.still.picture, self.still.points)
        self._weight, self._before = 0.0, 0.0

    def rest_on(self, still: Still | None) -> None:
        """A new shot, with another picture of the driver at rest."""
        self.still, self.driver.still = still, None if still is None else still.points
        self.reset()

    def rest(self) -> HeadMotion:
        """The portrait as motion begins, one frame."""
        return HeadMotion.of(self.own.points[None], self.own)

    def reach(self) -> HeadMotion:
        """Poses that hold between them all that will be asked for."""
        if self.how.motion == "relative":
            moves = self.how.region in ("all", "pose")
            return farthest(self.own, self.portrait.size) if moves else self.rest()
        width, height = self.portrait.size
        corners = np.array([[0, 0], [width, 0], [0, height], [width, height]]) - self.portrait.points.mean(0)
        return HeadMotion.of((self.portrait.points + corners[:, None]).astype(np.float32), self.own)

    def miss(self) -> None:
        """A frame without a face: what was made last is held."""
        self.steady.miss()
        self._weight = 0.0

    def take(self, picture: np.ndarray, points: np.ndarray, time: float) -> tuple[HeadMotion, np.ndarray | None]:
        """A frame (H, W, 3) uint8 RGB of the driver, its face's points (83, 2) and its time in seconds, later than the
        last one's. Returns the portrait's head, one frame, and the shift (2, S, S) that the points miss.
        """
        steady = self.steady(points, time)
        driver, sizes, better = self.driver.take(steady, time)
        size = (picture.shape[1], picture.shape[0])
        if self.how.motion == "absolute":
            heads = HeadMotion.of(scale_to_picture(steady[None], size, self.portrait.size), self.own)
        else:
            heads = retarget_solid(driver, self.own, np.arange(2.0), how=self.how, reference=0, sizes=sizes)[1:]
        heads, _, _ = limit_turn(heads, self.own)
        if self.how.motion == "relative":
            heads, _ = limit_way(heads, self.own, self.portrait.size)
        return heads, self._shift(picture, steady, time, driver, better)

    def _shift(
        self, picture: np.ndarray, points: np.ndarray, time: float, driver: HeadMotion, better: bool
    ) -> np.ndarray | None:
        if self.meter is None:
            return None
        step, self._before = max(time - self._before, 0.0), time
        if better and self.still is None:
            self._reference, self._turned = self.meter.reference(picture, points), driver.pose.rotation[1]
        elif self.still is not None:
            self._turned = driver.pose.rotation[0]
        if self._reference is None or not self.driver.settled(time):
            return np.zeros((2, self.meter.side, self.meter.side), np.float32)
        self._weight = min(1.0, self._weight + step / _FADE)
        alike = 1.0 if self.how.motion == "absolute" else skin_counts(self.own.pose.rotation, self._turned)
        weight = self._weight * alike * self.how.strength
        return (weight * self.meter.measure(self._reference, picture, points)).astype(np.float32)
