"""A portrait's picture as two layers: the person, who moves, and the ground behind the head, painted in once.

picture = person + (1 - matte) * ground, the person's colours already times the matte: put together unmoved they are the
picture again, whatever the matte is.
"""

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from fewshot_reenact.geometry.affine import invert
from fewshot_reenact.geometry.topology import CHIN
from fewshot_reenact.inputs.portrait import Portrait
from fewshot_reenact.motion.heads import Lift, lift
from fewshot_reenact.rendering.completion import Fill, complete
from fewshot_reenact.rendering.matte import OWN
from fewshot_reenact.rendering.rim import foreign_to, gaps_of, refine_rim
from fewshot_reenact.rendering.spans import Span
from fewshot_reenact.rendering.strands import find_strands
from fewshot_reenact.rendering.threads import beside

_NOUGHT = 1e-3  # of a pixel's share: no more than a rounding
_NONE = 0.04  # share of the mirror image below which nothing is drawn
_BLEED, _FAINT = 3.0, 0.02  # pixels by which colours go on beyond the person; the weight at which they end
_SURE = 0.2  # of a pixel's share: what it lacks of it, its colours take from those around it
_MARGIN = 0.04  # eye distances about the head in which the ground's pixels may hold something of the hair
_HEAD, _BELOW = 2.6, 0.7  # how far to the sides and below the chin a head reaches, eye distances
_STRANDS = -0.2  # and strands that stand out from it: farther down hair lies on shoulders
_SOME = 0.02  # of a pixel's share: a strand under which the ground is painted


