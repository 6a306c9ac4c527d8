"""What decides which of several portraits shows at a place, and makes them alike in light (DESIGN 4, K > 1)."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fewshot_reenact.landmarks.shape import openness, turn_of


def mood(shape: np.ndarray) -> np.ndarray:
    """What makes one portrait nearer to a pose than another, in units of a clear difference. (T, 83, 2) -> (T, 5)."""
    return np.concatenate([turn_of(shape) / 0.06, openness(shape) / 0.12], 1)


def stretch(flow: Tensor, frame: np.ndarray, cells: float) -> Tensor:
    """How much a warp enlarges each place beyond the whole face's change of size, in octaves, 0 where it does not.

    flow: (B, g, g, 2) portrait pixels. frame: (2, 3), the portrait's face frame. cells: frame pixels in a cell of the
    flow's grid. Returns (B, g, g).
    """
    step = flow.diff(dim=2)[:, :-1], flow.diff(dim=1)[:, :, :-1]
    area = (step[0][..., 0] * step[1][..., 1] - step[0][..., 1] * step[1][..., 0]).abs().clamp(min=1e-6)
    own = float(np.linalg.det(frame[:, :2])) * cells
    octaves = 0.5 * torch.log2(own / area).clamp(min=0)
    return F.pad(octaves[:, None], (0, 1, 0, 1), mode="replicate")[:, 0]


def match_colour(warped: Tensor, like: Tensor) -> Tensor:
    """Give one warped portrait the other's mean and spread of each colour: light differs from picture to picture."""
    mean, std = warped.mean((2, 3), keepdim=True), warped.std((2, 3), keepdim=True).clamp(min=1e-3)
    return (warped - mean) / std * like.std((2, 3), keepdim=True) + like.mean((2, 3), keepdim=True)
