"""A face as a relief over the plane that it looks out of: how near each place of a picture is that shows it turned.

A spline over the picture itself bulges where a face is seen from the side: beside the ridge of a nose depth falls away
at once to a cheek far behind, and what overshoots there is a second nose once the head turns. Over the face's own plane
noses and cheeks are gentle, whichever way the head is turned. What a picture shows at a place is then the first that a
line of sight meets.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fewshot_reenact.rendering.solid.splat import Grid
from fewshot_reenact.rendering.warp import PIECES, interpolated

_OVER = (-1.15, -0.95, 1.15, 1.6)  # of the face's plane, x0 y0 x1 y1 in eye distances: all points lie within
_PLACES = (104, 94)  # rows, columns
DEPTH_SLACK = 1e-3  # how freely a spline of depths may miss a point
_STEPS, _BEYOND = 28, 0.06  # depths that are tried, and eye distances by which they go beyond the points' own


@dataclass(frozen=True)
class Relief:
    """Reliefs of B faces. heights: (B, 1, rows, columns), eye distances, z in the heads' own axes over `over`.
    rotation: (B, 3, 3), to the pictures' axes. nearest, farthest: (B,), depths of the points, eye distances. nearness:
    see `geometry.solid_fit.project`.
    """

    heights: Tensor
    over: Grid
    rotation: Tensor
    nearest: Tensor
    farthest: Tensor
    nearness: float

    @classmethod
    def of(cls, solid: Tensor, depth: Tensor, rotation: Tensor, nearness: float) -> Relief:
        """solid: (B, 83, 3), the points in the heads' own axes, eye distances. depth: (B, 83), as they are seen."""
        over = Grid.over(_OVER, _PLACES, solid.device)
        places = over.places().to(solid.dtype).expand(len(solid), -1, -1)
        heights = interpolated(solid[..., :2].contiguous(), solid[..., 2], places, DEPTH_SLACK)
        nearest, farthest = depth.amax(1) + _BEYOND, depth.amin(1) - _BEYOND
        return cls(heights.view(len(solid), 1, *_PLACES), over, rotation, nearest, farthest, nearness)

    def depth(self, where: Tensor) -> Tensor:
        """Depth of the first that is seen at places (B, N, 2), eye distances from the head's origin in the picture's
        axes -> (B, N). Beside the face it is the depth at which a line of sight comes nearest to it.
        """
        if where.device.type == "cpu":  # a few places at a time fit the processor's cache
            return torch.cat([self._first(part) for part in where.chunk(PIECES, 1)], 1)
        return self._first(where)

    def _first(self, where: Tensor) -> Tensor:
        share = torch.linspace(0, 1, _STEPS, dtype=where.dtype, device=where.device)
        tried = self.nearest[:, None] + share * (self.farthest - self.nearest)[:, None]  # (B, K), nearest first
        above = self._above(where, tried)
        below = above <= 0
        # The first step that is not above the relief; where there is none, the one that comes nearest to it.
        crossed = below.any(2)
        first = torch.where(crossed, below.to(torch.uint8).argmax(2), above.argmin(2))
        last = (first - 1).clamp(min=0)
        high, low = above.gather(2, last[..., None])[..., 0], above.gather(2, first[..., None])[..., 0]
        between = torch.where(crossed & (first > 0), high / (high - low).clamp(min=1e-6), 1.0)
        begin, end = tried.gather(1, last), tried.gather(1, first)
        return begin + between * (end - begin)

    def _above(self, where: Tensor, tried: Tensor) -> Tensor:
        """How far above the relief lines of sight are at depths (B, K) that are tried: (B, N, K) eye distances."""
        flat = where[:, :, None] * (1 - self.nearness * tried)[:, None, :, None]
        turn = self.rotation[:, None, None]  # (B, 1, 1, 3, 3)
        deep = tried[:, None, :]
        x, y, z = (
            turn[..., 0, k] * flat[..., 0] + turn[..., 1, k] * flat[..., 1] + turn[..., 2, k] * deep for k in range(3)
        )
        return z - self.over.look_up(self.heights, torch.stack([x, y], -1))[:, 0]
