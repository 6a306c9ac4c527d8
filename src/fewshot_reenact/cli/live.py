"""`reenact live`: options, keys and figures of a portrait that moves at once; the work is in pipelines/live.py."""

import sys
import threading
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
    Seconds,
    accept_use_option,
    agree_to_rules,
    check_report,
    consent_option,
    device_option,
    face_option,
    landmarks_option,
    overwrite_option,
    report_option,
    say,
    smooth_option,
    threads_option,
    warn,
    write_report,
)
from fewshot_reenact.cli.driver_options import any_size_option, mirror_option
from fewshot_reenact.cli.signals import ending
from fewshot_reenact.errors import UsageError
from fewshot_reenact.motion.live import SETTLE
from fewshot_reenact.pipelines.options import AnimateOptions

if TYPE_CHECKING:
    from fewshot_reenact.pipelines.live import LiveRun
    from fewshot_reenact.pipelines.live_figures import LiveFigures

_default = AnimateOptions.default


@click.command(short_help="Move a portrait by a camera, at once.")
@click.argument("inputs", nargs=-1, metavar="PORTRAIT")
@portraits_option
@click.option(
    "--camera",
    default="0",
    show_default=True,
    metavar="N|FILE",
    help="A camera, counted from 0, or a video file, which is played in real time.",
)
@click.option("--no-window", is_flag=True, help="Show nothing; with --record, --to, --frames or --seconds.")
@click.option("--record", type=FILE, metavar="FILE", help="Write what is shown too, signed; .mp4, .m4v or .mov.")
@click.option(
    "--to",
    metavar="ADDRESS",
    help="Send what is shown over the network, unencrypted: udp://HOST:PORT or rtmp://HOST/APPLICATION/KEY.",
)
@click.option("--frames", type=click.IntRange(1), metavar="N", help="End after so many frames.")
@click.option("--seconds", type=Seconds(), help="End after so long, in seconds or m:ss.")
@click.option(
    "--calibrate",
    default=f"{SETTLE:g}",
    show_default=True,
    metavar="SECONDS|FILE",
    help="How long a frame is looked for in which you look as the portrait does; or a picture of you looking so.",
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
@matte_option
@click.option(
    "--background",
    metavar="COLOUR|FILE",
    help="What is shown behind the person: white, #1e90ff, a picture. [default: the portrait's own ground]",
)
@mirror_option
@any_size_option
@landmarks_option
@model_option
@warp_only_option
@dense_option
@device_option
@runtime_option
@threads_option
@consent_option
@consent_file_option
@accept_use_option
@sign_cert_option
@sign_key_option
@embed_thumbnails_option
@label_option
@private_driver_option
@watermark_key_option
@provider_option
@timestamp_option
@overwrite_option
@report_option
def live(
    inputs: tuple[str, ...],
    portraits: tuple[Path, ...],
    camera: str,
    no_window: bool,
    record: Path | None,
    to: str | None,
    frames: int | None,
    seconds: float | None,
    calibrate: str,
    label: str | None,
    any_size: bool,
    accept_use: bool,
    overwrite: bool,
    report: Path | None,
    **options: Any,
) -> None:
    """Make the person in PORTRAIT move as you do before a camera, at once.

    PORTRAIT is a picture, or a folder with several of one person. Frames are dropped, never queued. Keys in the window:
    h shows them all, q quits, c calibrates anew, m mirrors, r switches the recording, space pauses.

    \b
    reenact live portrait.jpg
    reenact live portrait.jpg --camera 1 --mirror --record me.mp4
    reenact live portrait.jpg --no-window --to udp://127.0.0.1:5000

    The label is always in the picture, and there is no virtual camera: RESPONSIBLE_USE.md says why.
    """
    given: list[str | Path] = [*inputs[:1], *portraits]
    if len(inputs) > 1 or not given:
        raise click.UsageError("needs one PORTRAIT; further pictures of the person go with -p")
    check_report(report, overwrite, tuple(given))
    if report is not None and record is not None and report.absolute() == record.absolute():
        raise UsageError(f"{report}: is the recording; write the report to another file")
    agree_to_rules(accept_use)
    from fewshot_reenact.pipelines.live import live as run

    stop, line = threading.Event(), _Line()
    with ending(stop.set):
        try:
            made = run(
                given,
                AnimateOptions(label=chosen_label(False, label), **options),
                camera=camera,
                window=not no_window,
                record=record,
                to=to,
                frames=frames,
                seconds=seconds,
                calibrate=_calibrate(calibrate),
                overwrite=overwrite,
                any_size=any_size,
                stop=stop,
                figures=line,
                tell=line.tell,
            )
        except BaseException:
            line.keep()
            raise
        line.close()
        write_report(made.report(), report, overwrite)
        say(_summary(made), err=str(report) == "-")


def _calibrate(text: str) -> float | Path:
    try:
        return float(text)
    except ValueError:
        return Path(text)


def _summary(made: "LiveRun") -> str:
    from fewshot_reenact.pipelines.live_figures import LiveFigures

    figures = LiveFigures(made.frames, made.dropped, made.seconds, made.median_ms, made.late_ms)
    lines = [f"{made.camera}: {figures.line()}, on {made.device}"]
    if made.recording is not None:
        lines.append(f"{made.recording}: {made.recorded['frames']} frames, {made.recorded['seconds']:.1f} s")
    if made.sent_to is not None:
        lines.append(f"{made.sent_to}: {made.sent} frames sent")
    return "\n".join(lines)


class _Line:
    """The figures on one line of a terminal, which changes once a second; other lines push it down."""

    def __init__(self) -> None:
        self._shows = sys.stderr is not None and sys.stderr.isatty()
        self._width = 0

    def __call__(self, figures: "LiveFigures") -> None:
        if self._shows:
            text = figures.line()
            click.echo(f"\r{text:<{self._width}}", nl=False, err=True)
            self._width = len(text)

    def tell(self, line: str) -> None:
        """A line that stays."""
        self.close()
        warn([line])

    def keep(self) -> None:
        """The figures stay where they are."""
        if self._width:
            click.echo(err=True)
            self._width = 0

    def close(self) -> None:
        """Nothing of them stays."""
        if self._width:
            click.echo("\r" + " " * self._width + "\r", nl=False, err=True)
            self._width = 0
