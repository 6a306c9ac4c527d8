#!/usr/bin/env python3
"""Speed and memory, measured on this machine.

    scripts/measure/benchmark.py animate                     # time by stage; then all sizes beside their targets
    scripts/measure/benchmark.py animate --against ../old    # and another checkout, in turns
    scripts/measure/benchmark.py animate --portrait P --driver D --repeat 3
    scripts/measure/benchmark.py session                     # latency and frames a second of Session, frame by frame
    scripts/measure/benchmark.py live                        # the same of `live`, a file in real time as the camera
    scripts/measure/benchmark.py memory --seconds 10 120     # peak memory for drivers of these lengths
    scripts/measure/benchmark.py landmarks --data ../shared/data     # all figures of the landmarks beside their targets
    scripts/measure/benchmark.py watermark DRIVERS... --portraits FOLDER # in how many outputs the mark survives what
    scripts/measure/benchmark.py unmarked FOLDER             # false alarms among pictures and videos without a mark

Run it on an idle machine: every figure is wall-clock time.
"""

import json
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import click
import cv2
import numpy as np
import torch

import fewshot_reenact
import sizes
import survival
import tables
from fewshot_reenact import AnimateOptions, Session, animate, live
from fewshot_reenact.media.pictures import read_picture, write_picture
from fewshot_reenact.media.reader import VideoReader
from fewshot_reenact.media.writer import VideoWriter
from fewshot_reenact.provenance.detector import detect

ASSETS = Path(fewshot_reenact.__file__).parent / "assets"
SIDE = 512


def square_portrait(source: Path, folder: Path, side: int = SIDE) -> Path:
    """The picture's middle square, side x side pixels."""
    picture = read_picture(source)
    least = min(picture.shape[:2])
    y, x = (picture.shape[0] - least) // 2, (picture.shape[1] - least) // 2
    path = folder / "portrait.png"
    write_picture(path, cv2.resize(picture[y : y + least, x : x + least], (side, side), interpolation=cv2.INTER_AREA))
    return path


def square_driver(source: Path, folder: Path, seconds: float, side: int = SIDE) -> Path:
    """The driver, side x side pixels, run forwards and backwards until it lasts so long."""
    with VideoReader(source) as reader:
        frames = [cv2.resize(f.picture, (side, side), interpolation=cv2.INTER_AREA) for f in reader]
    path, there_and_back = folder / f"driver_{seconds:g}s.mp4", [*frames, *frames[-2:0:-1]]
    with VideoWriter(path, side, side, Fraction(1, 25), Fraction(25)) as writer:
        for t in range(round(25 * seconds)):
            writer.write(there_and_back[t % len(there_and_back)], t)
    return path


into_docs = click.option("--write", is_flag=True, help="Put the table into docs/, between its markers.")


def show(name: str, lines: list[str], write: bool) -> None:
    """Print a table; with `write` put it into its page."""
    click.echo("\n".join(lines))
    if write:
        click.echo(tables.write(name, "\n".join(lines)))


@click.group()
def main() -> None:
    click.echo(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, fewshot-reenact {fewshot_reenact.__version__}"
    )


