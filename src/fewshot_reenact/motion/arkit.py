"""Blendshapes as CSV, as face-capture apps for phones write them (Live Link Face): a driver, and what extract writes.

    Timecode,BlendShapeCount,EyeBlinkLeft,...,TongueOut,HeadYaw,HeadPitch,HeadRoll,LeftEyeYaw,...
    12:24:24:19.960,61,0.018,...,0.000,-0.02,0.11,0.003,-0.014,...

Columns are found by name, whatever their case and order. Timecode is hours, minutes, seconds and frames with a
fraction; how many frames a second it counts is told by the frames themselves (`_counted`). Coefficients are 0..1. A row
with a BlendShapeCount of 0, or without values, is a frame without a face. Head angles are radians and may be missing;
the angles of the eyes are not read, the coefficients EyeLook... say the same. Signs of the head are taken to be those
of the eyes in public recordings: HeadYaw positive to the person's right, HeadPitch positive downwards; HeadRoll
positive towards the person's left shoulder; the head is rolled first, then pitched, then turned.
"""

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fewshot_reenact.errors import InputError
from fewshot_reenact.files import partial_file
from fewshot_reenact.geometry.rotation import about
from fewshot_reenact.motion.blendshapes import NAMES, Performance
from fewshot_reenact.motion.clock import clock_of
from fewshot_reenact.motion.lines import read_lines
from fewshot_reenact.motion.motion import Motion

HEAD = ("HeadYaw", "HeadPitch", "HeadRoll")
_MAY_BE_MISSING = ("TongueOut",)  # older recordings have 51
_LOWEST, _HIGHEST = -0.5, 2.0  # what a calibrated app may make of 0..1; beyond, it is another unit
_COUNTS = (60, 50, 30, 25, 24, 48, 100, 120)  # frames a second that a timecode may count
_WRITTEN = 60  # what ours counts, as Live Link Face's does
_DAY = 86_400.0
_TIMECODE = re.compile(r"\s*(\d{1,2}):(\d{1,2}):(\d{1,2})[:;](\d{1,3}(?:\.\d{1,9})?)\s*", re.ASCII)


def read_arkit(path: Path) -> Motion:
    """The motion of the mean person that does what the file says. Raises InputError: not such a file, or a bad one."""
    rows = _rows(path)
    _, heading = next(rows, (0, []))
    columns = _columns(heading)
    codes, values, numbers = [], [], []
    for number, row in rows:
        codes.append(_timecode("".join(row[columns["Timecode"] :][:1]), number))
        values.append(_values(row, columns, number))
        numbers.append(number)
    if not codes:
        raise InputError("it has no frames")
    times, kept, notes = _times(np.array(codes), numbers)
    table = np.array(values)[kept]
    if np.isnan(table).any(1).all():
        raise InputError("no frame of it has a face")
    performance = Performance(table[:, : len(NAMES)], _rotation(table[:, len(NAMES) :]))
    return performance.motion(*clock_of(times), path.name, notes)


def write_arkit(motion: Motion, path: str | Path, overwrite: bool = False) -> Path:
    """What the face does as 52 coefficients and head angles a frame, whole or not at all. Raises UsageError as
    `motion.files.save_motion`. Frames without a face have a BlendShapeCount of 0.
    """
    path = Path(path)
    made = Performance.of(motion)
    table = np.concatenate([made.coefficients, _angles(made.rotation)], 1)
    with (
        partial_file(path, overwrite, suffixes=(".csv",)) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["Timecode", "BlendShapeCount", *NAMES, *HEAD])
        for time, values in zip(motion.times.tolist(), table, strict=True):
            seen = bool(np.isfinite(values).all())
            cells = [f"{value:.6f}" for value in values + 0.0] if seen else []
            writer.writerow([_written(time), len(cells), *cells])
    return path


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    for number, line in read_lines(path):
        try:
            yield number, next(csv.reader([line]), [])
        except csv.Error as error:
            raise InputError(f"line {number} is no CSV ({error})") from None


def _columns(heading: list[str]) -> dict[str, int]:
    """Where each column is that is read. Raises InputError: one is missing."""
    found = {name.strip().lower(): at for at, name in reversed(list(enumerate(heading)))}
    known = ("Timecode", "BlendShapeCount", *NAMES, *HEAD)
    columns = {name: found[name.lower()] for name in known if name.lower() in found}
    missing = [name for name in ("Timecode", *NAMES) if name not in columns and name not in _MAY_BE_MISSING]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise InputError(
            f"it has no column {', '.join(missing[:3])}{more}; a CSV that drives has Timecode and ARKit's 52 "
            "blendshapes, as Live Link Face exports them"
        )
    return columns


