"""Everything that is asked of the built-in landmarks, measured, as one table: figure, target, met or missed.

Called by `scripts/measure/benchmark.py landmarks`; each part is measured by one of the measure_*.py beside this file.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import measure_detection
import measure_landmarks
import measure_steadiness
from fewshot_reenact.landmarks.builtin import BuiltinLandmarks
from fewshot_reenact.weights import WEIGHTS

TRIED = {
    "blinks": "a second stage in which frames agree saw 82.4 % of them, and 91.3 % of what it saw was right; the mean "
    "of both stages 89.5 % and 90.2 %; then a short third one that weighs the lids' gap: docs/training-log.md.",
    "detector": "reduced by halves, input memory kept, picked in NumPy: on one busy core, by turns with what was "
    "before, a quarter less; what was before took 11.4 and 12.6 ms on an idle one. Private fused convolutions of "
    "PyTorch gained nothing, cv2.dnn neither; `torch.jit.freeze` would save a sixth of the network and takes long to "
    "load; `--runtime onnx` takes little more than half of the network's time.",
    "points": "batch norms folded in, 1 x 1 convolutions as matrix products. On an idle core they took 3.8 ms.",
    "tracking": "nothing more than for the points. On an idle core it took 4.7 ms.",
}


@dataclass(frozen=True)
class Row:
    """target: the figure asked for, None where none was; most: whether it may be at most that, or must be at least."""

    what: str
    figure: float
    unit: str = "%"
    target: float | None = None
    most: bool = True
    note: str = ""

    @property
    def met(self) -> bool | None:
        if self.target is None:
            return None
        return bool(
            self.figure <= self.target if self.most else self.figure >= self.target
        )  # NumPy's is not `is False`

    def line(self) -> str:
        aim = "" if self.target is None else f"{'at most' if self.most else 'at least'} {self._with_unit(self.target)}"
        verdict = {None: "", True: "met", False: "**missed**"}[self.met]
        what = f"{self.what} ({self.note})" if self.note else self.what
        return f"| {what} | {self._with_unit(self.figure)} | {aim} | {verdict} |"

    @property
    def shortfall(self) -> str:
        """By how much a target is missed."""
        return f"{self.what} by {self._with_unit(round(abs(self.figure - (self.target or 0.0)), 3))}"

    @property
    def tried(self) -> str:
        """What was tried against it."""
        return next((text for start, text in TRIED.items() if self.what.startswith(start)), "nothing yet.")

    def _with_unit(self, value: float) -> str:
        return f"{value:g} {self.unit}".rstrip()


def measure(data: Path, quick: bool = False) -> dict[str, Any]:
    """All figures, a part at a time. quick: a quarter of the clips and stills, 30 scenes."""
    backend, step = BuiltinLandmarks(), 4 if quick else 1
    return {
        "clips": measure_landmarks.clips(backend, data, every=12, step=step),
        "stills": measure_landmarks.held_stills(backend, data, step),
        "detection": measure_detection.compare(backend, data, 30 if quick else 200),
        "portraits": measure_landmarks.portraits(backend, data),
        "steadiness": {
            name: measure_steadiness.still(backend, data / "portraits" / name) for name in measure_steadiness.PORTRAITS
        },
        "times": measure_landmarks.times(data),
        "bytes": {name: (WEIGHTS / f"{name}.safetensors").stat().st_size for name in ("detector", "landmarks")},
    }


def rows(found: dict[str, Any]) -> Iterator[Row]:
    """What `measure` found, beside the targets of issue 3."""
    yield from _accuracy(found["clips"], found["stills"])
    yield from _detection(found["detection"], found["portraits"])
    yield from _in_time(found["clips"], found["steadiness"])
    yield from _cost(found["times"], found["bytes"])


def _accuracy(clips: dict[str, Any], stills: dict[str, dict[str, float]]) -> Iterator[Row]:
    tracked = clips["error_%"]["track"]
    frames = f"{tracked['n']} frames of clips/val"
    for part, target in (("all", 2.5), ("mouth", 2.5), ("eyes", 2.5), ("irises", 3.0)):
        yield Row(f"error, {part}", tracked[part], target=target, note=frames)
    for part in ("brows", "nose", "jaw", "forehead", "yaw 0-15", "yaw 15-30", "yaw over 30"):
        if part in tracked:
            yield Row(f"error, {part}", tracked[part], note=frames)
    alone = stills["as they are"]
    n = f"{alone['n']} held-out stills"
    yield Row("error, all", alone["all"], target=3.5, note=n)
    for part in ("mouth", "eyes", "irises", "yaw 0-15", "yaw 15-30", "yaw over 30", "darkest fifth", "lightest fifth"):
        if part in alone:
            yield Row(f"error, {part}", alone[part], note=n)
    for change, figures in stills.items():
        yield Row(f"found, {change}", figures["found"], note=n)
        if change != "as they are" and "all" in figures:
            yield Row(f"error, {change}", figures["all"], note=n)
    agree = clips["agreement_%"]
    yield Row("two frames' points apart on the same skin", agree["ours"], note=f"teacher {agree['teacher']:g} %")


def _detection(detection: dict[str, Any], portraits: dict[str, list[float]]) -> Iterator[Row]:
    for who, name in (("builtin", "faces found in scenes"), ("yunet", "the same, YuNet")):
        seen = detection[who]["recall_%_and_faces"]
        sizes = ", ".join(f"{size} {share:g}" for size, (share, _) in seen.items() if size != "all")
        target = 97.0 if who == "builtin" else None
        yield Row(name, seen["all"][0], target=target, most=False, note=f"{seen['all'][1]} faces; {sizes}")
        false = detection[who]["false_in_100_scenes"]
        yield Row(f"false faces in 100 scenes{'' if target else ', YuNet'}", false, "", 1.0 if target else None)
    empty = {name: len(faces) for name, faces in portraits.items() if name.startswith("no_face/")}
    yield Row("faces in no_face/", sum(empty.values()), "", 0.0, note=f"{len(empty)} pictures")
    there = [bool(faces) for name, faces in portraits.items() if name not in empty]
    yield Row(
        "paintings and portraits with a face found", 100 * sum(there) / max(len(there), 1), target=100, most=False
    )


def _in_time(clips: dict[str, Any], still: dict[str, dict[str, float]]) -> Iterator[Row]:
    worst = max(figures["smoothed"] for figures in still.values())
    yield Row("a still face with noise, smoothed, moves a frame", worst, target=0.15, note="the worst of three")
    shake = clips["trembling_%"]
    yield Row(
        "second difference on clips/val, smoothed", shake["ours"], target=shake["teacher"], note="target: teacher's"
    )
    yield Row("lag of the lips, median", abs(clips["lag_frames"]["median"]), "frames", 1.0)
    yield Row("blinks found", clips["blink_recall_%"], target=90.0, most=False)
    yield Row("blinks that are blinks", clips["blink_precision_%"], target=90.0, most=False)
    yield Row("lip gap, correlation, median", clips["lip_gap_correlation_median"], "", 0.95, most=False)


def _cost(times: dict[str, dict[str, float]], size: dict[str, int]) -> Iterator[Row]:
    aims = {"detector, 640x360": 10.0, "detector, 640x640": 10.0, "points, 640x360": 6.0, "tracking, 640x360": 8.0}
    for what, taken in times.items():
        # Processor time: other programs on the machine change it less.
        yield Row(what, taken["processor"], "ms", aims.get(what), note=f"{taken['wall']:g} ms by the clock")
    yield Row("weights", round(sum(size.values()) / 1e6, 2), "MB", 8.0)


def render(found: dict[str, Any]) -> str:
    table = list(rows(found))
    missed: dict[str, list[str]] = {}
    for row in table:
        if row.met is False:
            missed.setdefault(row.tried, []).append(row.shortfall)
    head = ["| figure | measured | target | |", "|---|---|---|---|"]
    why = [f"- {', '.join(short)}. Tried: {tried}" for tried, short in missed.items()] or ["none"]
    return "\n".join([*head, *(row.line() for row in table), "", "Missed targets:", "", *why])


_PARTS = ("all", "mouth", "eyes", "irises", "jaw", "yaw 0-15", "yaw 15-30", "yaw over 30")


def errors(found: dict[str, Any]) -> list[str]:
    """The lines of the table `landmark-errors` of docs/landmarks.md."""
    tracked, alone = found["clips"]["error_%"]["track"], found["stills"]["as they are"]
    lines = ["| | all 83 | mouth | eyes | irises | jaw | yaw 0-15 | 15-30 | over 30 |", "|---" * 9 + "|"]
    for name, figures in (
        (f"tracked, {tracked['n']:,} frames of clips/val", tracked),
        (f"single pictures, {alone['n']} stills kept out of training", alone),
    ):
        lines.append(f"| {name} | " + " | ".join(f"{figures[p]:.2f}" if p in figures else "" for p in _PARTS) + " |")
    return lines
