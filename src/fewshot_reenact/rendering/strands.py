"""Strands of hair beyond a matte's edge: they move with the head, and the ground has to be without them.

A matte ends where hair is dense. What stands out from there, a pixel or two wide, would stay behind as a ghost of the
head's outline; rings in ears too. On an even ground such strands can be told: they are thin, begin at the head and end
near it, are of the hair's colour, and there are more of them than of thin lines farther away.
"""

import cv2
import numpy as np

from fewshot_reenact.geometry.smoothstep import smoothstep
from fewshot_reenact.rendering.rim import smoothed

_BEGIN, _FADE, _END = 0.06, 0.3, 0.5  # eye distances beyond the matte: where a strand begins, fades and ends
_LONG = 0.16  # eye distances, from one end to the other: what is shorter is grain
_BEYOND = 0.2  # share of what hangs together that may go on beyond: more is a line of the ground
_WIDE = 0.035  # eye distances, half of the widest strand
_HAIR = 0.25  # eye distances over which the hair's colour is taken
_CONTROL = (0.7, 1.5)  # eye distances beyond the matte: what looks like strands there is the ground's own
_ITS_OWN = 0.98  # of the ground's own thin lines, as many are fainter than what counts
_LEAST, _BUSY = 0.05, 0.125  # share of a pixel from which a strand counts; where the ground's own exceed this, none
_APART = (25.0, 60.0)  # grey levels in all, by which hair has to differ from the ground
_OTHER = (25.0, 50.0)  # grey levels from which, and at which wholly, a colour is no mixture of the two
_FINE = 190.0  # pixels an eye distance, with more of which a picture is looked at smaller
_FEWEST = 200  # pixels of the ground to judge by


def find_strands(picture: np.ndarray, matte: np.ndarray, zone: np.ndarray, scale: float) -> np.ndarray:
    """How much of each pixel is a strand of the person's hair beyond the matte, (H, W) float32, 0..1.

    picture: (H, W, 3) uint8 RGB. matte: (H, W) float32. zone: (H, W) bool, where the head may be. scale: pixels an eye
    distance. Large pictures are looked at smaller.
    """
    h, w = matte.shape
    shrink = min(1.0, _FINE / scale)
    if shrink == 1:
        return _found(picture, matte, zone, scale)
    size = (max(1, round(w * shrink)), max(1, round(h * shrink)))
    small = [cv2.resize(one, size, interpolation=cv2.INTER_AREA) for one in (picture, matte, zone.astype(np.float32))]
    share = _found(small[0], small[1], small[2] > 0.5, scale * shrink)
    return cv2.resize(share, (w, h), interpolation=cv2.INTER_LINEAR) * (matte < 0.5)


def _found(picture: np.ndarray, matte: np.ndarray, zone: np.ndarray, scale: float) -> np.ndarray:
    """The same at the picture's own size."""
    outside = (matte < 0.5).astype(np.uint8)
    away = cv2.distanceTransform(outside, cv2.DIST_L2, 5) / scale
    control = zone & (away > _CONTROL[0]) & (away < _CONTROL[1])
    nothing = np.zeros(matte.shape, np.float32)
    if control.sum() < _FEWEST:
        return nothing
    share = _thin_shares(picture, matte, away, scale)
    own = float(np.quantile(share[control], _ITS_OWN))
    if own > _BUSY:
        return nothing
    least = max(_LEAST, 1.5 * own)
    told = smoothstep(((share - least) / least).clip(0, 1)) * zone * outside
    told *= smoothstep(((_END - away) / (_END - _FADE)).clip(0, 1))
    return (share * told * _rooted(share * outside > least, away, scale)).astype(np.float32)


def _rooted(lines: np.ndarray, away: np.ndarray, scale: float) -> np.ndarray:
    """(H, W) bool: those of the lines, (H, W) bool, that begin at the matte, are long and hardly go on beyond strands'
    end.
    """
    count, part, about, _ = cv2.connectedComponentsWithStats(lines.astype(np.uint8))
    long = np.hypot(about[:, cv2.CC_STAT_WIDTH], about[:, cv2.CC_STAT_HEIGHT]) > _LONG * scale
    near, far = (np.bincount(part[lines], where, count) for where in (away[lines] < _BEGIN, away[lines] > _END))
    return (long & (near > 0) & (far < _BEYOND * about[:, cv2.CC_STAT_AREA]))[part] & lines


def _thin_shares(picture: np.ndarray, matte: np.ndarray, away: np.ndarray, scale: float) -> np.ndarray:
    """How much of each pixel has the hair's colour, of what is thin and stands out from around it, (H, W) float32."""
    rim = (matte * (away < _HAIR) * (cv2.blur(matte, (2 * max(1, round(_HAIR * scale)) + 1,) * 2) < 0.97))[..., None]
    near = smoothed(np.dstack([picture * rim, rim]).astype(np.float32), _HAIR * scale)
    hair = near[..., :3] / np.maximum(near[..., 3:], 1e-4)
    size = 2 * max(2, round(_WIDE * scale)) + 1
    element = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    closed, opened = (cv2.morphologyEx(picture, how, element) for how in (cv2.MORPH_CLOSE, cv2.MORPH_OPEN))
    darker = hair.mean(2, keepdims=True) < picture.mean(2, keepdims=True)
    around = cv2.GaussianBlur(np.where(darker, closed, opened).astype(np.float32), (0, 0), size / 4)
    apart, here = hair - around, picture - around
    distance2 = (apart * apart).sum(2)
    share = ((here * apart).sum(2) / np.maximum(distance2, 1)).clip(0, 1)
    other = np.linalg.norm(here - share[..., None] * apart, axis=2)
    told = ((np.sqrt(distance2) - _APART[0]) / (_APART[1] - _APART[0])).clip(0, 1)
    told *= ((_OTHER[1] - other) / (_OTHER[1] - _OTHER[0])).clip(0, 1)
    return share * told * (near[..., 3] > 1e-4)
