"""The warp of a solid head: an expression in the portrait's own view, then the turn in space with a depth test.

Where an output's pixel comes from is found in two steps. The head's motion says where it is on the portrait with the
new expression but the old pose (`splat`, the inverse of a turn that folds). A spline says where that is on the portrait
itself (`rendering.warp`). At the portrait's own pose the first step does nothing, and the warp is the spline alone.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fewshot_reenact.models.feather import feather
from fewshot_reenact.rendering.flow import FLOW_SIZE, apply_affine, enlarge_flow
from fewshot_reenact.rendering.solid.splat import Grid, Seen, invert_map, refine_inverse
from fewshot_reenact.rendering.solid.surface import Placing, Surface, turned
from fewshot_reenact.rendering.warp import fit_warp, grid, radial, sample, solve_spline

BOX_GRID = 48  # places a side at which the box's expression is computed
_DEPTH_GRID = 24  # and its change of depth
_DEPTH_SLACK = 1e-3
_BETTER = 0.4  # by how much more the mirror image has to show of a place to stand for it wholly
_SURE = 0.3  # visibility from which on the inverse of a map is worth refining


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
    `over`; face: (B, 2, S, S) over the face frames `frame` (B, 2, 3) of the portraits with the new expression;
    coarse: (B, FLOW_SIZE, FLOW_SIZE, 2), the flow of those frames, pixels of the portrait.
    """

    box: Tensor
    over: Grid
    face: Tensor
    coarse: Tensor
    frame: Tensor

    @classmethod
    def fit(cls, heads: Heads, frame: Tensor, size: int, over: Grid) -> "Expression":
        """size: side of the face frames, pixels. over: the box of the portrait that may move, coarse."""
        far = over.origin + over.step * torch.tensor([over.shape[1] - 1, over.shape[0] - 1], device=over.step.device)
        edges = torch.cat([over.origin, far]).expand(len(frame), 4)
        spline = fit_warp(heads.expressed, heads.points, edges)
        places = over.places()
        box = (spline(places.expand(len(frame), -1, -1)) - places).view(-1, *over.shape, 2).permute(0, 3, 1, 2)
        steps = grid(FLOW_SIZE, size, frame.device).to(frame.dtype)[None]
        coarse = spline(apply_affine(frame, steps)).view(-1, FLOW_SIZE, FLOW_SIZE, 2)
        every = apply_affine(frame, grid(size, size, frame.device).to(frame.dtype)[None]).view(-1, size, size, 2)
        face = (enlarge_flow(coarse, frame, size) - every).permute(0, 3, 1, 2)
        return cls(box, over, face, coarse, frame)

    def source(self, where: Tensor) -> Tensor:
        """Pixels of the portrait with the new expression -> of the portrait itself, (B, h, w, 2)."""
        size = self.face.shape[-1]
        flat = where.flatten(1, 2)
        inverse = torch.linalg.inv_ex(self.frame[:, :, :2])[0]
        inside = ((flat - self.frame[:, None, :, 2]) @ inverse.transpose(1, 2)).view_as(where)
        share = sample(F.pad(feather(size, size).to(where), (1,) * 4).expand(len(where), -1, -1, -1), inside + 1)
        box = self.over.look_up(self.box, where)
        away = box + share * (sample(self.face, inside) - box)
        return where + away.permute(0, 2, 3, 1)


