#!/usr/bin/env python3
"""Videos as portraits: how much of them stays, how much trembles beside the face, what a frame costs, and a sheet.

    scripts/measure/video_portraits.py --driver driver.mp4 talk.mp4 other.mp4
    scripts/measure/video_portraits.py --region all --driver driver.mp4 --sheet out/sheet.jpg --from 20 talk.mp4

For each video, before encoding and without marks:
itself: PSNR, where it is driven by itself; what is lost is what the networks and the filters do.
beside, farther: what changes from frame to frame in the difference to the video, root of the mean square, grey levels,
in rings 0.15 to 0.3 and 0.3 to 0.6 eye distances about the face's outline, above the lips; truth would be 0. (video):
what changes there in the video itself.
ms: a frame, decoding and matte included; picture: a frame of the same video's first picture as the portrait, in turns.
The sheet has the video, the driver and the output below each other, frames one after the other.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import click
import cv2
import numpy as np
import torch
from PIL import Image

from fewshot_reenact.geometry.topology import eye_distance
from fewshot_reenact.inputs.driver import Driver, DriverSource
from fewshot_reenact.inputs.portrait_files import PortraitSource
from fewshot_reenact.landmarks.registry import load_backend
from fewshot_reenact.models.checkpoint import load_model
from fewshot_reenact.motion.heads import HeadMotion, lift
from fewshot_reenact.pipelines.film import Film
from fewshot_reenact.pipelines.options import AnimateOptions
from fewshot_reenact.rendering.renderer import open_renderer
from fewshot_reenact.rendering.solid.surface import OUTLINE
from fewshot_reenact.rendering.video_plan import VideoPlan

RINGS = ((0.15, 0.3), (0.3, 0.6))
TILE = 256


@click.command(help=__doc__)
@click.argument("videos", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--driver", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--region", default="expression", show_default=True)
@click.option("--frames", default=48, show_default=True)
@click.option("--sheet", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--from", "begin", default=0, show_default=True, help="The sheet's first frame.")
@click.option("--threads", default=1, show_default=True)
def main(
    videos: tuple[Path, ...], driver: Path, region: str, frames: int, sheet: Path | None, begin: int, threads: int
) -> None:
    torch.set_num_threads(threads)
    backend, model = load_backend("builtin", "cpu"), load_model(None, torch.device("cpu"))
    options = AnimateOptions(region=region).for_video()  # type: ignore[arg-type]
    given = DriverSource.parse(driver).measure(backend)
    click.echo(f"{'video':28} {'itself':>7} {'beside':>7} (video) {'farther':>7} (video) {'ms':>6} {'picture':>8}")
    rows = []
    for path in videos:
        film = Film.open(PortraitSource.parse(path, video=True), options, model, backend, torch.device("cpu"))
        own = film.drive(film.measured, AnimateOptions().for_video())
        same, still = _made(film, own, film.plan(own, AnimateOptions().for_video()), options, frames)
        driven = film.drive(given, options)
        plan = film.plan(driven, options)
        began = time.perf_counter()
        out, shown = _made(film, driven, plan, options, frames)
        cost = (time.perf_counter() - began) / len(out)
        rings = [value for a, b in RINGS for value in _flicker(shown, out, plan, a, b)]
        picture = _picture(film, plan, shown[0], model, min(frames, len(out)))
        click.echo(
            f"{path.name:28} {_psnr(same, still):7.1f} "
            + " ".join(f"{value:7.2f}" for value in rings)
            + f" {1e3 * cost:6.0f} {1e3 * picture:8.0f}"
        )
        rows.append(_row(shown, driven, out, plan, begin))
    if sheet is not None:
        sheet.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.concatenate(rows)).save(sheet)


def _made(
    film: Film, driven: Driver, plan: VideoPlan, options: AnimateOptions, frames: int
) -> tuple[np.ndarray, np.ndarray]:
    """What is made, and the video's own frames, (T, H, W, 3) each."""
    model = load_model(None, torch.device("cpu"))
    _, pictures = film.render(model, plan, options, torch.device("cpu"), 0)
    made = np.stack([picture for picture, _ in zip(pictures, range(frames), strict=False)])
    return made, np.stack(list(film.measured.source.pictures_at(plan.frames[: len(made)])))


def _picture(film: Film, plan: VideoPlan, first: np.ndarray, model: torch.nn.Module, frames: int) -> float:
    """Seconds a frame of a picture as the portrait, which does the same."""
    from fewshot_reenact.inputs.portrait import Portrait

    portrait = Portrait(first, film.video.steady[0])
    heads = plan.heads[:frames]
    if not plan.moves:
        still = HeadMotion.of(portrait.points[None], lift(portrait.points))[np.zeros(frames, int)]
        heads = HeadMotion(still.pose, heads.solid)
    renderer = open_renderer(model, [portrait], heads)  # type: ignore[arg-type]
    began = time.perf_counter()
    count = sum(1 for _ in renderer.render(heads))
    return (time.perf_counter() - began) / count


def _flicker(video: np.ndarray, out: np.ndarray, plan: VideoPlan, low: float, high: float) -> Iterator[float]:
    own, there = plan.own.points, plan.heads.points
    sums, count = np.zeros(2), 0
    grey = [frames.astype(np.float32).mean(-1) for frames in (out - video.astype(np.int16), video)]
    before = None
    for t in range(len(video)):
        filled = np.zeros(video.shape[1:3], np.uint8)
        for points in (own[t], there[t]):
            cv2.fillPoly(filled, [np.round(points[list(OUTLINE)]).astype(np.int32)], 1)
        away = cv2.distanceTransform(1 - filled, cv2.DIST_L2, 5) / float(eye_distance(own[t]))
        away[int(own[t, 51, 1]) :] = 0
        ring = (away > low) & (away <= high)
        if before is not None:
            ring &= before > low
            sums += [np.square(one[t][ring] - one[t - 1][ring]).sum() for one in grey]
            count += int(ring.sum())
        before = away
    yield from np.sqrt(sums / max(count, 1))


def _psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(float(np.square(a.astype(np.float32) - b).mean()), 1e-9)))


def _row(video: np.ndarray, driven: Driver, out: np.ndarray, plan: VideoPlan, begin: int) -> np.ndarray:
    frames = range(begin, min(begin + 6, len(out)))
    drivers = list(zip(driven.pictures() or (), range(begin + 6), strict=False))
    columns = []
    for t in frames:
        points = plan.own.points[t]
        middle, reach = points.mean(0), 0.72 * float(np.ptp(points, axis=0).max())
        scale = TILE / (2 * reach)
        onto = np.array([[scale, 0, TILE / 2 - middle[0] * scale], [0, scale, TILE / 2 - middle[1] * scale]])
        seen = [cv2.warpAffine(one[t], onto, (TILE, TILE), flags=cv2.INTER_AREA) for one in (video, out)]
        other = cv2.resize(drivers[t][0], (TILE, TILE), interpolation=cv2.INTER_AREA) if drivers else seen[0] * 0
        columns.append(np.concatenate([seen[0], other, seen[1]]))
    return np.concatenate([*columns, *[columns[-1] * 0] * (6 - len(columns))], 1)


if __name__ == "__main__":
    main()
