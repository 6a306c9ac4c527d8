"""Lids close over the eyeball: what a spline through twelve points of the eyes cannot show.

A spline that is smooth squeezes an eye where its lids meet, and leaves much of it open. A lid does not squeeze the
eyeball, it covers it: the skin between brow and lashes is drawn out over it, the lashes go along as they are. Here each
place about an eye is told by how far it is from the new lids, and comes from as far from the portrait's own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fewshot_reenact.geometry.face_frame import part_box
from fewshot_reenact.geometry.smoothstep import smoothstep
from fewshot_reenact.geometry.topology import LEFT_BROW, LEFT_EYE, RIGHT_BROW, RIGHT_EYE

# All in widths of an eye. Gap of the lids up to which an eye is meant to be shut, for no extractor tells none of lids
# that meet; the widest from which it is as measured.
_SHUT, _OPEN = 0.085, 0.18
_OWN = 0.85  # an eye as far open as this share of the portrait's own is as measured, however narrow it is
# What is measured lies on the white's edge or within it: lashes begin beyond, and the corners are farther apart.
_RIM, _CORNER = 0.03, 0.08
# Of the way from the lower lid's measured place to the upper's, where they meet, and by how much the one then lies over
# the other, whose wet edge is not skin.
_MEET, _OVER = 0.5, 0.03
_LASHES = 0.04  # above and below the lids, what goes with them as it is
_BELOW = 0.35  # below the lower lid, where the cheek stands still
_BESIDE = 0.2  # beside the corners
_UNDER_BROW = 0.25  # of the way from a brow's middle to the upper lid: its lower edge
_STEEPEST = 0.7  # of its room, by which the skin above may be drawn out
_NEARLY = 0.7  # of shut, from which nothing between the lids is to be seen
_WIDER = 0.3  # share by which an eye is less open than the portrait's, from which the eyeball is not drawn out at all
_INNER = (0.2, 0.8)  # along an eye, between which the lids' points stand
_PARTS = ((LEFT_EYE, LEFT_BROW), (RIGHT_EYE, RIGHT_BROW))


def eye_boxes(side: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Rows and columns of a face frame of that side about the left eye and about the right one, as many of both: the
    frame's middle is between the eyes, however a head is turned.
    """
    x0, y0, x1, y1 = part_box("eyes", side)
    wide = (x1 - x0) // 2
    return (slice(y0, y1), slice(x0, x0 + wide)), (slice(y0, y1), slice(x1 - wide, x1))


def about_eyes(values: Tensor) -> Tensor:
    """(B, C, S, S) over face frames -> (2B, C, h, w), all left eyes and then all right ones."""
    return torch.cat([values[..., rows, columns] for rows, columns in eye_boxes(values.shape[-1])])


def with_eyes(values: Tensor, eyes: Tensor) -> Tensor:
    """`values` (B, C, S, S) with other ones about the eyes, (2B, C, h, w)."""
    changed = values.clone()
    for (rows, columns), eye in zip(eye_boxes(values.shape[-1]), eyes.chunk(2), strict=True):
        changed[..., rows, columns] = eye
    return changed


def in_places(places: Tensor) -> Tensor:
    """The same of places (B, S, S, 2) as `about_eyes`, in a row: (2B, h * w, 2)."""
    return about_eyes(places.permute(0, 3, 1, 2)).flatten(2).mT


