#!/usr/bin/env python3
"""Fit the mean face and the turn basis (geometry.shape) to the points of clips: training.fitting.shape_basis.

scripts/build/fit_shape_basis.py ../shared/data/clips/train src/fewshot_reenact/weights/shape_basis.npz
"""

from pathlib import Path

import click
import numpy as np

from fewshot_reenact.training.fitting.shape_basis import fit_shape_basis, read_points


@click.command(help=__doc__.split("\n\n")[0])
@click.argument("clips", type=click.Path(exists=True, path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
def main(clips: Path, output: Path) -> None:
    points = read_points(clips)
    basis, explained = fit_shape_basis(points)
    np.savez_compressed(output, mean=basis.mean.astype(np.float32), turn=basis.turn.astype(np.float32))
    click.echo(
        f"{output}: {sum(map(len, points))} frames; turn, lips and lids explain {100 * explained:.0f} % of the shapes' "
        "variance within clips"
    )


if __name__ == "__main__":
    main()
