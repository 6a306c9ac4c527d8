"""A picture sheet to look through: a row for each clip and T; portrait, truth or driver, and what each method made."""

from collections.abc import Sequence

import cv2
import numpy as np

_CELL = 192  # pixels a side
_HEAD, _SIDE, _GAP = 26, 96, 2
_ROWS = 160  # of a sheet: 30,000 pixels high, which viewers still open
_GROUND, _TEXT = 24, (225, 225, 225)


class Sheet:
    """Rows of pictures with titles; small copies are kept, so that a large evaluation stays small."""

    def __init__(self, titles: Sequence[str]):
        self.titles = list(titles)
        self.rows: list[tuple[str, list[np.ndarray]]] = []
        self.left_out = 0

    def add(self, label: str, pictures: Sequence[np.ndarray]) -> None:
        """A row. label: words, one a line of the margin. pictures: (H, W, 3) uint8 RGB, one for each title."""
        if len(pictures) != len(self.titles):
            raise ValueError(f"{len(pictures)} pictures for {len(self.titles)} titles")
        if len(self.rows) == _ROWS:
            self.left_out += 1
            return
        self.rows.append((label, [_fitted(picture) for picture in pictures]))

    def picture(self) -> np.ndarray:
        """The whole sheet, (H, W, 3) uint8 RGB."""
        step = _CELL + _GAP
        canvas = np.full((_HEAD + step * len(self.rows), _SIDE + step * len(self.titles), 3), _GROUND, np.uint8)
        for column, title in enumerate(self.titles):
            _write(canvas, title, (_SIDE + column * step + 4, _HEAD - 9))
        for number, (label, pictures) in enumerate(self.rows):
            y = _HEAD + number * step
            for line, word in enumerate(label.split()):
                _write(canvas, word[:13], (4, y + 18 + 16 * line), 0.4)
            for column, picture in enumerate(pictures):
                x = _SIDE + column * step
                canvas[y : y + _CELL, x : x + _CELL] = picture
        return canvas


def _fitted(picture: np.ndarray) -> np.ndarray:
    """The picture in the middle of a cell, whole."""
    h, w = picture.shape[:2]
    scale = _CELL / max(h, w)
    size = (max(1, round(w * scale)), max(1, round(h * scale)))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    cell = np.full((_CELL, _CELL, 3), _GROUND, np.uint8)
    y, x = (_CELL - size[1]) // 2, (_CELL - size[0]) // 2
    cell[y : y + size[1], x : x + size[0]] = small
    return cell


def _write(canvas: np.ndarray, text: str, at: tuple[int, int], size: float = 0.48) -> None:
    plain = text.encode("ascii", "replace").decode()  # all that OpenCV's fonts have
    cv2.putText(canvas, plain, at, cv2.FONT_HERSHEY_SIMPLEX, size, _TEXT, 1, cv2.LINE_AA)
