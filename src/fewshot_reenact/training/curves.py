"""What a run has written so far, to be looked at: the numbers of metrics.jsonl as curves, and its pictures."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fewshot_reenact.errors import InputError

METRICS, PICTURES = "metrics.jsonl", "pictures"
_LARGEST, _SMALLEST = 1e30, 1e-30  # what lies beyond is no figure of a run, and cannot be drawn
_CURVES = 200  # a run has about twenty
_LONGEST_NAME = 60


@dataclass(frozen=True)
class Curve:
    """A number over the run's steps. steps: (N,) float64, rising. values: (N,) float64, finite."""

    steps: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class RunCurves:
    """What a run has logged. name: the folder's. curves: by the name of the number; those on what is held out begin
    with "held_out/". pictures: (step, file) of the sample grids, rising. step: the last one that was logged. damaged:
    lines that could not be read.
    """

    name: str
    folder: Path
    step: int
    curves: dict[str, Curve] = field(repr=False)
    pictures: list[tuple[int, Path]] = field(repr=False)
    damaged: int


def read_run(folder: Path) -> RunCurves:
    """Read the numbers of a run and find its pictures. A run that goes on may be read too.

    Raises InputError: no such folder, no run, nothing logged yet.
    """
    path = folder / METRICS
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; name one that `reenact train --run` wrote")
    if not path.is_file():
        raise InputError(f"{folder}: holds no {METRICS}; name a folder that `reenact train --run` wrote")
    points: dict[str, dict[float, float]] = {}
    damaged, last = 0, 0.0
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                try:
                    step, numbers = _numbers(line)
                except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
                    damaged += bool(line.strip())
                    continue
                last = max(last, step)
                for name, value in numbers:
                    if name in points or len(points) < _CURVES:
                        points.setdefault(name, {})[step] = value  # of a step that was done twice the later line holds
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    if not points:
        raise InputError(f"{path}: no step is logged in it yet; look again later, or name another run")
    curves = {name: _curve(of_steps) for name, of_steps in points.items()}
    return RunCurves(folder.resolve().name or str(folder), folder, int(last), curves, _pictures(folder), damaged)


def _numbers(line: str) -> tuple[float, list[tuple[str, float]]]:
    """(step, the numbers by name) of a line; raises what a line that is none raises."""
    read = json.loads(line)
    step = float(read.pop("step"))
    if not 0 <= step < 2**53:
        raise ValueError(f"step {step}")
    read.pop("time", None)
    held_out = read.pop("held_out", {})
    named = [*read.items(), *((f"held_out/{name}", value) for name, value in held_out.items())]
    return step, [(_text(name), float(value)) for name, value in named if _is_number(value)]


def _text(name: str) -> str:
    """A name that can be written: short, without halves of letters."""
    return name[:_LONGEST_NAME].encode("utf-8", "replace").decode()


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and (value == 0 or _SMALLEST < abs(value) < _LARGEST)


def _curve(points: dict[float, float]) -> Curve:
    steps = sorted(points)
    return Curve(np.array(steps, np.float64), np.array([points[step] for step in steps], np.float64))


def _pictures(folder: Path) -> list[tuple[int, Path]]:
    return sorted(_numbered(folder / PICTURES))


def _numbered(folder: Path) -> Iterator[tuple[int, Path]]:
    for path in folder.glob("step_*.png"):
        if found := re.fullmatch(r"step_([0-9]{1,15})\.png", path.name):
            yield int(found[1]), path


def smoothed(values: np.ndarray, share: float) -> np.ndarray:
    """An exponential mean of (N,) values that heeds the past by `share`, 0 to below 1, without bias at the start."""
    mean, weight = 0.0, 0.0
    result = np.empty_like(values)
    for index, value in enumerate(values):
        mean, weight = share * mean + (1 - share) * value, share * weight + (1 - share)
        result[index] = mean / weight
    return result
