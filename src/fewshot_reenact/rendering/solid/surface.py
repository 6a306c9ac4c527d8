"""A portrait's head as a surface: how near every place of the picture is, and how firmly it moves with the head.

In the face the depth is a spline through the points' own. Beyond the face's outline it curves back to a plane through
the head's middle, over as much as skull and hair are thick above and beside a face, and a neck is behind a chin; the
plane goes on from there. Below the chin the head's turn ends soon, and neck and shoulders go a part of its way.
Everything is a tensor and batched, for training makes a surface for each portrait that it draws.

Coordinates: pixels of the portrait's picture; depth in eye distances of the head's pose, towards the viewer, from the
head's origin (`geometry.solid`). Forms of the head are in its own axes, x to the right, y down, z to the viewer.
"""

from dataclasses import dataclass
from math import radians

import torch
from torch import Tensor

from fewshot_reenact.geometry.smoothstep import smoothstep
from fewshot_reenact.geometry.solid_fit import NEAREST
from fewshot_reenact.geometry.topology import CHIN
from fewshot_reenact.rendering.solid.relief import Relief
from fewshot_reenact.rendering.warp import PIECES

_MIDDLE = -0.78  # eye distances, depth of the plane in the head's own axes
# Eye distances beyond the outline over which the depth gets there: above, beside, below the face; and its centre.
_ABOVE, _BESIDE, _BELOW, _CENTRE = 0.62, 0.30, 0.38, 0.35
# Eye distances beyond the outline over which two sides cease to be alike, and how much hair and ears still are:
# better than nothing, down to the jaw; shoulders are not the head's.
_ALIKE, _BESIDE_IT = 0.3, 0.6
_HANGS_FROM, _HANGS_TO = 0.6, 0.95  # eye distances below the eyes
_HIDES_FROM, _HIDES_ALL = radians(12), radians(25)  # of yaw, from which a head hides hair, and all of a side's
_RIDGE = 0.06  # eye distances from the head's middle: nearer there are no sides
# A head's turn ends this many eye distances below the chin; to the sides all ends between these shares of _FAR.
_NECK = 0.3
_FAR, _SOFT = 2.7, 0.25
_FAR_CENTRE = 0.25  # eye distances below the eyes
# Where a head turns about its neck, in its own axes, eye distances: the fit of `training.fitting.blendshapes` to filmed
# heads. Neck and shoulders go that way in part, sideways more than up and down: measured by optical flow on filmed
# people, a quarter to three quarters of an eye distance below the chin.
PIVOT = (0.0, 0.88, -0.89)
_SWAY = (0.75, 0.45)
_SWAY_FROM, _SWAY_END = 0.6, 1.6  # eye distances below the chin over which that ends, as the moving box does
# The face's outline: the jaw from the left ear to the right, back along the hairline.
OUTLINE = (*range(17), *range(78, 67, -1))


@dataclass(frozen=True)
class Placing:
    """Where B heads are in their pictures: rotation (B, 3, 3) from the head's own axes to the picture's, scale (B,)
    pixels an eye distance, translation (B, 2) pixels; see `geometry.solid.HeadPose`.
    """

    rotation: Tensor
    scale: Tensor
    translation: Tensor

    def to_units(self, pixels: Tensor) -> Tensor:
        """(B, N, 2) pixels -> (B, N, 2) eye distances from the head's origin, in the picture's axes."""
        return (pixels - self.translation[:, None]) / self.scale[:, None, None]

    def lifted(self, pixels: Tensor, depth: Tensor, nearness: float) -> Tensor:
        """Places (B, N, 2) in pixels with their depths (B, N) in eye distances -> (B, N, 3) in the heads' own axes.

        nearness: how strong perspective is, see `geometry.solid_fit.project`.
        """
        flat = self.to_units(pixels) / _enlarged(depth, nearness)[..., None]
        seen = torch.cat([flat.transpose(1, 2), depth[:, None]], 1)
        return (self.rotation.transpose(1, 2) @ seen).transpose(1, 2)

    def placed(self, solid: Tensor, nearness: float) -> tuple[Tensor, Tensor]:
        """The inverse of `lifted`."""
        turned = (self.rotation @ solid.transpose(1, 2)).transpose(1, 2)
        depth = turned[..., 2]
        flat = turned[..., :2] * _enlarged(depth, nearness)[..., None]
        return flat * self.scale[:, None, None] + self.translation[:, None], depth


