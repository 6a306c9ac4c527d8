"""A face that changes where it is: its expression alone, in a frame of a video that stays as it is around it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from fewshot_reenact.geometry.affine import invert, transform
from fewshot_reenact.geometry.face_frame import face_frame
from fewshot_reenact.geometry.head_crop import box_within
from fewshot_reenact.geometry.smoothstep import smoothstep
from fewshot_reenact.geometry.solid import head_shapes
from fewshot_reenact.geometry.topology import CHIN, LEFT_EYE, LEFT_IRIS, RIGHT_EYE, RIGHT_IRIS
from fewshot_reenact.models.feather import feather
from fewshot_reenact.rendering.flow import frame_places
from fewshot_reenact.rendering.head_flow import HeadFlow
from fewshot_reenact.rendering.paste import paste_change
from fewshot_reenact.rendering.solid.portrait import Frames, placing
from fewshot_reenact.rendering.solid.splat import Grid
from fewshot_reenact.rendering.solid.surface import OUTLINE
from fewshot_reenact.rendering.solid.warp import BOX_GRID, Expression, Heads
from fewshot_reenact.rendering.video_frames import HeadCut

# Eye distances beyond the face's outline over which a change ends: to the sides and above, and below the chin.
_BESIDE, _BELOW = 0.4, 0.95
# And half of those within the person's edge over which it ends there: over less than things move they would fold.
_WITHIN = 0.12
_DRAWN = 32.0  # pixels an eye distance at which that is drawn
_NOSE_TIP, _NOSE_BASE, _UPPER_LIP = 30, 33, 51
_LID_REACH = (0.3, 0.75)  # eye distances about an eye's middle within which all, and beyond which nothing of it changes


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
        frames = Frames(face, seen, offset, torch.ones(1, 1, *part.shape))
        return cls(over, offset[0].permute(1, 2, 0).numpy(), frames)

    def compose(
        self,
        cut: HeadCut,
        frame: np.ndarray,
        shown: np.ndarray,
        shift: np.ndarray | None,
        warped: np.ndarray,
        change: np.ndarray,
        region: str,
    ) -> np.ndarray:
        """The part of the picture with the face changed, (h, w, 3) uint8; the arguments as InferredFace has them. Where
        nothing is to change not a bit does.
        """
        x0, y0, x1, y1 = self.over
        size = self.frames.face.shape[1]
        limits = (cut.part.shape[1], cut.part.shape[0])
        edge = feather(size, size)[0, 0].numpy()
        flow = HeadFlow(self.over, limits, edge)
        share = window(cut, self.over, region)
        away = flow.full(frame, self.frames.face[0].numpy(), self.offset, shift) - flow.here
        away *= share[..., None]
        away += flow.here
        own = cut.part[y0:y1, x0:x1]
        made = cv2.remap(cut.drawn, away, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]  # no second map
        large = feather(len(change), len(change))[0, 0].numpy()
        inside = shown - np.array([[0, 0, x0], [0, 0, y0]])
        paste_change(made, change, warped, large, inside, float(np.sqrt(np.linalg.det(shown[:, :2]))), share)
        out = cut.part.copy()
        out[y0:y1, x0:x1] = np.where(share[..., None] > 0, made, own)
        return out


def window(cut: HeadCut, box: tuple[int, int, int, int], region: str) -> np.ndarray:
    """How much of each pixel of a box may change, (h, w) float32: all in the face, less beyond its outline, nothing on
    the ground; of the lips alone the face's lower part, of the eyes alone what is about them.
    """
    x0, y0, x1, y1 = box
    unit = float(cut.own.pose.scale)
    scale = min(1.0, _DRAWN / unit)
    size = (max(2, round((x1 - x0) * scale)), max(2, round((y1 - y0) * scale)))
    both = [cut.own.points, cut.head.points[0]]
    own = face_frame(cut.own.points, 1)
    place = np.array([[(x1 - x0) / size[0], 0, x0], [0, (y1 - y0) / size[1], y0]])
    place[:, 2] += (place[[0, 1], [0, 1]] - 1) / 2
    share = _outlined(both, place, size, own, unit)
    if region != "all":
        share *= _part_of(both, place, size, own, unit, region)
    if cut.matte is not None:
        matte = cv2.resize(cut.matte[y0:y1, x0:x1], size, interpolation=cv2.INTER_AREA)
        share *= smoothstep(np.clip(2 * cv2.GaussianBlur(matte, (0, 0), _WITHIN * unit * scale) - 1, 0, 1))
    return np.asarray(cv2.resize(share, (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR), np.float32)


def _changing(cut: HeadCut) -> tuple[int, int, int, int]:
    """The box of the part in which something may change."""
    unit = float(cut.own.pose.scale)
    points = np.concatenate([cut.own.points, cut.head.points[0]])
    room = _BELOW * unit + 2
    return box_within(points.min(0) - room, points.max(0) + room, (cut.part.shape[1], cut.part.shape[0]))


def _outlined(
    faces: list[np.ndarray], place: np.ndarray, size: tuple[int, int], frame: np.ndarray, unit: float
) -> np.ndarray:
    """1 within the outlines of faces, (83, 2) pixels, softly 0 beyond. place: (2, 3), drawn pixels -> those pixels."""
    onto, drawn = invert(place), np.zeros(size[::-1], np.uint8)
    for points in faces:
        outline = transform(onto, points[list(OUTLINE)])
        cv2.fillPoly(drawn, [np.round(outline * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    beyond = cv2.distanceTransform((drawn < 128).astype(np.uint8), cv2.DIST_L2, 5) / (unit * onto[0, 0])
    down = _down(place, size, frame, faces[0], unit)
    chin = max(_down_of(one[CHIN], frame, faces[0], unit) for one in faces)
    lower = smoothstep(np.clip(down / max(chin, 0.1), 0, 1))
    return smoothstep(np.clip(1 - beyond / (_BESIDE + (_BELOW - _BESIDE) * lower), 0, 1)).astype(np.float32)


def _part_of(
    faces: list[np.ndarray], place: np.ndarray, size: tuple[int, int], frame: np.ndarray, unit: float, region: str
) -> np.ndarray:
    if region == "lips":
        down = _down(place, size, frame, faces[0], unit)
        tip, base, lip = (
            min(_down_of(one[k], frame, faces[0], unit) for one in faces) for k in (_NOSE_TIP, _NOSE_BASE, _UPPER_LIP)
        )
        begin, end = (tip + base) / 2, max(lip, base)
        return smoothstep(np.clip((down - begin) / max(end - begin, 0.05), 0, 1)).astype(np.float32)
    if region == "eyes":
        x, y = _places(place, size)
        near = np.zeros(size[::-1], np.float32)
        for eye in (([*range(*LEFT_EYE.indices(83)), LEFT_IRIS]), ([*range(*RIGHT_EYE.indices(83)), RIGHT_IRIS])):
            middle = np.mean([one[eye].mean(0) for one in faces], 0)
            away = np.hypot(x - middle[0], y - middle[1]) / unit
            near = np.maximum(near, smoothstep(np.clip((_LID_REACH[1] - away) / (_LID_REACH[1] - _LID_REACH[0]), 0, 1)))
        return near
    return np.ones(size[::-1], np.float32)


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


def _places(place: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.meshgrid(np.arange(size[0], dtype=np.float32), np.arange(size[1], dtype=np.float32))
    return place[0, 0] * x + place[0, 2], place[1, 1] * y + place[1, 2]


def _down(place: np.ndarray, size: tuple[int, int], frame: np.ndarray, points: np.ndarray, unit: float) -> np.ndarray:
    """How far below the line of the eyes drawn pixels are, along the face, eye distances, (h, w)."""
    x, y = _places(place, size)
    axis = frame[:, 1] / np.linalg.norm(frame[:, 1])
    middle = points[36:48].mean(0)
    return np.asarray(((x - middle[0]) * axis[0] + (y - middle[1]) * axis[1]) / unit, np.float32)


def _down_of(point: np.ndarray, frame: np.ndarray, points: np.ndarray, unit: float) -> float:
    axis = frame[:, 1] / np.linalg.norm(frame[:, 1])
    return float((point - points[36:48].mean(0)) @ axis) / unit
