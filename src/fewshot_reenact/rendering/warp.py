"""The analytic warp: a thin-plate spline that takes every pixel of the driver's pose back to a pixel of the portrait.

Backward, so that it can be sampled: `flow(x)` is where in the portrait the output pixel x comes from. Control points
are the 83 landmarks, the brows' lower edges (or a closing lid would drag the brow down with it), a ring about the head
that follows its outline (so hair is carried along and not stretched), and the border of the head's box, which stays
where it is (so the picture around the head does too).
Source: Bookstein 1989, "Principal Warps"; smoothing as in Wahba 1990, one weight a point.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from fewshot_reenact.geometry.topology import MOUTH, N_POINTS

EYES = slice(36, 48)
_RING_SOURCE = [0, 1, 2, 14, 15, 16, *range(68, 79)]  # temples and hairline
_RING_SCALE = 1.40  # about the face's centre: where the hair ends on most heads
_BORDER_PER_SIDE = 8
_BROWS = slice(17, 27)
_BROW_HEIGHT = 0.12  # of the eyes-to-mouth distance

# How freely the spline may miss a point, in units of the kernel after scaling the box to 1. It must miss a little where
# points meet that were apart (lips that close), or it folds; the outline, which no detector knows well, may be missed
# more. Chosen by the warp's error on 96 pairs of training clips: with exact points it is 8 % larger.
_SLACK_FACE, _SLACK_OUTLINE, _SLACK_RING, _SLACK_BORDER = 1e-3, 3e-2, 5e-2, 1e-6
_SLACK_OFF = 1e3


@dataclass(frozen=True)
class Spline:
    """A solved thin-plate spline of B faces.

    centres, weights: (B, N, 2). affine: (B, 3, 2), constant, x and y. origin: (B, 1, 2) pixels and unit: (B, 1, 1)
    pixels, where the centres' coordinates have 0 and 1.
    """

    centres: Tensor
    weights: Tensor
    affine: Tensor
    origin: Tensor
    unit: Tensor

    def __call__(self, where: Tensor) -> Tensor:
        """(B, M, 2) pixels of the output -> (B, M, 2) pixels of the portrait."""
        x = (where - self.origin) / self.unit
        bend = _bent(x, self.centres, self.weights)
        return bend * self.unit + where + (self.affine[:, :1] + x @ self.affine[:, 1:]) * self.unit


PIECES = 8  # in which arithmetic over all pairs is done on a processor, however large the batch is


def radial(a: Tensor, b: Tensor) -> Tensor:
    """r^2 log r^2 of all pairs, (B, M, 2) x (B, N, 2) -> (B, M, N). Direct differences: |a|^2 - 2ab + |b|^2 loses
    digits.
    """
    across, down = b[:, None, :, 0].contiguous(), b[:, None, :, 1].contiguous()
    r2 = (a[:, :, None, 0] - across).square_() + (a[:, :, None, 1] - down).square_()
    return torch.log(r2.clamp_(min=1e-9)).mul_(r2)


def _bent(where: Tensor, centres: Tensor, weights: Tensor) -> Tensor:
    """radial(where, centres) @ weights, (B, M, 2), (B, N, 2), (B, N, C) -> (B, M, C)."""
    if where.device.type != "cpu":
        return radial(where, centres) @ weights
    # A few places at a time: their pairs stay in the processor's cache, those of all do not.
    return torch.cat([radial(part, centres) @ weights for part in where.chunk(PIECES, 1)], 1)


def _ring(points: Tensor) -> Tensor:
    """The outline of the head's upper part, enlarged about the face's centre. (B, 83, 2) -> (B, 17, 2)."""
    centre = points.mean(1, keepdim=True)
    return centre + _RING_SCALE * (points[:, _RING_SOURCE] - centre)


def _under_brows(points: Tensor) -> Tensor:
    """The brows' lower edges: the brow points, moved towards the mouth. (B, 83, 2) -> (B, 10, 2)."""
    down = points[:, MOUTH].mean(1, keepdim=True) - points[:, EYES].mean(1, keepdim=True)
    return points[:, _BROWS] + _BROW_HEIGHT * down


def _border(box: Tensor) -> Tensor:
    """Points along the border of boxes (B, 4) x0 y0 x1 y1 -> (B, 4 * _BORDER_PER_SIDE, 2)."""
    t = torch.arange(_BORDER_PER_SIDE, dtype=box.dtype, device=box.device) / _BORDER_PER_SIDE
    x0, y0, x1, y1 = (v[:, None] for v in box.unbind(1))
    xs, ys = x0 + (x1 - x0) * t, y0 + (y1 - y0) * t
    one = torch.ones_like(xs)
    sides = [(xs, y0 * one), (x1 * one, ys), (x1 - xs + x0, y1 * one), (x0 * one, y1 - ys + y0)]
    return torch.cat([torch.stack(s, -1) for s in sides], 1)


