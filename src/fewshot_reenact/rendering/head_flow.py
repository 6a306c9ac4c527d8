"""The flow of a whole head at full resolution, from the coarse ones that are computed."""

import cv2
import numpy as np

from fewshot_reenact.geometry.affine import transform
from fewshot_reenact.geometry.smoothstep import smoothstep
from fewshot_reenact.rendering.paste import frame_bounds, onto_picture, sample_flow

_FADE = 0.06  # the flow fades to none over this share of the box at sides that lie inside the picture


class HeadFlow:
    """Where in a portrait each pixel of the part that may move comes from.

    box: that part, (x0, y0, x1, y1) pixels. limits: (width, height) of the picture. feather: (S, S), 0 at the edge of a
    face frame.
    """

    def __init__(self, box: tuple[int, int, int, int], limits: tuple[int, int], feather: np.ndarray):
        self.box, self.limits, self.feather = box, limits, feather
        x0, y0, x1, y1 = box
        self.fade = _fade_window(box, limits)
        self.here = np.stack(np.meshgrid(np.arange(x0, x1), np.arange(y0, y1)), -1).astype(np.float32)

    def full(
        self, frame: np.ndarray, face_flow: np.ndarray, box_offset: np.ndarray, shift: np.ndarray | None
    ) -> np.ndarray:
        """The flow for every pixel of the box, (h, w, 2) float32: coarse about the head, fine and corrected in the
        face, none at the box's edge.

        frame: (2, 3), face frame -> picture. face_flow: (g, g, 2) over the frame, picture pixels. box_offset: (rows,
        columns, 2) over the box, its outer samples on the outer pixels, what the flow differs by from each pixel's own
        place. shift: (S, S, 2) frame pixels, see models.reenactor.Correction, or None.
        """
        x0, y0, x1, y1 = self.box
        size = len(self.feather)
        moved = _enlarge(box_offset, (x1 - x0, y1 - y0), cv2.INTER_LINEAR) * self.fade
        a, b, c, d = frame_bounds(frame, size, self.limits)
        a, b, c, d = max(a, x0), max(b, y0), min(c, x1), min(d, y1)
        if c <= a or d <= b:
            return self.here + moved
        inside, part = (a, b, c, d), (slice(b - y0, d - y0), slice(a - x0, c - x0))
        # As an offset from the frame's own place the flow is smooth, and can be resampled.
        line = np.linspace(0, size - 1, len(face_flow))
        steps = np.stack(np.meshgrid(line, line), -1)
        offset = face_flow - transform(frame, steps.reshape(-1, 2)).reshape(steps.shape)
        fine = onto_picture(_enlarge(offset, (size, size)), frame, inside)
        mask = onto_picture(self.feather, frame, inside)[..., None]
        moved[part] += mask * (fine - moved[part])
        if shift is not None:
            away = onto_picture((shift @ frame[:, :2].T).astype(np.float32), frame, inside)
            moved[part] = away + sample_flow(moved, self.here[part] - np.array([x0, y0], np.float32) + away)
        return self.here + moved


def _enlarge(values: np.ndarray, size: tuple[int, int], how: int = cv2.INTER_CUBIC) -> np.ndarray:
    """Resample (rows, columns, 2), whose outer samples stand on the outer pixels, to (height, width, 2)."""
    rows, columns = values.shape[:2]
    sx, sy = (columns - 1) / max(size[0] - 1, 1), (rows - 1) / max(size[1] - 1, 1)
    matrix = np.array([[sx, 0, 0], [0, sy, 0]])
    flags = how | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(
        np.ascontiguousarray(values, np.float32), matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE
    )


def _fade_window(box: tuple[int, int, int, int], size: tuple[int, int]) -> np.ndarray:
    """(h, w, 1) float32: 1 inside, falling to 0 at those sides of the box that lie inside the picture."""
    sides = []
    for low, high, limit in ((box[0], box[2], size[0]), (box[1], box[3], size[1])):
        n = high - low
        reach = max(1.0, _FADE * n)
        at = np.arange(n, dtype=np.float32)
        ramp = np.ones(n, np.float32)
        if low > 0:
            ramp = np.minimum(ramp, at / reach)
        if high < limit:
            ramp = np.minimum(ramp, (n - 1 - at) / reach)
        sides.append(smoothstep(ramp))
    return (sides[1][:, None] * sides[0][None, :])[..., None]
