"""`reenact prepare`: options only; the work is in `fewshot_reenact.training.data.prepare`."""

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from fewshot_reenact.cli import common, driver_options
from fewshot_reenact.cli.common import say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fewshot_reenact.landmarks.registry import Landmarks
    from fewshot_reenact.training.data.prepare import Done, Prepared

_SHOWN = 5  # skipped videos on the screen; the file has all


@click.command(short_help="Make training shards of square clips with points from talking-head videos.")
@click.argument("videos")
@click.argument("out")
@click.option(
    "--workers",
    "--threads",
    type=click.IntRange(1),
    metavar="N",
    help="Processes of one thread each, or Ray actors at most. [default: processors]",
)
@click.option(
    "--min-workers",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    metavar="N",
    help="Ray actors of each stage that stay while nothing waits.",
)
@click.option("--size", default=256, show_default=True, metavar="PIXELS", help="Side of a clip.")
@click.option("--min-seconds", default=1.0, show_default=True, metavar="S", help="Shorter pieces are left out.")
@click.option("--max-seconds", default=10.0, show_default=True, metavar="S", help="Longer shots are cut into pieces.")
@click.option(
    "--min-face",
    default=64,
    show_default=True,
    metavar="PIXELS",
    help="Pieces whose face is less high in the video are left out.",
)
@click.option(
    "--videos-per-shard",
    type=click.IntRange(1),
    metavar="N",
    help="[default: a 32nd of all, up to 64; fewer where they are large]",
)
@click.option(
    "--engine",
    type=click.Choice(["processes", "ray"]),
    default="processes",
    show_default=True,
    help="Processes on this machine, or Ray on many.",
)
@click.option("--address", metavar="ADDRESS", help="Of the Ray cluster: auto, host:6379, ray://host:10001.")
@driver_options.any_size_option
@common.landmarks_option
@common.device_option
@common.overwrite_option
@common.report_option
def prepare(
    videos: str,
    out: str,
    workers: int | None,
    min_workers: int,
    size: int,
    min_seconds: float,
    max_seconds: float,
    min_face: int,
    videos_per_shard: int | None,
    engine: Literal["processes", "ray"],
    address: str | None,
    any_size: bool,
    landmarks: "Landmarks",
    device: str,
    overwrite: bool,
    report: Path | None,
) -> None:
    """Measure, cut and crop the faces in VIDEOS and write them to the folder OUT, as shards to train on.

    VIDEOS is a folder (id/video/clip.mp4 as in VoxCeleb, or any other), a list file (a video a line, after a tab the
    person), one video, or an address such as s3://bucket/videos. OUT is a folder or an address.

    \b
    reenact prepare videos/ shards/
    reenact prepare vox2/dev/mp4 s3://bucket/vox2 --engine ray --address auto

    A run that was stopped, by whatever, goes on where it was when the same command is given again. Videos that cannot
    be used are listed in OUT/skipped.jsonl with the reason. OUT/summary.jpg shows some of the clips.
    """
    from fewshot_reenact.training.data.clipping import ClipOptions
    from fewshot_reenact.training.data.prepare import prepare as run
    from fewshot_reenact.training.data.shards import SKIPPED, SUMMARY

    common.check_report(report, overwrite)
    options = ClipOptions(size, min_seconds, max_seconds, min_face, any_size)
    try:
        with _progress() as progress:
            result = run(
                videos,
                out,
                options=options,
                videos_per_shard=videos_per_shard,
                landmarks=landmarks,
                device=device,
                workers=workers,
                min_workers=min_workers,
                engine=engine,
                address=address,
                overwrite=overwrite,
                progress=progress,
            )
    except KeyboardInterrupt:
        common.warn([f"interrupted; finished shards are kept in {out}: run the same command to go on"])
        raise SystemExit(common.INTERRUPTED) from None
    common.warn([f"{note['video']}: {note['note']}" for note in result.notes[:_SHOWN]])
    say(_summary(out, result, f"{SKIPPED}, {SUMMARY}"), err=str(report) == "-")
    common.write_report(result.report(), report, overwrite)


@contextmanager
def _progress() -> "Iterator[Callable[[Done], None]]":
    """A bar on stderr with clips a second and the time left, only if that is a terminal."""
    import sys

    from tqdm import tqdm

    with tqdm(desc="preparing", unit=" videos", disable=None, leave=False, file=sys.stderr, smoothing=0.1) as bar:

        def show(done: "Done") -> None:
            bar.total = done.of
            rate = done.clips / max(done.elapsed, 1e-9)
            bar.set_postfix_str(f"{done.clips} clips, {rate:.2f} clips/s, {done.skipped} skipped", refresh=False)
            bar.update(done.videos - bar.n)

        yield show


def _summary(out: str, result: "Prepared", files: str) -> str:
    run = result.run
    rate = f"{run['clips_a_second']:.2f} clips a second, {run['times_real_time']:.1f} times real time"
    return (
        f"{out}: {result.clips} clips of {result.people} people, {result.frames} frames, "
        f"{result.bytes / 1e6:.1f} MB; {result.skipped} of {result.videos} videos skipped ({files}; "
        + (f"{rate}, on {result.device})" if run["videos"] else "all was done before)")
    )