def fit_warp(driver: Tensor, portrait: Tensor, box: Tensor) -> Spline:
    """The warp from the driver's pose back to the portrait.

    driver, portrait: (B, 83, 2) pixels, both in the portrait's coordinates. box: (B, 4) x0 y0 x1 y1, the part of the
    portrait that may move. Returns a Spline. Raises ValueError for other shapes.
    """
    if driver.shape != portrait.shape or driver.shape[1:] != (N_POINTS, 2):
        raise ValueError(
            f"points must both be (B, {N_POINTS}, 2), not {tuple(driver.shape)} and {tuple(portrait.shape)}"
        )
    dtype = driver.dtype
    # The system is stiff: float32 is not enough.
    driver, portrait, box = driver.double(), portrait.double(), box.double()
    ring_driver, ring_portrait = _ring(driver), _ring(portrait)
    border = _border(box)
    centres = torch.cat([driver, _under_brows(driver), ring_driver, border], 1)
    targets = torch.cat([portrait, _under_brows(portrait), ring_portrait, border], 1)

    origin = (box[:, None, :2] + box[:, None, 2:]) / 2
    unit = (box[:, 2:] - box[:, :2]).amax(1)[:, None, None].clamp(min=1.0)
    slack = torch.cat(
        [
            _face_slack(driver).expand(len(driver), -1),
            driver.new_full((len(driver), _BROWS.stop - _BROWS.start), _SLACK_FACE),
            torch.where(_inside(ring_driver, box) & _inside(ring_portrait, box), _SLACK_RING, _SLACK_OFF),
            driver.new_full((len(driver), border.shape[1]), _SLACK_BORDER),
        ],
        1,
    )
    weights, affine = solve_spline((centres - origin) / unit, (targets - centres) / unit, slack)
    parts = ((centres - origin) / unit, weights, affine, origin, unit)
    return Spline(*(part.to(dtype) for part in parts))


def _face_slack(like: Tensor) -> Tensor:
    slack = like.new_full((1, N_POINTS), _SLACK_FACE)
    slack[:, :17] = _SLACK_OUTLINE
    slack[:, 68:80] = _SLACK_OUTLINE
    return slack


def _inside(points: Tensor, box: Tensor) -> Tensor:
    """Which points are well inside the box: ring points near the border would fight the pinned ones. (B, N) bool."""
    margin = 0.04 * (box[:, 2:] - box[:, :2])
    low, high = (box[:, :2] + margin)[:, None], (box[:, 2:] - margin)[:, None]
    return ((points > low) & (points < high)).all(-1)


def solve_spline(centres: Tensor, values: Tensor, slack: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (B, N, C) and affine part (B, 3, C) of the smoothing spline through `values` (B, N, C) at `centres`
    (B, N, 2), which may miss each by its `slack` (B, N).
    """
    b, n, _ = centres.shape
    ones = torch.cat([centres.new_ones(b, n, 1), centres], 2)
    system = centres.new_zeros(b, n + 3, n + 3)
    system[:, :n, :n] = radial(centres, centres) + torch.diag_embed(slack)
    system[:, :n, n:] = ones
    system[:, n:, :n] = ones.transpose(1, 2)
    right = torch.cat([values, values.new_zeros(b, 3, values.shape[-1])], 1)
    # On a GPU the check of the result would be waited for.
    solution, _ = torch.linalg.solve_ex(system, right, check_errors=not system.is_cuda)
    return solution[:, :n], solution[:, n:]


def interpolated(centres: Tensor, values: Tensor, where: Tensor, slack: float) -> Tensor:
    """Values (B, P) known at `centres` (B, P, 2), by a thin-plate spline that may miss each by `slack`, at `where`
    (B, N, 2) -> (B, N).
    """
    wide, dtype = centres.double(), where.dtype
    room = wide.new_full(wide.shape[:2], slack)
    weights, affine = (part.to(dtype) for part in solve_spline(wide, values.double()[..., None], room))
    return (_bent(where, centres, weights) + affine[:, :1] + where @ affine[:, 1:])[..., 0]


@lru_cache(maxsize=64)
def grid(size: int, side: float, device: torch.device | None = None) -> Tensor:
    """A square of `side` pixels sampled at size x size points, corners included: their pixels, (size * size, 2).

    In memory all x come before all y, as in all that is made of them: arithmetic is far faster so, for what is alike
    lies side by side. Kept, and not to be changed.
    """
    with torch.inference_mode(False):
        line = torch.linspace(0, side - 1, size, device=device)
        y, x = torch.meshgrid(line, line, indexing="ij")
        return torch.stack([x, y]).view(2, -1).T


@lru_cache(maxsize=64)
def _scale(width: int, height: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Kept, for a copy from the host would be waited for at each step."""
    with torch.inference_mode(False):
        return torch.tensor([2 / max(width - 1, 1), 2 / max(height - 1, 1)], dtype=dtype, device=device)


def sample(pictures: Tensor, where: Tensor) -> Tensor:
    """Bilinear sampling with replicated borders. (B, C, H, W) at (B, h, w, 2) pixel coordinates -> (B, C, h, w)."""
    h, w = pictures.shape[-2:]
    scale = _scale(w, h, where.dtype, where.device)
    return F.grid_sample(pictures, where * scale - 1, padding_mode="border", align_corners=True)
