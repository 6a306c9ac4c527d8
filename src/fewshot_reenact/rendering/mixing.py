"""Which of several portraits show in a pose, how much, and their light made alike."""

import numpy as np
from torch import Tensor

from fewshot_reenact.geometry.shape import descriptor


def portrait_state(shape: np.ndarray) -> np.ndarray:
    """What makes one portrait nearer to a pose than another, in units of a clear difference. (T, 83, 2) -> (T, 5)."""
    return descriptor(shape, turn=0.06, opening=0.12)


def nearest(distance: Tensor) -> tuple[Tensor, Tensor]:
    """The two portraits nearest to each pose, and how much each counts.

    A portrait's share is none at the moment when a third takes its place, so that nothing jumps. distance: (B, K), K of
    two or more, in the units of `portrait_state`. Returns their numbers and their shares, (B, 2) each, none negative.
    """
    share, chosen = (-distance).softmax(1).topk(min(3, distance.shape[1]), 1)
    third = share[:, 2:] if share.shape[1] > 2 else 0.0
    return chosen[:, :2], share[:, :2] - third


def match_colour(faces: Tensor, warped: Tensor, like: Tensor) -> Tensor:
    """Give faces, which were made of `warped`, the mean and spread of each colour that `like` has against `warped`:
    light differs from picture to picture. All (B, 3, S, S).
    """
    mean, std = warped.mean((2, 3), keepdim=True), warped.std((2, 3), keepdim=True).clamp(min=1e-3)
    return (faces - mean) / std * like.std((2, 3), keepdim=True) + like.mean((2, 3), keepdim=True)
