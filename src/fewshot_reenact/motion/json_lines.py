"""Motions as JSON lines: one line that describes the motion, then one line a frame. For streams and other programs.

    {"schema": "fewshot-reenact-motion/1", "fps": 25.0, "size": [1920, 1080], "frames": 2, "version": "..."}
    {"time": 0.0, "confidence": 0.98, "points": [[x, y], ...], "angles": [yaw, pitch, roll]}
    {"time": 0.04, "confidence": 0, "points": null, "angles": null}

The first line has schema, fps and size, and may have frames (how many follow: then a file that is cut short is told),
time_base, fps_ratio, cuts and source, all as `motion.files` has them; version says which program wrote it. A frame has
time in seconds, confidence 0..1 and 83 points in pixels, null where no face was found; it may have pts. Numbers are
written as exactly as they are, so that nothing is lost against .npz. Keys that are not known are ignored.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from fewshot_reenact._version import __version__
from fewshot_reenact.errors import InputError
from fewshot_reenact.geometry.topology import N_POINTS
from fewshot_reenact.motion.lines import read_lines

_HEAD = ("schema", "fps", "size", "time_base", "fps_ratio", "cuts", "source")


def write_json_lines(arrays: dict[str, Any], path: Path) -> None:
    """arrays: what a motion file holds, by key, as `motion.files.save_motion` gathers it."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for line in _written(arrays):
            file.write(json.dumps(line, allow_nan=False, separators=(",", ":")) + "\n")


def _written(arrays: dict[str, Any]) -> Iterator[dict[str, Any]]:
    frames = len(arrays["points"])
    plain = {key: value if isinstance(value, str) else np.asarray(value).tolist() for key, value in arrays.items()}
    yield {"schema": plain["schema"], "version": __version__, "frames": frames, **{key: plain[key] for key in _HEAD}}
    for t in range(frames):
        found = bool(np.isfinite(arrays["points"][t]).all())
        yield {
            "time": plain["timestamps"][t],
            "pts": plain["pts"][t],
            "confidence": _shortest(arrays["confidence"][t]),
            "points": _shortest(arrays["points"][t]) if found else None,
            "angles": np.round(arrays["angles"][t].astype(np.float64), 2).tolist() if found else None,
        }


def _shortest(values: np.ndarray) -> Any:
    """float32 as the shortest decimals that are the same float32 again."""
    return np.asarray(values, np.float32).astype(str).astype(np.float64).tolist()


def read_json_lines(path: Path) -> dict[str, Any]:
    """Arrays by key, not yet looked at but for their shapes. Raises InputError."""
    lines = (_parsed(number, line) for number, line in read_lines(path))
    _, head = next(lines, (0, {}))
    data: dict[str, Any] = {key: _of_head(head[key], key) for key in _HEAD if key in head}
    times, confidence, points, pts = [], [], [], []
    for number, line in lines:
        times.append(_number(line, "time", number))
        confidence.append(_number(line, "confidence", number))
        points.append(_points(line, number))
        if "pts" in line:
            pts.append(_number(line, "pts", number, whole=True))
    expected = head.get("frames", len(points))
    if expected != len(points):
        raise InputError(f"its first line says {repr(expected)[:20]} frames and {len(points)} follow: it is cut short")
    if pts and len(pts) < len(points):
        raise InputError("only some of its frames have pts")
    data |= {"timestamps": np.array(times), "confidence": np.array(confidence)}
    data["points"] = np.array(points, np.float32).reshape(-1, N_POINTS, 2)
    if pts:
        data["pts"] = np.array(pts, np.int64)
    return data


def _parsed(number: int, line: str) -> tuple[int, dict[str, Any]]:
    try:
        value = json.loads(line, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise InputError(f"line {number} is not JSON") from None
    if not isinstance(value, dict):
        raise InputError(f"line {number} does not hold the keys of a {'motion' if number == 1 else 'frame'}")
    return number, value


def _no_constant(_: str) -> NoReturn:
    raise ValueError("strict JSON has no NaN")


def _of_head(value: Any, key: str) -> np.ndarray:
    """Numbers or a text as an array; anything else becomes a text, which no check takes for numbers."""
    known = isinstance(value, str | int | float | list) and not isinstance(value, bool)
    try:
        return np.asarray(value if known else str(value))
    except ValueError:
        raise InputError(f"{key} of its first line should be numbers") from None


def _number(line: dict[str, Any], key: str, number: int, whole: bool = False) -> float:
    value = line.get(key)
    kind: Any = int if whole else int | float
    if isinstance(value, bool) or not isinstance(value, kind) or abs(value) >= 2**63:
        what = "a whole number" if whole else "a number"
        raise InputError(f"line {number}: {key} should be {what}" + ("" if key in line else ", and is missing"))
    return value


def _points(line: dict[str, Any], number: int) -> np.ndarray:
    """(83, 2) float32 of a frame; NaN where it has none."""
    value = line.get("points")
    if value is None and "points" in line:
        return np.full((N_POINTS, 2), np.nan, np.float32)
    try:
        points = np.asarray(value)
    except ValueError:
        points = np.asarray(None)
    if points.shape != (N_POINTS, 2) or points.dtype.kind not in "iuf":
        raise InputError(f"line {number}: points should be {N_POINTS} pairs of numbers, or null")
    with np.errstate(over="ignore"):  # what is no float32 becomes infinite, and lies far outside the picture
        return points.astype(np.float32)
