"""The annotated picture of a check: what was looked at, with its points, beside what was found."""

from pathlib import Path

import cv2
import numpy as np

from fewshot_reenact.checks.report import Report
from fewshot_reenact.geometry.affine import transform
from fewshot_reenact.geometry.head_crop import cut_square, square_about
from fewshot_reenact.geometry.overlay import draw_points
from fewshot_reenact.inputs.driver import DriverSource
from fewshot_reenact.landmarks.upright import turned
from fewshot_reenact.media.pictures import read_picture
from fewshot_reenact.motion.motion import Motion

_SIDE = 480  # pixels of each view and height of the whole
_PANEL = 620  # pixels of the text's width
_SHOWN = 3  # frames of a video
_LINE = 22
_COLOURS = {"good": (70, 190, 90), "usable": (200, 190, 60), "poor": (240, 140, 40), "unusable": (240, 60, 60)}
_TEXT = (225, 225, 225)


def annotated_portrait(report: Report, path: Path, points: np.ndarray | None) -> np.ndarray:
    """(480, W, 3) uint8: the head with its points (the whole picture where no face was found) and the findings."""
    lies = [one.value for one in report.findings if one.name == "orientation"]
    picture = turned(read_picture(path), lies[0] if lies else 0)
    return np.concatenate([_view(picture, points), _panel(report)], 1)


def annotated_driver(report: Report, driver: DriverSource, motion: Motion) -> np.ndarray:
    """(480, W, 3) uint8: frames from all over the video with their points, and the findings.

    A motion file has no pictures: its points are drawn on black.
    """
    found = np.flatnonzero(motion.found)
    wanted = sorted({int(found[round(at)]) for at in np.linspace(0, len(found) - 1, _SHOWN)})
    if driver.is_video:
        pictures = {index: picture for index, picture in driver.frames() if index in wanted}  # none was kept
    else:
        pictures = {index: np.zeros((motion.size[1], motion.size[0], 3), np.uint8) for index in wanted}
    views = [_view(picture, motion.points[index]) for index, picture in pictures.items()]
    return np.concatenate([*views, _panel(report)], 1)


def annotated_unreadable(report: Report) -> np.ndarray:
    """(480, W, 3) uint8: nothing to be seen, and why; so that no file is missing among several."""
    view = np.zeros((_SIDE, _SIDE, 3), np.uint8)
    _write(view, "cannot be shown", (16, _SIDE // 2), (150, 150, 150))
    return np.concatenate([view, _panel(report)], 1)


def _view(picture: np.ndarray, points: np.ndarray | None) -> np.ndarray:
    """A square of _SIDE pixels about the head, points drawn; without points the whole picture on black."""
    h, w = picture.shape[:2]
    if points is not None:
        square, matrix = cut_square(picture, square_about(points, (w, h)), _SIDE)
        return draw_points(square, transform(matrix, points).astype(np.float32))
    scale = _SIDE / max(h, w)
    small = cv2.resize(picture, (max(1, round(w * scale)), max(1, round(h * scale))), interpolation=cv2.INTER_AREA)
    canvas = np.zeros((_SIDE, _SIDE, 3), np.uint8)
    canvas[: small.shape[0], : small.shape[1]] = small
    return canvas


def _panel(report: Report) -> np.ndarray:
    panel = np.full((_SIDE, _PANEL, 3), 24, np.uint8)
    y = _LINE + 8
    _write(panel, f"{Path(report.file).name[:44]}: {report.verdict}", (16, y), _COLOURS[report.verdict], 0.62)
    for one in report.findings:
        y += _LINE + 6
        cv2.circle(panel, (24, y - 5), 6, _COLOURS[one.verdict], -1, cv2.LINE_AA)
        _write(panel, f"{one.name}: {one.shown}", (42, y), _TEXT)
        for line in _wrapped(one.advice) if y < _SIDE - 2 * _LINE else []:
            y += _LINE - 3
            _write(panel, line, (58, y), (150, 150, 150), 0.42)
    return panel


def _wrapped(text: str, width: int = 72) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        if lines and len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _write(panel: np.ndarray, text: str, at: tuple[int, int], colour: tuple[int, int, int], size: float = 0.48) -> None:
    ascii_text = text.encode("ascii", "replace").decode()  # all that OpenCV's fonts have
    cv2.putText(panel, ascii_text, at, cv2.FONT_HERSHEY_SIMPLEX, size, colour, 1, cv2.LINE_AA)
