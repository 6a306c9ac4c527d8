"""The warp of a solid head between two pictures of a person, for training: points in, a view out."""

from functools import lru_cache

import torch
from torch import Tensor

from fewshot_reenact.geometry.face_frame import DOWN, EYES_SHARE, LEAST, MOUTH_ANCHOR, SPAN
from fewshot_reenact.geometry.solid import head_shapes
from fewshot_reenact.geometry.topology import LEFT_EYE, N_POINTS, RIGHT_EYE
from fewshot_reenact.rendering.flow import frame_places
from fewshot_reenact.rendering.solid.fit import FittedHeads, fit_heads
from fewshot_reenact.rendering.solid.opposite import mirror_image
from fewshot_reenact.rendering.solid.splat import Grid
from fewshot_reenact.rendering.solid.surface import head_surface
from fewshot_reenact.rendering.solid.warp import BOX_GRID, Expression, Heads, turn_heads
from fewshot_reenact.rendering.view import View, match_light
from fewshot_reenact.rendering.warp import sample

_NODES = 80  # places a side of the picture: a head fills half of it


@torch.no_grad()
def solid_view(driver: Tensor, portrait: Tensor, frame: Tensor, pictures: Tensor, size: int) -> tuple[View, Tensor]:
    """How pictures of people are seen in the face frames of other pictures of theirs.

    driver, portrait: (B, 83, 2) pixels. frame: (B, 2, 3), the driver's face frames of side S -> pixels. pictures:
    (B, 3, P, P) the portraits, -1..1. Returns the view and what it shows well, (B, 1, S, S).
    """
    nodes, coarse = (_over(pictures.shape[-1], count, driver.device) for count in (_NODES, BOX_GRID))
    own = fit_heads(portrait)
    there = fit_heads(driver, own.rest)
    still, solid = (h.pose.lifted(p, h.depth, head_shapes().nearness) for h, p in ((own, portrait), (there, driver)))
    heads, other = (_heads(own, there, portrait, one) for one in (solid, mirror_image(still, solid)))
    expression, opposite = (Expression.fit(h, frames_of(h.expressed, size), size, coarse) for h in (heads, other))
    places = nodes.places().expand(len(driver), -1, -1)
    surface = head_surface(portrait, own.depth, own.pose, places, nodes.shape, heads.nearness)
    turn = turn_heads(heads, surface, expression, nodes, nodes, opposite)
    wanted = frame_places(frame, size)
    where, visible = turn.places(wanted)
    flow, mirror = expression.source(where), turn.mirrored(expression, opposite, wanted)
    assert mirror is not None
    tone = match_light(sample(pictures, flow), sample(pictures, mirror.face), visible)
    return View(flow, mirror.face, mirror.face_share, tone), visible


@lru_cache(maxsize=8)
def _over(side: int, count: int, device: torch.device) -> Grid:
    """So many places a side of a square picture, kept on the device."""
    with torch.inference_mode(False):
        over = Grid.over((0.0, 0.0, side - 1.0, side - 1.0), (count, count), device)
        over.places()  # computed now, and kept with it
        return over


def _heads(own: FittedHeads, there: FittedHeads, portrait: Tensor, solid: Tensor) -> Heads:
    """What the warp wants to know. solid: (B, 83, 3), the heads with the new expression in their own axes."""
    near = head_shapes().nearness
    expressed, depth = own.pose.placed(solid, near)
    return Heads(portrait, own.depth, expressed, depth, own.pose, there.pose, near)


def frames_of(points: Tensor, size: int) -> Tensor:
    """geometry.face_frame.face_frame as tensors: (B, 83, 2) -> (B, 2, 3)."""
    if points.shape[1] != N_POINTS:
        raise ValueError(f"points must be (B, {N_POINTS}, 2), not {tuple(points.shape)}")
    left, right, mouth = (points[:, part].mean(1) for part in (LEFT_EYE, RIGHT_EYE, MOUTH_ANCHOR))
    eyes = (left + right) / 2
    across, below = right - left, mouth - eyes
    x, y = across[:, 0] + below[:, 1], across[:, 1] - below[:, 0]
    length = torch.hypot(x, y).clamp(min=1e-6)
    x, y = x / length, y / length
    reach = torch.maximum(across.norm(dim=1), DOWN * below.norm(dim=1)).clamp(min=LEAST)
    scale = reach / (SPAN * size)
    linear = scale[:, None, None] * torch.stack([x, -y, y, x], -1).view(-1, 2, 2)
    anchor = EYES_SHARE * eyes + (1 - EYES_SHARE) * mouth
    middle = linear.new_full((2, 1), size / 2 - 0.5)
    return torch.cat([linear, anchor[..., None] - linear @ middle], -1)
