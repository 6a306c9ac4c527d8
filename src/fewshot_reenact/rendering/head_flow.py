"""The flow of a whole head at full resolution, from the coarse ones that are computed."""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from fewshot_reenact.geometry.affine import chain
from fewshot_reenact.rendering.eyelids import Closing, eye_boxes
from fewshot_reenact.rendering.paste import bands, bounds_within, onto_picture, sample_flow
from fewshot_reenact.rendering.spans import Span, fades_of

# A leap: an offset that grows by more than so many places of the grid within one. Its sides are looked for within so
# many places; they are what lies within this share of the way from the one to the other, and the line between them is
# rounded by so many places.
_LEAP, _SIDES, _SURE, _ROUND = 2.0, 2.4, 0.15, 0.6
_AROUND = 8.0  # places about a fold that are looked at
_WHOLE = 0.999  # of a pixel that lies wholly within what is resampled
_BOTH, _LONG = 0.58, 4.0  # the share that the two sides have to have of what is around, over so many places of a fold


class HeadFlow:
    """Where in a portrait each pixel of the part that may move comes from.

    box: that part, (x0, y0, x1, y1) pixels. limits: (width, height) of the picture. feather: (S, S), 0 at the edge of a
    face frame.
    """

    def __init__(self, box: tuple[int, int, int, int], limits: tuple[int, int], feather: np.ndarray):
        self.box, self.feather = box, feather
        x0, y0, x1, y1 = box
        across, down = fades_of(box, limits, (x1 - x0, y1 - y0))
        self.fade = cv2.merge([down[:, None] * across[None]] * 2)
        self.here = np.stack(np.meshgrid(np.arange(x0, x1), np.arange(y0, y1)), -1).astype(np.float32)
        self._room = np.zeros_like(self.here)  # what is returned: memory asked for anew for each frame is slow

    def face(self, frame: np.ndarray) -> tuple[int, int, int, int]:
        """The part of the box that a face frame, (2, 3), covers: x0, y0, x1, y1; empty where the last are no more."""
        return bounds_within(frame, self.feather.shape[::-1], self.box)

    def full(
        self,
        frame: np.ndarray,
        face_flow: np.ndarray,
        box_offset: np.ndarray,
        shift: np.ndarray | None,
        spans: Sequence[Span] | None = None,
        closing: Closing | None = None,
        eyes: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> np.ndarray:
        """The flow for every pixel of the box, (h, w, 2) float32: coarse about the head, fine and corrected in the
        face, none at the box's edge. It is overwritten by the next call.

        frame: (2, 3), face frame -> picture. face_flow: (g, g, 2) over the frame, picture pixels. box_offset: (rows,
        columns, 2) over the box, its outer samples on the outer pixels, what the flow differs by from each pixel's own
        place. shift: (S, S, 2) frame pixels, see models.reenactor.Correction, or None. spans: where it is wanted, the
        face among it; elsewhere it may be anything. None: everywhere. closing: the portrait's eyes, where one is
        shut. eyes: face_flow about the left eye and the right one, finer.
        """
        x0, y0, x1, y1 = self.box
        size, moved = (x1 - x0, y1 - y0), self._room
        cell = (size[0] - 1) / (box_offset.shape[1] - 1)
        folded = _folded(box_offset, cell, moved.shape)
        wanted = [(slice(None), slice(None))] if spans is None else _parts(spans, folded, size)
        matrix, planes = _from_corners(box_offset.shape, size), _four(box_offset)
        for rows, columns in wanted:
            part, corner = moved[rows, columns], np.array([columns.start or 0, rows.start or 0], float)
            onto = matrix.copy()
            onto[:, 2] += matrix[:, :2] @ corner
            _first_two(_resampled(planes, onto, part.shape[1::-1]), part)
            cv2.multiply(part, self.fade[rows, columns], dst=part)
        self._add_face(moved, frame, face_flow, shift, eyes)
        if folded is not None:
            moved[folded] = without_seams(moved[folded], cell)
        for where in wanted if folded is None or spans is None else wanted[1:]:
            cv2.add(moved[where], self.here[where], dst=moved[where])
        if closing is not None:
            for side, about in self.shut_eyes(frame, closing):
                closing.hide(moved[about], side)
        return moved

    def shut_eyes(self, frame: np.ndarray, closing: Closing) -> Iterator[tuple[int, tuple[slice, slice]]]:
        """The eyes that are shut, by their sides, and what is about them: rows and columns of the box."""
        x0, y0, _, _ = self.box
        for side, part in enumerate(eye_boxes(len(self.feather))):
            high, wide = (one.stop - one.start for one in part)
            a, b, c, d = bounds_within(_eye_frame(frame, part), (wide, high), self.box)
            if closing.shut[side] > 0 and c > a and d > b:
                yield side, (slice(b - y0, d - y0), slice(a - x0, c - x0))

    def _add_face(
        self,
        moved: np.ndarray,
        frame: np.ndarray,
        face_flow: np.ndarray,
        shift: np.ndarray | None,
        eyes: tuple[np.ndarray, np.ndarray] | None,
    ) -> None:
        """The face's own flow in place of the head's, as far as its frame lies in the box."""
        size, (a, b, c, d) = len(self.feather), self.face(frame)
        if c <= a or d <= b:
            return
        # As an offset from the frame's own place the flow is smooth, and can be resampled.
        places = chain(frame, np.diag([(size - 1) / (len(face_flow) - 1)] * 2 + [1])[:2])
        own = cv2.split(_enlarge(_offset(face_flow, places), (size, size)))
        values, finer = cv2.merge([*own, self.feather, self.feather]), self._eyes(frame, eyes)
        rows = list(bands(b, d, c - a))
        for top, bottom in rows:
            part, found = self._part(moved, a, top, c, bottom), onto_picture(values, frame, (a, top, c, bottom))
            fine, mask = np.empty_like(part), np.empty_like(part)
            cv2.mixChannels([found], [fine, mask], [0, 0, 1, 1, 2, 2, 3, 3])
            for eye, place in finer:
                _add_eye(fine, eye, place, (a, top, c, bottom))
            cv2.subtract(fine, part, dst=fine)
            cv2.add(part, cv2.multiply(fine, mask, dst=fine), dst=part)
        if shift is None:
            return
        values, shifted = _four(cv2.transform(shift, frame[:, :2])), []
        x0, y0, _, _ = self.box
        for top, bottom in rows:
            away = np.empty((bottom - top, c - a, 2), np.float32)
            _first_two(onto_picture(values, frame, (a, top, c, bottom)), away)
            where = cv2.add(away, self.here[: bottom - top, : c - a])
            where += np.array([a - x0, top - y0], np.float32) - self.here[0, 0]
            shifted.append(cv2.add(away, sample_flow(moved, where)))
        for (top, bottom), values in zip(rows, shifted, strict=True):  # not before all of it was looked up
            self._part(moved, a, top, c, bottom)[:] = values

    def _part(self, moved: np.ndarray, a: int, b: int, c: int, d: int) -> np.ndarray:
        """Of what is over the box, what is over these pixels of the picture."""
        x0, y0, _, _ = self.box
        return moved[b - y0 : d - y0, a - x0 : c - x0]

    def _eyes(
        self, frame: np.ndarray, eyes: tuple[np.ndarray, np.ndarray] | None
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """The eyes' own offsets, with 1 where they are known, (h, w, 4), and (2, 3), their places -> picture."""
        made = []
        for eye, part in zip(eyes or (), eye_boxes(len(self.feather)), strict=eyes is not None):
            step = (part[1].stop - part[1].start - 1) / (eye.shape[1] - 1)
            own, known = _eye_frame(frame, part, step), np.ones(eye.shape[:2], np.float32)
            made.append((cv2.merge([*cv2.split(_offset(eye, own)), known, known]), own))
        return made


def _add_eye(fine: np.ndarray, eye: np.ndarray, place: np.ndarray, inside: tuple[int, int, int, int]) -> None:
    """An eye's own offsets in place of those of the face, `fine`, over the part `inside` of the picture. eye, place:
    see HeadFlow._eyes.
    """
    a, b, c, d = bounds_within(place, eye.shape[1::-1], inside)
    if c <= a or d <= b:
        return
    found = onto_picture(eye, place, (a, b, c, d))
    both = np.empty((d - b, c - a, 2), np.float32)
    _first_two(found, both)
    x, y = inside[:2]
    cv2.copyTo(both, (found[..., 2] > _WHOLE).astype(np.uint8), fine[b - y : d - y, a - x : c - x])


def _eye_frame(frame: np.ndarray, part: tuple[slice, slice], step: float = 1.0) -> np.ndarray:
    """(2, 3), pixels of a part of a face frame, `step` of its own apart -> picture. part: rows and columns."""
    rows, columns = part
    return chain(frame, np.array([[step, 0, columns.start], [0, step, rows.start]]))


def _parts(
    spans: Sequence[Span], folded: tuple[slice, slice] | None, size: tuple[int, int]
) -> list[tuple[slice, slice]]:
    """The part of a box of (width, height) in which the flow may fold, where there is one; then spans, those beside
    each other as one.
    """
    bands: dict[tuple[int, int], list[int]] = {}
    for span in spans:
        bands.setdefault((span.rows.start, span.rows.stop), []).extend((span.columns.start, span.columns.stop))
    made = []
    if folded is not None:
        rows, columns = (
            slice(part.start, min(part.stop, limit)) for part, limit in zip(folded, size[::-1], strict=True)
        )
        made.append((rows, columns))
    for (top, bottom), ends in bands.items():
        made.append((slice(top, bottom), slice(min(ends), max(ends))))
    return made


def _four(values: np.ndarray) -> np.ndarray:
    """(h, w, 2) -> (h, w, 4) float32: OpenCV resamples four channels in half the time of two."""
    x, y = cv2.split(np.ascontiguousarray(values, np.float32))
    return cv2.merge([x, y, x, y])


def _first_two(four: np.ndarray, out: np.ndarray) -> None:
    cv2.mixChannels([four], [out], [0, 0, 1, 1])


def _from_corners(shape: tuple[int, ...], size: tuple[int, int]) -> np.ndarray:
    """(2, 3): pixels of a picture (width, height) -> places of a grid (rows, columns), whose outer ones stand on the
    outer pixels.
    """
    rows, columns = shape[:2]
    return np.array([[(columns - 1) / max(size[0] - 1, 1), 0, 0], [0, (rows - 1) / max(size[1] - 1, 1), 0]])


def _resampled(
    values: np.ndarray, matrix: np.ndarray, size: tuple[int, int], how: int = cv2.INTER_LINEAR
) -> np.ndarray:
    flags = how | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(values, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _offset(flow: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """What a flow (h, w, 2) differs by from its samples' own places, float32. frame: (2, 3), samples -> picture."""
    across, down = np.arange(flow.shape[1], dtype=np.float64), np.arange(flow.shape[0], dtype=np.float64)[:, None]
    flat = frame.astype(np.float32)
    own = [flat[k, 0] * across + (flat[k, 1] * down + flat[k, 2]) for k in (0, 1)]
    return cv2.merge([flow[..., k] - own[k].astype(np.float32) for k in (0, 1)])


def _folded(box_offset: np.ndarray, cell: float, shape: tuple[int, ...]) -> tuple[slice, slice] | None:
    """The part of a flow of that shape in which it may fold, with what `without_seams` looks at around; None where it
    does nowhere: the few places of the grid tell.
    """
    across, down = (np.diff(box_offset[..., k], axis=1 - k) > _LEAP * cell * 3 / 4 for k in (0, 1))
    rows = np.flatnonzero(across.any(1) | np.append(down.any(1), False))
    columns = np.flatnonzero(np.append(across.any(0), False) | down.any(0))
    if not len(rows):
        return None
    scale, room = ((shape[0] - 1) / (len(box_offset) - 1), cell), _AROUND * cell
    (top, bottom), (left, right) = (
        (at[0] * s - room, (at[-1] + 1) * s + room) for at, s in zip((rows, columns), scale, strict=True)
    )
    return slice(max(0, int(top)), int(bottom) + 1), slice(max(0, int(left)), int(right) + 1)


def without_seams(moved: np.ndarray, cell: float) -> np.ndarray:
    """Offsets (h, w, 2) float32, pixels, in which a place is on the one side of a fold or on the other.

    Where a head's edge stands before what is far behind it, the flow leaps; made larger from a grid, it would go
    through everything that the portrait has between the two, and draw that as a line. cell: pixels a place of the grid.
    """
    reach = max(1, round(cell))
    leaps = [np.zeros(moved.shape[:2], np.float32) for _ in (0, 1)]
    leaps[0][:, reach // 2 : reach // 2 - reach] = moved[:, reach:, 0] - moved[:, :-reach, 0]
    leaps[1][reach // 2 : reach // 2 - reach] = moved[reach:, :, 1] - moved[:-reach, :, 1]
    along = int(leaps[1].clip(_LEAP * cell).mean() > leaps[0].clip(_LEAP * cell).mean())
    torn = cv2.dilate((leaps[along] > _LEAP * cell).astype(np.uint8), _line(reach, along)) > 0
    rows, columns = np.nonzero(torn)
    if not len(rows):
        return moved
    h, w = torn.shape
    wide = 2 * round(_SIDES * cell / 2) + 1
    part = (
        slice(max(0, rows.min() - wide), min(h, rows.max() + wide + 1)),
        slice(max(0, columns.min() - wide), min(w, columns.max() + wide + 1)),
    )
    offset, torn = moved[part], torn[part]
    value = np.ascontiguousarray(offset[..., along])
    low, high = cv2.erode(value, _line(wide, along)), cv2.dilate(value, _line(wide, along))
    share, beside = (value - low) / np.maximum(high - low, 1e-3), high - low > _LEAP * cell / 2
    first = cv2.GaussianBlur(share, (0, 0), _ROUND * cell) > 0.5
    size = (2 * round(cell / 2) + 1, wide) if along else (wide, 2 * round(cell / 2) + 1)
    sides, counts = [], []
    for sure in (share < _SURE, share > 1 - _SURE):
        weight = (sure & beside).astype(np.float32)
        sums = cv2.blur(np.dstack([offset * weight[..., None], weight]), size)
        sides.append(sums[..., :2] / np.maximum(sums[..., 2:], 1e-6))
        counts.append(sums[..., 2])
    # Two sides and nothing else: what is narrow between them, a strand of hair, stays.
    # Judged over a few places along the fold, so that a line goes wholly or not at all.
    tall = 2 * round(_LONG * cell / 2) + 1
    along_it, known = (tall, 1) if along else (1, tall), cv2.blur(beside.astype(np.float32), size)
    both = cv2.blur(torn * (counts[0] + counts[1]), along_it) / np.maximum(cv2.blur(torn * known, along_it), 1e-3)
    torn &= (np.minimum(*counts) > 0.05) & (both > _BOTH)
    made = moved.copy()
    made[part] = np.where(torn[..., None], np.where(first[..., None], sides[1], sides[0]), offset)
    return made


def _line(count: int, along: int) -> np.ndarray:
    """A kernel of so many pixels in a row (0) or a column (1)."""
    return np.ones((count, 1) if along else (1, count), np.uint8)


def _enlarge(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resample (rows, columns, 2), whose outer samples stand on the outer pixels, to (height, width, 2)."""
    values = np.ascontiguousarray(values, np.float32)
    if values.shape[1::-1] == size:
        return values
    return _resampled(values, _from_corners(values.shape, size), size, cv2.INTER_CUBIC)
