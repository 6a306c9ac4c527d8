"""`reenact animate`: options, help and progress of the main job; animate.py does it."""

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fewshot_reenact.cli.animate_options import (
    chosen_label,
    consent_file_option,
    dense_option,
    driver_face_option,
    embed_thumbnails_option,
    frame_option,
    label_option,
    matte_option,
    model_option,
    motion_option,
    neutral_option,
    no_label_option,
    portraits_option,
    private_driver_option,
    provider_option,
    region_option,
    runtime_option,
    sign_cert_option,
    sign_key_option,
    size_option,
    strength_option,
    timestamp_option,
    travel_option,
    warp_only_option,
    watermark_key_option,
)
from fewshot_reenact.cli.common import (
    FILE,
    INTERRUPTED,
    accept_use_option,
    agree_to_rules,
    consent_option,
    device_option,
    end_option,
    face_option,
    landmarks_option,
    overwrite_option,
    report_option,
    say,
    smooth_option,
    start_option,
    threads_option,
    warn,
    write_report,
)
from fewshot_reenact.cli.driver_options import any_size_option, fps_option, mirror_option
from fewshot_reenact.errors import notes_of
from fewshot_reenact.motion.pacing import FITS
from fewshot_reenact.pipelines.options import AUDIO, AnimateOptions

if TYPE_CHECKING:
    from fewshot_reenact.pipelines.animate import Animation

_default = AnimateOptions.default


@click.command()
@click.argument("inputs", nargs=-1, metavar="PORTRAIT DRIVER")
@portraits_option
@click.option(
    "-o",
    "--output",
    type=FILE,
    metavar="FILE",
    help="Where to write; .mp4, .m4v or .mov (.png or .jpg if DRIVER is a picture); transparent: .mov, .webm or .png. "
    "[default: PORTRAIT--DRIVER.mp4 in the current folder; .mov if transparent]",
)
@motion_option
@frame_option
@size_option
@face_option
@driver_face_option
@region_option
@strength_option
@travel_option
@neutral_option
@smooth_option(_default("smooth"))
@start_option
@end_option
@matte_option
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
    help="Whose sound the video gets; portrait: where PORTRAIT is a video.",
)
@click.option(
    "--fit",
    type=click.Choice(FITS),
    help="Where PORTRAIT is a video, of another length than DRIVER. shortest: the output ends with the first of them. "
    "loop: the shorter one begins anew. stretch: DRIVER, with its sound, is made as long as the video. "
    "[default: shortest]",
)
@click.option(
    "--keep-going",
    type=bool,
    default=_default("keep_going"),
    show_default="on",
    metavar="on|off",
    help="on: a video of 480 frames or more is made in pieces beside the output, which survive whatever ends the "
    "command; the same command goes on behind the last one. off: in one piece.",
)
@landmarks_option
@model_option
@warp_only_option
@dense_option
@device_option
@runtime_option
@threads_option
@no_label_option
@label_option
@consent_option
@consent_file_option
@accept_use_option
@sign_cert_option
@sign_key_option
@embed_thumbnails_option
@private_driver_option
@watermark_key_option
@provider_option
@timestamp_option
@overwrite_option
@report_option
def animate(
    inputs: tuple[str, ...],
    portraits: tuple[Path, ...],
    no_label: bool,
    label: str | None,
    accept_use: bool,
    report: Path | None,
    **options: Any,
) -> None:
    """Make the person in PORTRAIT move like the one in DRIVER.

    PORTRAIT is a picture, or a folder with several of one person, or a video: its frames stay as they are, and the face
    in them gets DRIVER's expression in place of its own (--region all: the pose too; lips: a dubbing). DRIVER is a
    video, a picture (a pose), a motion file (`reenact extract`), blendshapes of Live Link Face (.csv), a log of
    OpenSeeFace (.osf), or one of motion:talk, motion:nod, motion:smile, motion:surprise, motion:blink.

    \b
    reenact animate portrait.jpg driver.mp4
    reenact animate portrait.jpg motion:talk -o talk.mp4
    reenact animate -p front.jpg -p side.jpg driver.mp4 --compare
    reenact animate group.jpg driver.mp4 --face 2 --region lips --start 3 --end 8.5
    reenact animate talk.mp4 dubbing.mp4 --region lips

    SIGTERM in the middle of a long video exits with 75, as what is done is kept: see --keep-going.
    """
    given, driver = _split(inputs, portraits)
    said = chosen_label(no_label, label)
    agree_to_rules(accept_use)
    from fewshot_reenact.pipelines.animate import animate as make

    shown = str(report) == "-"
    bars = _Bars()
    try:
        made = make(given, driver, label=said, report=None if shown else report, progress=bars, **options)
    except (KeyboardInterrupt, SystemExit) as stop:
        bars.close()
        raise _stopped(stop) from None
    finally:
        bars.close()
    for line in made.warnings:
        say(f"reenact: {line}", err=True)
    if shown:
        write_report(made.report(), report, options["overwrite"])
    say(f"{made.output}: {_summary(made)}", err=shown)


def _stopped(stop: KeyboardInterrupt | SystemExit) -> BaseException:
    """What a signal ends in: where frames are kept that is said, and SIGTERM's code is that of a training run."""
    kept = notes_of(stop)
    if not kept:
        return stop
    warn([f"interrupted; {line}" for line in kept])
    if isinstance(stop, KeyboardInterrupt):
        return SystemExit(INTERRUPTED)
    from fewshot_reenact.training.stopping import EXIT_PREEMPTED

    return SystemExit(EXIT_PREEMPTED) if stop.code == 128 + signal.SIGTERM else stop


def _summary(made: "Animation") -> str:
    from fewshot_reenact.media.pictures import PICTURE_OUTPUTS

    seconds = made.seconds["all"]
    new = made.frames - made.taken_over
    took = f"{seconds:.1f} s", f"{new / max(seconds, 1e-6):.1f} frames a second", f"on {made.device}"
    if made.output.suffix.lower() in PICTURE_OUTPUTS:
        return f"{made.width}x{made.height} ({took[0]}, {took[2]})"
    frames = f"{made.frames} frame{'s' if made.frames != 1 else ''}"
    if made.taken_over:
        frames += f" ({made.taken_over} of them were kept)"
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


_TITLES = {"portrait": "measuring the portrait", "driver": "measuring the driver", "render": "rendering"}


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
            # Where a video goes on, what is there already says nothing of the speed.
            self.bar = tqdm(
                desc=_TITLES[stage],
                initial=max(0, done - 1),
                total=total,
                unit=" frames",
                disable=None,
                file=sys.stderr,
            )
        self.bar.update(done - self.bar.n)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
