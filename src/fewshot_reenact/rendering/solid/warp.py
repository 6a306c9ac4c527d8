"""The warp of a solid head: an expression in the portrait's own view, then the turn in space with a depth test.

Where an output's pixel comes from is found in two steps. The head's motion says where it is on the portrait with the
new expression but the old pose (`splat`, the inverse of a turn that folds). A spline says where that is on the portrait
itself (`rendering.warp`). At the portrait's own pose the first step does nothing, and the warp is the spline alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from fewshot_reenact.geometry.smoothstep import smoothstep
from fewshot_reenact.models.feather import feather_on
from fewshot_reenact.rendering.eyelids import Lids
from fewshot_reenact.rendering.flow import FLOW_SIZE, apply_affine, enlarge_flow, frame_places
from fewshot_reenact.rendering.solid.eyeballs import turn_eyeballs, turned_eyeballs
from fewshot_reenact.rendering.solid.outline import Outline
from fewshot_reenact.rendering.solid.relief import DEPTH_SLACK
from fewshot_reenact.rendering.solid.splat import Grid, Seen, invert_map, refine_inverse
from fewshot_reenact.rendering.solid.surface import Placing, Surface, sway, turned
from fewshot_reenact.rendering.warp import fit_warp, interpolated, sample

BOX_GRID = 32  # places a side at which the box's expression is computed
_DEPTH_GRID = 24  # and its change of depth
_RIM = 6  # places a side of its edge that are held
# By how much more of a place the mirror image has to show to stand for it wholly, of what it shows itself or at least
# of this.
_BETTER, _LITTLE = 0.4, 0.35
# Visibility up to which the mirror image may stand for a place, and over how much more it fades: drawn-out skin has its
# own light, where the other side's shadows would lie on it like dirt.
_HIDDEN, _HARDLY = 0.4, 0.25
# Degrees of yaw from which a portrait hides something of a side, and does so wholly; degrees that a head has to turn
# back to show some of it, and to show it wholly.
_ASIDE, _BACK = (4.0, 7.0), (2.0, 8.0)
_SURE = 0.15  # visibility from which on the inverse of a map is worth refining


@dataclass(frozen=True)
class Heads:
    """B portraits' heads and where they go. points: (B, 83, 2) pixels and depth: (B, 83) eye distances, the portraits'.
    expressed: (B, 83, 2) pixels and expressed_depth: (B, 83), the same with the new expression, in the old pose. own,
    there: the poses before and after. nearness: see `geometry.solid_fit.project`.
    """

    points: Tensor
    depth: Tensor
    expressed: Tensor
    expressed_depth: Tensor
    own: Placing
    there: Placing
    nearness: float


@dataclass(frozen=True)
class Expression:
    """The portraits' new expressions in their old pose, as offsets to the portraits' pixels. box: (B, 2, g, g) over
    `over`; face: (B, 3, S, S) over the face frames `frame` (B, 2, 3) of the portraits with the new expression, the
    third how much of it counts, none from the frame's edge on. plain: (B, 2, S, S), the same without
    what eyes do, and lids: what they do. nearer: (B, 1, d, d) eye distances over the box, how
    much nearer it brings what is seen there.
    heads: whose they are.
    """

    box: Tensor
    over: Grid
    face: Tensor
    frame: Tensor
    nearer: Tensor
    plain: Tensor
    lids: Lids
    heads: Heads

    @classmethod
    def fit(cls, heads: Heads, frame: Tensor, size: int, over: Grid) -> Expression:
        """size: side of the face frames, pixels. over: the box of the portrait that may move, coarse."""
        places = over.places()
        edges = torch.cat([places[0, 0], places[0, -1]]).expand(len(frame), 4)
        spline = fit_warp(heads.expressed, heads.points, edges)
        box = (spline(places.expand(len(frame), -1, -1)) - places).view(-1, *over.shape, 2).permute(0, 3, 1, 2)
        coarse = spline(frame_places(frame, size, FLOW_SIZE).flatten(1, 2)).view(-1, FLOW_SIZE, FLOW_SIZE, 2)
        fine = frame_places(frame, size)
        plain = (enlarge_flow(coarse, frame, size) - fine).permute(0, 3, 1, 2)
        lids = Lids.between(heads.expressed, heads.points)
        face = turn_eyeballs(lids.cover(plain, fine), fine, heads.expressed, heads.points)
        share = feather_on(size, frame.device).expand(len(frame), -1, -1, -1)
        return cls(box, over, torch.cat([face, share], 1), frame, _depth_change(heads, over), plain, lids, heads)

    def source(self, where: Tensor) -> Tensor:
        """Pixels of the portrait with the new expression -> of the portrait itself, (B, h, w, 2)."""
        box, face = self.over.look_up(self.box, where), sample(self.face, self._inside(where))
        away = box + face[:, 2:] * (face[:, :2] - box)
        return where + away.permute(0, 2, 3, 1)

    def about_eyes(self, where: Tensor) -> Tensor:
        """The same about the eyes, all left ones and then all right ones, and as fine as the places (2B, h, w, 2)
        are.
        """
        inside = torch.cat([self._inside(half) for half in where.chunk(2)])
        plain, places = sample(self.plain.repeat(2, 1, 1, 1), inside), where.flatten(1, 2)
        away = self.lids.covered(plain.flatten(2), places)
        away = turned_eyeballs(away, places, self.heads.expressed, self.heads.points)
        return where + away.view(plain.shape).permute(0, 2, 3, 1)

    def _inside(self, where: Tensor) -> Tensor:
        """Pixels of the portrait with the new expression -> of its face frames, (B, h, w, 2)."""
        inverse = torch.linalg.inv_ex(self.frame[:, :, :2])[0]
        inverse = torch.cat([inverse, -inverse @ self.frame[:, :, 2:]], 2)
        return apply_affine(inverse, where.flatten(1, 2)).view(where.shape)


def _depth_change(heads: Heads, over: Grid) -> Tensor:
    """How much nearer the expression brings places of the box than those of the portrait that they show."""
    count, coarse = len(heads.points), over.sampled((_DEPTH_GRID, _DEPTH_GRID))
    # No change at the edge of the box, where nothing moves.
    rim = over.sampled((_RIM, _RIM)).map()[0]
    ring = torch.cat([rim[0], rim[-1], rim[:, 0], rim[:, -1]]).expand(count, -1, -1)
    centres = heads.own.to_units(torch.cat([heads.expressed, ring], 1))
    change = F.pad(heads.expressed_depth - heads.depth, (0, ring.shape[1]))
    places = heads.own.to_units(coarse.places().expand(count, -1, -1))
    return interpolated(centres, change, places, DEPTH_SLACK).view(count, 1, *coarse.shape)


@dataclass(frozen=True)
class Mirror:
    """The other side of heads, for places that the portraits hide. face: (B, h, w, 2), pixels of the portrait, and box:
    (B, 2, rows, columns), as an offset from the output's own pixels. Their shares: how much of it is to be seen,
    (B, 1, h, w) and (B, 1, rows, columns).
    """

    face: Tensor
    face_share: Tensor
    box: Tensor
    box_share: Tensor


@dataclass(frozen=True)
class Turn:
    """The heads' motion in space. forward: (B, 2, rows, columns), where the nodes are seen, pixels. seen: its inverse
    on the grid `onto`. mirror: the same for faces seen in a mirror, None where it was not asked for. uncovers:
    (B, 1, 1, 1), see `uncovers`.
    """

    forward: Tensor
    nodes: Grid
    onto: Grid
    seen: Seen
    uncovers: Tensor
    mirror: Seen | None = None

    def mirrored(
        self,
        expression: Expression,
        opposite: Expression,
        wanted: Tensor,
        person: Tensor | None = None,
        outline: Outline | None = None,
    ) -> Mirror | None:
        """What the mirror image shows better at the places of `onto`, and at output pixels (B, h, w, 2). opposite: the
        expression of who is mirrored: its right eye looks where the left one is to. person: (1, 2, rows, columns) over
        the nodes, how much of each is the person, and how much of that is away from the picture's edge: ground shows
        nothing of a head, and an edge would be seen. outline: beyond it there is nothing of the head.
        """
        if self.mirror is None:
            return None
        shown, other = self.seen.visible, self.mirror.visible
        source, beyond = expression.source(self.seen.where), opposite.source(self.mirror.where)
        drawn, there = self.seen.covered, torch.ones_like(self.seen.covered)
        if person is not None:
            drawn = there  # ground is known, and none of it is drawn
            own, there = (
                self.nodes.look_up(person[:, k : k + 1].expand(len(where), -1, -1, -1), where)
                for k, where in enumerate((source, beyond))
            )
            shown, other = shown * own, other * there
            drawn = drawn if outline is None else outline.within(own)
        better = ((other - shown) / (_BETTER * other.clamp(min=_LITTLE))).clamp(0, 1)
        better = better * (1 - ((shown - _HIDDEN) / _HARDLY).clamp(0, 1))
        share = smoothstep(F.avg_pool2d(F.pad(better, (2,) * 4, "replicate"), 5, 1)) * drawn * self.uncovers
        away = (beyond - self.onto.map()).permute(0, 3, 1, 2)
        # Faces are pictures without a matte: the ground beside a mirror image is none of theirs.
        found = self.onto.look_up(torch.cat([away, share * there], 1), wanted)
        return Mirror(wanted + found[:, :2].permute(0, 2, 3, 1), found[:, 2:], away, share)

    def places(self, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Where output pixels (B or 1, h, w, 2) are on the portrait with the new expression, (B, h, w, 2), and how
        visible they are, (B, 1, h, w).
        """
        wanted = wanted.expand(len(self.forward), -1, -1, -1)
        away = (self.seen.where - self.onto.map()).permute(0, 3, 1, 2)
        found = self.onto.look_up(torch.cat([away, self.seen.visible], 1), wanted)
        rough, visible = wanted + found[:, :2].permute(0, 2, 3, 1), found[:, 2:]
        fine = refine_inverse(rough, wanted, self.forward, self.nodes)
        return torch.where(visible.permute(0, 2, 3, 1) > _SURE, fine, rough), visible


