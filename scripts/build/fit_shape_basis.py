#!/usr/bin/env python3
"""Fit the mean face and the turn basis (geometry.shape) to the points of clips: no pictures are read.

scripts/build/fit_shape_basis.py ../shared/data/clips/train src/fewshot_reenact/weights/shape_basis.npz
"""

from pathlib import Path

import click
import numpy as np

from fewshot_reenact.geometry import shape as shapes
from fewshot_reenact.geometry.topology import FLIP, LEFT_EYE, N_POINTS, RIGHT_EYE


def first_mean(clips: list[np.ndarray]) -> np.ndarray:
    """Mean of the clips' mean faces, each with the eyes on a level line, eye distance 1, origin between the eyes;
    symmetric.
    """
    rows = []
    for points in clips:
        left, right = points[:, LEFT_EYE].mean(1), points[:, RIGHT_EYE].mean(1)
        across = right - left
        size = np.linalg.norm(across, axis=1)[:, None, None]
        turn = shapes._rotation(np.arctan2(across[:, 1], across[:, 0]))
        rows.append((((points - ((left + right) / 2)[:, None]) @ turn.transpose(0, 2, 1)) / size).mean(0))
    mean = np.mean(rows, 0)
    return symmetric(mean)


def symmetric(mean: np.ndarray) -> np.ndarray:
    return (mean + mean[FLIP] * [-1, 1]) / 2


@click.command(help=__doc__.split("\n\n")[0])
@click.argument("clips", type=click.Path(exists=True, path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
def main(clips: Path, output: Path) -> None:
    faces = [np.load(path)["points"].astype(np.float64) for path in sorted(clips.glob("*.npz"))]
    faces += [np.stack([p[FLIP] * [-1, 1] for p in points]) for points in faces]  # symmetric data, symmetric basis
    mean = first_mean(faces)
    for _ in range(5):
        mean = symmetric(np.mean([shapes.take_out(p, mean).shape.mean(0) for p in faces], 0))
    zero = np.zeros((5, N_POINTS, 2))
    shapes.basis = lambda: shapes.Basis(mean, zero)  # type: ignore[assignment]
    rows, features = [], []
    for points in faces:
        shape = shapes.take_out(points, mean).shape
        # Mouth and lids are fitted too, and dropped: people who look down also tend to close their eyes.
        nuisance = np.column_stack(
            [shapes.openness(shape), shape[:, 54, 0] - shape[:, 48, 0], shape[:, 17:27, 1].mean(1)]
        )
        feature = np.column_stack([shapes.turn_features(shapes.turn_of(shape)), nuisance])
        # Each clip against its own mean: what differs between people is not turning.
        rows.append((shape - shape.mean(0)).reshape(len(shape), -1))
        features.append(feature - feature.mean(0))
    x, y = np.concatenate(features), np.concatenate(rows)
    ridge = 1e-4 * np.eye(x.shape[1]) * np.trace(x.T @ x) / x.shape[1]
    fitted = np.linalg.solve(x.T @ x + ridge, x.T @ y)
    explained = 1 - ((y - x @ fitted) ** 2).sum() / (y**2).sum()
    turn = fitted[:5]
    np.savez_compressed(output, mean=mean.astype(np.float32), turn=turn.reshape(5, N_POINTS, 2).astype(np.float32))
    click.echo(
        f"{output}: {len(x) // 2} frames; turn, lips and lids explain {100 * explained:.0f} % of the shapes' variance "
        "within clips"
    )


if __name__ == "__main__":
    main()
