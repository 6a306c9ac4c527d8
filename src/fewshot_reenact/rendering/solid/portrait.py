"""A portrait's solid head, made once, and its warp for a few frames at a time."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fewshot_reenact.geometry.face_frame import face_frame
from fewshot_reenact.geometry.head_crop import box_within
from fewshot_reenact.geometry.smoothstep import smoothstep
from fewshot_reenact.geometry.solid import HeadPose, head_shapes
from fewshot_reenact.motion.heads import HeadMotion, Lift
from fewshot_reenact.rendering.eyelids import about_eyes, eye_boxes
from fewshot_reenact.rendering.flow import enlarge_flow, frame_places
from fewshot_reenact.rendering.solid.opposite import mirror_image
from fewshot_reenact.rendering.solid.outline import Outline
from fewshot_reenact.rendering.solid.splat import Grid
from fewshot_reenact.rendering.solid.surface import Placing, head_surface
from fewshot_reenact.rendering.solid.warp import (
    BOX_GRID,
    Expression,
    Heads,
    Mirror,
    Turn,
    turn_heads,
    turned_back,
    uncovers,
)
from fewshot_reenact.rendering.warp import sample

_CELL = 0.055  # eye distances a node, so that lips and lids keep their form
REACH = 3.0  # eye distances about the head's origin in which pixels move with it, a little or wholly
_EDGE = 0.25  # eye distances from the picture's edge, within which a mirror image fades
_SOME = 0.05  # shares of the mirror image below this are not worth it
_NODES = (48, 176)  # least and most nodes a side
_FINER = 4  # times as many places a side about the eyes, at most
_FACE_GRID = (
    64  # places a side of the face frame at which its flow is computed: nearer than the nodes are to each other
)


@dataclass(frozen=True)
class Frames:
    """The warp of B frames. face: (B, S, S, 2), where each pixel of their face frames comes from, pixels of
    the portrait, and visible: (B, 1, S, S), how well the portrait shows it, see `solid.splat.Seen`. box: (B, 2, rows,
    columns), the same for the whole head, as an offset from the output's own pixels; covered: (B, 1, rows, columns).
    eyes: the same as `face` about the left eye and the right one, a few times as fine. shut: (B, 2), how far they are,
    see eyelids.Lids. mirror: where the head's mirror image shows more.
    """

    face: Tensor
    visible: Tensor
    box: Tensor
    covered: Tensor
    eyes: tuple[Tensor, Tensor] | None
    shut: Tensor
    mirror: Mirror | None = None

    def eyes_of(self, row: int) -> tuple[np.ndarray, np.ndarray] | None:
        """`eyes` of one frame, (h, w, 2) each."""
        if self.eyes is None:
            return None
        left, right = self.eyes
        return left[row].numpy(), right[row].numpy()


class SolidPortrait:
    """lift: the portrait's head in its own picture. box: x0, y0, x1, y1, the part of that picture whose pixels move,
    and onto: the part of the output in which they are seen. size: side S of the face frames. matte: (H, W) float32, 1
    where that picture has the person; None: all of it may be.
    """

    def __init__(
        self,
        lift: Lift,
        box: tuple[int, int, int, int],
        onto: tuple[int, int, int, int],
        size: int,
        matte: np.ndarray | None = None,
    ):
        self.lift, self.size = lift, size
        self.nodes, self.onto = _grid(box, float(lift.pose.scale)), _grid(onto, float(lift.pose.scale))
        self.coarse = Grid.over((box[0], box[1], box[2] - 1, box[3] - 1), (BOX_GRID, BOX_GRID))
        self.nearness = head_shapes().nearness
        magnified = float(np.sqrt(np.linalg.det(face_frame(lift.points, size)[:, :2])))
        self.finer = int(np.clip(np.ceil(magnified), 1, _FINER))
        placed = lift.pose.placed(lift.solid)
        self.points = _tensor(placed[None, :, :2])
        self.depth = _tensor(placed[None, :, 2] / lift.pose.scale)
        self.own = placing(lift.pose)
        self.surface = head_surface(
            self.points, self.depth, self.own, self.nodes.places(), self.nodes.shape, self.nearness,
            cut_out=matte is not None,
        )  # fmt: skip
        self.person = None if matte is None else self._person(matte)

    def _person(self, matte: np.ndarray) -> Tensor:
        """The matte at the nodes, and as much of it as is away from the picture's edge, (1, 2, rows, columns)."""
        h, w = matte.shape
        cell, scale = max(1, round(float(self.nodes.step.min()))), float(self.lift.pose.scale)
        x, y = (np.arange(n, dtype=np.float32) for n in (w, h))
        inwards = np.minimum(np.minimum(x, w - 1 - x), np.minimum(y, h - 1 - y)[:, None]) / (_EDGE * scale)
        both = np.stack([cv2.blur(matte, (cell, cell)), matte * smoothstep(inwards.clip(0, 1))])
        return sample(_tensor(both)[None], self.nodes.map())

    def warp(self, motion: HeadMotion, frames: np.ndarray) -> Frames:
        """motion: B frames, in the output's picture; frames: (B, 2, 3), their face frames."""
        heads, expression = self._expressed(motion, motion.solid)
        opposite = None
        if bool(uncovers(heads.own.rotation, heads.there.rotation).any()):
            still, moved = (torch.from_numpy(solid) for solid in (self.lift.solid[None], motion.solid))
            _, opposite = self._expressed(motion, mirror_image(still, moved).numpy())
        turn = turn_heads(heads, self.surface, expression, self.nodes, self.onto, opposite)
        face = _tensor(frames)
        wanted = frame_places(face, self.size, _FACE_GRID)
        where, visible = turn.places(wanted)
        flow = enlarge_flow(expression.source(where), face, self.size)
        visible, eyes = _enlarged(visible, self.size), self._eyes(enlarge_flow(where, face, self.size), expression)
        for (rows, columns), fine in zip(eye_boxes(self.size), eyes, strict=True):
            flow[:, rows, columns] = fine[:, :: self.finer, :: self.finer]
        box = (expression.source(turn.seen.where) - self.onto.map()).permute(0, 3, 1, 2)
        mirror = None if opposite is None else self._mirrored(turn, expression, opposite, wanted, motion)
        if mirror is None or float(mirror.box_share.max()) < _SOME:
            return Frames(flow, visible, box, turn.seen.covered, eyes, expression.lids.shut)
        other = enlarge_flow(mirror.face, face, self.size)
        mirror = replace(mirror, face=other, face_share=_enlarged(mirror.face_share, self.size))
        return Frames(flow, visible, box, turn.seen.covered, eyes, expression.lids.shut, mirror)

    def _mirrored(
        self, turn: Turn, expression: Expression, opposite: Expression, wanted: Tensor, motion: HeadMotion
    ) -> Mirror | None:
        if self.person is None:
            return turn.mirrored(expression, opposite, wanted)
        _, back = turned_back(expression.heads.own.rotation, expression.heads.there.rotation)
        outline = Outline.of(motion.points, back, np.asarray(motion.pose.scale), self.onto)
        return turn.mirrored(expression, opposite, wanted, self.person, outline)

    def _expressed(self, motion: HeadMotion, solid: np.ndarray) -> tuple[Heads, Expression]:
        """The portrait with the expressions of `solid`, (B, 83, 3), and its heads as they move."""
        count, scale = len(motion), float(self.lift.pose.scale)
        expressed = self.lift.pose.placed(solid)
        own = face_frame(expressed[..., :2], self.size)
        heads = Heads(
            self.points.expand(count, -1, -1),
            self.depth.expand(count, -1),
            _tensor(expressed[..., :2]),
            _tensor(expressed[..., 2] / scale),
            Placing(
                *(v.expand(count, *v.shape[1:]) for v in (self.own.rotation, self.own.scale, self.own.translation))
            ),
            placing(motion.pose),
            self.nearness,
        )
        return heads, Expression.fit(heads, _tensor(own), self.size, self.coarse)

    def _eyes(self, where: Tensor, expression: Expression) -> tuple[Tensor, Tensor]:
        """The flow about the left eye and the right one, as fine as a lid's edge is thin. where: (B, S, S, 2), on the
        portrait with the new expression.
        """
        near = about_eyes(where.permute(0, 3, 1, 2))
        size = [self.finer * (n - 1) + 1 for n in near.shape[2:]]
        near = F.interpolate(near, size=size, mode="bilinear", align_corners=True).permute(0, 2, 3, 1)
        left, right = expression.about_eyes(near).chunk(2)
        return left, right