def _enlarged(depth: Tensor, nearness: float) -> Tensor:
    """geometry.solid_fit.enlarged as tensors."""
    return 1 / (1 - (nearness * depth).clamp(max=NEAREST))


@dataclass(frozen=True)
class Surface:
    """Nodes of B portraits' pictures, on a grid of (rows, columns).

    where: (B, N, 2) pixels. depth: (B, N) eye distances. rigid: (B, N), 1 where a place is the head's, 0 where it
    is not. sway: (B, N), 1 where what is not the head's goes with the neck, 0 where it stays. alike: (B, N), how far a
    place may stand for its mirror image: 1 on the cheek that is turned to the viewer, less beside the face, 0 below it,
    along its middle, and on the other side.
    shape: (rows, columns), N of them.
    """

    where: Tensor
    depth: Tensor
    rigid: Tensor
    sway: Tensor
    alike: Tensor
    shape: tuple[int, int]


def head_surface(
    points: Tensor,
    depth: Tensor,
    pose: Placing,
    where: Tensor,
    shape: tuple[int, int],
    nearness: float,
    *,
    cut_out: bool = False,
) -> Surface:
    """points: (B, 83, 2) pixels of the portraits, depth: (B, 83) eye distances, pose: their heads'. where: (B, N, 2)
    pixels of the nodes. nearness: see `geometry.solid_fit.project`. cut_out: it is known what of the picture is the
    person, so that hair and ears may stand for those of the other side.
    """
    own, nodes = pose.to_units(points), pose.to_units(where)
    outside, beside = _beyond(nodes, own[:, OUTLINE], depth[:, OUTLINE])
    # Within the outline the face; beyond it a spline would run away: the depth at the outline's nearest place counts.
    relief = Relief.of(pose.lifted(points, depth, nearness), depth, pose.rotation, nearness)
    front = _front(relief, nodes, outside, beside)
    back = 1 - (1 - (outside / _thickness(nodes, pose.rotation)).clamp(max=1).square()).clamp(min=0).sqrt()
    near = front + back * (_middle(nodes, pose.rotation) - front)
    across, down, _ = (torch.cat([nodes, near[..., None]], -1) @ pose.rotation).unbind(-1)
    alike = smoothstep((1 - outside / _ALIKE).clamp(0, 1))
    if cut_out:
        aside = pose.rotation[:, 0, 2, None].clamp(-1, 1).asin().abs()
        beside = _BESIDE_IT * smoothstep(((aside - _HIDES_FROM) / (_HIDES_ALL - _HIDES_FROM)).clamp(0, 1))
        beside = beside * smoothstep(((_HANGS_TO - down) / (_HANGS_TO - _HANGS_FROM)).clamp(0, 1))
        alike = beside + (1 - beside) * alike
    # Only the side that is turned to the viewer stands for the other.
    nearer = -across * pose.rotation[:, 0, 2, None].sign()
    alike = alike * smoothstep(((nearer - _RIDGE) / _RIDGE).clamp(0, 1))
    below, within = _below_chin(nodes, near, own, depth, pose.rotation), _within(nodes)
    rigid = smoothstep((1 - below / _NECK).clamp(0, 1)) * within
    sway = smoothstep(((_SWAY_END - below) / (_SWAY_END - _SWAY_FROM)).clamp(0, 1)) * within * (below > 0)
    return Surface(where, near, rigid, sway, alike, shape)


def _front(relief: Relief, nodes: Tensor, outside: Tensor, beside: Tensor) -> Tensor:
    """Depth of the relief at nodes (B, N, 2), and `beside`, (B, N), where they are `outside` of the face, (B, N)."""
    if nodes.device.type != "cpu":  # how many are within would have to be waited for
        return torch.where(outside > 0, beside, relief.depth(nodes))
    # The relief is dear, and a face fills a part of its picture: of each portrait as many nodes as the most have in it.
    without = (outside > 0).to(torch.uint8)
    most = int((1 - without).sum(1).max())
    chosen = without.argsort(dim=1, stable=True)[:, :most]
    depth = relief.depth(nodes.gather(1, chosen[..., None].expand(-1, -1, 2)))
    known = beside.gather(1, chosen)
    return beside.scatter(1, chosen, torch.where(outside.gather(1, chosen) > 0, known, depth))


