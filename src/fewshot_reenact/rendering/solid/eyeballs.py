"""Eyeballs turn behind the lids: what a spline through the irises cannot show.

A spline that is smooth and held by twelve points of the lids takes an iris 0.3 to 0.5 of its way, and squeezes it. Here
an iris goes all of the way as it is, and so does what is within its radius; the white of the eye beside it gives way.
Lids cover it and stay where the spline has them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fewshot_reenact.geometry.smoothstep import smoothstep
from fewshot_reenact.geometry.topology import LEFT_EYE, LEFT_IRIS, RIGHT_EYE, RIGHT_IRIS
from fewshot_reenact.rendering.eyelids import about_eyes, in_places, with_eyes

_LIDS, _IRISES = (LEFT_EYE, RIGHT_EYE), (LEFT_IRIS, RIGHT_IRIS)
# In widths of an eye. An iris is 11.7 mm across and the opening between the corners 30 mm: a radius of 0.195.
_RADIUS, _GIVES_WAY = 0.2, 0.45  # what goes along wholly, and where the white stands still again
_LID = 0.05  # from a lid inwards, over which the eyeball comes to go all of the way
_FARTHEST = 0.25  # that an iris goes beyond what the spline does: farther, and the white would fold


def turn_eyeballs(away: Tensor, places: Tensor, expressed: Tensor, points: Tensor) -> Tensor:
    """Let irises come from where they are on the portrait.

    away: (B, 2, S, S), from the pixels of face frames to where they come from, pixels of the portrait. places:
    (B, S, S, 2), where those frames have their pixels. expressed: (B, 83, 2) pixels, the portraits' points with the new
    expression. points: (B, 83, 2) pixels, the portraits' own. Returns `away` with the eyes' part changed.
    """
    part = about_eyes(away)
    return with_eyes(away, turned_eyeballs(part.flatten(2), in_places(places), expressed, points).view(part.shape))


def turned_eyeballs(away: Tensor, places: Tensor, expressed: Tensor, points: Tensor) -> Tensor:
    """The same for single places about the eyes, of all left ones and then all right ones: (2B, 2, M) and (2B, M, 2) ->
    (2B, 2, M).
    """
    lids, iris = (torch.cat([expressed[:, one] for one in part]) for part in (_LIDS, _IRISES))
    share, wanted = _turned(away, places, lids, iris, torch.cat([points[:, one] for one in _IRISES]))
    return away + wanted[:, :, None] * share[:, None]


def _turned(away: Tensor, places: Tensor, lids: Tensor, iris: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
    """What share of the way the places of N eyes go, (N, M), and that way, (N, 2) pixels. away: (N, 2, M). places:
    (N, M, 2). lids: (N, 6, 2), iris: (N, 2). source: (N, 2), where the iris is on the portrait.
    """
    width = (lids[:, 3] - lids[:, 0]).norm(dim=-1, keepdim=True).clamp(min=1e-3)  # (B, 1)
    squared = ((places - iris[:, None]) / width[..., None]).square().sum(-1)
    weight = torch.exp(squared * -((2 / _RADIUS) ** 2))
    gone = (away * weight[:, None]).sum(2) / weight.sum(1, keepdim=True).clamp(min=1e-6)
    lacking = (source - iris - gone) / width
    lacking = lacking * (_FARTHEST / lacking.norm(dim=1, keepdim=True).clamp(min=_FARTHEST))
    goes = smoothstep(((_GIVES_WAY - squared.sqrt()) / (_GIVES_WAY - _RADIUS)).clamp(0, 1))
    return goes * smoothstep((_inside(lids, places) / (width * _LID)).clamp(0, 1)), lacking * width


def _inside(corners: Tensor, places: Tensor) -> Tensor:
    """How far inside of convex outlines (B, N, 2) places (B, M, 2) are, pixels: (B, M), less than 0 outside."""
    edge = corners.roll(-1, 1) - corners
    inwards = torch.stack([-edge[..., 1], edge[..., 0]], -1) / edge.norm(dim=-1, keepdim=True).clamp(min=1e-6)
    after = corners.roll(-1, 1)
    turns = (corners[..., 0] * after[..., 1] - corners[..., 1] * after[..., 0]).sum(1).sign()
    inwards = inwards * turns[:, None, None]  # whichever way round they are given
    return (places @ inwards.transpose(1, 2) - (corners * inwards).sum(-1)[:, None]).amin(-1)
