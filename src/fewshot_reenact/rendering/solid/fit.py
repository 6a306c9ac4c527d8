"""Heads fitted to points on any device, many pictures of many people at once: `geometry.solid` for training.

The same sought for as there, the most probable pose and coefficients of one face, by the same Gauss-Newton steps; only
batched over people, and without a shared identity but one that is given.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from fewshot_reenact.geometry.solid import head_shapes
from fewshot_reenact.geometry.solid_fit import NEAREST, RIGID, TAILS
from fewshot_reenact.rendering.solid.surface import Placing

_ROUNDS = 5  # as geometry.solid_fit


@dataclass(frozen=True)
class FittedHeads:
    """B heads. pose: where they are. rest: (B, 83, 3), each person without expression, in the head's own axes; depth:
    (B, 83), of the points as they are seen, eye distances.
    """

    pose: Placing
    rest: Tensor
    depth: Tensor


@lru_cache(maxsize=8)
def _shapes(device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor, float]:
    shapes = head_shapes()
    with torch.inference_mode(False):
        parts = [
            torch.from_numpy(v).to(device) for v in (shapes.mean, shapes.identity, shapes.expression, shapes.spread)
        ]
    return parts[0], parts[1], parts[2], parts[3], shapes.nearness


@torch.no_grad()
def fit_heads(points: Tensor, rest: Tensor | None = None) -> FittedHeads:
    """The most probable heads of faces (B, 83, 2), pixels. rest: (B, 83, 3) where it is known who they are."""
    mean, identity, expression, spread, near = _shapes(points.device)
    seen = points.double()
    modes = expression if rest is not None else torch.cat([identity, expression])
    base = mean.expand(len(points), -1, -1) if rest is None else rest.double()
    rotation, scale, translation = _start(seen, mean, spread)
    unit = (seen - translation[:, None]) / scale[:, None, None]
    size, shift = torch.ones_like(scale), torch.zeros_like(translation)
    known = seen.new_zeros(len(points), len(modes))
    prior = torch.cat([seen.new_full((RIGID,), 1e-6), seen.new_ones(len(modes))])
    for _ in range(_ROUNDS):
        turned = (base + torch.einsum("bk,knc->bnc", known, modes)) @ rotation.transpose(1, 2)
        larger = 1 / (1 - (near * turned[..., 2]).clamp(max=NEAREST))
        shown = (size[:, None] * larger)[..., None] * turned[..., :2]
        error = unit - shown - shift[:, None]
        far = error.square().sum(-1) / spread**2
        root = (((TAILS + 2) / (TAILS + far)).sqrt() / spread)[..., None]
        plane = torch.zeros(*larger.shape, 2, 3, dtype=seen.dtype, device=seen.device)
        plane[..., 0, 0] = plane[..., 1, 1] = 1
        plane[..., 2] = near * larger[..., None] * turned[..., :2]
        plane = (size[:, None] * larger)[..., None, None] * plane * root[..., None]
        slopes = torch.cat(
            [
                plane @ _turns(turned),
                (root * shown)[..., None],
                torch.eye(2, dtype=seen.dtype, device=seen.device) * root[..., None],
                (plane @ rotation[:, None]) @ modes.permute(1, 2, 0),
            ],
            -1,
        ).flatten(1, 2)
        right = (slopes.transpose(1, 2) @ (error * root).flatten(1)[..., None])[..., 0]
        right[:, RIGID:] -= known
        system = slopes.transpose(1, 2) @ slopes + torch.diag(prior)
        step, _ = torch.linalg.solve_ex(system, right)
        rotation = _exponential(step[:, :3]) @ rotation
        size, shift = size * step[:, 3].clamp(-0.3, 0.3).exp(), shift + step[:, 4:6]
        known = known + step[:, RIGID:]
    count = 0 if rest is not None else len(identity)
    own = base + torch.einsum("bk,knc->bnc", known[:, :count], modes[:count])
    solid = base + torch.einsum("bk,knc->bnc", known, modes)
    depth = (solid @ rotation.transpose(1, 2))[..., 2]
    dtype = points.dtype
    pose = Placing(rotation.to(dtype), (scale * size).to(dtype), (translation + scale[:, None] * shift).to(dtype))
    return FittedHeads(pose, own.to(dtype), depth.to(dtype))


def _start(points: Tensor, mean: Tensor, spread: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rotations, scales and translations by linear least squares; see `geometry.solid_fit.rigid_start`."""
    weight = spread**-2 / (spread**-2).sum()
    middle, centre = weight @ mean, torch.einsum("n,bnc->bc", weight, points)
    solid = mean - middle
    weighted = weight[:, None] * solid
    linear = (points - centre[:, None]).transpose(1, 2) @ weighted @ torch.linalg.inv_ex(solid.T @ weighted)[0]
    # The nearest two orthonormal rows are (A A')^-1/2 A, and of two by two the root is had in closed form.
    square = linear @ linear.transpose(1, 2)
    root = (square[:, 0, 0] * square[:, 1, 1] - square[:, 0, 1].square()).clamp(min=1e-18).sqrt()
    half = (square[:, 0, 0] + square[:, 1, 1] + 2 * root).sqrt()
    eye = torch.eye(2, dtype=points.dtype, device=points.device)
    stretch = (square + root[:, None, None] * eye) / half[:, None, None]
    two = torch.linalg.inv_ex(stretch)[0] @ linear
    rotation = torch.cat([two, torch.linalg.cross(two[:, :1], two[:, 1:])], 1)
    scale = (half / 2).clamp(min=1e-6)  # half the trace of the stretch: the mean of the singular values
    return rotation, scale, centre - scale[:, None] * (rotation[:, :2] @ middle)


def _turns(turned: Tensor) -> Tensor:
    """How points (B, N, 3) move as a rotation about each axis begins: (B, N, 3, 3)."""
    x, y, z = turned.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, z, -y, -z, zero, x, y, -x, zero], -1).view(*turned.shape, 3)


def _exponential(vector: Tensor) -> Tensor:
    """Rotations about vectors (B, 3) by their lengths in radians -> (B, 3, 3)."""
    length = vector.norm(dim=1)[:, None, None].clamp(min=1e-12)
    cross = -_turns(vector[:, None])[:, 0]
    eye = torch.eye(3, dtype=vector.dtype, device=vector.device)
    return eye + length.sin() / length * cross + (1 - length.cos()) / length.square() * (cross @ cross)
