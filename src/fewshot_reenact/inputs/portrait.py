"""A portrait: a picture of a person and the points of its face."""

from dataclasses import dataclass

import numpy as np

from fewshot_reenact.geometry.affine import transform
from fewshot_reenact.geometry.head_crop import cut_square, square_about


@dataclass(frozen=True)
class Portrait:
    """A picture (H, W, 3) uint8 RGB and the 83 points of its face, (83, 2) float32 pixels. matte: (H, W) float32, 1
    where the person is and 0 where the ground is; None where nobody knows.
    """

    picture: np.ndarray
    points: np.ndarray
    matte: np.ndarray | None = None


def crop_portrait(portrait: Portrait, size: int) -> Portrait:
    """A square about the head, size x size pixels."""
    h, w = portrait.picture.shape[:2]
    picture, matrix = cut_square(portrait.picture, square_about(portrait.points, (w, h)), size)
    return Portrait(picture, transform(matrix, portrait.points).astype(np.float32))
