#!/usr/bin/env python3
"""Attacks on the watermark by somebody without its key: in how many videos it is still found, and what they cost.

scripts/measure/threats.py A.mp4 B.mp4 ...          # prints the table
scripts/measure/threats.py A.mp4 B.mp4 ... --write  # and writes it into docs/watermark.md

Frames are stamped and attacked as they are, without encoding in between. Averaging over other outputs takes the other
videos, each with an id of its own.
"""

from collections.abc import Callable
from pathlib import Path

import click
import cv2
import numpy as np

import tables
from fewshot_reenact.media.reader import VideoReader
from fewshot_reenact.provenance.detector import detect
from fewshot_reenact.provenance.watermark import Watermarker

Frames = list[np.ndarray]
PAYLOAD, OTHER = 0x9A3CF1275BE80D46, 0x1122334455667788
SIDES = (256, 512)
FOUND, SECOND, NONE = "found", "the other", "none"


def residual(frames: Frames) -> np.ndarray:
    """What stays at its place over time and is fine: the mark, and what of the picture stands still."""
    return np.mean([one - cv2.GaussianBlur(one.astype(np.float32), (0, 0), 6) for one in frames], 0)


def without(frames: Frames, pattern: np.ndarray) -> Frames:
    return [np.rint(one - pattern).clip(0, 255).astype(np.uint8) for one in frames]


def each(change: Callable[[np.ndarray], np.ndarray]) -> Callable[..., Frames]:
    """An attack that does the same to every frame."""
    return lambda marked, plain, others: [change(one) for one in marked]


def sharper_and_larger(picture: np.ndarray) -> np.ndarray:
    large = cv2.resize(picture, None, fx=2, fy=2, interpolation=cv2.INTER_LANCZOS4)
    return cv2.addWeighted(large, 1.6, cv2.GaussianBlur(large, (0, 0), 1.5), -0.6, 0)


def pasted(share: float) -> Callable[..., Frames]:
    """So many of the frames are the output's, the others are a recording's."""
    return lambda marked, plain, others: [
        one if n < round(share * len(marked)) else two for n, (one, two) in enumerate(zip(marked, plain, strict=True))
    ]


def halves(marked: Frames, plain: Frames, others: Frames) -> Frames:
    width = marked[0].shape[1] // 2
    return [np.hstack([one[:, :width], two[:, width:]]) for one, two in zip(marked, plain, strict=True)]


def own_mean(marked: Frames, plain: Frames, others: Frames) -> Frames:
    return without(marked, residual(marked))


def stamped(payload: int, frames: Frames) -> Frames:
    stamper = Watermarker(payload)
    return [stamper.stamp(one, n / 25) for n, one in enumerate(frames)]


# Each gets the marked frames, the same without a mark, and frames of the other outputs.
ATTACKS: dict[str, Callable[..., Frames]] = {
    "nothing": lambda marked, plain, others: marked,
    "the mean over this output's own frames taken away": own_mean,
    "the mean over all other outputs taken away": lambda marked, plain, others: without(marked, residual(others)),
    "twice that taken away": lambda marked, plain, others: without(marked, 2 * residual(others)),
    "a second mark stamped over it": lambda marked, plain, others: stamped(OTHER, marked),
    "a collage: the left half of the output, the right one of a recording": halves,
    "half of the frames put into a recording": pasted(0.5),
    "a fifth of the frames put into a recording": pasted(0.2),
    "median of 3 x 3 pixels": each(lambda one: cv2.medianBlur(one, 3)),
    "bilateral filter": each(lambda one: cv2.bilateralFilter(one, 5, 20, 3)),
    "non-local means, h = 3": each(lambda one: cv2.fastNlMeansDenoisingColored(one, None, 3, 3, 5, 11)),
    "non-local means, h = 6": each(lambda one: cv2.fastNlMeansDenoisingColored(one, None, 6, 6, 5, 11)),
    "twice the size by Lanczos, sharpened": each(sharper_and_larger),
}


@click.command(help=__doc__.split("\n\n")[0])
@click.argument("videos", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--frames", default=25, show_default=True, help="Of each video, from the start.")
@click.option("--write", is_flag=True, help="Write the table into the documentation.")
def main(videos: tuple[Path, ...], frames: int, write: bool) -> None:
    cv2.setNumThreads(1)
    rows: dict[str, list[str]] = {name: [] for name in ATTACKS}
    costs: dict[str, list[float]] = {name: [] for name in ATTACKS}
    for side in SIDES:
        clips = [square(path, side, frames) for path in videos]
        said: dict[str, list[str]] = {name: [] for name in ATTACKS}
        for number, plain in enumerate(clips):
            others = [one for n, clip in enumerate(clips) if n != number for one in stamped((1000 + n) << 32, clip)]
            marked = stamped(PAYLOAD, plain)
            for name, attack in ATTACKS.items():
                attacked = attack(marked, plain, others)
                found = detect(attacked)
                what = NONE if found is None else FOUND if f"{PAYLOAD:016x}".startswith(found.id) else SECOND
                said[name].append(what)
                if attacked[0].shape == marked[0].shape:
                    costs[name] += [cv2.PSNR(one, two) for one, two in zip(attacked, marked, strict=True)]
            click.echo(f"{videos[number].name} {side}: {[said[name][-1] for name in ATTACKS]}", err=True)
        for name, one in said.items():
            second = one.count(SECOND)
            rows[name].append(f"{one.count(FOUND)} of {len(one)}" + (f", the other in {second}" if second else ""))
    lines = [
        "| attack without the key | " + " | ".join(f"found at {side} px" for side in SIDES) + " | PSNR it costs |",
        "|---" * (len(SIDES) + 2) + "|",
    ]
    for name, found_at in rows.items():
        cost = [one for one in costs[name] if one < 100]
        lines.append(f"| {name} | {' | '.join(found_at)} | {f'{np.median(cost):.1f} dB' if cost else ''} |")
    click.echo("\n".join(lines))
    if write:
        tables.write("threats", "\n".join(lines) + "\n")


def square(path: Path, side: int, frames: int) -> Frames:
    """The middle square of a video's first frames."""
    with VideoReader(path) as reader:
        pictures = [frame.picture for frame, _ in zip(reader, range(frames), strict=False)]
    height, width = pictures[0].shape[:2]
    edge = min(height, width)
    y, x = (height - edge) // 2, (width - edge) // 2
    return [cv2.resize(one[y : y + edge, x : x + edge], (side, side), interpolation=cv2.INTER_AREA) for one in pictures]


if __name__ == "__main__":
    main()
