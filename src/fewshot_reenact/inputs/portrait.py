"""A portrait: a picture of a person and the points of its face."""

from dataclasses import dataclass

import numpy as np

from fewshot_reenact.geometry.affine import transform
from fewshot_reenact.geometry.head_crop import cut_square, square_about


@dataclass(frozen=True)
class Portrait:
    """A picture (H, W, 3) uint8 RGB and the 83 points of its face, (83, 2) float32 pixels. matte: (H, W) float32, 1
    where the person is and 0 where the ground is; None where nobody knows. ground: (H, W, 3) uint8, what is
    shown behind the person in place of the picture's own ground; None: that. cut_out: nothing is, what is rendered has
    an alpha channel. alpha: (H, W) float32, the picture's own transparency, 1 opaque; None where all of it is.
    """

    picture: np.ndarray
    points: np.ndarray
    matte: np.ndarray | None = None
    ground: np.ndarray | None = None
    cut_out: bool = False
    alpha: np.ndarray | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the picture, pixels."""
        return self.picture.shape[1], self.picture.shape[0]


def crop_portrait(portrait: Portrait, size: int) -> Portrait:
    """A square about the head, size x size pixels."""
    square = square_about(portrait.points, portrait.size)
    picture, matrix = cut_square(portrait.picture, square, size)
    matte, alpha = (
        None if one is None else cut_square(one, square, size)[0].clip(0, 1) for one in (portrait.matte, portrait.alpha)
    )
    ground = None if portrait.ground is None else cut_square(portrait.ground, square, size)[0]
    points = transform(matrix, portrait.points).astype(np.float32)
    return Portrait(picture, points, matte, ground, portrait.cut_out, alpha)
