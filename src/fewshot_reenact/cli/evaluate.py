"""`reenact evaluate`: options and the printed table; the work is in `fewshot_reenact.pipelines.evaluate`."""

from pathlib import Path
from typing import Any

import click

from fewshot_reenact.cli import common


class Numbers(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.5 on
    """Whole numbers from 1, with commas: 1,8,32."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Numbers of portraits, from a list with commas."""
        if isinstance(value, tuple):
            return value
        parts = [part.strip() for part in str(value).split(",")]
        if not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
            self.fail(f"{value!r}: whole numbers with commas are wanted, as 1,8,32", param, ctx)
        return tuple(int(part) for part in parts)


@click.command(short_help="Measure the model and its baselines on clips of talking heads.")
@click.argument("clips", metavar="CLIPS", type=common.FILE)
@click.option("--cross", is_flag=True, help="Each person is moved by somebody else's clip: no truth, relative motion.")
@click.option(
    "--shots", type=Numbers(), default="1,8,32", show_default=True, metavar="T,T,...", help="Numbers of portraits."
)
@click.option(
    "--methods", default="copy,warp,dense,points,model", show_default=True, metavar="NAME,...", help="What is compared."
)
@click.option("--model", type=common.FILE, metavar=common.MODEL, help="Other weights. [default: the built-in model]")
@click.option(
    "--perceptual", type=common.FILE, metavar="FILE", help="Network of the perceptual distance. [default: built-in]"
)
@click.option("--identity", type=common.FILE, metavar="FILE", help="Network of the CSIM (faces). [default: built-in]")
@click.option(
    "--lpips",
    type=common.FILE,
    metavar="FILE|cache",
    help="AlexNet or VGG16 of LPIPS; cache: torch's. [default: no LPIPS]",
)
@click.option(
    "--fid",
    type=common.FILE,
    metavar="FILE|cache",
    help="InceptionV3 of FID and KID; cache: torch's. [default: neither]",
)
@click.option("--learn-perceptual", type=common.FILE, metavar="FILE", help="For finetuned: see finetune --perceptual.")
@click.option("--learn-identity", type=common.FILE, metavar="FILE", help="For finetuned: see finetune --identity.")
@click.option(
    "--every",
    type=click.IntRange(1),
    default=8,
    show_default=True,
    metavar="N",
    help="Frames from one held-out frame that is compared to the next.",
)
@click.option(
    "--held-out", type=click.IntRange(1), default=32, show_default=True, metavar="N", help="Such frames a clip at most."
)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Clips at most, one of each person first.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the choice of portraits and drivers.")
@common.smooth_option(0.5)
@click.option("--sheet", type=common.FILE, metavar="FILE.png", help="Also write a picture sheet to look through.")
@click.option(
    "--html", type=common.FILE, metavar="FILE.html", help="Also write a page: all figures, worst frames first."
)
@click.option(
    "--triplets", type=common.FILE, metavar="DIR", help="Also make the paper's user study: two true frames, one made."
)
@common.landmarks_option
@common.device_option
@common.threads_option
@common.overwrite_option
@common.report_option
def evaluate(clips: Path, methods: str, report: Path | None, overwrite: bool, **options: Any) -> None:
    """Measure the model on CLIPS, a folder of videos of talking heads, against its baselines: the portrait itself
    (copy) and the warp without networks (warp).

    \b
    reenact evaluate clips/ --sheet sheet.png --json scores.json
    reenact evaluate clips/ --cross --shots 1,8 --limit 10
    reenact evaluate clips/ --perceptual vgg.safetensors --identity faces.safetensors
    reenact evaluate clips/ --lpips cache --fid inception.pth --html report.html --triplets study/

    Prints a Markdown table of means over clips. T portraits come from the first half of a clip; its second half is what
    has to come out. Dense motion is seen in that very frame: `points` is the model without it. Landmarks, mouth, eyes,
    expression and flicker are in per cent of the eye distance.
    """
    from fewshot_reenact.pipelines.evaluate import evaluate as run

    for name in ("sheet", "html"):
        if report is not None and report == options[name]:
            raise click.UsageError(f"--json and --{name} name the same file")
    common.check_report(report, overwrite)
    names: list[Any] = [name.strip() for name in methods.split(",")]  # evaluate says which of them it knows
    with common.progress_bar("evaluating", "clips") as progress:
        done = run(
            clips, methods=names, overwrite=overwrite, progress=lambda _, done, total: progress(done, total), **options
        )
    skipped = [f"{clip}: left out: {reason}" for clip, reason in done.skipped.items()]
    common.warn([*skipped, *done.warnings])
    click.echo(done.scores.table(), err=str(report) == "-")
    common.write_report(done.report(), report, overwrite)
