"""`reenact plot`: what training runs have logged, as a page or a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewshot_reenact._version import __version__
from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.evaluation.charts import Line
from fewshot_reenact.evaluation.run_page import RunView, run_page, run_sheet
from fewshot_reenact.files import as_paths, check_output, partial_file
from fewshot_reenact.media.marks import NOTE, PlainNote
from fewshot_reenact.media.pictures import PICTURE_OUTPUTS, read_picture, write_picture
from fewshot_reenact.provenance import history
from fewshot_reenact.provenance.marks import standard_marks
from fewshot_reenact.training.curves import METRICS, RunCurves, read_run, smoothed

_PAGES = (".html",)
_HELD_OUT = "held_out/"
_MOST_RUNS = 8  # a colour each


class _Curves(PlainNote):
    """A picture of curves alone is not AI-generated, so the file does not say that it is."""

    def metadata(self) -> dict[str, str]:
        return {"comment": f"Curves of training runs, drawn by fewshot-reenact {__version__}"}


@dataclass(frozen=True)
class Plotted:
    """What `plot` wrote. output: the file. runs: the folders, with the last step that each has logged. curves: the
    names of the numbers that are drawn. samples: sample grids that are shown. warnings: lines that the user should see.
    """

    output: Path
    runs: dict[str, int]
    curves: list[str]
    samples: int
    warnings: list[str]

    def report(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {
            "schema": "fewshot-reenact/plot/1",
            "version": __version__,
            "output": str(self.output),
            "runs": self.runs,
            "curves": self.curves,
            "samples": self.samples,
            "warnings": self.warnings,
        }


def plot(
    runs: str | Path | Sequence[str | Path],
    output: str | Path | None = None,
    *,
    only: Sequence[str] = (),
    smooth: float = 0.0,
    samples: int = 3,
    overwrite: bool = False,
) -> Plotted:
    """Draw what training runs have logged in metrics.jsonl, a chart for each number, and their newest sample grids.

    runs: folders that `train` wrote, one or several; several are drawn into the same charts. A run that goes on may be
    drawn too. output: a page (.html) that needs nothing else, or a picture (.png, .jpg); None:
    `RUN--curves.html` in the current folder. only: names of the numbers to draw; empty: all. smooth: 0 to below 1, how
    much of the past a curve heeds; what is measured on held-out clips stays as it is. samples: how many sample grids of
    each run, the newest; 0: none. overwrite: replace `output` if it exists.

    Returns a Plotted. Raises UsageError (an output that cannot be written, no such number), InputError (no run, nothing
    logged yet).

    Example:

        from fewshot_reenact import plot

        made = plot("run/mine", "curves.html")
        print(made.curves)
    """
    folders = as_paths(runs)
    if not folders:
        raise UsageError("no run to plot was given")
    if len(folders) > _MOST_RUNS:
        raise UsageError(f"{len(folders)} runs: {_MOST_RUNS} at most go into one chart; plot fewer at a time")
    if not 0 <= smooth < 1:
        raise UsageError(f"smooth {smooth} is not between 0 and 1 (below 1)")
    if samples < 0:
        raise UsageError(f"samples {samples}: 0 or more is wanted")
    path = Path(output) if output is not None else Path(f"{folders[0].resolve().name or 'run'}--curves.html")
    inputs = [folder / METRICS for folder in folders]
    check_output(path, overwrite, inputs, (*_PAGES, *PICTURE_OUTPUTS))
    read = [read_run(folder) for folder in folders]
    warnings = [
        f"{one.folder / METRICS}: {one.damaged} line{'s' * (one.damaged > 1)} could not be read: left out"
        for one in read
        if one.damaged
    ]
    names = _chosen(read, only)
    view = _view(read, names, smooth, samples, warnings)
    _write(view, path, overwrite, inputs, warnings)
    steps = {str(folder): one.step for folder, one in zip(folders, read, strict=True)}
    return Plotted(path.absolute(), steps, names, len(view.samples), warnings)


def _chosen(read: Sequence[RunCurves], only: Sequence[str]) -> list[str]:
    """The names of the charts, the loss first; a number on held-out clips is in the chart of the number of its name."""
    known = dict.fromkeys(name.removeprefix(_HELD_OUT) for one in read for name in one.curves)
    for name in only:
        if name not in known:
            raise UsageError(f"no number {name!r} is logged: choose from {', '.join(known)}")
    return sorted(known if not only else dict.fromkeys(only), key=lambda name: name != "loss")


def _view(read: Sequence[RunCurves], names: Sequence[str], smooth: float, samples: int, warnings: list[str]) -> RunView:
    labels = [one.name for one in read]
    if len(set(labels)) < len(labels):
        labels = [str(one.folder) for one in read]
    charts = []
    for name in names:
        lines = []
        for label, one in zip(labels, read, strict=True):
            for key, words in ((name, ""), (f"{_HELD_OUT}{name}", "held out")):
                if curve := one.curves.get(key):
                    values = curve.values if words else smoothed(curve.values, smooth)
                    said = ", ".join(filter(None, (label if len(read) > 1 else "", words)))
                    lines.append(Line(said, curve.steps, values))
        charts.append((name, lines))
    grids = []
    for label, one in zip(labels, read, strict=True):
        for step, path in one.pictures[-samples:] if samples else []:
            try:
                grids.append((f"{label}, step {step}", read_picture(path)))
            except InputError as error:
                warnings.append(f"{error}; left out")
    reached = ", ".join(f"{label} at step {one.step}" for label, one in zip(labels, read, strict=True))
    notes = [f"Smoothed: each point heeds the past by {smooth:g}."] if smooth else []
    return RunView(f"reenact plot: {reached}", notes, charts, grids)


def _write(view: RunView, path: Path, overwrite: bool, inputs: Sequence[Path], warnings: list[str]) -> None:
    """With samples, which hold faces that were made, the file carries the marks; a page's are in its pictures."""
    marks = standard_marks() if view.samples else None
    if path.suffix.lower() in _PAGES:
        with partial_file(path, overwrite, inputs) as partial:
            partial.write_text(run_page(view, marks.label if marks else lambda grid: grid, NOTE), encoding="utf-8")
    else:
        write_picture(path, run_sheet(view), overwrite, inputs=inputs, marks=marks or _Curves())
    if marks is not None:
        warnings += [*marks.notes, *history.record(marks.id, path.absolute())]
