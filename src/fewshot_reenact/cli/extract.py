"""`reenact extract`: options only; the work is in `fewshot_reenact.pipelines.extract`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fewshot_reenact.cli import common, driver_options
from fewshot_reenact.cli.common import say

if TYPE_CHECKING:
    from fewshot_reenact.landmarks.registry import Landmarks


@click.command(short_help="Measure a face's motion and write it as a motion file.")
@click.argument("input", metavar="INPUT", type=common.FILE)
@click.option(
    "-o",
    "--output",
    required=True,
    type=common.FILE,
    help="The motion file to write: .npz, .json or .jsonl; .csv with --blendshapes.",
)
@click.option("--picture", type=common.FILE, help="Also write one frame with its points drawn on it.")
@click.option("--video", type=common.FILE, help="Also write the video with the points drawn on it.")
@click.option(
    "--blendshapes",
    is_flag=True,
    help="Write the 52 blendshapes of ARKit and the head's angles as .csv, in place of points.",
)
@common.landmarks_option
@common.face_option
@common.smooth_option(0.0)
@common.start_option
@common.end_option
@driver_options.fps_option
@driver_options.mirror_option
@driver_options.any_size_option
@common.device_option
@common.threads_option
@common.overwrite_option
@common.report_option
def extract(
    input: Path,
    output: Path,
    picture: Path | None,
    video: Path | None,
    blendshapes: bool,
    landmarks: "Landmarks",
    face: str,
    smooth: float,
    start: float | None,
    end: float | None,
    fps: float | None,
    mirror: bool,
    any_size: bool,
    device: str,
    overwrite: bool,
    report: Path | None,
) -> None:
    """Measure the motion of the face in INPUT (a video or a picture) and write it as a motion file.

    A motion file holds 83 points of the face for every frame and no pictures, or with --blendshapes 52 numbers for
    every frame. Either can be used as DRIVER. INPUT can be a motion file of another kind.

    \b
    reenact extract talk.mp4 -o talk.npz
    reenact extract talk.mp4 -o talk.npz --video talk-points.mp4 --start 0:05 --end 0:12
    reenact extract talk.mp4 -o talk.csv --blendshapes
    """
    from fewshot_reenact.pipelines.extract import extract as run

    common.check_report(report, overwrite, (input,))
    with common.progress_bar("measuring") as progress:
        result = run(
            input,
            output,
            picture=picture,
            video=video,
            blendshapes=blendshapes,
            landmarks=landmarks,
            face=face,
            smooth=smooth,
            start=start,
            end=end,
            fps=fps,
            mirror=mirror,
            any_size=any_size,
            device=device,
            overwrite=overwrite,
            progress=lambda _, done, total: progress(done, total),
        )
    common.warn(result.warnings)
    turns = ", ".join(f"{name} {low:+.0f} to {high:+.0f}" for name, (low, high) in result.turns().items())
    say(
        f"{output}: {int(result.motion.found.sum())} of {len(result.motion)} frames with a face; head {turns} degrees",
        err=str(report) == "-",
    )
    common.write_report(result.report(), report, overwrite)
