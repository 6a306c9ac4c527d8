"""The warp of a solid head between two pictures of a person, for training: points in, a view out."""

import torch
from torch import Tensor

from fewshot_reenact.geometry.topology import N_POINTS
from fewshot_reenact.rendering.flow import apply_affine
from fewshot_reenact.rendering.solid.fit import FittedHeads, fit_heads, nearness
from fewshot_reenact.rendering.solid.splat import Grid
from fewshot_reenact.rendering.solid.surface import Placing, head_surface
from fewshot_reenact.rendering.solid.warp import BOX_GRID, Expression, Heads, Turn, turn_heads
from fewshot_reenact.rendering.view import View, match_light
from fewshot_reenact.rendering.warp import grid, sample

_NODES = 80  # places a side of the picture: a head fills half of it
_ASIDE, _SURE = 0.07, 0.12  # sine of the yaw from which a mirror image begins to count, and from which it does


@torch.no_grad()
def solid_view(driver: Tensor, portrait: Tensor, frame: Tensor, pictures: Tensor, size: int) -> tuple[View, Tensor]:
    """How pictures of people are seen in the face frames of other pictures of theirs.

    driver, portrait: (B, 83, 2) pixels. frame: (B, 2, 3), the driver's face frames of side S -> pixels. pictures:
    (B, 3, P, P) the portraits, -1..1. Returns the view and what it shows well, (B, 1, S, S).
    """
    edge = float(pictures.shape[-1] - 1)
    device = driver.device
    nodes = Grid.over((0.0, 0.0, edge, edge), (_NODES, _NODES), device)
    coarse = Grid.over((0.0, 0.0, edge, edge), (BOX_GRID, BOX_GRID), device)
    own = fit_heads(portrait)
    there = fit_heads(driver, own.rest)
    heads, solid_frame = _heads(own, there, portrait, driver, size)
    expression = Expression.fit(heads, solid_frame, size, coarse)
    surface = head_surface(portrait, own.depth, own.pose, nodes.places().expand(len(driver), -1, -1), nodes.shape)
    turn = turn_heads(heads, surface, expression, nodes, nodes, mirror=True)
    wanted = apply_affine(frame, grid(size, size, device)[None].to(frame.dtype)).view(-1, size, size, 2)
    where, visible = turn.places(wanted)
    return _with_mirror(turn, expression, wanted, expression.source(where), visible, pictures, own), visible


def _heads(own: FittedHeads, there: FittedHeads, portrait: Tensor, driver: Tensor, size: int) -> tuple[Heads, Tensor]:
    """What the warp wants to know, and the face frames of the portraits with the drivers' expressions, (B, 2, 3)."""
    near = nearness()
    solid = _lifted(driver, there.depth, there.pose, near)
    turned = solid @ own.pose.rotation.transpose(1, 2)
    depth = turned[..., 2]
    flat = turned[..., :2] / (1 - (near * depth).clamp(max=0.8))[..., None]
    expressed = flat * own.pose.scale[:, None, None] + own.pose.translation[:, None]
    heads = Heads(portrait, own.depth, expressed, depth, own.pose, there.pose, near)
    return heads, frames_of(expressed, size)


def _lifted(points: Tensor, depth: Tensor, pose: Placing, near: float) -> Tensor:
    """Points (B, 83, 2) of pictures in the heads' own axes, (B, 83, 3) eye distances."""
    flat = pose.to_units(points) * (1 - (near * depth).clamp(max=0.8))[..., None]
    return torch.cat([flat, depth[..., None]], -1) @ pose.rotation


def frames_of(points: Tensor, size: int) -> Tensor:
    """geometry.face_frame.face_frame as tensors: (B, 83, 2) -> (B, 2, 3)."""
    if points.shape[1] != N_POINTS:
        raise ValueError(f"points must be (B, {N_POINTS}, 2), not {tuple(points.shape)}")
    left, right, mouth = (points[:, part].mean(1) for part in (slice(36, 42), slice(42, 48), _MOUTH_ANCHOR))
    eyes = (left + right) / 2
    across, below = right - left, mouth - eyes
    x, y = across[:, 0] + below[:, 1], across[:, 1] - below[:, 0]
    length = torch.hypot(x, y).clamp(min=1e-6)
    x, y = x / length, y / length
    reach = torch.maximum(across.norm(dim=1), 0.95 * below.norm(dim=1)).clamp(min=1.0)
    scale = reach / (0.34 * size)
    linear = scale[:, None, None] * torch.stack([x, -y, y, x], -1).view(-1, 2, 2)
    anchor = 0.45 * eyes + 0.55 * mouth
    middle = linear.new_full((2, 1), size / 2 - 0.5)
    return torch.cat([linear, anchor[..., None] - linear @ middle], -1)


def _with_mirror(
    turn: Turn,
    expression: Expression,
    wanted: Tensor,
    flow: Tensor,
    visible: Tensor,
    pictures: Tensor,
    own: FittedHeads,
) -> View:
    other = turn.mirrored()
    assert other is not None
    here = turn.onto.places().view(1, *turn.onto.shape, 2)
    away = (expression.source(other[0]) - here).permute(0, 3, 1, 2)
    aside = ((own.pose.rotation[:, 0, 2].abs() - _ASIDE) / (_SURE - _ASIDE)).clamp(0, 1)
    found = turn.onto.look_up(torch.cat([away, other[1] * aside[:, None, None, None]], 1), wanted)
    mirrored, share = wanted + found[:, :2].permute(0, 2, 3, 1), found[:, 2:]
    tone = match_light(sample(pictures, flow), sample(pictures, mirrored), visible)
    return View(flow, mirrored, share, tone)


_MOUTH_ANCHOR = [48, 49, 50, 51, 52, 53, 54, 60, 61, 62, 63, 64]
