"""What is behind a head that turns in a video: the same from frame to frame, but for what really changes.

Painted in for each frame by itself it would flicker. So it is painted in at a few frames only, small, and between two
of them the one goes over into the other; what one of them shows of the ground, where the head is now, is the ground.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np

from fewshot_reenact.motion.heads import Lift
from fewshot_reenact.rendering.completion import fill_smoothly
from fewshot_reenact.rendering.layers import Layers, paint_ground
from fewshot_reenact.rendering.rim import refine_rim
from fewshot_reenact.rendering.video_frames import HeadCut

EVERY = 8  # frames from one that is painted to the next; pieces of a video begin at multiples of it
_SIDE = 256  # pixels, of what is painted: what is behind a head is a guess, and soft
_LEAST = 0.01  # of a share that is divided by
_EDGE = 0.02  # eye distances about the matte in which the frame's own pixels may hold something of the hair


@dataclass(frozen=True)
class _Painted:
    """A painted ground, (h, w, 3) float32, of frame `number`; onto: (2, 3), the video's pixels -> its own."""

    number: int
    shot: int
    ground: np.ndarray
    onto: np.ndarray


def with_grounds(frames: Iterable[HeadCut]) -> Iterator[HeadCut]:
    """The same cuts with the ground behind them. Those without a matte have none."""
    waiting: list[HeadCut] = []
    before: _Painted | None = None
    for cut in frames:
        if before is not None and before.shot != cut.shot:
            yield from _between(waiting, before, None)
            waiting, before = [], None
        waiting.append(cut)
        if cut.matte is not None and (before is None or cut.number % EVERY == 0):
            painted = _paint(cut)
            yield from _between(waiting, before, painted)
            waiting, before = [], painted
    yield from _between(waiting, before, None)


def layers_of(cut: HeadCut) -> Layers | None:
    """The part of a cut as person and ground; None where there is no ground of its own."""
    if cut.matte is None or cut.ground is None:
        return None
    share = cut.matte[..., None]
    own = np.clip(cut.drawn - (1 - share) * cut.ground, 0, 255 * share)
    return Layers(np.round(np.dstack([own, 255 * share])).astype(np.uint8), cut.ground)


def _between(cuts: list[HeadCut], before: _Painted | None, after: _Painted | None) -> Iterator[HeadCut]:
    for cut in cuts:
        if cut.matte is None or (before is None and after is None):
            yield cut
        else:
            yield _refined(replace(cut, ground=_ground(cut, before, after)))


def _paint(cut: HeadCut) -> _Painted:
    assert cut.matte is not None
    h, w = cut.matte.shape
    scale, (small, matte) = _made_small(cut.part, cut.matte)
    across, down = matte.shape[1] / w, matte.shape[0] / h
    pose = cut.own.pose
    middle = (pose.translation + 0.5) * [across, down] - 0.5
    own = Lift(replace(pose, scale=pose.scale * scale, translation=middle), cut.own.solid)
    painted = paint_ground(small, matte, own, fill=fill_smoothly).astype(np.float32)
    onto = np.array([[across, 0, (0.5 - cut.at[0]) * across - 0.5], [0, down, (0.5 - cut.at[1]) * down - 0.5]])
    return _Painted(cut.number, cut.shot, painted, onto)


def _ground(cut: HeadCut, before: _Painted | None, after: _Painted | None) -> np.ndarray:
    """(h, w, 3) uint8: the frame's own pixels, and behind the head what was painted."""
    assert cut.matte is not None
    sides = [one for one in (before, after) if one is not None]
    # One that is painted itself stands alone: a video may begin with it.
    sides = [one for one in sides if one.number == cut.number] or sides
    share = (cut.number - sides[0].number) / max(sides[-1].number - sides[0].number, 1)
    behind = _placed(sides[0], cut)
    if len(sides) > 1:
        behind += share * (_placed(sides[1], cut) - behind)
    reach = max(1, round(_EDGE * float(cut.own.pose.scale)))
    hole = cv2.dilate((cut.matte > 0).astype(np.uint8), np.ones((2 * reach + 1,) * 2, np.uint8)).astype(np.float32)
    soft = np.maximum(cv2.blur(hole, (reach, reach)), hole * (cut.matte > 0))[..., None]
    return np.round(cut.part + soft * (behind - cut.part)).clip(0, 255).astype(np.uint8)


def _refined(cut: HeadCut) -> HeadCut:
    """With a matte that is less where its rim has the ground's colours, see rim.refine_rim; found small,
    as what it is less by is smooth.
    """
    assert cut.matte is not None and cut.ground is not None
    h, w = cut.matte.shape
    scale, (part, ground, matte) = _made_small(cut.part, cut.ground, cut.matte)
    zone = cv2.absdiff(part, ground).max(2) > 0
    fine = refine_rim(part, matte, ground, zone, float(cut.own.pose.scale) * scale)
    less = np.where(matte > _LEAST, fine / np.maximum(matte, _LEAST), 1.0).astype(np.float32)
    return replace(cut, matte=cut.matte * cv2.resize(less, (w, h), interpolation=cv2.INTER_LINEAR))


def _made_small(*pictures: np.ndarray) -> tuple[float, list[np.ndarray]]:
    """Pictures of one size, no side longer than _SIDE, and by how much they are smaller."""
    h, w = pictures[0].shape[:2]
    scale = min(1.0, _SIDE / max(h, w))
    size = (max(2, round(w * scale)), max(2, round(h * scale)))
    return scale, [cv2.resize(one, size, interpolation=cv2.INTER_AREA) for one in pictures]


def _placed(painted: _Painted, cut: HeadCut) -> np.ndarray:
    matrix = painted.onto.copy()
    matrix[:, 2] += matrix[:, :2] @ np.array(cut.at[:2], float)
    size = (cut.part.shape[1], cut.part.shape[0])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(painted.ground, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
