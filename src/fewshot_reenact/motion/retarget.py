"""How motion is transferred, and which frame of a driver is the portrait's own state.

Relative motion gives the portrait the driver's change since that frame (`motion.solid_retarget`), so a wide face that
drives a narrow one leaks nothing, which the paper leaves open (its "personality mismatch"). Absolute motion puts the
face where the driver's is.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from fewshot_reenact.errors import UsageError
from fewshot_reenact.geometry.shape import descriptor, take_out
from fewshot_reenact.geometry.topology import REGIONS

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
_SIZE_SECONDS = 0.4  # a head's size changes no faster: what is faster is the detector's error, and looks like pulsing


@dataclass(frozen=True)
class Retargeting:
    """How motion is transferred. strength scales all change (0: none, 1: as the driver, 2: twice), travel the head's
    way and its change of size alone (0: none, 1: as the driver). neutral: the portrait's own expression is taken out
    first, see motion.neutral.
    """

    motion: MotionMode = "relative"
    region: Region = "all"
    strength: float = 1.0
    travel: float = 1.0
    neutral: bool = False

    def __post_init__(self) -> None:
        if self.motion not in MOTIONS:
            raise UsageError(f"motion {self.motion!r} is not one of {', '.join(MOTIONS)}")
        if self.region not in REGION_CHOICES:
            raise UsageError(f"region {self.region!r} is not one of {', '.join(REGION_CHOICES)}")
        if not 0 <= self.strength <= 2:
            raise UsageError(f"strength {self.strength} is not between 0 and 2")
        if not 0 <= self.travel <= 1:
            raise UsageError(f"travel {self.travel} is not between 0 and 1")
        relative_only = self.region != "all" or self.strength != 1 or self.travel != 1 or self.neutral
        if self.motion == "absolute" and relative_only:
            raise UsageError(
                "--region, --strength, --travel and --neutral change relative motion only; leave them out with "
                "--motion absolute"
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


def scale_to_picture(points: np.ndarray, size: tuple[int, int], onto: tuple[int, int]) -> np.ndarray:
    """Points of one picture on another: scaled evenly to fit, centred. Same shapes map exactly. (T, 83, 2) float32."""
    scale = min(onto[0] / size[0], onto[1] / size[1])
    middle, there = np.array(size) / 2 - 0.5, np.array(onto) / 2 - 0.5
    return ((points - middle) * scale + there).astype(np.float32)


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