@dataclass(frozen=True)
class Turn:
    """The heads' motion in space. forward: (B, 2, rows, columns), where the nodes are seen, pixels. seen: its inverse
    on the grid `onto`. mirror: the same for faces seen in a mirror, None where it was not asked for.
    """

    forward: Tensor
    nodes: Grid
    onto: Grid
    seen: Seen
    mirror: Seen | None = None

    def mirrored(self) -> tuple[Tensor, Tensor] | None:
        """Where the places of `onto` are on the mirrored portrait, pixels of the portrait, (B, rows, columns, 2), and
        how far it shows them better, (B, 1, rows, columns).
        """
        if self.mirror is None:
            return None
        better = ((self.mirror.visible - self.seen.visible) / _BETTER).clamp(0, 1)
        better = F.avg_pool2d(F.pad(better, (2,) * 4, "replicate"), 5, 1)
        return self.mirror.where, better * better * (3 - 2 * better) * self.seen.covered

    def places(self, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Where output pixels (B or 1, h, w, 2) are on the portrait with the new expression, (B, h, w, 2), and how
        visible they are, (B, 1, h, w).
        """
        wanted = wanted.expand(len(self.forward), -1, -1, -1)
        away = (self.seen.where - self.onto.places().view(1, *self.onto.shape, 2)).permute(0, 3, 1, 2)
        found = self.onto.look_up(torch.cat([away, self.seen.visible], 1), wanted)
        rough, visible = wanted + found[:, :2].permute(0, 2, 3, 1), found[:, 2:]
        fine = refine_inverse(rough, wanted, self.forward, self.nodes)
        return torch.where(visible.permute(0, 2, 3, 1) > _SURE, fine, rough), visible


def turn_heads(
    heads: Heads, surface: Surface, expression: Expression, nodes: Grid, onto: Grid, mirror: bool = False
) -> Turn:
    """surface: of the portraits, at the places of `nodes`. onto: the output's places at which the inverse is found.
    mirror: also find what the other side of the face shows.
    """
    places, count = nodes.places(), len(heads.points)
    source = places.view(1, *nodes.shape, 2) + nodes_offset(expression, places, nodes)
    known = torch.stack([surface.depth, surface.rigid, surface.face], 1).view(-1, 3, *surface.shape)
    depth, rigid, face = nodes.look_up(known.expand(count, -1, -1, -1), source).flatten(2).unbind(1)
    depth = depth + _depth_change(heads, expression.over, places, nodes)
    where = places.expand(count, -1, -1)
    moved = turned(where, depth, heads.own, heads.there, heads.nearness)
    still = torch.cat([where, depth[..., None]], -1)
    there = still + rigid[..., None] * (moved - still)
    enlarged = heads.there.scale / heads.own.scale
    seen = invert_map(there, nodes, onto, enlarged)
    forward = there[..., :2].view(count, *nodes.shape, 2).permute(0, 3, 1, 2)
    if not mirror:
        return Turn(forward, nodes, onto, seen)
    other = turned(where, depth, heads.own, heads.there, heads.nearness, mirrored=True)
    return Turn(forward, nodes, onto, seen, invert_map(other, nodes, onto, enlarged, face * rigid))


def nodes_offset(expression: Expression, places: Tensor, nodes: Grid) -> Tensor:
    """The expression's offset at the nodes, (B, rows, columns, 2)."""
    where = places.view(1, *nodes.shape, 2).expand(len(expression.box), -1, -1, -1)
    return expression.over.look_up(expression.box, where).permute(0, 2, 3, 1)


def _depth_change(heads: Heads, over: Grid, places: Tensor, nodes: Grid) -> Tensor:
    """How much nearer the expression brings the nodes than the places of the portrait that they show, (B, N)."""
    count = len(heads.points)
    reach = over.step * torch.tensor([over.shape[1] - 1, over.shape[0] - 1], device=over.step.device)
    coarse = Grid(over.origin, reach / (_DEPTH_GRID - 1), (_DEPTH_GRID, _DEPTH_GRID))
    at = heads.own.to_units(heads.expressed)
    change = (heads.expressed_depth - heads.depth)[..., None].double()
    # No change at the edge of the box, where nothing moves.
    line = torch.linspace(0, 1, 6, device=at.device, dtype=at.dtype)
    zero, one = torch.zeros_like(line), torch.ones_like(line)
    ring = torch.cat([torch.stack(s, -1) for s in ((line, zero), (line, one), (zero, line), (one, line))])
    ring = heads.own.to_units((over.origin + reach * ring)[None].expand(count, -1, -1))
    centres = torch.cat([at, ring], 1)
    values = F.pad(change, (0, 0, 0, ring.shape[1]))
    slack = centres.new_full(centres.shape[:2], _DEPTH_SLACK).double()
    weights, affine = (part.to(at.dtype) for part in solve_spline(centres.double(), values, slack))
    where = heads.own.to_units(coarse.places().expand(count, -1, -1))
    found = radial(where, centres) @ weights + affine[:, :1] + where @ affine[:, 1:]
    found = found.view(count, 1, *coarse.shape)
    return coarse.look_up(found, places.view(1, *nodes.shape, 2).expand(count, -1, -1, -1)).flatten(1)
