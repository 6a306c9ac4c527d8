"""`reenact plot`: options only; the work is in `fewshot_reenact.pipelines.plot`."""

from pathlib import Path

import click

from fewshot_reenact.cli import common
from fewshot_reenact.cli.common import say


@click.command(short_help="Draw what a training run has logged: curves and sample grids.")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=common.FILE)
@click.option(
    "-o",
    "--output",
    type=common.FILE,
    metavar="OUT",
    help="A page (.html) or a picture (.png, .jpg). [default: RUN--curves.html in the current folder]",
)
@click.option("--only", metavar="NAME,...", help="Numbers to draw, as they are named in metrics.jsonl. [default: all]")
@click.option(
    "--smooth",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.0,
    show_default=True,
    metavar="0..1",
    help="How much of the past a curve heeds, as 0.9.",
)
@click.option(
    "--samples",
    type=click.IntRange(0),
    default=3,
    show_default=True,
    metavar="N",
    help="Sample grids of each run, the newest ones; 0 for none.",
)
@common.overwrite_option
@common.report_option
def plot(
    runs: tuple[Path, ...],
    output: Path | None,
    only: str | None,
    smooth: float,
    samples: int,
    overwrite: bool,
    report: Path | None,
) -> None:
    """Draw what RUN, a folder of `reenact train`, has logged so far: a chart for each number, and its newest sample
    grids.

    \b
    reenact plot run/meta
    reenact plot run/meta -o curves.png --smooth 0.9
    reenact plot run/a run/b -o both.html --only loss,perceptual

    Several runs go into the same charts. What was measured on held-out clips is in the chart of the number of its name.
    The page needs no other file. It works beside a run that goes on.
    """
    from fewshot_reenact.pipelines.plot import plot as run

    common.check_report(report, overwrite)
    names = [name.strip() for name in (only or "").split(",") if name.strip()]
    made = run(runs, output, only=names, smooth=smooth, samples=samples, overwrite=overwrite)
    common.warn(made.warnings)
    charts, grids = len(made.curves), made.samples
    said = f"{made.output}: {charts} chart{'s' * (charts != 1)}, {grids} sample grid{'s' * (grids != 1)}"
    say(said, err=str(report) == "-")
    common.write_report(made.report(), report, overwrite)
