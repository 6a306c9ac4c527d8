"""`reenact finetune`: options only; the work is in `fewshot_reenact.pipelines.finetune`."""

from pathlib import Path
from typing import Any

import click

from fewshot_reenact.cli import common
from fewshot_reenact.cli.animate_options import consent_file_option
from fewshot_reenact.cli.common import say
from fewshot_reenact.pipelines.options import LOSSES


@click.command(short_help="Fit the networks to one person, from a few pictures or a video.")
@click.argument("frames", nargs=-1, required=True, metavar="FRAMES...", type=common.FILE)
@click.option("-o", "--output", required=True, type=common.FILE, help="The file of the person: .safetensors.")
@click.option(
    "--steps",
    type=click.IntRange(1),
    metavar="N",
    help="Updates. [default: by the number of frames; from a single one none]",
)
@click.option(
    "--take", type=click.IntRange(1, 256), default=8, show_default=True, metavar="N", help="Frames taken of each video."
)
@click.option("--model", type=common.FILE, metavar=common.MODEL, help="Weights to start from. [default: built-in]")
@click.option(
    "--discriminator",
    type=common.FILE,
    metavar="FILE",
    help="The model's discriminator. [default: discriminator.safetensors beside the model's file, if there is one]",
)
@click.option(
    "--perceptual",
    type=common.FILE,
    metavar="FILE",
    help="Compare pictures by the features of this network (safetensors). [default: built-in]",
)
@click.option(
    "--identity",
    type=common.FILE,
    metavar="FILE",
    help="Compare the likeness by this network of faces (safetensors). [default: built-in]",
)
@click.option(
    "--losses",
    type=click.Choice(LOSSES),
    default="auto",
    show_default=True,
    help="What is learnt by: a preset, or what the model was trained by. auto: person for a model that corrects a "
    "warp, trained for one that paints.",
)
@click.option(
    "--weight",
    "weights",
    multiple=True,
    metavar="PART=NUMBER",
    help="Another weight of a part of the loss, e.g. likeness=1; several times for several.",
)
@common.face_option
@common.landmarks_option
@common.device_option
@common.threads_option
@common.consent_option
@consent_file_option
@common.accept_use_option
@common.overwrite_option
@common.report_option
def finetune(
    frames: tuple[Path, ...],
    output: Path,
    weights: tuple[str, ...],
    accept_use: bool,
    overwrite: bool,
    report: Path | None,
    **options: Any,
) -> None:
    """Fit the networks to the person in FRAMES: pictures, videos or both, all of the same person.

    The result takes the place of PORTRAIT in `reenact animate`. The first picture is the one that moves; the file holds
    it and up to 31 others: treat it like the pictures. Use only pictures of people who agreed to it.

    \b
    reenact finetune me1.jpg me2.jpg me.mp4 -o me.safetensors
    reenact animate me.safetensors driver.mp4
    """
    common.agree_to_rules(accept_use)
    from fewshot_reenact.pipelines.finetune import finetune as make

    common.check_report(report, overwrite, frames)
    with common.progress_bar("fine-tuning", "steps") as bar:
        made = make(
            frames,
            output,
            weights=_numbers(weights),
            overwrite=overwrite,
            progress=lambda stage, done, total: bar(done, total) if stage == "steps" else None,
            **options,
        )
    common.warn(made.warnings)
    at = f"step {made.kept_step} of {made.steps}" if made.kept_step else "networks kept as they are"
    if made.held_out and made.kept_step:
        at += f", held-out loss {made.held_out[0]:.4f} -> {min(made.held_out.values()):.4f}"
    frames_said = "1 frame" if made.frames == 1 else f"{made.frames} frames"
    say(f"{output}: {frames_said}, {at} ({made.seconds:.0f} s, on {made.device})", err=str(report) == "-")
    common.write_report(made.report(), report, overwrite)


def _numbers(said: tuple[str, ...]) -> dict[str, float]:
    """PART=NUMBER as a table."""
    table = {}
    for one in said:
        part, _, number = one.partition("=")
        try:
            table[part] = float(number)
        except ValueError:
            raise click.UsageError(f"--weight {one}: say it as PART=NUMBER, e.g. likeness=1") from None
    return table
