"""Whose face, whose motion: the driver's change put onto the portrait's own points.

Relative motion splits the driver's change since a reference frame into where the head went (a similarity), how it
turned (geometry.shape) and the expression, and gives each to the portrait in the portrait's own proportions. So a
wide face that drives a narrow one leaks nothing, which the paper leaves open (its "personality mismatch").
Absolute motion puts the face where the driver's is.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from fewshot_reenact.errors import UsageError
from fewshot_reenact.geometry.shape import Placed, basis, descriptor, place, take_out, turn_of, turned
from fewshot_reenact.geometry.topology import LEFT_LIDS, LIP_PAIRS, N_POINTS, REGIONS, RIGHT_LIDS
from fewshot_reenact.motion.gaps import LIP_FOLLOWERS, fit_gaps, lid_targets, lip_targets

MotionMode = Literal["relative", "absolute"]
Region = Literal["all", "expression", "pose", "lips", "eyes"]
MOTIONS: tuple[str, ...] = get_args(MotionMode)
REGION_CHOICES: tuple[str, ...] = get_args(Region)

EXPRESSION_PARTS = {
    "all": tuple(REGIONS),
    "expression": tuple(REGIONS),
    "pose": (),
    "lips": ("mouth", "jaw"),
    "eyes": ("left_eye", "right_eye"),
}
_FARTHEST = 0.5  # a head moves no farther than this many eye distances from where it is: the shoulders stay behind
_SIZE_SECONDS = 0.4  # a head's size changes no faster: what is faster is the detector's error, and looks like pulsing


@dataclass(frozen=True)
class Retargeting:
    """How motion is transferred. strength scales all change (0: none, 1: as the driver, 2: twice)."""

    motion: MotionMode = "relative"
    region: Region = "all"
    strength: float = 1.0

    def __post_init__(self) -> None:
        if self.motion not in MOTIONS:
            raise UsageError(f"motion {self.motion!r} is not one of {', '.join(MOTIONS)}")
        if self.region not in REGION_CHOICES:
            raise UsageError(f"region {self.region!r} is not one of {', '.join(REGION_CHOICES)}")
        if not 0 <= self.strength <= 2:
            raise UsageError(f"strength {self.strength} is not between 0 and 2")
        if self.motion == "absolute" and (self.region != "all" or self.strength != 1):
            raise UsageError(
                "--region and --strength change relative motion only; leave them out with --motion absolute"
            )


def find_reference(driver: np.ndarray, portrait: np.ndarray, confidence: np.ndarray | None = None) -> int:
    """The driver's frame that is nearest to the portrait in pose and expression: its index.

    driver: (T, 83, 2), portrait: (83, 2), each in pixels of its own picture. confidence: (T,); frames under half of
    the best are not considered.
    """
    return _least(_state_distance(take_out(driver).shape, take_out(portrait[None]).shape), confidence)


def find_most_similar(driver: np.ndarray, portrait: np.ndarray, confidence: np.ndarray | None = None) -> int:
    """The driver's frame whose points are likest to the portrait's: that skin is compared with, see dense. As
    `find_reference`, but each single point counts too: where landmarks err they err alike on pictures that are alike.
    """
    shape, own = take_out(driver).shape, take_out(portrait[None]).shape
    state, points = _state_distance(shape, own), np.linalg.norm(shape - own, axis=2).mean(1)
    return _least(state / max(float(np.median(state)), 1e-9) + points / max(float(np.median(points)), 1e-9), confidence)


def _state_distance(shape: np.ndarray, own: np.ndarray) -> np.ndarray:
    return np.abs(_state(shape) - _state(own)).sum(1)


def _least(distance: np.ndarray, confidence: np.ndarray | None) -> int:
    """The frame with the least distance among those of which the tracker was sure."""
    if confidence is not None:
        distance = np.where(confidence >= 0.5 * confidence.max(), distance, np.inf)
    return int(np.argmin(distance))


def _state(shape: np.ndarray) -> np.ndarray:
    """Pose and expression in usual spreads, (T, 6)."""
    return descriptor(shape, turn=0.05, opening=0.08, width=0.08)


def retarget(
    driver: np.ndarray,
    portrait: np.ndarray,
    times: np.ndarray,
    *,
    how: Retargeting = Retargeting(),
    reference: int | None = None,
    driver_size: tuple[int, int],
    portrait_size: tuple[int, int],
) -> np.ndarray:
    """The portrait's points for every frame of the driver.

    driver: (T, 83, 2) pixels of the driver's picture, no NaN. portrait: (83, 2) pixels of the portrait.
    times: (T,) seconds.
    reference: the driver's frame that counts as the portrait's own state; None, with a single frame: the mean face.
    driver_size, portrait_size: (width, height). Returns (T, 83, 2) float32 portrait pixels.
    """
    if how.motion == "absolute":
        return scale_to_picture(driver, driver_size, portrait_size)
    moved = take_out(driver)
    rest = _at(moved, reference) if reference is not None else _mean_face(moved)
    own = take_out(portrait[None])

    strength = how.strength
    turns = how.region in ("all", "pose")
    driver_turn, rest_turn, own_turn = turn_of(moved.shape), turn_of(rest.shape), turn_of(own.shape)
    turn = strength * (driver_turn - rest_turn) * (1.0 if turns else 0.0)

    expression = moved.shape - turned(driver_turn) - (rest.shape - turned(rest_turn))
    expression = expression * _proportions(rest.shape[0], own.shape[0]) * strength
    wanted = EXPRESSION_PARTS[how.region]
    keep = np.zeros((N_POINTS, 1))
    for part in wanted:
        keep[REGIONS[part]] = 1.0
    neutral = own.shape + expression * keep
    if "mouth" in wanted:
        neutral = fit_gaps(neutral, LIP_PAIRS, lip_targets(moved.shape, rest.shape, own.shape, strength), LIP_FOLLOWERS)
    if "left_eye" in wanted:
        for eye, pairs in ((1, LEFT_LIDS), (2, RIGHT_LIDS)):
            neutral = fit_gaps(neutral, pairs, lid_targets(moved.shape, rest.shape, own.shape, strength, eye), {})
    shape = neutral + turned(own_turn + turn) - turned(own_turn)

    if not turns:
        still = np.ones(len(driver))
        return place(shape, own.angle * still, own.log_size * still, own.centre * still[:, None])
    angle = own.angle + strength * (moved.angle - rest.angle)
    # Both sides slowed: one frame's error at the reference would make the head too large in all the others.
    slow = slowed(moved.log_size, times)
    size = own.log_size + strength * (slow - slow[reference or 0])
    went = strength * (moved.centre - rest.centre) / np.exp(rest.log_size)[:, None]
    far = np.linalg.norm(went, axis=1, keepdims=True)
    went = went * (_FARTHEST * np.tanh(far / _FARTHEST) / np.maximum(far, 1e-9))
    return place(shape, angle, size, own.centre + went * np.exp(own.log_size)[:, None])


def scale_to_picture(points: np.ndarray, size: tuple[int, int], onto: tuple[int, int]) -> np.ndarray:
    """Points of one picture on another: scaled evenly to fit, centred. Same shapes map exactly. (T, 83, 2) float32."""
    scale = min(onto[0] / size[0], onto[1] / size[1])
    middle, there = np.array(size) / 2 - 0.5, np.array(onto) / 2 - 0.5
    return ((points - middle) * scale + there).astype(np.float32)


def _at(faces: Placed, t: int) -> Placed:
    return Placed(faces.shape[t : t + 1], faces.angle[t : t + 1], faces.log_size[t : t + 1], faces.centre[t : t + 1])


def _mean_face(faces: Placed) -> Placed:
    """The mean face, upright, where the first frame's face is: the rest of a driver of which only one state is
    known.
    """
    return Placed(basis().mean[None], np.zeros(1), faces.log_size[:1], faces.centre[:1])


def _proportions(rest: np.ndarray, own: np.ndarray) -> np.ndarray:
    """How much larger each region of the portrait is than the driver's, (83, 2): what the driver's change is scaled
    by.
    """
    ratio = np.ones((N_POINTS, 2))
    for indices in REGIONS.values():
        a, b = np.ptp(rest[indices], axis=0), np.ptp(own[indices], axis=0)
        # Heights of eyes and mouths tell the expression, not the proportions: width stands for both.
        ratio[indices] = np.clip(b[0] / max(a[0], 1e-6), 0.6, 1.6)
    # On a turned head the far half of the mouth and of the jaw is narrower: a smile must not leave the face there.
    for part, middle in (("mouth", _MIDDLE_OF_LIPS), ("jaw", [8])):
        points = np.array(REGIONS[part])
        theirs, mine = (shape[points, 0] - shape[middle, 0].mean() for shape in (rest, own))
        for side in (-1, 1):
            share = max(float((side * mine).max()), 0) / max(float((side * theirs).max()), 1e-6)
            ratio[points[side * theirs > 0], 0] = np.clip(share, _NARROWEST, 1.6)
    return ratio


# The middle of the lips, outer and inner edges; and how narrow half a mouth may be against the driver's.
_MIDDLE_OF_LIPS, _NARROWEST = [51, 57, 62, 66], 0.25


def slowed(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Gaussian mean over time, at the ends of what there is. (T,) and (T,) seconds -> (T,)."""
    if len(values) < 2:
        return values
    step = float(np.median(np.diff(times)))
    reach = min(len(values) - 1, round(3 * _SIZE_SECONDS / max(step, 1e-6)))
    if reach < 1:
        return values
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) * step / _SIZE_SECONDS) ** 2)
    total, weight = (np.convolve(np.pad(v, reach), kernel, mode="valid") for v in (values, np.ones_like(values)))
    return total / weight