@main.command("animate")
@click.option("--portrait", type=click.Path(path_type=Path), default=ASSETS / "grace_hopper.jpg")
@click.option("--driver", type=click.Path(path_type=Path), default=ASSETS / "driver.mp4")
@click.option("--seconds", default=8.0, show_default=True, help="Length of the driver.")
@click.option("--repeat", default=3, show_default=True)
@click.option(
    "--against", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Another checkout's root."
)
@into_docs
def time_animate(portrait: Path, driver: Path, seconds: float, repeat: int, against: Path | None, write: bool) -> None:
    """End to end: a 512-pixel portrait and driver by stage, then larger ones beside their targets."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        picture, video = square_portrait(portrait, folder), square_driver(driver, folder, seconds)
        runs = [animate(picture, video, folder / "out.mp4", overwrite=True) for _ in range(repeat)]
    frames = runs[0].frames
    best = sorted(runs, key=lambda run: run.seconds["all"])[len(runs) // 2]
    rates = sorted(run.frames / run.seconds["all"] for run in runs)
    click.echo(f"{frames} frames, median of {repeat} runs; {rates[0]:.1f} to {rates[-1]:.1f} frames a second")
    names = {
        "driver": "measuring the driver",
        "render": "rendering and writing",
        "render: networks": "of which networks",
        "render: dense": "beside them, dense motion",
        "render: compose": "and compositing",
        "all": "end to end",
    }
    lines = ["| stage | ms a frame | frames a second |", "|---|---|---|"]
    for stage, words in names.items():
        rate = f"{frames / best.seconds[stage]:.1f}" if stage == "all" else ""
        lines.append(f"| {words} | {1000 * best.seconds[stage] / frames:.1f} | {rate} |")
    show("speed", lines, write)
    with tempfile.TemporaryDirectory() as name:
        show("speed-sizes", sizes.measure(portrait, driver, Path(name), seconds, repeat, against), write)


# A session's targets at 512 pixels on two idle cores: milliseconds from frame to picture, frames a second.
SESSION_TARGETS = (120.0, 20.0)


@main.command("session")
@click.option("--portrait", type=click.Path(path_type=Path), default=ASSETS / "grace_hopper.jpg")
@click.option("--driver", type=click.Path(path_type=Path), default=ASSETS / "driver.mp4")
@click.option("--side", default=SIDE, show_default=True, help="Of portrait and driver, pixels.")
@click.option("--seconds", default=4.0, show_default=True, help="Length of the driver.")
@into_docs
def time_session(portrait: Path, driver: Path, side: int, seconds: float, write: bool) -> None:
    """From a driver's frame, an array, to the marked picture, one after the other."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        picture, video = square_portrait(portrait, folder, side), square_driver(driver, folder, seconds, side)
        with VideoReader(video) as reader:
            frames = [frame.picture for frame in reader]
        began, took = time.perf_counter(), []
        with Session(picture, AnimateOptions()) as session:
            session.frame(frames[0])
            first = time.perf_counter() - began
            for frame in frames[1:]:
                began = time.perf_counter()
                session.frame(frame)
                took.append(1000 * (time.perf_counter() - began))
    middle, late = np.percentile(took, [50, 95])
    latency, rate = SESSION_TARGETS
    lines = [
        f"| {len(took)} frames, {side} pixels | measured | target |",
        "|---|---|---|",
        f"| ms from frame to picture, median | {middle:.1f} | {latency:g} |",
        f"| ms from frame to picture, 95 % are faster | {late:.1f} | {latency:g} |",
        f"| frames a second | {1000 * len(took) / sum(took):.1f} | {rate:g} |",
        f"| seconds from nothing to the first picture | {first:.1f} | |",
    ]
    show("session", lines, write)


@main.command("live")
@click.option("--portrait", type=click.Path(path_type=Path), default=ASSETS / "grace_hopper.jpg")
@click.option("--driver", type=click.Path(path_type=Path), default=ASSETS / "driver.mp4")
@click.option("--side", default=SIDE, show_default=True, help="Of portrait and driver, pixels.")
@click.option("--seconds", default=15.0, show_default=True, help="Length of each of the two runs.")
@click.option("--window", is_flag=True, help="Show it in a window, so that its time counts too.")
@into_docs
def time_live(portrait: Path, driver: Path, side: int, seconds: float, window: bool, write: bool) -> None:
    """A driver of 25 frames a second is the camera: from a frame's arrival to its picture, recorded or not."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        picture, video = square_portrait(portrait, folder, side), square_driver(driver, folder, seconds, side)
        runs = [live_run(picture, video, window, record) for record in (None, folder / "out.mp4")]
    latency, rate = SESSION_TARGETS
    words = (
        ("ms from camera to picture, median", "{:.1f}", f"{latency:g}"),
        ("ms from camera to picture, 95 % are faster", "{:.1f}", f"{latency:g}"),
        ("frames a second, of the camera's 25", "{:.1f}", f"{rate:g}"),
        ("share of frames dropped", "{:.0%}", ""),
        ("ms of processor a frame, all threads", "{:.1f}", ""),
    )
    lines = [f"| {seconds:g} s, {side} pixels | alone | with a recording | target |", "|---|---|---|---|"]
    for (what, form, target), alone, recording in zip(words, *runs, strict=True):
        lines.append(f"| {what} | {form.format(alone)} | {form.format(recording)} | {target} |")
    show("live", lines, write)


def live_run(picture: Path, video: Path, window: bool, record: Path | None) -> tuple[float, float, float, float, float]:
    """What `words` of `time_live` says, of one run. The processor's time is that between the first and the last but one
    of the figures that come once a second: neither loading nor signing counts."""
    seen: list[tuple[int, float]] = []
    made = live(
        picture,
        camera=video,
        window=window,
        record=record,
        frames=1_000_000,
        figures=lambda figures: seen.append((figures.frames, time.process_time())),
    )
    (before, began), (after, ended) = seen[0], seen[max(0, len(seen) - 2)]
    cost = 1000 * (ended - began) / max(1, after - before)
    dropped = made.dropped / (made.frames + made.dropped)
    return made.median_ms or 0.0, made.late_ms or 0.0, made.fps or 0.0, dropped, cost


_CHILD = """
import resource, sys
from fewshot_reenact import animate
animate(sys.argv[1], sys.argv[2], sys.argv[3], overwrite=True)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@main.command("memory")
@click.option("--seconds", type=(float, float), default=(10.0, 120.0), show_default=True)
@click.option("--side", default=256, show_default=True)
@into_docs
def memory(seconds: tuple[float, float], side: int, write: bool) -> None:
    """Peak memory of the whole process for a short and a long driver."""
    peaks = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        picture = square_portrait(ASSETS / "grace_hopper.jpg", folder, side)
        for length in seconds:
            video = square_driver(ASSETS / "driver.mp4", folder, length, side)
            command = [sys.executable, "-c", _CHILD, str(picture), str(video), str(folder / "out.mp4")]
            shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            peaks.append(int(shown.split()[-1]) / 1024)
    lines = ["| seconds of driver | peak, MiB |", "|---|---|"]
    lines += [f"| {length:g} | {peak:.0f} |" for length, peak in zip(seconds, peaks, strict=True)]
    show("memory", lines, write)


