#!/usr/bin/env python3
"""Measure the 52 blendshapes against the referee's scores, and --neutral; writes the tables of docs/motion.md.

scripts/build/label_blendshapes.py FACE.task ../shared/data/clips/val run/blendshapes_val.npz --frames 10
scripts/measure/measure_blendshapes.py run/blendshapes_val.npz run/clips_val ../shared/data/portraits/*.jpg
"""

from pathlib import Path

import click
import numpy as np

import tables
from fewshot_reenact.errors import InputError
from fewshot_reenact.inputs.portrait_files import PortraitSource
from fewshot_reenact.landmarks.registry import load_backend
from fewshot_reenact.motion.blendshapes import NAMES, rig
from fewshot_reenact.motion.heads import Lift, lift
from fewshot_reenact.motion.neutral import at_rest
from fewshot_reenact.training.fitting.blendshapes import Agreement, agreement, read_labelled

LEAST = 0.03  # the referee's standard deviation from which on a coefficient is in the table
SMILES = 0.3  # from which on a portrait smiles


@click.command(help=__doc__.split("\n\n")[0])
@click.argument("labels", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("clips", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("portraits", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def main(labels: Path, clips: Path, portraits: tuple[Path, ...]) -> None:
    tables.write("blendshapes", table(agreement(rig(), read_labelled(labels, clips))))
    if portraits:
        tables.write("neutral", neutral(portraits))


def table(found: Agreement) -> str:
    """A row for each coefficient that varies; left and right are one row, the mean of both."""
    lines = ["| coefficient | correlation | mean absolute error | the referee's spread |", "|---|---|---|---|"]
    varies = found.spread >= LEAST
    for name in dict.fromkeys(name.removesuffix("Left").removesuffix("Right") for name in NAMES):
        both = [i for i, one in enumerate(NAMES) if one in (name, f"{name}Left", f"{name}Right") and varies[i]]
        if both:
            cells = (float(values[both].mean()) for values in (found.correlation, found.error, found.spread))
            shown = ", ".join(NAMES[i] for i in both) if name in ("Mouth", "Jaw") else name
            lines.append(f"| {shown} | " + " | ".join(f"{cell:.3f}" for cell in cells) + " |")
    mean = [float(values[varies].mean()) for values in (found.correlation, found.error, found.spread)]
    lines.append(f"| mean of the {int(varies.sum())} that vary | " + " | ".join(f"{cell:.3f}" for cell in mean) + " |")
    lines.append(
        f"\n{found.frames} frames. The referee's scores explain {100 * found.explained:.0f} % of how the points"
    )
    lines.append("change within a clip, through the rig.")
    return "\n".join(lines)


def neutral(portraits: tuple[Path, ...]) -> str:
    """What is measured of portraits that smile, before and after."""
    backend = load_backend("builtin", "cpu")
    lines = ["| portrait | smile | with --neutral | lips' gap | with --neutral |", "|---|---|---|---|---|"]
    for path in portraits:
        try:
            own = lift(PortraitSource.parse([path], "largest").load(backend)[0][0].points)
        except InputError:
            continue
        before, after = _measured(own), _measured(at_rest(own))
        if before[0] >= SMILES:
            cells = (before[0], after[0], before[1], after[1])
            lines.append(f"| {path.stem} | " + " | ".join(f"{cell:.2f}" for cell in cells) + " |")
    return "\n".join(lines)


def _measured(one: Lift) -> tuple[float, float]:
    """The mean of MouthSmileLeft and MouthSmileRight, and the gap between the lips in eye distances."""
    scores = rig().coefficients(one.solid[None])[0]
    smile = np.mean([scores[NAMES.index(f"MouthSmile{side}")] for side in ("Left", "Right")])
    return float(smile), float(one.solid[66, 1] - one.solid[62, 1])


if __name__ == "__main__":
    main()
