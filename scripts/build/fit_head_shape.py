#!/usr/bin/env python3
"""Fit the head in three dimensions (geometry.solid) and write its card: training.fitting.head_shape.

scripts/build/fit_head_shape.py ../shared/data/clips/train --own run/clips
"""

import io
from pathlib import Path

import click
import numpy as np

from fewshot_reenact.files import partial_file, sha256
from fewshot_reenact.geometry.solid import MODEL
from fewshot_reenact.models.cards import built_in_head
from fewshot_reenact.training.fitting.head_shape import NEARNESS, fit_head_shape, pick_frames
from fewshot_reenact.training.fitting.point_spread import backend_spread, spread_in_use
from fewshot_reenact.training.fitting.shape_basis import read_points

SHOWN = {
    "nose tip": 30,
    "mouth corner": 54,
    "upper lip's middle": 51,
    "chin": 8,
    "jaw's end": 16,
    "temple": 78,
    "forehead's middle": 73,
    "iris": 82,
}


@click.command(help=__doc__.split("\n\n")[0])
@click.argument("clips", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--own",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="The same clips with the built-in extractor's points (scripts/build/relabel_clips.py).",
)
@click.option("--output", type=click.Path(path_type=Path), default=MODEL, show_default=True)
@click.option("--frames", default=6, show_default=True, help="At most so many frames of a clip, evenly spread.")
@click.option("--modes", default=12, show_default=True, help="Modes of identity, and of expression.")
@click.option("--rounds", default=8, show_default=True, help="Rounds with modes, after those of the mean head alone.")
def main(clips: Path, own: Path, output: Path, frames: int, modes: int, rounds: int) -> None:
    labelled = read_points(clips)
    points = pick_frames(labelled, frames)
    shapes, quality = fit_head_shape(points, identities=modes, expressions=modes, rounds=rounds, progress=click.echo)
    # The clips' own points are steadier than what is met in use.
    spread = spread_in_use(shapes.spread, backend_spread(read_points(own), labelled))
    # Through memory, since numpy writes the time of day into an archive's members only when it makes the file itself.
    arrays = {
        "mean": shapes.mean,
        "identity": shapes.identity,
        "expression": shapes.expression,
        "spread": spread,
        "nearness": np.array(shapes.nearness),
    }
    packed = io.BytesIO()
    np.savez_compressed(
        packed, allow_pickle=False, **{name: array.astype(np.float32) for name, array in arrays.items()}
    )
    with partial_file(output, True) as partial:
        partial.write_bytes(packed.getvalue())
    places = "\n".join(
        f"| {name} | " + " | ".join(f"{value:+.2f}" for value in shapes.mean[index]) + " |"
        for name, index in SHOWN.items()
    )
    card = CARD.format(
        size=output.stat().st_size, digest=sha256(output), clips=len(points), quality=quality, places=places,
        modes=modes, frames=frames, rounds=rounds, distance=1 / NEARNESS,
        identity=_sizes(shapes.identity), expression=_sizes(shapes.expression),
    )  # fmt: skip
    output.with_suffix(".md").write_text(built_in_head("head_shape") + "\n" + card, "utf-8")
    click.echo(f"{output}: {output.stat().st_size} bytes; {quality}")


def _sizes(modes: np.ndarray) -> str:
    """Each mode's standard deviation, root mean square over the points, per cent of the eye distance."""
    return ", ".join(f"{100 * float(np.sqrt((mode**2).sum(-1).mean())):.1f}" for mode in modes)


CARD = """# head_shape.npz

A head in three dimensions: the mean of 83 points with their depth, {modes} modes of identity, {modes} of expression,
how exact each point is, and how near the camera stands in the mean (see `geometry/solid.py`). {size} bytes,
SHA-256 {digest}.

Made by `scripts/build/fit_head_shape.py ../shared/data/clips/train --own run/clips` (--frames {frames} --modes {modes}
--rounds {rounds}) from points alone: {quality.frames:,} frames of {clips} training clips of 319 people,
{quality.turned} of them turned by more than 20 degrees. The points are those that come with the clips (MediaPipe Face
Mesh, x and y only). No picture, no depth and no rotation of another network is in it, and nobody's own face: modes and
means of all.

Axes: x to the right of the picture, y down, z towards the viewer; origin between the outer eye corners; their distance
is 1. The mean is symmetric. How exact a point is: the fit's residual and the built-in extractor's error against the
clips' points, together; three times that at jaw, forehead and brows. Level is the mean pitch of the clips. The camera
is taken to stand {distance:.1f} eye
distances away, of the four distances tried the one that left least (`NEARNESS` in
`training/fitting/head_shape.py`).

| point | x | y | z |
|---|---|---|---|
{places}

Standard deviations of the modes, root mean squares over the points, per cent of the eye distance:
identity {identity}; expression {expression}.

Mean distance of the points from where the head shows them, eye distances, on the frames of the fit:
{quality.rigid:.4f} by the mean head alone, {quality.rigid_turned:.4f} in turned frames; {quality.full:.4f} and
{quality.full_turned:.4f} with the modes.
"""


if __name__ == "__main__":
    main()
