"""What a portrait can show of a motion: beyond it motion fades, and it is known in which frames.

A picture holds one view of a head, and hardly any of its profile. Up to 40 degrees away from that view, and from
looking at the camera, the head turns as the driver's does, beyond it turns ever less. A head goes as far as shoulders
and picture allow: where the neck is cut off by the picture's edge, or the crown, there is nothing to show behind them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fewshot_reenact.geometry.rotation import exponential
from fewshot_reenact.geometry.solid import HeadPose
from fewshot_reenact.motion.heads import HeadMotion, Lift

TURN = 40.0  # degrees away from the portrait's own view up to which the head turns as the driver's does
ASIDE = 40.0  # and degrees aside of the camera, farther than the portrait itself looks
_TURN_SOFT = 8.0  # degrees by which it turns farther at the most
_WAY = 1.4  # eye distances that a head goes at the most, where there is room
_FREE = 0.5  # the share of its way that a head goes as the driver's does
_CROWN, _SIDE, _NECK = 0.75, 0.35, 0.8  # eye distances: skull above and beside the face's points, neck below the chin
_LEAST = 0.15  # eye distances that it may always go
_SIZES = (0.6, 1.7)  # how much smaller and larger a head may become
_CHIN, _HAIRLINE = 8, slice(68, 79)


@dataclass(frozen=True)
class Bounds:
    """turned: (T,) degrees by which each frame was to turn away from the portrait's own view, and limits: (T,), up to
    which it turns as the driver's does. farther: (T,) bool, where the head was to go farther than there is room for.
    """

    turned: np.ndarray
    limits: np.ndarray
    farther: np.ndarray

    @classmethod
    def none(cls, count: int) -> Bounds:
        """Of frames in which the head stays where it is."""
        return cls(np.zeros(count), np.full(count, TURN), np.zeros(count, bool))

    @classmethod
    def joined(cls, parts: list[Bounds]) -> Bounds:
        """Those of one part after the other."""
        return cls(
            *(np.concatenate([getattr(part, name) for part in parts]) for name in ("turned", "limits", "farther"))
        )

    @property
    def beyond(self) -> np.ndarray:
        """(T,) bool: frames in which the head turns less than the driver's."""
        return self.turned > self.limits

    @property
    def of_turns(self) -> str:
        """What the user should know of turns; empty where there is nothing."""
        if not self.beyond.any():
            return ""
        return (
            f"in {int(self.beyond.sum())} of {len(self.turned)} frames the head would turn more than {TURN:.0f} "
            f"degrees away from the portrait's own view, or look more than {ASIDE:.0f} degrees aside of the camera "
            f"(up to {self.turned[self.beyond].max():.0f} degrees away): there it turns less than the driver's; a "
            "portrait that is turned as the driver is in the middle of its motion shows more"
        )

    @property
    def of_ways(self) -> str:
        """What the user should know of how far the head goes; empty where there is nothing."""
        if not self.farther.any():
            return ""
        return (
            f"in {int(self.farther.sum())} of {len(self.farther)} frames the head would go farther than the portrait "
            "has room for: it goes less far there; --travel 0.5 takes half of the way everywhere"
        )

    def notes(self) -> list[str]:
        """What the user should know, a line each."""
        return [said for said in (self.of_turns, self.of_ways) if said]

    def report(self, heads: HeadMotion) -> dict[str, Any]:
        """Least and greatest angles of the heads, and how many frames were kept within bounds: plain data, for JSON."""
        ends = zip(("yaw", "pitch", "roll"), heads.pose.angles.T, strict=True)
        return {
            **{name: [round(float(values.min()), 1), round(float(values.max()), 1)] for name, values in ends},
            "beyond": int(self.beyond.sum()),
            "farther": int(self.farther.sum()),
        }


