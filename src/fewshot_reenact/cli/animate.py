"""`reenact animate`: options, help and progress of the main job; animate.py does it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fewshot_reenact.cli.common import (
    FILE,
    accept_use_option,
    agree_to_rules,
    consent_option,
    device_option,
    end_option,
    face_option,
    landmarks_option,
    overwrite_option,
    say,
    smooth_option,
    start_option,
    threads_option,
    write_report,
)
from fewshot_reenact.cli.driver_options import any_size_option, fps_option, mirror_option
from fewshot_reenact.motion.retarget import MOTIONS, REGION_CHOICES
from fewshot_reenact.pipelines.options import AUDIO, CROP_SIZES, FRAMES, AnimateOptions

if TYPE_CHECKING:
    from fewshot_reenact.pipelines.animate import Animation

_default = AnimateOptions.default


@click.command()
@click.argument("inputs", nargs=-1, metavar="PORTRAIT DRIVER")
@click.option(
    "-p",
    "--portrait",
    "portraits",
    multiple=True,
    type=FILE,
    metavar="FILE",
    help="A further picture of the same person; may be given again. With -p, PORTRAIT may be left out.",
)
@click.option(
    "-o",
    "--output",
    type=FILE,
    metavar="FILE",
    help="Where to write; .mp4, .m4v or .mov (.png or .jpg if DRIVER is a picture); transparent: .mov, .webm or .png. "
    "[default: PORTRAIT--DRIVER.mp4 in the current folder; .mov if transparent]",
)
@click.option(
    "--motion",
    type=click.Choice(MOTIONS),
    default=_default("motion"),
    show_default=True,
    help="relative: the driver's change from its frame nearest to the portrait, in the portrait's proportions. "
    "absolute: the face goes where the driver's is.",
)
@click.option(
    "--frame",
    type=click.Choice(FRAMES),
    default=_default("frame"),
    show_default=True,
    help="full: the whole portrait picture. crop: a square about the head.",
)
@click.option(
    "--size",
    type=click.IntRange(*CROP_SIZES),
    default=_default("size"),
    show_default=True,
    metavar="256..1024",
    help="Side of the square, in pixels; for --frame crop.",
)
@face_option
@click.option(
    "--driver-face",
    default=_default("driver_face"),
    show_default=True,
    metavar="largest|N",
    help="Which face of DRIVER to follow.",
)
@click.option(
    "--region",
    type=click.Choice(REGION_CHOICES),
    default=_default("region"),
    show_default=True,
    help="What moves; for relative motion.",
)
@click.option(
    "--strength",
    type=click.FloatRange(0, 2),
    default=_default("strength"),
    show_default=True,
    metavar="0..2",
    help="How much it moves; for relative motion.",
)
@click.option(
    "--travel",
    type=click.FloatRange(0, 1),
    default=_default("travel"),
    show_default=True,
    metavar="0..1",
    help="How much of the head's way, and of its coming nearer, is taken; for relative motion.",
)
@click.option(
    "--neutral",
    is_flag=True,
    help="Take the portrait's own expression out before it is driven, a smile or an open mouth; for relative motion.",
)
@smooth_option(_default("smooth"))
@start_option
@end_option
@click.option(
    "--matte",
    type=FILE,
    metavar="FILE",
    help="A picture as large as PORTRAIT, white (or opaque) where the person is. Of several portraits, for the first, "
    "whose picture moves. [default: PORTRAIT's own transparency, or found by a network]",
)
@click.option(
    "--background",
    metavar="COLOUR|FILE",
    help="What is shown behind the person: white, #1e90ff, a picture, or transparent, which writes an alpha channel "
    "(.mov as ProRes 4444, .webm as VP9). [default: the portrait's own ground]",
)
@fps_option
@mirror_option
@any_size_option
@click.option(
    "--full-size", is_flag=True, help="Keep an output larger than H.264 level 5.1 allows, which few players show."
)
@click.option("--compare", is_flag=True, help="Write portrait, driver and output side by side.")
@click.option(
    "--audio",
    type=click.Choice(AUDIO),
    default=_default("audio"),
    show_default=True,
    help="Whose sound the video gets.",
)
@landmarks_option
@click.option("--model", type=FILE, metavar="FILE", help="Other weights (safetensors). [default: the built-in model]")
@click.option("--warp-only", is_flag=True, help="Leave the networks out: the plain warp, for comparison.")
@click.option(
    "--dense/--no-dense",
    default=None,
    help="Take from a driver's video also what its 83 points miss of the motion. [default: unless --warp-only]",
)
@device_option
@threads_option
@click.option(
    "--no-label", is_flag=True, help='No visible "AI-generated". Watermark, signature and tags are always there.'
)
@consent_option
@accept_use_option
@click.option(
    "--sign-cert", type=FILE, metavar="PEM", help="Sign with this certificate chain. [default: a key made here]"
)
@click.option("--sign-key", type=FILE, metavar="PEM", help="The private key of --sign-cert.")
@click.option(
    "--embed-thumbnails",
    is_flag=True,
    help="Put small pictures of the portraits into the manifest. Otherwise only hashes of the inputs are in it.",
)
@overwrite_option
@click.option(
    "--json", "report", type=FILE, metavar="REPORT", help="Write what was done as JSON; - for standard output."
)
def animate(
    inputs: tuple[str, ...],
    portraits: tuple[Path, ...],
    no_label: bool,
    accept_use: bool,
    report: Path | None,
    **options: Any,
) -> None:
    """Make the person in PORTRAIT move like the one in DRIVER.

    PORTRAIT is a picture, or a folder with several of one person. DRIVER is a video, a picture (a pose), a motion file
    (`reenact extract`), blendshapes of Live Link Face (.csv), a log of OpenSeeFace (.osf), or one of motion:talk,
    motion:nod, motion:smile, motion:surprise, motion:blink.

    \b
    reenact animate portrait.jpg driver.mp4
    reenact animate portrait.jpg motion:talk -o talk.mp4
    reenact animate -p front.jpg -p side.jpg driver.mp4 --compare
    reenact animate group.jpg driver.mp4 --face 2 --region lips --start 3 --end 8.5
    """
    given, driver = _split(inputs, portraits)
    agree_to_rules(accept_use)
    from fewshot_reenact.pipelines.animate import animate as make

    shown = str(report) == "-"
    bars = _Bars()
    try:
        made = make(given, driver, label=not no_label, report=None if shown else report, progress=bars, **options)
    finally:
        bars.close()
    for line in made.warnings:
        say(f"reenact: {line}", err=True)
    if shown:
        write_report(made.report(), report, options["overwrite"])
    say(f"{made.output}: {_summary(made)}", err=shown)


def _summary(made: "Animation") -> str:
    from fewshot_reenact.media.pictures import PICTURE_OUTPUTS

    seconds = made.seconds["all"]
    took = f"{seconds:.1f} s", f"{made.frames / max(seconds, 1e-6):.1f} frames a second", f"on {made.device}"
    if made.output.suffix.lower() in PICTURE_OUTPUTS:
        return f"{made.width}x{made.height} ({took[0]}, {took[2]})"
    frames = f"{made.frames} frame{'s' if made.frames != 1 else ''}"
    return f"{frames}, {made.width}x{made.height}, {_fraction(made.fps):.3f} fps ({', '.join(took)})"


def _split(inputs: tuple[str, ...], portraits: tuple[Path, ...]) -> tuple[list[str | Path], str]:
    """PORTRAIT and DRIVER, or DRIVER alone with -p."""
    if portraits and len(inputs) == 1:
        return list(portraits), inputs[0]
    if len(inputs) == 2:
        return [inputs[0], *portraits], inputs[1]
    if not inputs or (len(inputs) == 1 and not portraits):
        raise click.UsageError("needs a PORTRAIT and a DRIVER")
    raise click.UsageError(
        f"{len(inputs)} files were given: one PORTRAIT and one DRIVER are wanted; further portraits go with -p"
    )


def _fraction(text: str) -> float:
    from fractions import Fraction

    return float(Fraction(text))


_TITLES = {"driver": "measuring the driver", "render": "rendering"}


class _Bars:
    """A tqdm bar for each stage, with frames a second; on a terminal only."""

    def __init__(self) -> None:
        self.bar: Any = None
        self.stage = ""

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        from tqdm import tqdm

        if stage != self.stage:
            self.close()
            self.stage = stage
            self.bar = tqdm(desc=_TITLES[stage], total=total, unit=" frames", disable=None, file=sys.stderr)
        self.bar.update(done - self.bar.n)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