def _beyond(where: Tensor, outline: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """How far places (B, N, 2) are outside a closed outline (B, P, 2), 0 inside, and the value (B, P) at the outline's
    nearest place. Both (B, N).
    """
    if where.device.type == "cpu":  # a few places at a time fit the processor's cache
        parts = [_beyond_of(part, outline, values) for part in where.chunk(PIECES, 1)]
        return torch.cat([away for away, _ in parts], 1), torch.cat([beside for _, beside in parts], 1)
    return _beyond_of(where, outline, values)


def _beyond_of(where: Tensor, outline: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    # (B, P, N), places last in memory: an outline has few sides.
    x, y = (where[:, None, :, k] for k in (0, 1))
    (xa, ya), (xb, yb) = ((end[..., 0, None], end[..., 1, None]) for end in (outline, outline.roll(-1, 1)))
    across, down = xb - xa, yb - ya
    right, below = x - xa, y - ya
    length2 = (across.square() + down.square()).clamp(min=1e-9)
    share = ((right * across + below * down) / length2).clamp(0, 1)
    away2, nearest = ((right - share * across).square() + (below - share * down).square()).min(1)
    share = share.gather(1, nearest[:, None])[:, 0]
    ends = [v.gather(1, nearest) for v in (values, values.roll(-1, 1))]
    # A ray to the right crosses the outline an odd number of times from inside.
    inside = (((ya > y) != (yb > y)) & (below / (down + 1e-12) * across > right)).sum(1) % 2 == 1
    return torch.where(inside, 0.0, away2.sqrt()), ends[0] + share * (ends[1] - ends[0])


def _middle(where: Tensor, rotation: Tensor) -> Tensor:
    """Depth of the plane through the head's middle at (B, N, 2) -> (B, N)."""
    across, down, out = (rotation[:, k, 2, None] for k in range(3))
    return (_MIDDLE - across * where[..., 0] - down * where[..., 1]) / out.clamp(min=0.3)


def _thickness(where: Tensor, rotation: Tensor) -> Tensor:
    """How far beyond the face's outline the depth curves back, by the direction from the face's centre. (B, N)."""
    down = rotation[:, :2, 1]
    down = down / down.norm(dim=1, keepdim=True).clamp(min=1e-6)
    away = where - _CENTRE * down[:, None]
    share = (away * down[:, None]).sum(-1) / away.norm(dim=-1).clamp(min=1e-6)
    upright = share.square()
    return _BESIDE + upright * (torch.where(share > 0, _BELOW, _ABOVE) - _BESIDE)


def _below_chin(where: Tensor, near: Tensor, points: Tensor, depth: Tensor, rotation: Tensor) -> Tensor:
    """How far below the chin places are along the head's own axis, (B, N) eye distances."""
    chin = (torch.cat([points[:, CHIN], depth[:, CHIN, None]], 1)[:, None] @ rotation)[..., 1]
    return (torch.cat([where, near[..., None]], -1) @ rotation)[..., 1] - chin


def _within(where: Tensor) -> Tensor:
    """(B, N): 1 about the head, falling to 0 far to the sides, above and below."""
    x, y = where.unbind(-1)
    far = torch.hypot(x, y - _FAR_CENTRE) / _FAR
    return smoothstep(((1 - far) / _SOFT).clamp(0, 1))


def sway(own: Placing, there: Placing) -> Tensor:
    """How far necks and shoulders go when heads do, (B, 2) pixels: a part of the way of the neck's top."""
    ends = []
    for placing in (own, there):
        pivot = placing.rotation[:, :2] @ placing.rotation.new_tensor(PIVOT)
        ends.append(pivot * placing.scale[:, None] + placing.translation)
    return (ends[1] - ends[0]) * ends[0].new_tensor(_SWAY)


def turned(
    where: Tensor, depth: Tensor, own: Placing, there: Placing, nearness: float, mirrored: bool = False
) -> Tensor:
    """Places of portraits, once their heads are posed otherwise. where: (B, N, 2) pixels, depth: (B, N) eye distances
    in the pose `own`. Returns (B, N, 3): pixels, and depth in eye distances of `own`'s size.

    nearness: see Placing. mirrored: as if each place were on the other side of the head.
    """
    solid = own.lifted(where, depth, nearness)
    if mirrored:
        across, *others = solid.unbind(-1)
        solid = torch.stack([-across, *others], 1).transpose(1, 2)
    shown, near = there.placed(solid, nearness)
    nearer = near * (there.scale / own.scale)[:, None]
    return torch.cat([shown.transpose(1, 2), nearer[:, None]], 1).transpose(1, 2)
