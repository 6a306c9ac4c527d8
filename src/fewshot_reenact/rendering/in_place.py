"""A face that changes where it is: its expression alone, in a frame of a video that stays as it is around it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from fewshot_reenact.geometry.face_frame import face_frame
from fewshot_reenact.geometry.head_crop import box_within
from fewshot_reenact.geometry.solid import head_shapes
from fewshot_reenact.models.feather import feather
from fewshot_reenact.rendering.composing import InferredFace
from fewshot_reenact.rendering.eyelids import Closing
from fewshot_reenact.rendering.face_window import BEYOND, window
from fewshot_reenact.rendering.flow import frame_places
from fewshot_reenact.rendering.head_flow import HeadFlow
from fewshot_reenact.rendering.paste import paste_change
from fewshot_reenact.rendering.solid.portrait import Frames, placing
from fewshot_reenact.rendering.solid.splat import Grid
from fewshot_reenact.rendering.solid.warp import BOX_GRID, Expression, Heads
from fewshot_reenact.rendering.video_frames import HeadCut


@dataclass(frozen=True)
class InPlace:
    """The warp of one cut whose head does not turn. over: the box of the part that may change; offset: (rows, columns,
    2) over it. frames: the face's.
    """

    over: tuple[int, int, int, int]
    offset: np.ndarray
    frames: Frames

    @classmethod
    def of(cls, cut: HeadCut, size: int) -> InPlace:
        """size: side S of the face frames."""
        heads = _heads(cut)
        frame = torch.from_numpy(face_frame(cut.head.points, size).astype(np.float32))
        x0, y0, x1, y1 = cut.box
        everywhere = Grid.over((x0, y0, x1 - 1, y1 - 1), (BOX_GRID, BOX_GRID))
        expression = Expression.fit(heads, frame, size, everywhere)
        over = _changing(cut)
        part = Grid.over((over[0], over[1], over[2] - 1, over[3] - 1), (BOX_GRID, BOX_GRID))
        offset = everywhere.look_up(expression.box, part.map())
        face = frame_places(frame, size) + expression.face[:, :2].permute(0, 2, 3, 1)
        seen = torch.ones(1, 1, size, size)
        frames = Frames(face, seen, offset, torch.ones(1, 1, *part.shape), None, expression.lids.shut)
        return cls(over, offset[0].permute(1, 2, 0).numpy(), frames)

    def compose(self, cut: HeadCut, face: InferredFace, region: str) -> np.ndarray:
        """The part of the picture with the face changed, (h, w, 3) uint8. Where nothing is to change not a bit does."""
        x0, y0, x1, y1 = self.over
        size = self.frames.face.shape[1]
        limits = (cut.part.shape[1], cut.part.shape[0])
        edge = feather(size, size)[0, 0].numpy()
        flow = HeadFlow(self.over, limits, edge)
        share = window((cut.own.points, cut.head.points[0]), self.over, float(cut.own.pose.scale), region, cut.matte)
        eyes = Closing.of(cut.own.points, face.shut)
        away = flow.full(face.frame, face.face_flow, self.offset, face.shift, closing=eyes) - flow.here
        away *= share[..., None]
        away += flow.here
        own = cut.part[y0:y1, x0:x1]
        made = cv2.remap(cut.drawn, away, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]  # no second map
        large = feather(len(face.change), len(face.change))[0, 0].numpy()
        inside = face.shown - np.array([[0, 0, x0], [0, 0, y0]])
        magnified = float(np.sqrt(np.linalg.det(face.shown[:, :2])))
        paste_change(made, face.change, face.warped, large, inside, magnified, share)
        out = cut.part.copy()
        out[y0:y1, x0:x1] = np.where(share[..., None] > 0, made, own)
        return out


def _changing(cut: HeadCut) -> tuple[int, int, int, int]:
    """The box of the part in which something may change."""
    unit = float(cut.own.pose.scale)
    points = np.concatenate([cut.own.points, cut.head.points[0]])
    room = BEYOND * unit + 2
    return box_within(points.min(0) - room, points.max(0) + room, (cut.part.shape[1], cut.part.shape[0]))


def _heads(cut: HeadCut) -> Heads:
    own, there = (
        torch.from_numpy(pose.placed(solid).reshape(1, -1, 3).astype(np.float32))
        for pose, solid in ((cut.own.pose, cut.own.solid), (cut.head.pose, cut.head.solid))
    )
    scale = float(cut.own.pose.scale)
    at = placing(cut.own.pose)
    return Heads(
        own[..., :2], own[..., 2] / scale, there[..., :2], there[..., 2] / scale, at, at, head_shapes().nearness
    )