def limit_turn(motion: HeadMotion, portrait: Lift) -> tuple[HeadMotion, np.ndarray, np.ndarray]:
    """Turns farther away from the portrait's own view than it can show made less, smoothly. Inclination in the
    picture's plane does not count. A portrait that moves itself has a pose a frame. Returns the motion, the degrees
    before, (T,), and the degrees up to which nothing was changed, (T,).
    """
    own, there = portrait.pose.rotation[..., 2], motion.pose.rotation[..., 2]
    axis = np.cross(there, own)
    sine = np.linalg.norm(axis, axis=-1)
    turned = np.degrees(np.arctan2(sine, (there * own).sum(-1)))
    limits = np.minimum(TURN, _until_aside(own, there))
    kept = limits + _TURN_SOFT * np.tanh((turned - limits) / _TURN_SOFT)
    back = np.radians(np.where(turned > limits, turned - kept, 0.0))
    rotation = exponential(axis / np.maximum(sine, 1e-9)[:, None] * back[:, None]) @ motion.pose.rotation
    return HeadMotion(replace(motion.pose, rotation=rotation), motion.solid), turned, limits


def _until_aside(own: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Degrees from one line of sight towards others until they are ASIDE of the camera, or as far as the first one is.
    own: (3,) or (T, 3), there: (T, 3), of length 1.
    """
    ahead = own[..., 2] + np.zeros(len(there))
    across = there - (there * own).sum(-1, keepdims=True) * own
    across /= np.maximum(np.linalg.norm(across, axis=-1, keepdims=True), 1e-9)
    # On the way, t degrees from `own`, the part of it towards the camera is ahead cos t + across_z sin t.
    most, at = np.hypot(ahead, across[:, 2]), np.arctan2(across[:, 2], ahead)
    least = np.minimum(np.cos(np.radians(ASIDE)), ahead)
    until: np.ndarray = np.degrees(at + np.arccos(np.clip(least / np.maximum(most, 1e-9), -1, 1)))
    return until.clip(0)


def limit_way(motion: HeadMotion, portrait: Lift, size: tuple[int, int]) -> tuple[HeadMotion, np.ndarray]:
    """The head's way and its change of size kept to what the portrait's picture, of `size` (width, height), has room
    for. Returns the motion, and (T,) bool: where it would have gone farther.
    """
    own, scale = portrait.pose, float(portrait.pose.scale)
    left, up, right, down = _room(portrait, size)
    way = (motion.pose.translation - own.translation) / scale
    low, high = np.array([left, up]), np.array([right, down])
    limit = np.where(way < 0, low, high)
    free = _FREE * limit
    far = np.abs(way)
    kept = np.where(far > free, free + (limit - free) * np.tanh((far - free) / (limit - free)), far)
    ratio = np.log(motion.pose.scale / scale)
    least, most = np.log(_SIZES)
    soft = np.where(ratio < 0, least, most)
    enlarged = np.exp(soft * np.tanh(ratio / soft)) if len(ratio) else ratio
    pose = replace(
        motion.pose,
        translation=own.translation + np.sign(way) * kept * scale,
        scale=scale * enlarged,
    )
    return HeadMotion(pose, motion.solid), (far > 1.15 * limit).any(1)


def farthest(portrait: Lift, size: tuple[int, int]) -> HeadMotion:
    """The portrait's head as far to each side, and as large, as `limit_way` lets it become: four frames."""
    left, up, right, down = _room(portrait, size)
    own = portrait.pose
    ways = np.array([[-left, 0], [right, 0], [0, -up], [0, down]]) * float(own.scale)
    pose = HeadPose(
        np.broadcast_to(own.rotation, (4, 3, 3)),
        np.full(4, float(own.scale) * _SIZES[1]),
        own.translation + ways,
        own.identity,
        np.broadcast_to(own.expression, (4, len(own.expression))),
    )
    return HeadMotion(pose, np.broadcast_to(portrait.solid, (4, *portrait.solid.shape)))


def _room(portrait: Lift, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """How far the head may go to the left, up, right and down, eye distances."""
    points, scale = portrait.pose.placed(portrait.solid)[:, :2], float(portrait.pose.scale)
    (x0, _), (x1, _) = points.min(0), points.max(0)
    crown = points[_HAIRLINE, 1].min() - _CROWN * scale
    # A head that is whole may go where it likes; one that is cut off shows its cut as soon as it moves away from it.
    beside = [(x0 - _SIDE * scale) / scale, (size[0] - 1 - x1 - _SIDE * scale) / scale]
    above, below = crown / scale, (size[1] - 1 - points[_CHIN, 1]) / scale - _NECK
    right, left = (_LEAST if room < 0 else _WAY for room in beside)
    return left, float(np.clip(below, _LEAST, _WAY)), right, _LEAST if above < 0 else _WAY
