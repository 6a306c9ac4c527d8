"""--compare: portrait, driver and output side by side, as high as the output."""

from collections.abc import Iterator

import cv2
import numpy as np

from fewshot_reenact.geometry.raster import raster
from fewshot_reenact.inputs.driver import Driver
from fewshot_reenact.media.pictures import read_picture
from fewshot_reenact.media.reader import VideoReader


def side_by_side(
    portrait: np.ndarray, driver: Driver, outputs: Iterator[np.ndarray], start: float | None, end: float | None
) -> Iterator[np.ndarray]:
    """Frames (H, W, 3) uint8: portrait | driver | output. A driver without pictures is shown as its points."""
    for shown, output in zip(_driver_pictures(driver, start, end), outputs, strict=True):
        height = output.shape[0]
        yield np.concatenate([_as_high(portrait, height), _as_high(shown, height), output], axis=1)


def _driver_pictures(driver: Driver, start: float | None, end: float | None) -> Iterator[np.ndarray]:
    if driver.kind == "video" and driver.path is not None:
        with VideoReader(driver.path, start, end) as reader:
            for frame in reader:
                yield frame.picture
    elif driver.kind == "picture" and driver.path is not None:
        yield read_picture(driver.path)
    else:
        points, side = driver.motion.filled().points, max(driver.motion.size)
        scale = 512 / side
        for one in points:
            yield raster(one * scale, 512, thickness=2)


def _as_high(picture: np.ndarray, height: int) -> np.ndarray:
    width = max(2, round(picture.shape[1] * height / picture.shape[0]))
    smaller = height < picture.shape[0]
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)
