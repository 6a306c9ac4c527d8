"""A mouth that is to close: what shows between its lips must not be squeezed into a line of teeth."""

import cv2
import numpy as np

from fewshot_reenact.geometry.smoothstep import smoothstep
from fewshot_reenact.geometry.topology import INNER_LIP, LIP_PAIRS, eye_distance

_FROM, _TO = 0.15, 0.45  # shares of its opening that a mouth loses: its inside fades from the one to the other
_NARROWER = 4.0  # how much more the width counts: teeth do not go together with the lips
_OPEN = 0.02  # eye distances of opening below which nothing is seen between lips
_DARK = 0.5  # the line between lips against their own colour
_SOFT = 0.012  # eye distances over which it ends


def with_mouth_closing(picture: np.ndarray, own: np.ndarray, there: np.ndarray) -> np.ndarray:
    """The picture (H, W, 3) uint8 with the inside of its mouth as dark as the line between lips, the more the mouth
    closes. own: (83, 2) pixels, the face as it is, and there: as it is to be. The same picture where it does not close.
    """
    unit = float(eye_distance(own))
    before, after = (_opening(points) / unit for points in (own, there))
    if before < _OPEN:
        return picture
    wide, narrow = (float(np.linalg.norm(points[64] - points[60])) for points in (own, there))
    narrower = 1 - narrow / max(wide, 1e-6)
    lost = max(1 - max(after, 0) / before, _NARROWER * narrower)
    share = float(smoothstep(np.clip((lost - _FROM) / (_TO - _FROM), 0, 1)))
    # A mouth that hardly is open has its lips' own colours.
    share *= float(np.clip((before - _OPEN) / _OPEN, 0, 1))
    if share == 0:
        return picture
    lips = own[INNER_LIP]
    reach = int(np.ceil(0.1 * unit)) + 2
    x0, y0 = np.maximum(np.floor(lips.min(0)).astype(int) - reach, 0)
    x1, y1 = np.minimum(np.ceil(lips.max(0)).astype(int) + reach + 1, [picture.shape[1], picture.shape[0]])
    if x1 - x0 < 3 or y1 - y0 < 3:
        return picture
    part = picture[y0:y1, x0:x1].astype(np.float32)
    inside = np.zeros(part.shape[:2], np.float32)
    corners = np.round((lips - [x0, y0]) * 16).astype(np.int32)
    cv2.fillPoly(inside, [corners], 1.0, cv2.LINE_8, 4)
    soft = share * cv2.GaussianBlur(inside, (0, 0), max(_SOFT * unit, 0.6))[..., None]
    around = cv2.dilate(inside, np.ones((3, 3), np.uint8), iterations=max(1, round(0.04 * unit))) - inside
    if not around.any():
        return picture
    line = _DARK * part[around > 0].mean(0)
    out = picture.copy()
    out[y0:y1, x0:x1] = np.round(part + soft * (line - part))
    return out


def _opening(points: np.ndarray) -> float:
    return float(np.mean([points[low, 1] - points[up, 1] for up, low in LIP_PAIRS]))
