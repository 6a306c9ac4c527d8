#!/usr/bin/env python3
"""Fit the map that completes 68 points by a forehead, for the `fan` backend: weights/forehead.safetensors.

    scripts/build/fit_forehead.py --data ../shared/data

Ridge regression on the points of stills and of every eighth frame of clips/train; no picture is read.
"""

import json
from pathlib import Path

import click
import numpy as np
from safetensors.numpy import save_file

from fewshot_reenact.geometry.topology import eye_distance
from fewshot_reenact.landmarks.fan import FOREHEAD_FILE, KNOWN, forehead_frame


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default=Path("../shared/data"), show_default=True)
@click.option("--ridge", type=float, default=1e-3, show_default=True)
def main(data: Path, ridge: float) -> None:
    clips = sorted((data / "clips" / "train").glob("*.npz"))
    sets = [np.load(data / "stills" / "stills.npz")["points"], *(np.load(path)["points"][::8] for path in clips)]
    points = np.concatenate(sets).astype(np.float64)
    held = np.arange(len(points)) % 10 == 0
    origin, turn = forehead_frame(points)
    own = (points - origin[:, None]) @ turn
    x = np.concatenate([own[:, KNOWN].reshape(len(own), -1), np.ones((len(own), 1))], 1)
    y = own[:, 68:81].reshape(len(own), -1)
    a, b = x[~held], y[~held]
    matrix = np.linalg.solve(a.T @ a + ridge * len(a) * np.diag([1.0] * (x.shape[1] - 1) + [0.0]), a.T @ b)
    inverse = np.linalg.inv(turn[held])
    off = (x[held] @ matrix - y[held]).reshape(-1, 13, 2) @ inverse
    error = (np.linalg.norm(off, axis=-1).mean(1) / eye_distance(points[held])).mean()
    note = f"{len(a)} faces; error on {held.sum()} others {100 * error:.2f} % of the eye distance"
    save_file({"forehead": matrix.astype(np.float32)}, FOREHEAD_FILE, metadata={"note": json.dumps(note)})
    click.echo(f"{FOREHEAD_FILE}: {note}")


if __name__ == "__main__":
    main()