def moving_box(portrait: Lift, motion: HeadMotion | None, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The part of a picture in which a head moves: fixed for a whole video.

    motion: all its poses in that picture; None: the portrait's own alone. size: (width, height) of the picture. Returns
    x0, y0, x1, y1, whole pixels inside the picture, x1 and y1 exclusive.
    """
    poses = [portrait.pose] if motion is None else [portrait.pose, motion.pose]
    at = np.concatenate([np.asarray(pose.translation).reshape(-1, 2) for pose in poses])
    reach = np.concatenate([np.ravel(pose.scale) for pose in poses])[:, None] * REACH
    return box_within((at - reach).min(0), (at + reach).max(0), size)


def _enlarged(values: Tensor, size: int) -> Tensor:
    """(B, C, g, g), whose outer samples stand on the outer pixels -> (B, C, size, size)."""
    return F.interpolate(values, size=(size, size), mode="bilinear", align_corners=True)


def placing(pose: HeadPose) -> Placing:
    """A pose as tensors; of one picture, a batch of one."""
    many = np.ndim(pose.scale) == 1
    return Placing(
        *(_tensor(v if many else np.asarray(v)[None]) for v in (pose.rotation, pose.scale, pose.translation))
    )


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))


def _grid(box: tuple[int, int, int, int], scale: float) -> Grid:
    x0, y0, x1, y1 = box
    columns, rows = (int(np.clip(np.ceil(n / (_CELL * scale)), *_NODES)) for n in (x1 - x0, y1 - y0))
    return Grid.over((x0, y0, x1 - 1, y1 - 1), (rows, columns))
