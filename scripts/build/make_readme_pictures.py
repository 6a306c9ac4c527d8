#!/usr/bin/env python3
"""Make the README's pictures with the tool as it stands: docs/strip.jpg and docs/talk.gif.

    scripts/build/make_readme_pictures.py

Portrait and driver are the bundled ones. Run it again when the model changes.
"""

import tempfile
from pathlib import Path

import click
import cv2
import numpy as np
from PIL import Image

import fewshot_reenact
from fewshot_reenact import animate
from fewshot_reenact.media.pictures import read_picture
from fewshot_reenact.media.reader import VideoReader

ASSETS = Path(fewshot_reenact.__file__).parent / "assets"
DOCS = Path(__file__).resolve().parents[2] / "docs"
PORTRAIT, DRIVER = ASSETS / "grace_hopper.jpg", ASSETS / "driver.mp4"
MOMENTS = 6
SIDE = 200


def frames_of(path: Path) -> list[np.ndarray]:
    with VideoReader(path) as reader:
        return [frame.picture for frame in reader]


def small(picture: np.ndarray, side: int = SIDE) -> np.ndarray:
    return cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)


@click.command(help=__doc__.split("\n\n")[0])
def main() -> None:
    DOCS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        made = animate(PORTRAIT, DRIVER, Path(name) / "out.mp4", frame="crop", size=512)
        output, driver = frames_of(made.output), frames_of(DRIVER)
    chosen = np.linspace(0, len(output) - 1, MOMENTS + 2).astype(int)[1:-1]
    blank = np.full((SIDE, SIDE, 3), 255, np.uint8)
    portrait = read_picture(PORTRAIT)
    least = min(portrait.shape[:2])
    top = np.concatenate([blank, *(small(driver[i]) for i in chosen)], 1)
    bottom = np.concatenate([small(portrait[:least, :least]), *(small(output[i]) for i in chosen)], 1)
    Image.fromarray(np.concatenate([top, bottom])).save(DOCS / "strip.jpg", quality=88)

    pictures = [Image.fromarray(np.concatenate([small(d), small(o)], 1)) for d, o in zip(driver, output, strict=True)]
    pictures = [p.quantize(96) for p in pictures[: 3 * 25 : 2]]
    pictures[0].save(DOCS / "talk.gif", save_all=True, append_images=pictures[1:], duration=80, loop=0, optimize=True)
    for path in (DOCS / "strip.jpg", DOCS / "talk.gif"):
        print(path, f"{path.stat().st_size / 1024:.0f} kB")


if __name__ == "__main__":
    main()