@dataclass(frozen=True)
class Layers:
    """person: (H, W, 4) uint8, colours times the matte, and the matte. ground: (H, W, 3) uint8."""

    person: np.ndarray
    ground: np.ndarray

    @classmethod
    def of(
        cls, picture: np.ndarray, matte: np.ndarray | None, lift: Lift, behind: np.ndarray | None = None
    ) -> "Layers":
        """picture: (H, W, 3) uint8 RGB. matte: (H, W) float32, 1 where the person is; None: all of it moves, softly
        less away from the head. lift: of its head. behind: (H, W, 3) uint8, what is shown in place of the ground.
        """
        if matte is None:
            return cls(np.concatenate([picture, np.full_like(picture[..., :1], 255)], -1), picture)
        zone = np.ones(matte.shape, bool) if behind is not None else _head_zone(matte.shape, lift)
        scale = float(lift.pose.scale)
        strands = find_strands(picture, matte, _head_zone(matte.shape, lift, _STRANDS), scale)
        gaps = gaps_of(matte, scale) & zone
        ground = paint_ground(picture, np.maximum(matte, gaps | (strands > _SOME)), lift, zone)
        more = np.maximum(strands, gaps * foreign_to(picture, ground)) if gaps.any() else strands
        covered = np.maximum(refine_rim(picture, matte, ground, zone, scale), more)[..., None]
        own = np.clip(picture - (1 - covered) * ground, 0, 255 * covered)
        person = np.concatenate([own, 255 * covered], -1)
        return cls(np.round(person).astype(np.uint8), ground if behind is None else behind)

    def whole(self) -> np.ndarray:
        """Person over ground, unmoved, (H, W, 3) uint8."""
        share = self.person[..., 3:].astype(np.float32) / 255
        return np.round(self.person[..., :3] + (1 - share) * self.ground).clip(0, 255).astype(np.uint8)

    def seen(
        self,
        flow: np.ndarray,
        covered: np.ndarray,
        at: tuple[int, int],
        spans: Sequence[Span] | None = None,
        onto: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The person through a flow (h, w, 2) of picture pixels, over the ground. covered: (h, w), 0 where the person's
        picture shows nothing of the place. at: x, y of the part's corner in the picture. spans: where the person may be
        seen; None: everywhere. onto: (h, w, 3) uint8, drawn on; None: a new picture. Returns it, and how much of each
        pixel is the person, (h, w) float32.
        """
        x, y = at
        h, w = flow.shape[:2]
        ground = self.ground[y : y + h, x : x + w]
        shown = np.empty_like(ground) if onto is None else onto
        if spans is None:
            spans = [Span(slice(0, h), slice(0, w))]
        else:
            shown[:] = ground
        share = np.zeros((h, w), np.float32)
        for span in spans:
            part = span.part
            if span.solid:
                shown[part] = _through(self.colours, flow[part])
                share[part] = 1
            else:
                shown[part], share[part] = _over(_through(self.person, flow[part]), covered[part], ground[part])
        return shown, share

    @cached_property
    def colours(self) -> np.ndarray:
        """The person's alone, (H, W, 3) uint8."""
        return cv2.cvtColor(self.person, cv2.COLOR_RGBA2RGB)


def begin_layers(portrait: Portrait) -> Future[Layers]:
    """A portrait's layers, painted beside whatever else is to be done."""
    return beside(lambda: Layers.of(portrait.picture, portrait.matte, lift(portrait.points), portrait.ground))


def _through(picture: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """A picture (H, W, C) uint8 seen through a flow (h, w, 2) of its pixels."""
    return cv2.remap(picture, flow, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]  # no second map


def _over(person: np.ndarray, covered: np.ndarray, ground: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A person (h, w, 4) uint8, as in Layers, over the ground, and how much of each pixel is theirs."""
    share = cv2.multiply(person[..., 3], covered, scale=1 / 255, dtype=cv2.CV_32F)
    own, nothing = cv2.cvtColor(person, cv2.COLOR_RGBA2RGB), cv2.inRange(share, -1, _NOUGHT)  # type: ignore[call-overload]  # a number for each
    left = cv2.subtract(1.0, share)  # type: ignore[call-overload]  # a number
    behind = cv2.multiply(ground, cv2.merge([left, left, left]), dtype=cv2.CV_32F)
    if covered.min() < 1:
        own = cv2.multiply(own, cv2.merge([covered, covered, covered]), dtype=cv2.CV_32F)
    shown = cv2.add(own, behind, dtype=cv2.CV_8U)
    cv2.copyTo(ground, nothing, shown)  # where cubic interpolation leaves a trace of the person
    return shown, share


def cut_out(picture: np.ndarray, share: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """A picture of a person over a known ground, (H, W, 3) uint8 both -> straight colours and alpha, (H, W, 4) uint8.

    share: (H, W) float32, how much of each pixel is the person. At soft edges colours are the person's alone; beyond
    them they go on for a little, so that a player or an editor that scales or smooths draws no seam, and end in the
    ground's.
    """
    person = picture - (1 - share)[..., None] * ground.astype(np.float32)  # times the share
    near = cv2.GaussianBlur(np.dstack([person * share[..., None], share * share]), (0, 0), _BLEED)
    around = near[..., :3] / np.maximum(near[..., 3:], 1e-6)
    ended = np.clip(near[..., 3:] / _FAINT, 0, 1)
    around = ground + ended * (around - ground)
    lent = (_SURE - share).clip(0)[..., None]
    colours = (person + lent * around) / (share[..., None] + lent)
    return np.dstack([np.clip(np.round(colours), 0, 255), np.round(255 * share)]).astype(np.uint8)


def show_other_side(
    made: np.ndarray,
    own: np.ndarray,
    box: tuple[int, int, int, int],
    offset: np.ndarray,
    share: np.ndarray,
    tone: np.ndarray,
    frame: np.ndarray,
    person: np.ndarray,
) -> None:
    """Draw the portrait's mirror image where it shows more than the portrait, in place.

    made: (H, W, 3) uint8, what is drawn on. own: (H, W, 4) uint8, the portrait's person, see Layers. box: x0, y0, x1,
    y1, the part that moves. offset: (rows, columns, 2) over the box, how far from each pixel its other side is. share:
    (rows, columns), how much of it is seen. tone: (S, S, 3) over the face frame, what its colours lack, 0..255 scale.
    frame: (2, 3), frame -> picture. person: (y1 - y0, x1 - x0) float32, how much of each pixel of the box is the
    person, raised where it is drawn.
    """
    rows, columns = np.nonzero(share > _NONE)
    if not len(rows):
        return
    x0, y0, x1, y1 = box
    across, down = (x1 - 1 - x0) / (share.shape[1] - 1), (y1 - 1 - y0) / (share.shape[0] - 1)
    a, b = x0 + int(max(columns.min() - 1, 0) * across), y0 + int(max(rows.min() - 1, 0) * down)
    c, d = min(x1, x0 + int((columns.max() + 1) * across) + 1), min(y1, y0 + int((rows.max() + 1) * down) + 1)
    place = np.array([[1 / across, 0, (a - x0) / across], [0, 1 / down, (b - y0) / down]])
    inside = invert(frame)
    inside[:, 2] += inside[:, :2] @ np.array([a, b], float)

    def onto(values: np.ndarray, matrix: np.ndarray) -> np.ndarray:
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(values, matrix, (c - a, d - b), flags=flags, borderMode=cv2.BORDER_REPLICATE)

    where = np.stack(np.meshgrid(np.arange(a, c), np.arange(b, d)), -1).astype(np.float32) + onto(offset, place)
    other = cv2.remap(own, where, np.empty(0), cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    part = made[b:d, a:c].astype(np.float32)
    shown, solid = onto(share, place), other[..., 3].astype(np.float32) / 255
    part += shown[..., None] * (other[..., :3] + solid[..., None] * (onto(tone, inside) - part))
    there = person[b - y0 : d - y0, a - x0 : c - x0]
    there += shown * solid * (1 - there)
    made[b:d, a:c] = np.clip(np.round(part), 0, 255).astype(np.uint8)


def paint_ground(
    picture: np.ndarray,
    matte: np.ndarray,
    lift: Lift,
    zone: np.ndarray | None = None,
    fill: Fill = complete,
) -> np.ndarray:
    """The picture with what is around the head drawn over it, (H, W, 3) uint8. zone: (H, W) bool, where else, by
    default not over the shoulders: they stay. fill: how.
    """
    h, w = picture.shape[:2]
    scale = float(lift.pose.scale)
    margin = max(1, round(_MARGIN * scale))
    person = matte > OWN
    head = (person & (_head_zone((h, w), lift) if zone is None else zone)).astype(np.uint8)
    hole = cv2.dilate(head, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin + 1,) * 2))
    if not hole.any():
        return picture
    # The person's other parts are no ground: nothing is learnt from them.
    painted = fill(picture, hole > 0, person).astype(np.float32)
    soft = cv2.GaussianBlur(hole.astype(np.float32), (0, 0), margin / 3)[..., None] * hole[..., None]
    return np.round(picture + np.minimum(2 * soft, 1) * (painted - picture)).clip(0, 255).astype(np.uint8)


def _head_zone(size: tuple[int, int], lift: Lift, farther: float = _BELOW) -> np.ndarray:
    """(H, W) bool: where a head may be, in the picture's own directions but the head's roll. farther: eye distances
    below the chin.
    """
    h, w = size
    pose = lift.pose
    roll = np.radians(float(pose.roll))
    x = ((np.arange(w) - pose.translation[0]) / pose.scale).astype(np.float32)
    y = ((np.arange(h) - pose.translation[1]) / pose.scale).astype(np.float32)[:, None]
    across, down = x * np.cos(roll) + y * np.sin(roll), y * np.cos(roll) - x * np.sin(roll)
    chin = (pose.placed(lift.solid)[CHIN, :2] - pose.translation) / pose.scale
    below = chin[1] * np.cos(roll) - chin[0] * np.sin(roll)
    return (np.abs(across) < _HEAD) & (down < below + farther)
