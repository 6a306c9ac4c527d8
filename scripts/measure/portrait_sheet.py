#!/usr/bin/env python3
"""A sheet to look at: what every portrait does in the driver's most telling moments, without rendering whole videos.

    scripts/measure/portrait_sheet.py ../shared/data/portraits/*.jpg \\
      --driver ../shared/data/drivers/woman_expressions.mp4 \\
        --out out/sheet.jpg
    scripts/measure/portrait_sheet.py portrait.jpg --driver driver.mp4 --consecutive 60 --out out/strip.jpg

The first row is the driver, the others are the portraits, each first as it is. Moments: mouth widest, lips widest, eyes
shut, head turned most to each side, bowed and raised most, and some evenly spaced. With --consecutive N they are the
frames from N on, one after the other: flicker and jumps show there. Relative motion, no marks.
"""

from pathlib import Path

import click
import cv2
import numpy as np
from PIL import Image

from fewshot_reenact.geometry.head_crop import cut_square, square_about
from fewshot_reenact.geometry.shape import openness, take_out, turn_of
from fewshot_reenact.inputs.driver import DriverSource
from fewshot_reenact.inputs.portrait import Portrait, crop_portrait
from fewshot_reenact.inputs.portrait_files import PortraitSource
from fewshot_reenact.landmarks.registry import load_backend
from fewshot_reenact.media.reader import read_frames
from fewshot_reenact.models.checkpoint import load_model
from fewshot_reenact.models.reenactor import Reenactor
from fewshot_reenact.motion.motion import Motion
from fewshot_reenact.motion.retarget import Retargeting
from fewshot_reenact.rendering.dense_motion import dense_motion_at
from fewshot_reenact.rendering.plan import plan_motion
from fewshot_reenact.rendering.renderer import open_renderer


@click.command(help=__doc__)
@click.argument("portraits", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--driver", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--model", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="default: the built-in one")
@click.option("--frames", type=click.IntRange(1), default=10, show_default=True)
@click.option("--cell", type=click.IntRange(64, 1024), default=224, show_default=True, help="Pixels a side.")
@click.option("--consecutive", type=click.IntRange(0), help="Frames one after the other, from this one on.")
@click.option("--dense/--no-dense", default=True, show_default=True)
@click.option("--warp-only", is_flag=True)
def main(
    portraits: tuple[Path, ...],
    driver: Path,
    out: Path,
    model: Path | None,
    frames: int,
    cell: int,
    consecutive: int | None,
    dense: bool,
    warp_only: bool,
) -> None:
    backend, networks = load_backend("builtin", "cpu"), load_model(model, "cpu")
    driven = DriverSource.parse(driver).measure(backend)
    moments = telling(driven.motion.filled().points, frames)
    if consecutive is not None:
        moments = np.arange(consecutive, min(consecutive + frames, len(driven.motion)))
    shown = read_frames(driver, moments.tolist())
    heads = driven.motion.filled().points
    rows = [[np.zeros((cell, cell, 3), np.uint8), *(head(shown[t], heads[t], cell) for t in moments.tolist())]]
    for path in portraits:
        people, _ = PortraitSource([path]).load(backend)
        one = crop_portrait(people[0], max(256, cell))
        made = render(networks, one, driven.motion, driver, moments, dense, warp_only)
        rows.append([fit(one.picture, cell), *(fit(picture, cell) for picture in made)])
        click.echo(path.name)
    out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate([np.concatenate(row, 1) for row in rows])).save(out, quality=90)


def telling(points: np.ndarray, count: int) -> np.ndarray:
    """Numbers of the frames in which the driver (T, 83, 2) does most, ascending."""
    shape = take_out(points).shape
    opened, turned = openness(shape), turn_of(shape)
    wide = np.linalg.norm(shape[:, 54] - shape[:, 48], axis=1)
    most = [opened[:, 0], wide, -opened[:, 1:].sum(1), turned[:, 0], -turned[:, 0], turned[:, 1], -turned[:, 1]]
    chosen = {int(np.argmax(one)) for one in most}
    # What is left goes to moments far from those.
    while len(chosen) < min(count, len(points)):
        away = np.abs(np.arange(len(points))[:, None] - np.array(sorted(chosen))).min(1)
        chosen.add(int(away.argmax()))
    return np.array(sorted(chosen)[:count])


def render(
    networks: Reenactor,
    portrait: Portrait,
    motion: Motion,
    driver: Path,
    moments: np.ndarray,
    dense: bool,
    warp_only: bool,
) -> list[np.ndarray]:
    plan = plan_motion(motion, portrait, Retargeting(), 0.5)
    shifts = None
    if dense and networks.dims.corrects_warp:
        shifts = dense_motion_at(driver, motion, plan, moments, networks.dims.size)
    renderer = open_renderer(networks, [portrait], plan.moves, warp_only=warp_only)
    return list(renderer.render(plan.moves[moments], shifts))


def head(picture: np.ndarray, points: np.ndarray, cell: int) -> np.ndarray:
    return cut_square(picture, square_about(points[None], (picture.shape[1], picture.shape[0])), cell)[0]


def fit(picture: np.ndarray, cell: int) -> np.ndarray:
    return cv2.resize(picture, (cell, cell), interpolation=cv2.INTER_AREA)


if __name__ == "__main__":
    main()
