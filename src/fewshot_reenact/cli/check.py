"""`reenact check`: options only; the work is in `fewshot_reenact.checks`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fewshot_reenact.cli import common, driver_options
from fewshot_reenact.cli.common import say
from fewshot_reenact.errors import InputError

if TYPE_CHECKING:
    from fewshot_reenact.landmarks.registry import Landmarks


@click.command(short_help="Say whether pictures and videos are good enough, and why not.")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=common.FILE)
@click.option(
    "--picture",
    type=common.FILE,
    metavar="OUT",
    help="Also write an annotated picture (.png, .jpg), several FILEs one below the other.",
)
@click.option(
    "--portrait",
    type=common.FILE,
    metavar="PICTURE",
    help="What the drivers among FILEs are to move: say how far they go beyond what it can show.",
)
@common.face_option
@driver_options.fps_option
@driver_options.any_size_option
@common.landmarks_option
@common.device_option
@common.threads_option
@common.overwrite_option
@common.report_option
def check(
    files: tuple[Path, ...],
    picture: Path | None,
    portrait: Path | None,
    face: str,
    fps: float | None,
    any_size: bool,
    landmarks: "Landmarks",
    device: str,
    overwrite: bool,
    report: Path | None,
) -> int:
    """Say of each FILE whether it is good enough and what to do if not: a picture as a PORTRAIT, a video (or a motion
    file) as a DRIVER.

    \b
    reenact check portrait.jpg driver.mp4
    reenact check portrait.jpg driver.mp4 --picture seen.png
    reenact check driver.mp4 --portrait portrait.jpg
    reenact check *.jpg --json -

    The verdicts are good, usable, poor and unusable; a FILE has that of its worst finding. Exit code 3 when a FILE is
    unusable.
    """
    from fewshot_reenact.checks.files import as_data
    from fewshot_reenact.checks.files import check as run
    from fewshot_reenact.checks.report import UNUSABLE

    common.check_report(report, overwrite, files)
    with common.progress_bar("measuring") as progress:
        reports = run(
            files,
            picture=picture,
            portrait=portrait,
            face=face,
            fps=fps,
            any_size=any_size,
            landmarks=landmarks,
            device=device,
            overwrite=overwrite,
            progress=lambda _, done, total: progress(done, total),
        )
    for one in reports:
        say(one.in_words(), err=str(report) == "-")
    common.write_report(as_data(reports), report, overwrite)
    return InputError.exit_code if any(one.verdict == UNUSABLE for one in reports) else 0
