"""The inverse of a map that folds: which place of the portrait is seen at each place of the picture, the nearest first.

Every node of the portrait is put where it moved, onto the four cells about it; of what falls into one cell the nearest
counts, and what lies just behind it by as much less (a z-buffer, softened, so that nothing flickers). Nodes that are
seen from behind are dropped. Cells that nothing reached take what is around them, and are known.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from fewshot_reenact.rendering.warp import sample

_HARD = 14.0  # how fast what lies behind loses: e-folds an eye distance
_FACING = 0.03  # a node counts from this share of its own area on; below it is seen from the side, or from behind
_FAR_BEHIND = -1e4
_FILLS = 6  # halvings of the grid, over which empty cells are filled
_MESH = 5  # cells: gaps narrower than this in what is in front are of the stretched front itself
_HOLE = 15  # cells: a hole narrower than this lies within the head, and is no ground; what is around is drawn over it


@dataclass(frozen=True)
class Grid:
    """Places of a picture: origin (2,) pixels, the first; step (2,) pixels from column to column and row to row;
    shape: (rows, columns).
    """

    origin: Tensor
    step: Tensor
    shape: tuple[int, int]

    @classmethod
    def over(
        cls, box: tuple[float, float, float, float], shape: tuple[int, int], device: torch.device | None = None
    ) -> "Grid":
        """Over a box x0, y0, x1, y1, its edges included."""
        x0, y0, x1, y1 = box
        step = torch.tensor([(x1 - x0) / (shape[1] - 1), (y1 - y0) / (shape[0] - 1)], device=device)
        return cls(torch.tensor([x0, y0], dtype=step.dtype, device=device), step, shape)

    def places(self) -> Tensor:
        """(1, rows * columns, 2) pixels, in memory x before y, see `rendering.warp.grid`."""
        return self._places

    @cached_property
    def _places(self) -> Tensor:
        rows, columns = (torch.arange(n, dtype=self.step.dtype, device=self.step.device) for n in self.shape)
        x, y = columns * self.step[0] + self.origin[0], rows * self.step[1] + self.origin[1]
        y, x = torch.meshgrid(y, x, indexing="ij")
        return torch.stack([x, y]).view(1, 2, -1).transpose(1, 2)

    def map(self) -> Tensor:
        """The same as a map, (1, rows, columns, 2)."""
        return self._places.view(1, *self.shape, 2)

    def sampled(self, shape: tuple[int, int]) -> "Grid":
        """As many places as `shape` says between the same first and last."""
        across, down = ((mine - 1) / (count - 1) for mine, count in zip(self.shape[::-1], shape[::-1], strict=True))
        return Grid(self.origin, torch.stack([self.step[0] * across, self.step[1] * down]), shape)

    def cells(self, pixels: Tensor) -> Tensor:
        """Pixels (..., 2) in units of the grid: 0, 0 is the first place."""
        return (pixels - self.origin) / self.step

    def look_up(self, values: Tensor, pixels: Tensor) -> Tensor:
        """Values (B, C, rows, columns) at (B, h, w, 2) pixels, linearly -> (B, C, h, w)."""
        return sample(values, self.cells(pixels))


@dataclass(frozen=True)
class Seen:
    """What is seen at the places of a grid. where: (B, rows, columns, 2), pixels of the portrait. visible and covered:
    (B, 1, rows, columns). covered is 1 where the portrait shows something, 0 where it shows nothing. visible is 1 where
    it shows as much as the place needs, less where few of its pixels are drawn out over much.
    """

    where: Tensor
    visible: Tensor
    covered: Tensor


def invert_map(there: Tensor, nodes: Grid, onto: Grid, enlarged: Tensor, mirrored: Tensor | None = None) -> Seen:
    """there: (B, N, 3), where the nodes' places are seen, pixels, and how near they are, eye distances. enlarged: (B,)
    by how much the whole head is larger than in the portrait. mirrored: (B, N) for a map that mirrors, how much each
    node is worth.
    """
    count, (rows, columns) = len(there), onto.shape
    at = onto.cells(there[..., :2])
    area = _area(at.view(count, *nodes.shape, 2)).flatten(1)
    if mirrored is not None:
        area = -area
    usual = (nodes.step / onto.step).prod() * enlarged[:, None].square()
    drawn = area > _FACING * usual
    index, weight = _corners(at, onto.shape)
    weight = torch.where((drawn[:, None] & (index >= 0)), weight, 0.0)
    index = index.clamp(min=0) + (torch.arange(count, device=at.device) * rows * columns)[:, None, None]

    flat, near = index.flatten(), there[:, None, :, 2].expand_as(weight)
    shown = torch.where(weight > 1e-3, near, _FAR_BEHIND).flatten()
    front = shown.new_full((count * rows * columns,), _FAR_BEHIND).scatter_reduce_(0, flat, shown, "amax")
    front = _closed(front.view(count, 1, rows, columns)).flatten()
    behind = (front[flat].view_as(weight) - near).clamp(min=0)
    weight = weight * torch.exp(-_HARD * behind)

    offset = nodes.places() - there[..., :2]
    detail = (usual / area.clamp(min=1e-6)).clamp(max=1)
    if mirrored is not None:
        detail = detail * mirrored
    values = torch.stack([*offset.unbind(-1), detail, torch.ones_like(detail)])
    added = (values[:, :, None] * weight).flatten(1)
    sums = added.new_zeros(4, count * rows * columns).scatter_add_(1, flat.expand(4, -1), added)
    sums = sums.view(4, count, rows, columns).transpose(0, 1).contiguous()
    total = sums[:, 3:]
    covered = (total / 0.35).clamp(max=1)
    # A mirror image stands for another: only where it surely is.
    covered = _closed(covered, _HOLE) if mirrored is None else -_greatest(-covered)
    filled = _fill(sums[:, :3], total)
    where = filled[:, :2].permute(0, 2, 3, 1) + onto.map()
    return Seen(where, filled[:, 2:] * covered, covered)


def _closed(values: Tensor, mesh: int = _MESH) -> Tensor:
    """Without gaps narrower than `mesh` cells: the greatest about each place, then the least of those. (B, 1, r, c)."""
    return -_greatest(-_greatest(values, mesh), mesh)


def _greatest(values: Tensor, mesh: int = _MESH) -> Tensor:
    """The greatest of mesh x mesh cells about each, one side after the other: for single maps, pooling is slow."""
    half = mesh // 2
    for dim in (-1, -2):
        last = values.shape[dim] - 1
        ends = [values.narrow(dim, 0, 1)] * half, [values.narrow(dim, last, 1)] * half
        padded = torch.cat([*ends[0], values, *ends[1]], dim)
        values, wide = padded, 1
        while wide < mesh:  # of two runs the greatest is that of both
            step = min(wide, mesh - wide)
            left = values.shape[dim] - step
            values, wide = torch.maximum(values.narrow(dim, 0, left), values.narrow(dim, step, left)), wide + step
    return values


def _area(at: Tensor) -> Tensor:
    """How large the cell about each node is, negative where it is seen from behind. (B, r, c, 2) -> (B, r, c)."""
    right, down = _slopes(at)
    return right[..., 0] * down[..., 1] - right[..., 1] * down[..., 0]


def _slopes(at: Tensor) -> tuple[Tensor, Tensor]:
    """How values (B, r, c, 2) change from column to column, and from row to row."""
    right, down = torch.empty_like(at), torch.empty_like(at)
    right[:, :, 1:-1], down[:, 1:-1] = (at[:, :, 2:] - at[:, :, :-2]) / 2, (at[:, 2:] - at[:, :-2]) / 2
    right[:, :, 0], right[:, :, -1] = at[:, :, 1] - at[:, :, 0], at[:, :, -1] - at[:, :, -2]
    down[:, 0], down[:, -1] = at[:, 1] - at[:, 0], at[:, -1] - at[:, -2]
    return right, down


def _corners(at: Tensor, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The four cells about places (B, N, 2) in units of the grid: their numbers, -1 outside, and shares, (B, 4, N)."""
    rows, columns = shape
    low = at.floor()
    share, low = at - low, low.long()
    indices, weights = [], []
    for dx in (0, 1):
        for dy in (0, 1):
            x, y = low[..., 0] + dx, low[..., 1] + dy
            inside = (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
            indices.append(torch.where(inside, y * columns + x, -1))
            weights.append((share[..., 0] if dx else 1 - share[..., 0]) * (share[..., 1] if dy else 1 - share[..., 1]))
    return torch.stack(indices, 1), torch.stack(weights, 1)


def _fill(sums: Tensor, total: Tensor) -> Tensor:
    """Means (B, C, h, w) of weighted sums and their weights (B, 1, h, w); where there is none, those around: the
    picture halved again and again until something is there, and enlarged back.
    """
    values, weights = [sums], [total]
    for _ in range(_FILLS):
        if min(values[-1].shape[-2:]) < 2:
            break
        least = weights[-1].clamp(max=1)
        scaled = values[-1] * (least / weights[-1].clamp(min=1e-6))
        values.append(F.avg_pool2d(scaled, 2, ceil_mode=True, count_include_pad=False))
        weights.append(F.avg_pool2d(least, 2, ceil_mode=True, count_include_pad=False))
    filled = values[-1] / weights[-1].clamp(min=1e-6)
    for value, weight in zip(values[-2::-1], weights[-2::-1], strict=True):
        larger = F.interpolate(filled, size=value.shape[-2:], mode="bilinear", align_corners=False)
        known = (weight / 0.25).clamp(max=1)
        filled = known * value / weight.clamp(min=1e-6) + (1 - known) * larger
    return filled


def refine_inverse(where: Tensor, wanted: Tensor, forward: Tensor, nodes: Grid, rounds: int = 2) -> Tensor:
    """Places of the portrait (B, h, w, 2) that are seen nearly at `wanted`, brought there exactly by Newton's steps
    where the map is smooth. wanted: (B or 1, h, w, 2) pixels. forward: (B, 2, rows, columns), where the nodes are seen.
    A step that leads farther away is not taken. Returns (B, h, w, 2).
    """
    right, down = _slopes(forward.permute(0, 2, 3, 1))
    known = torch.cat([forward, *(slope.permute(0, 3, 1, 2) for slope in (right, down))], 1)
    found = nodes.look_up(known, where).permute(0, 2, 3, 1)
    for _ in range(rounds):
        miss = wanted - found[..., :2]
        a, c, b, d = found[..., 2:].unbind(-1)
        area = a * d - b * c
        area = torch.where(area.abs() < _FACING, _FACING, area)
        cells = torch.stack([d * miss[..., 0] - b * miss[..., 1], a * miss[..., 1] - c * miss[..., 0]], 1)
        step = (cells / area[:, None]).clamp(-2, 2).permute(0, 2, 3, 1)
        tried = where + step * nodes.step
        there = nodes.look_up(known, tried).permute(0, 2, 3, 1)
        left = wanted - there[..., :2]
        nearer = left.square().sum(-1, keepdim=True) < miss.square().sum(-1, keepdim=True)
        where, found = torch.where(nearer, tried, where), torch.where(nearer, there, found)
    return where
