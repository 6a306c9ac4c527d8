"""Pictures of episodes as tensor operations: mirrored, in other colours, cut in face frames."""

import torch
import torch.nn.functional as F
from torch import Tensor

from fewshot_reenact.rendering.flow import apply_affine
from fewshot_reenact.rendering.warp import grid, sample


def show(frames: Tensor, flip: Tensor, tint: Tensor) -> Tensor:
    """Frames as episodes show them, in -1..1.

    frames: (B, F, 3, P, P) uint8. flip: (B,) bool, mirrored. tint: (B, 3, 256) uint8, what becomes of each level of
    each colour. Returns (B, F, 3, P, P) float32.
    """
    levels = (tint.float() / 127.5 - 1).flatten()
    begin = torch.arange(0, len(levels), 256, dtype=torch.int32, device=frames.device).view(-1, 1, 3, 1, 1)
    seen = torch.where(flip.view(-1, 1, 1, 1, 1), frames.flip(-1), frames)
    return levels.index_select(0, (seen.int() + begin).flatten()).view(frames.shape)


def cut(pictures: Tensor, frames: Tensor, size: int) -> Tensor:
    """What face frames (M, 2, 3) show of pictures (M, 3, P, P) in -1..1: (M, 3, size, size), at whole levels."""
    places = apply_affine(frames, grid(size, size, pictures.device).to(pictures.dtype)[None])
    return whole_levels(sample(pictures, places.view(-1, size, size, 2)))


def shrink(pictures: Tensor, size: int) -> Tensor:
    """Pictures (M, 3, P, P), P a multiple of the size, by averaging: (M, 3, size, size), at whole levels."""
    return whole_levels(F.avg_pool2d(pictures, pictures.shape[-1] // size))


def whole_levels(pictures: Tensor) -> Tensor:
    """Pictures in -1..1 as 8 bits would hold them."""
    return ((pictures + 1) * 127.5).round_() / 127.5 - 1
