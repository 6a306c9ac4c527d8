"""Frames of a portrait's video, cut out about the head, each with a matte that does not flicker."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np

from fewshot_reenact.geometry.affine import chain, invert
from fewshot_reenact.geometry.face_frame import face_frame
from fewshot_reenact.geometry.topology import eye_distance
from fewshot_reenact.inputs.portrait import Portrait
from fewshot_reenact.motion.heads import HeadMotion, Lift
from fewshot_reenact.rendering.closing import with_mouth_closing
from fewshot_reenact.rendering.matte import find_matte
from fewshot_reenact.rendering.solid.portrait import moving_box
from fewshot_reenact.rendering.video_plan import VideoPlan

_ROOM = 8  # pixels of the picture about what moves, so that a cut's edge is none of the picture's
_WEIGHTS = (1.0, 2.0, 3.0, 2.0, 1.0)  # of a frame's matte and of its neighbours', brought to where its head is
_REACH = len(_WEIGHTS) // 2
_FAINT = 0.08  # shares as near to none and all as this are none and all: a mean of mattes ends more softly than each
# Pixels an eye distance at which a matte is found: as fine as the network is, or only to say where the ground stays.
_FINE, _COARSE = 120.0, 44.0


@dataclass(frozen=True)
class HeadCut:
    """Frame `number` of an output: `picture`, the video's, (H, W, 3) uint8, and what is about its head there.

    at: x0, y0, x1, y1, the part of it that `part` is, (h, w, 3); points, own and head are in its pixels: the face as it
    is, (83, 2), and lifted, and the head as it is to be, one frame. box: what of the part may move. share: see
    VideoPlan; with 0 nothing else counts. matte: (h, w) float32, 1 where the person is; None where nobody knows.
    ground: (h, w, 3) uint8, what is behind the person, see video_ground.
    """

    number: int
    shot: int
    picture: np.ndarray
    share: float
    at: tuple[int, int, int, int]
    part: np.ndarray
    own: Lift
    head: HeadMotion
    box: tuple[int, int, int, int]
    matte: np.ndarray | None = None
    ground: np.ndarray | None = None

    @classmethod
    def of(cls, plan: VideoPlan, number: int, picture: np.ndarray) -> HeadCut:
        """plan: of the whole output."""
        size = (picture.shape[1], picture.shape[0])
        own, head = plan.own[number : number + 1], plan.heads[number : number + 1]
        still = Lift(own.pose_of(0), own.solid[0])
        x0, y0, x1, y1 = moving_box(still, head, size)
        left, top = max(0, x0 - _ROOM), max(0, y0 - _ROOM)
        at = (left, top, min(size[0], x1 + _ROOM), min(size[1], y1 + _ROOM))
        corner = np.array([left, top], float)
        return cls(
            number,
            int(plan.shots[number]),
            picture,
            float(plan.share[number]),
            at,
            np.ascontiguousarray(picture[top : at[3], left : at[2]]),
            Lift(replace(still.pose, translation=still.pose.translation - corner), still.solid),
            HeadMotion(replace(head.pose, translation=head.pose.translation - corner), head.solid),
            (x0 - left, y0 - top, x1 - left, y1 - top),
        )

    @property
    def portrait(self) -> Portrait:
        """The part as a portrait, from which the output's face is drawn."""
        return Portrait(self.drawn, self.own.points, self.matte)

    @cached_property
    def drawn(self) -> np.ndarray:
        """The part, with nothing in a mouth that closes, (h, w, 3) uint8."""
        return with_mouth_closing(self.part, self.own.points, self.head.points[0])

    def put_back(self, part: np.ndarray) -> np.ndarray:
        """The whole frame with another part, (h, w, 3) uint8."""
        x0, y0, x1, y1 = self.at
        picture = self.picture.copy()
        picture[y0:y1, x0:x1] = part
        return picture


@dataclass
class _Seen:
    """A frame's own matte, at `scale` of the part's size; None where there is none. frame: face frame -> picture."""

    cut: HeadCut
    matte: np.ndarray | None
    scale: float
    frame: np.ndarray


def cuts(plan: VideoPlan, pictures: Iterable[np.ndarray], first: int = 0, fine: bool = False) -> Iterator[HeadCut]:
    """Frames of the output from `first` on, with mattes: the mean of a frame's own and of its neighbours', brought
    along with the head, so that edges neither flicker nor lag. fine: mattes as fine as the picture; else they only say
    where the ground is that stays.

    pictures: the frames of the output from `lookback(first)` on, (H, W, 3) uint8.
    """
    near: deque[_Seen] = deque()
    begun = lookback(first)
    for number, picture in enumerate(pictures, start=begun):
        near.append(_look(HeadCut.of(plan, number, picture), fine))
        if len(near) > len(_WEIGHTS):
            near.popleft()
        middle = number - _REACH
        if middle >= first:
            yield _steady(near, middle)
    last = near[-1].cut.number if near else -1
    for middle in range(max(first, last - _REACH + 1), last + 1):
        yield _steady(near, middle)


def lookback(first: int) -> int:
    """The first frame that has to be read where an output goes on with frame `first`."""
    return max(0, first - _REACH)


def _look(cut: HeadCut, fine: bool) -> _Seen:
    points = cut.own.points
    frame = face_frame(points, 1)
    frame[:, 2] += cut.at[:2]
    if not cut.share:
        return _Seen(cut, None, 1.0, frame)
    scale = min(1.0, (_FINE if fine else _COARSE) / float(eye_distance(points)))
    part = cut.part
    if scale < 1:
        part = cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return _Seen(cut, find_matte(part, (points + 0.5) * scale - 0.5, by_colour=False), scale, frame)


def _steady(near: Iterable[_Seen], number: int) -> HeadCut:
    this = next(one for one in near if one.cut.number == number)
    total, weight = None, 0.0
    for one in near:
        away = one.cut.number - number
        if one.matte is None or abs(away) > _REACH or one.cut.shot != this.cut.shot:
            continue
        share = _WEIGHTS[away + _REACH]
        moved = share * _brought(one, this)
        total, weight = moved if total is None else total + moved, weight + share
    if total is None:
        return this.cut
    h, w = this.cut.part.shape[:2]
    matte = cv2.resize(total / weight, (w, h), interpolation=cv2.INTER_LINEAR)
    return replace(this.cut, matte=np.clip((matte - _FAINT) / (1 - 2 * _FAINT), 0, 1))


def _brought(one: _Seen, this: _Seen) -> np.ndarray:
    """A frame's matte where another's head is, as large as that one's own."""
    assert one.matte is not None
    h, w = this.cut.part.shape[:2]
    size = (max(1, round(w * this.scale)), max(1, round(h * this.scale)))
    if one is this:
        return one.matte
    # From the other's pixels to the picture, along with the head, and to this one's.
    onto = chain(one.frame, invert(this.frame))
    inside = np.array([[1 / this.scale, 0, this.cut.at[0]], [0, 1 / this.scale, this.cut.at[1]]])
    there = np.array([[one.scale, 0, -one.cut.at[0] * one.scale], [0, one.scale, -one.cut.at[1] * one.scale]])
    matrix = chain(there, chain(onto, inside))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(one.matte, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