@main.command("landmarks")
@click.option("--data", type=click.Path(exists=True, path_type=Path), default=Path("../shared/data"), show_default=True)
@click.option("--quick", is_flag=True, help="A quarter of the clips and stills, 30 scenes.")
@click.option("--json", "report", type=click.Path(path_type=Path), help="Write all figures here too.")
@into_docs
def landmarks(data: Path, quick: bool, report: Path | None, write: bool) -> None:
    """Accuracy, detection, steadiness, blinks and speed of the built-in landmarks beside their targets, on one core."""
    from landmark_table import errors, measure, render

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    found = measure(data, quick)
    click.echo(render(found))
    if report:
        report.write_text(json.dumps(found | {"card": render(found)}, indent=1) + "\n")
    show("landmark-errors", errors(found), write)


@main.command("watermark")
@click.argument("drivers", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--portraits", required=True, type=click.Path(exists=True, path_type=Path), help="A folder.")
@click.option("--videos", default=8, show_default=True, help="Portraits taken, every second one of the folder.")
@click.option("--side", "sides", type=int, multiple=True, default=survival.SIDES, show_default=True)
@click.option("--json", "report", type=click.Path(path_type=Path), help="Results; other sides' in it are shown too.")
@click.option("--keep", type=click.Path(path_type=Path), help="Folder of the frames made, to be measured again.")
@into_docs
def watermark(
    drivers: tuple[Path, ...],
    portraits: Path,
    videos: int,
    sides: tuple[int, ...],
    report: Path | None,
    keep: Path | None,
    write: bool,
) -> None:
    """Survival of the watermark in two seconds of today's output by size, beside the targets; PSNR and time a frame."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    pictures = sorted(portraits.glob("*.jpg"))[::2][:videos]
    found = survival.Survival()
    for side in sides:
        for number, picture in enumerate(pictures):
            driver = drivers[number % len(drivers)]
            lost = found.add(*survival.made(picture, driver, side, keep), side)
            said = f"{picture.stem}, {driver.stem}, {side}: not found after {', '.join(lost) or 'none of these'}"
            click.echo(said, err=True)
    if report is not None:
        found.join(report, sides)
    show("watermark", found.table(), write)
    psnr = [one for side in found.psnr.values() for one in side]
    click.echo(f"wrong payloads: {sum(found.wrong.values())}; PSNR {min(psnr):.2f} to {max(psnr):.2f} dB (target: 42)")
    for side, times in found.cost.items():
        target = " (target: 2)" if side == 512 else ""
        click.echo(f"stamping {side} x {side}: {np.median(times):.2f} ms a frame, thread time, median{target}")


@main.command("unmarked")
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--count", default=2000, show_default=True, help="At most so many files, evenly taken from all.")
@click.option("--after", default=0, show_default=True, help="Of these, pass over the first so many, looked at before.")
@click.option("--minutes", default=60.0, show_default=True, help="Stop after so long.")
def unmarked(folders: tuple[Path, ...], count: int, after: int, minutes: float) -> None:
    """False alarms among pictures and videos (their first 50 frames) that bear no mark."""
    files = sorted(f for folder in folders for f in folder.iterdir() if f.suffix in (".jpg", ".png", ".mp4"))
    files = files[:: max(1, len(files) // count)][after:count]
    begin, alarms, done = time.monotonic(), [], 0
    for file in files:
        if time.monotonic() - begin > 60 * minutes:
            break
        if file.suffix == ".mp4":
            with VideoReader(file) as reader:
                frames = [(frame.picture, frame.time) for frame, _ in zip(reader, range(50), strict=False)]
            mark = detect(frames, turned=True)
        else:
            mark = detect([read_picture(file)], turned=True)
        done += 1
        if mark is not None:
            alarms.append(file.name)
    click.echo(f"{len(alarms)} false alarms in {done} files {' '.join(alarms)}")


if __name__ == "__main__":
    main()
