#!/usr/bin/env python3
"""Fit the map that completes 68 points by a forehead, for the `fan` backend: weights/forehead.safetensors.

    scripts/build/fit_forehead.py --data ../shared/data

Ridge regression on the points of stills and of every eighth frame of clips/train; no picture is read.
"""

import json
from pathlib import Path

import click
from safetensors.numpy import save_file

from fewshot_reenact.landmarks.fan import FOREHEAD_FILE
from fewshot_reenact.training.fitting.forehead import fit_forehead, read_faces


@click.command(help=__doc__.split("\n\n")[0])
@click.option("--data", type=click.Path(path_type=Path), default=Path("../shared/data"), show_default=True)
@click.option("--ridge", type=float, default=1e-3, show_default=True)
def main(data: Path, ridge: float) -> None:
    matrix, note = fit_forehead(read_faces(data), ridge)
    save_file({"forehead": matrix}, FOREHEAD_FILE, metadata={"note": json.dumps(note)})
    click.echo(f"{FOREHEAD_FILE}: {note}")


if __name__ == "__main__":
    main()
