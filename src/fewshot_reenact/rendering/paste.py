"""Between pictures and face frames: faces cut out, the flow applied to the original picture, and the networks' change
pasted onto it.
"""

from collections.abc import Iterator

import cv2
import numpy as np

from fewshot_reenact.geometry.affine import invert, transform
from fewshot_reenact.geometry.smoothstep import smoothstep

# Change (0..1 scale) from which the fine detail under it begins to be hidden, and from which it is.
_HIDE_FROM, _HIDE_TO = 0.06, 0.20
_AT_ONCE = 1 << 15  # pixels
# Pixels of a flow from one place to the next, from which it leaps; how softly what is seen there is drawn, pixels.
_LEAP, _SOFT = 3.0, 0.9
_ALIGNED = 1 / 50  # pixels that a part of a picture may begin beside where one made smaller has a pixel's edge


def frame_bounds(frame: np.ndarray, size: int, limits: tuple[int, int]) -> tuple[int, int, int, int]:
    """The part of the picture that a face frame covers: x0, y0, x1, y1, whole pixels, x1 and y1 exclusive.

    frame: (2, 3), frame -> picture pixels. limits: (width, height) of the picture. x1 <= x0 or y1 <= y0 where the frame
    is outside.
    """
    return bounds_within(frame, (size, size), (0, 0, *limits))


def bounds_within(
    frame: np.ndarray, size: tuple[int, int], limits: tuple[int, int, int, int]
) -> tuple[int, int, int, int]:
    """The same for a frame of any (width, height), and the part of the picture within limits, x0, y0, x1, y1."""
    right, bottom = size[0] - 1, size[1] - 1
    corners = transform(frame, np.array([[0, 0], [right, 0], [0, bottom], [right, bottom]], float))
    x0, y0 = np.floor(corners.min(0)).astype(int)
    x1, y1 = np.ceil(corners.max(0)).astype(int) + 1
    return max(limits[0], x0), max(limits[1], y0), min(limits[2], x1), min(limits[3], y1)


def onto_picture(
    values: np.ndarray, frame: np.ndarray, bounds: tuple[int, int, int, int], smooth: bool = False
) -> np.ndarray:
    """Resample what lives in a face frame onto the pixels of the picture within bounds; zero outside the frame.

    values: (S, S) or (S, S, C) float32. frame: (2, 3), frame -> picture pixels. Returns (h, w) or (h, w, C).
    """
    x0, y0, x1, y1 = bounds
    matrix = invert(frame)  # picture -> frame
    matrix[:, 2] += matrix[:, :2] @ np.array([x0, y0], float)
    flags = (cv2.INTER_CUBIC if smooth else cv2.INTER_LINEAR) | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(values, matrix, (x1 - x0, y1 - y0), flags=flags, borderMode=cv2.BORDER_CONSTANT)


