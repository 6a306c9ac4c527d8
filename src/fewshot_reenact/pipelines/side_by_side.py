"""--compare: portrait, driver and output side by side, as high as the output."""

from collections.abc import Iterator
from itertools import islice, repeat

import cv2
import numpy as np

from fewshot_reenact.geometry.raster import raster
from fewshot_reenact.inputs.driver import Driver


def side_by_side(
    portraits: np.ndarray | Iterator[np.ndarray], driver: Driver, outputs: Iterator[np.ndarray], first: int = 0
) -> Iterator[np.ndarray]:
    """Frames (H, W, 3) uint8: portrait | driver | output. A driver without pictures is shown as its points. Beside
    transparent outputs, (H, W, 4), the other two are opaque. portraits: the picture, or those of a video, from `first`
    on. first: the driver's frame that goes with the first output.
    """
    shown_first = repeat(portraits) if isinstance(portraits, np.ndarray) else portraits
    shown = islice(driver.pictures() or _drawn(driver), first, None)
    for (other, output), portrait in zip(zip(shown, outputs, strict=True), shown_first, strict=False):
        height = output.shape[0]
        both = np.concatenate([_as_high(portrait, height), _as_high(other, height)], axis=1)
        if output.shape[2] == 4:
            both = np.dstack([both, np.full_like(both[..., 0], 255)])
        yield np.concatenate([both, output], axis=1)


def _drawn(driver: Driver) -> Iterator[np.ndarray]:
    points, side = driver.motion.filled().points, max(driver.motion.size)
    for one in points:
        yield raster(one * (512 / side), 512, thickness=2)


def _as_high(picture: np.ndarray, height: int) -> np.ndarray:
    width = max(2, round(picture.shape[1] * height / picture.shape[0]))
    smaller = height < picture.shape[0]
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)