@dataclass(frozen=True)
class Eyes:
    """N eyes in coordinates of their own, in widths: u from corner to corner, 0 to 1, v down from the line between.
    corner: (N, 2) pixels and axes: (N, 2, 2), pixels a unit of u and of v. upper, lower: (N, 2), the lids, see
    `_curve`. brow: (N,), v of its lower edge.
    """

    corner: Tensor
    axes: Tensor
    upper: Tensor
    lower: Tensor
    brow: Tensor

    @classmethod
    def of(cls, points: Tensor) -> Eyes:
        """Those of faces with these points, (B, 83, 2) pixels: all left ones and then all right ones."""
        lids, brow = (torch.cat([points[:, part[k]] for part in _PARTS]) for k in (0, 1))
        corner, along = lids[:, 0], lids[:, 3] - lids[:, 0]
        # From left to right in the picture, for both eyes: down is then a quarter turn on.
        axes = torch.stack([along, torch.stack([-along[:, 1], along[:, 0]], 1)], 1)
        inside = _coordinates(torch.cat([lids, brow], 1), corner, axes)
        edge, lid = inside[:, 6:, 1].mean(1), inside[:, 1:3, 1].mean(1)
        upper, lower = _through(inside[:, 1:3], -_RIM), _through(inside[:, [5, 4]], _RIM)
        return cls(corner, axes, upper, lower, edge + _UNDER_BROW * (lid - edge))

    def inside(self, where: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels (N, M, 2) -> u and v, (N, M) each."""
        u, v = _coordinates(where, self.corner, self.axes).unbind(2)
        return u, v

    def gap(self) -> Tensor:
        """How far the lids are apart in the middle, (N,)."""
        middle = self.corner.new_full((len(self.corner), 1), 0.5)
        return (_curve(self.lower, middle) - _curve(self.upper, middle))[:, 0] - 2 * _RIM

    def openness(self, own: Eyes) -> Tensor:
        """How far they are meant to be open, of what is measured, (N,) in 0..1. own: the portraits', which are as they
        are.
        """
        least = (_OWN * own.gap()).clamp(max=_OPEN)
        share = smoothstep(((self.gap() - _SHUT) / (least - _SHUT).clamp(min=1e-3)).clamp(0, 1))
        return torch.where(least > _SHUT, share, 1.0)

    def opened(self, share: Tensor) -> Eyes:
        """The same with this share, (N,), of the gap between their lids."""
        meet = self.lower + _MEET * (self.upper - self.lower)
        meet = torch.stack([meet[:, 0] + 4 * _OVER, meet[:, 1]], 1)
        return Eyes(self.corner, self.axes, meet + share[:, None] * (self.upper - meet), self.lower, self.brow)


@dataclass(frozen=True)
class Lids:
    """How the eyes of B portraits open and close. new, own: 2B eyes with the new expression, and the portraits' own.
    open: (2B,), 0 where the lids meet.
    """

    new: Eyes
    own: Eyes
    open: Tensor

    @classmethod
    def between(cls, expressed: Tensor, points: Tensor) -> Lids:
        """expressed, points: (B, 83, 2) pixels, with the new expression and the portraits' own."""
        new, own = Eyes.of(expressed), Eyes.of(points)
        share = new.openness(own)
        return cls(new.opened(share), own, share)

    @property
    def shut(self) -> Tensor:
        """(B, 2), 1 where the lids of the left eye and of the right one meet."""
        return 1 - torch.stack(self.open.chunk(2), 1)

    def cover(self, away: Tensor, places: Tensor) -> Tensor:
        """away: (B, 2, S, S), from the pixels of face frames to where they come from, pixels of the portrait. places:
        (B, S, S, 2), where those frames have their pixels. Returns `away` with the eyes' part changed.
        """
        part = about_eyes(away)
        return with_eyes(away, self.covered(part.flatten(2), in_places(places)).view(part.shape))

    def covered(self, away: Tensor, places: Tensor) -> Tensor:
        """The same for single places about the eyes: (2B, 2, M) and (2B, M, 2) -> (2B, 2, M)."""
        return away + _covered(away, places, self.new, self.own)


@dataclass(frozen=True)
class Closing:
    """A portrait's eyes, and how far each is shut, for flows at full resolution: made larger, one that leaps from one
    lid to the other would draw a line of the white that is between.
    """

    eyes: Eyes
    shut: np.ndarray

    @classmethod
    def of(cls, points: np.ndarray, shut: np.ndarray) -> Closing | None:
        """points: (83, 2) pixels of the portrait. shut: (2,). None where neither is nearly shut."""
        nearly = ((shut - _NEARLY) / (1 - _NEARLY)).clip(0, 1)
        return cls(Eyes.of(torch.from_numpy(points[None].astype(np.float32))), nearly) if nearly.any() else None

    def hide(self, flow: np.ndarray, side: int) -> None:
        """Let what comes from between the lids come from the lashes instead, in place. flow: (h, w, 2) float32, pixels
        of the portrait; side: 0 the left eye, 1 the right one, and the flow is that of what is about it.
        """
        where = torch.from_numpy(np.ascontiguousarray(flow).reshape(1, -1, 2))
        u, v = (values[side] for values in self.eyes.inside(where))
        upper, lower = (_curve(lid[side : side + 1], u[None])[0] for lid in (self.eyes.upper, self.eyes.lower))
        between = (v > upper) & (v < lower + _OVER) & (_along(u) > 0) & (_along(u) < 1)
        up = torch.where(between, float(self.shut[side]) * (upper - v), 0.0)
        flow += (up[:, None] * self.eyes.axes[side, 1]).numpy().reshape(flow.shape)


def _coordinates(where: Tensor, corner: Tensor, axes: Tensor) -> Tensor:
    return (where - corner[:, None]) @ axes.mT / axes.square().sum(2).clamp(min=1e-6)[:, None]


def _through(pair: Tensor, beyond: float) -> Tensor:
    """The curve of a lid from corner to corner, so far beyond the two points between, (N, 2, 2) u and v -> (N, 2)."""
    u = _along(pair[..., 0].clamp(*_INNER))
    height = (pair[..., 1] + beyond) / (u * (1 - u))
    slope = (height[:, 1] - height[:, 0]) / (u[:, 1] - u[:, 0]).clamp(min=0.2)
    return torch.stack([height[:, 0] - slope * u[:, 0], slope], 1)


def _curve(lid: Tensor, u: Tensor) -> Tensor:
    """v of a lid at u, (N, M): w (1 - w) (a + b w) for a w from 0 to 1 along the eye, and 0 beyond its corners."""
    inside = _along(u).clamp(0, 1)
    return inside * (1 - inside) * (lid[:, :1] + lid[:, 1:] * inside)


def _along(u: Tensor) -> Tensor:
    return (u + _CORNER) / (1 + 2 * _CORNER)


def _covered(away: Tensor, places: Tensor, new: Eyes, own: Eyes) -> Tensor:
    """What has to be added to `away`, (N, 2, M). places: (N, M, 2)."""
    u, v = new.inside(places)
    upper, lower = _curve(new.upper, u), _curve(new.lower, u)
    from_upper, from_lower = _curve(own.upper, u), _curve(own.lower, u)
    from_lower = torch.maximum(from_lower, from_upper)
    above, below = upper - v, v - torch.maximum(lower, upper)
    # The eyeball stays where it is under a lid that comes down; under one that is raised farther than the portrait's it
    # is drawn out.
    wide, was = (lower - upper).clamp(min=1e-3), (from_lower - from_upper).clamp(min=1e-3)
    drawn = from_upper + (v - upper) / wide * was
    still = ((1 - wide / was) / _WIDER).clamp(0, 1)
    ball = drawn + still * (torch.minimum(torch.maximum(v, from_upper), from_lower) - drawn)
    comes = torch.where(above > 0, from_upper - above, torch.where(below > 0, from_lower + v - lower, ball))

    room = torch.maximum(upper - new.brow[:, None], (upper - from_upper).abs() / _STEEPEST)
    distance, reach = torch.where(above > 0, above, below), torch.where(above > 0, room, _BELOW)
    share = 1 - ((distance - _LASHES) / (reach - _LASHES).clamp(min=_LASHES)).clamp(0, 1)
    share = share * smoothstep((1 + torch.minimum(u, 1 - u) / _BESIDE).clamp(0, 1))
    wanted = own.corner[:, None] + torch.stack([u, comes], 2) @ own.axes
    return ((wanted - places).mT - away) * share[:, None]
