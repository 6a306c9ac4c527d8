"""In which frames of a video a whole face was seen: only those are believed.

A point network answers wherever it is asked. Where a hand, a mask or a microphone covers the mouth it reports a closed
one, as sure as ever; where the face leaves the picture it squeezes what is left into it. Such frames must neither drive
nor be what relative motion is measured from.

What tells them is how far apart the network's votes for a point lie (`Face.spread`), measured against what is usual for
the same face in the same video. Measured on 3,292 frames of 102 clips and drivers, and on covers painted over 53 frames
of 17 of them: the spread at the mouth grows by a factor of 2.0 under a hand, 2.2 under a mask, at most 1.6 in any
uncovered frame. What lies between is a mouth pushed forward or a far turn. So it counts too whether the lips are redder
than the skin about them, as they usually are in this video: of that redness uncovered frames keep 0.47 and more, a hand
over the mouth 0.3 and less, a microphone none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from fewshot_reenact.geometry.affine import invert, transform
from fewshot_reenact.geometry.align import cut
from fewshot_reenact.geometry.face_frame import face_frame
from fewshot_reenact.geometry.pose import head_pose
from fewshot_reenact.geometry.shape import openness, take_out
from fewshot_reenact.geometry.topology import LEFT_EYE, MOUTH, OUTER_LIP, RIGHT_EYE, eye_distance

_SIDE = 32  # of the face frame in which colours of the lips are compared
_NOSE = list(range(27, 36))
_USUAL = 25  # per cent of the frames are clearer than what counts as usual: a face may be covered half of the time
_MOST_USUAL = (5.5, 6.2, 6.2)  # pixels of spread, mouth, eyes, nose: no clear face usually has more
_CLEAR = 1.05  # times the usual spread up to which a mouth is clearly seen, and shows how red its lips are
_FEW = 12  # frames: a shorter shot has no usual of its own, and takes the whole video's

# A covered mouth: (times the usual spread, pixels of spread, most of the lips' usual redness), all of one line.
_COVERED = ((1.15, 4.6, 0.4), (1.3, 5.5, 0.6))
_REDDER = 5.0  # levels of a* in CIELAB: where lips are usually less red than that, nothing is told from it,
_PALE_TIMES, _PALE_PIXELS, _CLOSED = 1.4, 6.0, 0.17  # but from a mouth that seems closed,
_CERTAIN_TIMES, _CERTAIN_PIXELS = 1.7, 6.5  # or from so much that is no expression any more
_EYE_TIMES, _EYE_PIXELS = 1.8, 9.0  # more than a wink has, 1.7 and 7.9
# Half of the face: pixels at an eye, however the head is turned; less while the head is not in profile (measured: 17 to
# 22 behind a board, which looks like a yaw of 30 degrees; up to 12 in a true profile, at 45).
_EYE_GONE, _EYE_HIDDEN, _PROFILE = 14.0, 11.0, 36.0
_NOSE_TIMES, _NOSE_PIXELS = 1.45, 6.5
_FAR, _TURNED = 15.0, 30.0  # degrees of yaw: more than usual, and off the front
# Beside covered frames less is enough: what covers comes and goes.
_BESIDE_TIMES, _BESIDE_FRAMES = 1.15, 5
# A spread at the mouth that no uncovered face had (at most 6.9): covered all along, where nothing clearer is known.
_NEVER_CLEAR = 7.0
# Share of the points outside the picture, beyond what is usual for the shot, from which a face is leaving it.
_LEAVING = 0.1
# The logarithm of a change of size in one frame that no head makes: something covers half of the face.
_TORN = 0.09


@dataclass(frozen=True)
class Wholeness:
    """For each of T frames, (T,) bool: covered: something covers a part of the face. leaving: a part of the face lies
    outside the picture that usually does not. always: the mouth seems covered in the whole video.
    """

    covered: np.ndarray
    leaving: np.ndarray
    always: bool = False


def look_over(
    points: np.ndarray,
    confidence: np.ndarray,
    spread: np.ndarray | None,
    redness: np.ndarray,
    size: tuple[int, int],
    cuts: Sequence[int] = (),
) -> Wholeness:
    """Which frames of a track show less than a whole face.

    points: (T, 83, 2) pixels, NaN where there is no face. confidence: (T,). spread: (T, 83), None where the backend
    does not tell. redness: (T,), see `redness_of_lips`. size: (width, height). cuts: first frames of new shots.
    """
    covered, leaving = np.zeros(len(points), bool), np.zeros(len(points), bool)
    found = np.asarray(confidence) > 0
    if not found.any():
        return Wholeness(covered, leaving)
    shots = [slice(a, b) for a, b in pairwise([0, *cuts, len(points)]) if b > a]
    beyond = ((points < -0.5) | (points > np.array(size) - 0.5)).any(2).mean(1)
    for shot in shots:
        here = found[shot]
        if here.any():
            leaving[shot] = here & (beyond[shot] > np.percentile(beyond[shot][here], _USUAL) + _LEAVING)
    if spread is None:
        return Wholeness(covered, leaving)
    seen = found & ~leaving
    seen = seen if seen.any() else found
    values = _Values.of(points, spread, redness)
    everywhere = values.usual(seen)
    for shot in shots:
        here = np.zeros(len(points), bool)
        here[shot] = seen[shot]
        # A short shot that shows a covered face only is told by the rest of the video.
        usual = values.usual(here) if here.sum() >= _FEW else everywhere
        part = np.zeros(len(points), bool)
        part[shot] = found[shot]
        covered |= _covered(values, usual, part, shot)
    return Wholeness(covered, leaving, bool(np.percentile(values.mouth[seen], _USUAL) > _NEVER_CLEAR))


@dataclass(frozen=True)
class _Values:
    """Of each frame, (T,): spreads of the regions in pixels, how open the mouth is, the head's yaw in degrees, how red
    the lips are.
    """

    mouth: np.ndarray
    eyes: np.ndarray  # (T, 2)
    nose: np.ndarray
    open: np.ndarray
    yaw: np.ndarray
    red: np.ndarray

    @staticmethod
    def of(points: np.ndarray, spread: np.ndarray, redness: np.ndarray) -> "_Values":
        found = ~np.isnan(points).any((1, 2))
        opened, yaw = np.full(len(points), np.nan), np.full(len(points), np.nan)
        opened[found] = openness(take_out(points[found].astype(np.float64)).shape)[:, 0]
        yaw[found] = head_pose(points[found])[:, 0]
        mouth, nose, left, right = (spread[:, part].mean(1) for part in (MOUTH, _NOSE, LEFT_EYE, RIGHT_EYE))
        return _Values(mouth, np.stack([left, right], 1), nose, opened, yaw, redness)

    def usual(self, frames: np.ndarray) -> "_Values":
        """What is usual in some frames, (T,) bool: spreads of a clear one, and the median yaw."""

        def low(values: np.ndarray, most: float) -> np.ndarray:
            return np.minimum(np.percentile(values[frames], _USUAL, axis=0), most)

        mouth = low(self.mouth, _MOST_USUAL[0])
        clear = frames & (self.mouth <= _CLEAR * mouth)
        opened, yaw = (np.asarray(np.median(v[frames])) for v in (self.open, self.yaw))
        return _Values(
            mouth,
            low(self.eyes, _MOST_USUAL[1]),
            low(self.nose, _MOST_USUAL[2]),
            opened,
            yaw,
            np.asarray(np.median(self.red[clear]) if clear.any() else 0.0),
        )


def _covered(values: _Values, usual: _Values, part: np.ndarray, shot: slice) -> np.ndarray:
    """(T,) bool: the covered frames among `part`, those of one shot with a face."""
    with np.errstate(invalid="ignore"):
        front = (np.abs(values.yaw) < _TURNED) & (np.abs(values.yaw - usual.yaw) < _FAR)
        times = values.mouth / usual.mouth
        if usual.red >= _REDDER:
            red = values.red / usual.red
            mouth = np.any([(times > t) & (values.mouth > p) & (red < share) for t, p, share in _COVERED], axis=0)
        else:
            mouth = (times > _PALE_TIMES) & (values.mouth > _PALE_PIXELS) & (values.open < _CLOSED)
            mouth |= (times > _CERTAIN_TIMES) & (values.mouth > _CERTAIN_PIXELS)
        eyes = ((values.eyes / usual.eyes > _EYE_TIMES) & (values.eyes > _EYE_PIXELS)).any(1)
        nose = (values.nose / usual.nose > _NOSE_TIMES) & (values.nose > _NOSE_PIXELS)
        gone = (values.eyes > _EYE_GONE).any(1)
        gone |= (values.eyes > _EYE_HIDDEN).any(1) & (np.abs(values.yaw) < _PROFILE)
        out = part & (((mouth | eyes | nose) & front) | gone)
        beside = (times > _BESIDE_TIMES) | (values.eyes / usual.eyes > _BESIDE_TIMES).any(1)
    for frame in np.flatnonzero(out):
        for step in (-1, 1):
            for at in range(frame + step, frame + (_BESIDE_FRAMES + 1) * step, step):
                if not (shot.start <= at < shot.stop) or not part[at] or not beside[at]:
                    break
                out[at] = True
    return out


def redness_of_lips(picture: np.ndarray, points: np.ndarray) -> float:
    """How much redder the lips are than the skin about them, levels of a* in CIELAB; 0 where they are too small.

    picture: (H, W, 3) uint8 RGB. points: (83, 2) pixels.
    """
    matrix = face_frame(points, _SIDE)
    small = cut(picture, matrix, _SIDE).astype(np.float32) / 255
    red = cv2.cvtColor(small, cv2.COLOR_RGB2LAB)[..., 1]
    outline = transform(invert(matrix), points[OUTER_LIP].astype(np.float64))
    lips = np.zeros((_SIDE, _SIDE), np.uint8)
    cv2.fillPoly(lips, [np.round(outline.clip(-_SIDE, 2 * _SIDE) * 8).astype(np.int32)], 1, cv2.LINE_8, 3)
    near, far = (cv2.dilate(lips, np.ones((side, side), np.uint8)) for side in (3, 7))
    about = (far > 0) & (near == 0)
    if lips.sum() < 4 or not about.any():
        return 0.0
    return float(np.percentile(red[lips > 0], 60) - np.median(red[about]))


def drop_torn(points: list[np.ndarray], confidence: list[float]) -> None:
    """Declares faces missing that are half covered: beside a gap, and of another size than one frame further off.

    Works in place. Held through the gap, such a face would be a grimace.
    """

    def torn(at: int, further: int) -> bool:
        if not (0 <= further < len(points)) or not confidence[at] or not confidence[further]:
            return False
        ratios = (
            eye_distance(points[at]) / eye_distance(points[further]),
            (np.ptp(points[at], 0) / np.maximum(np.ptp(points[further], 0), 1e-3)),
        )
        return bool(np.abs(np.log(np.maximum(np.hstack(ratios), 1e-3))).max() > _TORN)

    gaps = [t for t in range(len(points)) if not confidence[t]]
    for gap in gaps:
        for step in (-1, 1):
            for at in range(gap + step, gap + 4 * step, step):
                if not (0 <= at < len(points)) or not torn(at, at + step):
                    break
                points[at], confidence[at] = np.full_like(points[at], np.nan), 0.0