def cut_face(picture: np.ndarray, frame: np.ndarray, size: int, averaged: bool = True) -> np.ndarray:
    """The face frame's view of a picture, (size, size, 3) uint8.

    averaged: where the frame is much smaller than the picture, pixels are averaged first. Training leaves that out:
    its clips are hardly larger than the frame, and what little aliases there is as real pictures alias.
    """
    shrink = float(np.sqrt(np.linalg.det(frame[:, :2])))
    if averaged and shrink > 1.5:
        picture, frame = _averaged(picture, frame, size, shrink)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(picture, frame, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _averaged(picture: np.ndarray, frame: np.ndarray, size: int, shrink: float) -> tuple[np.ndarray, np.ndarray]:
    """The part of a picture that a face frame sees, made smaller by about `shrink`, and the frame in its pixels."""
    corners = transform(frame, np.array([[0, 0], [size - 1, 0], [0, size - 1], [size - 1, size - 1]], float))
    parts, scales, starts = [], [], []
    for low, high, whole in zip(corners.min(0), corners.max(0), picture.shape[1::-1], strict=True):
        scale = max(2, round(whole / shrink)) / whole
        start, stop = _aligned(low - 3 / scale, scale), int(min(whole, np.ceil(high + 3 / scale) + 1))
        start = min(start, max(0, whole - int(3 / scale)))
        parts.append(slice(start, max(stop, start + int(3 / scale))))
        scales.append(scale)
        starts.append(start)
    scale = np.array(scales)
    part = picture[parts[1], parts[0]]
    small = cv2.resize(part, None, fx=scales[0], fy=scales[1], interpolation=cv2.INTER_AREA)
    moved = (frame[:, 2] - starts + 0.5) * scale - 0.5
    return small, np.concatenate([frame[:, :2] * scale[:, None], moved[:, None]], 1)


def _aligned(wanted: float, scale: float) -> int:
    """The last pixel up to `wanted` where, of a whole picture made smaller by `scale`, a pixel begins, nearly: a part
    of it is then averaged as the whole would be.
    """
    places = np.arange(int(max(0.0, wanted) * scale) + 1) / scale
    return round(float(places[np.abs(places - np.round(places)) < _ALIGNED][-1]))  # the first is 0


def sample_picture(picture: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """The picture seen through a flow. (H, W, 3) uint8 at (h, w, 2) float32 pixels -> (h, w, 3) uint8."""
    return cv2.remap(picture, flow, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]  # no second map


def sample_flow(flow: np.ndarray, where: np.ndarray) -> np.ndarray:
    """A flow looked up at other places: (H, W, 2) float32 at (h, w, 2) pixels -> (h, w, 2)."""
    at = where.astype(np.float32)
    return cv2.remap(flow, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]  # no second map


def hiding_gate(change: np.ndarray) -> np.ndarray:
    """Where the change is so large that the picture's own fine detail no longer belongs: an opened mouth, a closed lid.

    change: (S, S, 3) on the 0..1 scale -> (S, S) float32, 0 keep .. 1 hide.
    """
    mean = cv2.transform(np.abs(change), np.full((1, 3), 1 / 3))
    size = cv2.GaussianBlur(mean, (0, 0), change.shape[0] / 64)
    return smoothstep(np.clip((size - _HIDE_FROM) / (_HIDE_TO - _HIDE_FROM), 0, 1)).astype(np.float32)


def soften_leaps(picture: np.ndarray, flow: np.ndarray, share: float = 1.0) -> None:
    """Draw softly, in place, what is seen where a flow leaps: a pixel is of the one side or of the other, and the line
    between them would be a stair.

    picture: (h, w, 3) uint8, seen through flow, (h, w, 2) pixels. share: how much of it, 0..1.
    """
    leaps = np.zeros(picture.shape[:2], np.float32)
    for axis in (0, 1):
        far = (np.square(np.diff(flow, axis=axis)).sum(2) > _LEAP**2).astype(np.float32)
        before, after = (leaps[:-1], leaps[1:]) if axis == 0 else (leaps[:, :-1], leaps[:, 1:])
        np.maximum(before, far, out=before)
        np.maximum(after, far, out=after)
    if not leaps.any():
        return
    near = cv2.GaussianBlur(cv2.dilate(leaps, np.ones((3, 3), np.uint8)), (0, 0), _SOFT) * share
    soft = cv2.GaussianBlur(picture, (0, 0), _SOFT).astype(np.float32)
    own = picture.astype(np.float32)
    picture[:] = np.round(own + near[..., None] * (soft - own))


def paste_change(
    picture: np.ndarray,
    change: np.ndarray,
    warped: np.ndarray,
    feather: np.ndarray,
    frame: np.ndarray,
    magnified: float,
    person: np.ndarray | None = None,
) -> None:
    """Add the networks' change to the full-resolution picture, in place.

    picture: (H, W, 3) uint8, already seen through the flow. change, warped: (S, S, 3) float32 on the 0..1 scale, in
    the face frame; `warped` is what the networks saw of the portrait. feather: (S, S), zero at the frame's edge.
    frame: (2, 3), frame -> picture pixels. magnified: picture pixels of the portrait per frame pixel; above 1 the
    picture holds detail that the networks did not see, and where they change much it is hidden by their own, smoother
    picture. person: (H, W) float32, where the picture shows the person: the ground is not the networks' to change.
    """
    x0, y0, x1, y1 = frame_bounds(frame, len(change), (picture.shape[1], picture.shape[0]))
    if x1 <= x0 or y1 <= y0:
        return
    hides = magnified > 1.1
    gate = hiding_gate(change) * feather if hides else feather
    # Four channels at once are resampled in half the time of three.
    four = cv2.merge([*cv2.split(change * 255), gate])
    own = cv2.split(warped * 255)
    smooth = cv2.merge([*own, own[0]]) if hides else None
    for top, bottom in bands(y0, y1, x1 - x0):
        bounds = x0, top, x1, bottom
        share = None if person is None else person[top:bottom, x0:x1]
        _paste(picture[top:bottom, x0:x1], bounds, frame, four, smooth, share)


def bands(first: int, last: int, width: int) -> Iterator[tuple[int, int]]:
    """Rows from `first` on, up to `last`, in parts of so few pixels that what is done to them one after the other is
    done in the processor's cache.
    """
    step = max(8, _AT_ONCE // max(width, 1))
    for top in range(first, last, step):
        yield top, min(top + step, last)


def _paste(
    picture: np.ndarray,
    bounds: tuple[int, int, int, int],
    frame: np.ndarray,
    four: np.ndarray,
    smooth: np.ndarray | None,
    share: np.ndarray | None,
) -> None:
    """The change to the part of a picture within bounds, in place. four: (S, S, 4), it and where detail is hidden;
    smooth: (S, S, 4), by what; None: nowhere. share: how much of each pixel is the person.
    """
    part = picture.astype(np.float32)
    added = onto_picture(four, frame, bounds)
    if share is not None and share.min() < 1:
        added = cv2.multiply(added, cv2.merge([share] * 4))
    if smooth is not None:
        hidden = cv2.extractChannel(added, 3)
        if hidden.any():
            by = _colours(onto_picture(smooth, frame, bounds))
            cv2.subtract(by, part, dst=by)
            cv2.add(part, cv2.multiply(by, cv2.merge([hidden] * 3), dst=by), dst=part)
    picture[:] = cv2.add(part, _colours(added), dtype=cv2.CV_8U)  # rounded, and cut at 0 and 255


def _colours(four: np.ndarray) -> np.ndarray:
    """(h, w, 4) -> (h, w, 3)."""
    return cv2.cvtColor(four, cv2.COLOR_RGBA2RGB)