def turn_heads(
    heads: Heads, surface: Surface, expression: Expression, nodes: Grid, onto: Grid, opposite: Expression | None = None
) -> Turn:
    """surface: of the portraits, at the places of `nodes`. onto: the output's places at which the inverse is found.
    opposite: the mirror image's expression, to find also what the other side of the face shows.
    """
    count = len(heads.points)
    where = nodes.places().expand(count, -1, -1)
    depth, rigid, swaying, _ = _known(surface, expression, nodes)
    moved = turned(where, depth, heads.own, heads.there, heads.nearness)
    still = torch.cat([where.transpose(1, 2), depth[:, None]], 1).transpose(1, 2)
    there = still + rigid[..., None] * (moved - still)
    there[..., :2] += ((1 - rigid) * swaying)[..., None] * sway(heads.own, heads.there)[:, None]
    enlarged = heads.there.scale / heads.own.scale
    forward = there[..., :2].view(count, *nodes.shape, 2).permute(0, 3, 1, 2)
    seen = invert_map(there, nodes, onto, enlarged)
    fine = refine_inverse(seen.where, onto.map(), forward, nodes, rounds=1)
    seen = replace(seen, where=torch.where(seen.visible.permute(0, 2, 3, 1) > _SURE, fine, seen.where))
    shown = uncovers(heads.own.rotation, heads.there.rotation)
    if opposite is None:
        return Turn(forward, nodes, onto, seen, shown)
    depth, rigid, _, alike = _known(surface, opposite, nodes)
    other = turned(where, depth, heads.own, heads.there, heads.nearness, mirrored=True)
    return Turn(forward, nodes, onto, seen, shown, invert_map(other, nodes, onto, enlarged, alike * rigid))