def _timecode(text: str, number: int) -> tuple[int, float]:
    """Whole seconds, and frames with their fraction."""
    match = _TIMECODE.fullmatch(text)
    if match is None:
        raise InputError(f"line {number}: the timecode is {text[:20]!r}, it should be like 12:24:24:19.960")
    hours, minutes, seconds = (int(part) for part in match.groups()[:3])
    return 3600 * hours + 60 * minutes + seconds, float(match[4])


def _values(row: list[str], columns: dict[str, int], number: int) -> list[float]:
    """52 coefficients and three angles of a frame; NaN where it has no face."""
    wanted = (*NAMES, *HEAD)
    count = columns.get("BlendShapeCount")
    if len(row) <= columns[NAMES[0]] or (count is not None and row[count].strip() == "0"):
        return [np.nan] * len(wanted)
    if len(row) <= max(columns.values()):
        raise InputError(
            f"line {number} has {len(row)} values, the first line names {max(columns.values()) + 1} columns"
        )
    values = []
    for name in wanted:
        text = row[columns[name]] if name in columns else "0"
        try:
            value = float(text)
        except ValueError:
            raise InputError(f"line {number}: {name} is {text[:20]!r}, it should be a number") from None
        low, high = (-np.pi, np.pi) if name in HEAD else (_LOWEST, _HIGHEST)
        if not low <= value <= high:
            unit = "radians, from -3.14 to 3.14" if name in HEAD else "from 0 to 1"
            raise InputError(f"line {number}: {name} is {value:g}, it should be {unit}")
        values.append(value)
    return values


def _times(codes: np.ndarray, numbers: list[int]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """codes: (T, 2), see `_timecode`. Returns times in seconds from 0, which frames are kept, and notes."""
    seconds, frames = codes.T
    times = seconds + frames / _counted(seconds, frames)
    turns = np.concatenate([[0], np.cumsum(np.diff(times) < -_DAY / 2)])
    times = times + _DAY * turns - times[0]
    steps = np.diff(times)
    if (steps < 0).any():
        raise InputError(f"line {numbers[int(np.argmax(steps < 0)) + 1]}: its timecode lies before the one above it")
    kept = np.concatenate([[True], steps > 0])
    gone = int((~kept).sum())
    notes = [f"{gone} of {len(kept)} frames have the timecode of the one before; they are left out"] if gone else []
    return times[kept], kept, notes


def _counted(seconds: np.ndarray, frames: np.ndarray) -> float:
    """How many frames a second a timecode counts: the last of a second is less than that, and with one step more it is
    not. Where a second never ends, or no usual number fits, it is 60, or what lies above the highest.
    """
    highest = float(frames.max())
    inside = np.diff(frames)[np.diff(seconds) == 0]
    step = float(np.median(inside)) if len(inside) else 0.0
    if np.ptp(seconds) > 0:
        for count in sorted(_COUNTS, reverse=True):
            if highest < count <= highest + step + 0.01:
                return count
    return next((count for count in _COUNTS if count > highest), highest + 1)


def _written(time: float) -> str:
    ticks = round(max(time, 0.0) * _WRITTEN * 1000)
    seconds, left = divmod(ticks, _WRITTEN * 1000)
    minutes, hours = seconds // 60, seconds // 3600
    return f"{hours % 24:02d}:{minutes % 60:02d}:{seconds % 60:02d}:{left // 1000:02d}.{left % 1000:03d}"


def _rotation(angles: np.ndarray) -> np.ndarray:
    """(T, 3) of the file -> (T, 3, 3) from the head's axes to the picture's."""
    yaw, pitch, roll = angles.T
    return about(1, -yaw) @ about(0, -pitch) @ about(2, roll)


def _angles(rotation: np.ndarray) -> np.ndarray:
    """The inverse of `_rotation`."""
    yaw = np.arctan2(rotation[:, 0, 2], rotation[:, 2, 2])
    pitch = np.arcsin(np.clip(-rotation[:, 1, 2], -1, 1))
    roll = np.arctan2(rotation[:, 1, 0], rotation[:, 1, 1])
    return np.stack([-yaw, -pitch, roll], 1)
