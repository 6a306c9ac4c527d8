"""The window of a live session, by OpenCV: the picture, its keys, and a help that is on the screen only."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Sequence

import cv2
import numpy as np

from fewshot_reenact.errors import UsageError

KEYS = {
    "q": "quit (Esc too)",
    "h": "this help",
    "c": "calibrate anew: look as the portrait does",
    "m": "mirror: exchange left and right of the camera",
    "r": "recording on or off",
    "space": "pause",
}
_NAMED = {27: "q", 32: "space"}
_LARGEST = (1280, 860)  # pixels of a window at first; it can be made larger
_TITLE = "reenact live (AI-generated)"
_NONE, _TIMEOUT = 3, 30  # exit code of the trial where OpenCV has no windows; seconds
# A process of its own: where there is no display, OpenCV's Qt ends the process that asks.
_TRIAL = f"""
import sys, cv2
try:
    cv2.namedWindow("reenact")
except cv2.error:
    sys.exit({_NONE})
"""


def check_window() -> None:
    """Raises UsageError if no window can be opened here."""
    try:
        command = [sys.executable, "-c", _TRIAL]
        code = subprocess.run(command, timeout=_TIMEOUT, check=False, capture_output=True).returncode
    except (OSError, subprocess.TimeoutExpired):
        code = 1
    if code == _NONE:
        raise UsageError(
            "this OpenCV has no windows (opencv-python-headless has none): pip uninstall opencv-python-headless, then "
            "pip install --force-reinstall opencv-python; or use --no-window"
        )
    if code:
        raise UsageError("no window can be opened here: there is no display; work at a screen, or use --no-window")


class LiveWindow:
    """Shows pictures until it is closed. A context manager. Use it in the main thread."""

    def __init__(self) -> None:
        self._open = False

    def __enter__(self) -> LiveWindow:
        return self

    def __exit__(self, *_: object) -> None:
        if self._open:
            with contextlib.suppress(cv2.error):  # the user has closed it
                cv2.destroyWindow(_TITLE)
                cv2.waitKey(1)

    def show(self, picture: np.ndarray, lines: Sequence[str] = ()) -> None:
        """A picture (H, W, 3) uint8 RGB, with lines of text over it on the screen only."""
        if not self._open:
            self._open = True
            cv2.namedWindow(_TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
            height, width = picture.shape[:2]
            scale = min(1.0, _LARGEST[0] / width, _LARGEST[1] / height)
            cv2.resizeWindow(_TITLE, max(1, round(width * scale)), max(1, round(height * scale)))
        shown = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
        cv2.imshow(_TITLE, _written(shown, lines) if lines else shown)

    def key(self) -> str | None:
        """Lets the window draw itself. Returns the key that was pressed, one of KEYS, "q" too once it was closed."""
        code = cv2.waitKey(1)
        if self._open:
            with contextlib.suppress(cv2.error):
                if cv2.getWindowProperty(_TITLE, cv2.WND_PROP_VISIBLE) >= 1:
                    return None if code < 0 else _NAMED.get(code & 0xFF, chr(code & 0xFF).lower())
            return "q"
        return None


def help_lines(records: bool) -> list[str]:
    """What each key does. records: whether there is a recording."""
    return [f"{key}: {does}" for key, does in KEYS.items() if key != "r" or records]


def _written(picture: np.ndarray, lines: Sequence[str]) -> np.ndarray:
    """Lines on a dark ground in the upper left corner: the label below on the right stays free."""
    scale = min(picture.shape[:2]) / 900
    step = max(10, round(34 * scale))
    height = min(picture.shape[0] * 3 // 4, step * len(lines) + step // 2)
    picture[:height] = picture[:height] // 3
    for number, line in enumerate(lines, 1):
        where = (step // 2, number * step)
        cv2.putText(picture, line, where, cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), 1, cv2.LINE_AA)
    return picture