def uncovers(own: Tensor, there: Tensor) -> Tensor:
    """How far heads show the side that their portraits hide, 0..1, (B, 1, 1, 1): 0 where portraits hide none, and where
    heads turn it farther away. own, there: (B, 3, 3), rotations.
    """
    aside, back = (torch.rad2deg(angle) for angle in turned_back(own, there))
    ways = ((aside, *_ASIDE), (back, *_BACK))
    hidden, shown = (smoothstep(((way - none) / (most - none)).clamp(0, 1)) for way, none, most in ways)
    return (hidden * shown)[:, None, None, None]


def _known(surface: Surface, expression: Expression, nodes: Grid) -> tuple[Tensor, ...]:
    """Depth, and `rigid`, `sway` and `alike` of the surface at the nodes of heads with an expression, (B, N) each."""
    over = expression.over
    here = nodes.map().expand(len(expression.box), -1, -1, -1)
    source = here + over.look_up(expression.box, here).permute(0, 2, 3, 1)
    known = torch.stack([surface.depth, surface.rigid, surface.sway, surface.alike], 1).view(-1, 4, *surface.shape)
    depth, *others = nodes.look_up(known.expand(len(here), -1, -1, -1), source).flatten(2).unbind(1)
    nearer = over.sampled((_DEPTH_GRID, _DEPTH_GRID)).look_up(expression.nearer, here).flatten(1)
    return (depth + nearer, *others)


def turned_back(own: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
    """How far portraits look aside, and how far their heads turn towards the side that they hide, (B,) radians each;
    less than 0 where they turn on. own, there: (B, 3, 3), rotations.
    """
    yaw, turned_to = (rotation[:, 0, 2].clamp(-1, 1).asin() for rotation in (own, there))
    return yaw.abs(), (yaw - turned_to) * yaw.sign()
