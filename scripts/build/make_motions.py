#!/usr/bin/env python3
"""Make the built-in motions and their card, weights/motions.npz, from the points of clips: training.fitting.motions.

scripts/build/make_motions.py ../shared/data/clips/train
"""

from pathlib import Path

import click
import numpy as np

from fewshot_reenact.files import sha256
from fewshot_reenact.models.cards import built_in_head
from fewshot_reenact.motion.builtins import FILE, FPS
from fewshot_reenact.training.fitting.motions import load_clips, make_motions, stored

CARD = """# motions.npz

Built-in motions: 83 points a frame, {fps} frames a second, in a picture of 512 x 512 pixels; int16, 32nds of a pixel.
{size} bytes, SHA-256 {digest}.

{rows}

Made by `scripts/build/make_motions.py` from the points (no pictures) of about 600 short research clips. Each motion
is a change added to one symmetric mean face, so the file holds nobody's face shape. Each begins and ends at rest and
can be repeated.
"""


@click.command(help=__doc__.split("\n\n")[0])
@click.argument("clips", type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(clips: Path) -> None:
    arrays = stored(make_motions(load_clips(clips)))
    np.savez_compressed(FILE, **arrays)
    rows = "\n".join(
        f"- `motion:{name}`: {len(points)} frames, {len(points) / FPS:.1f} s" for name, points in arrays.items()
    )
    card = CARD.format(digest=sha256(FILE), size=FILE.stat().st_size, fps=FPS, rows=rows)
    FILE.with_suffix(".md").write_text(built_in_head("motions") + "\n" + card)
    click.echo(f"{FILE}: {FILE.stat().st_size} bytes\n{rows}")


if __name__ == "__main__":
    main()
