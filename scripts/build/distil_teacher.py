#!/usr/bin/env python3
"""Distil the small network with which fine-tuning compares pictures when it is given no other: training.teacher.

scripts/build/distil_teacher.py train --data ../shared/data --run run/teacher
scripts/build/distil_teacher.py ship --run run/teacher     # into the package, with its card
"""

import json
from pathlib import Path

import click
import cv2
import torch

from fewshot_reenact.files import sha256
from fewshot_reenact.models.cards import built_in_head
from fewshot_reenact.models.teachers import TEACHER
from fewshot_reenact.training.landmarks.data import read_names
from fewshot_reenact.training.teacher import VECTOR, TeacherConfig, distil
from fewshot_reenact.weights import open_weights

HELD_OUT = Path(__file__).resolve().parents[2] / "configs" / "landmarks_held_out.txt"
CARD = """# {name}

A small network of faces, with which `reenact finetune` compares pictures when it is given no other: its maps for
features, the {vector} numbers that it ends in for the likeness. {parameters:.2f} M parameters, float16, {size:,} bytes.
The layers are in the file's metadata (`models/perceptual.py`).

- **Made with** `scripts/build/distil_teacher.py`: {steps} steps of {batch} crops, {minutes:g} minutes of one core.
- **Data**: 5,350 still portraits and every eighth frame of 584 clips of 299 people of research excerpts, not in this
  repository (those of README.md here), turned, bent, blurred and in other light.
- **Imitates** an ArcFace MobileFaceNet; only its answers were seen, no weight is taken from it.
- **Held out** (96 crops of stills and people kept aside): {held_out}.
- **Limits**: good enough to pull a few dozen steps of fine-tuning in the right direction. Not for recognising anybody:
  it mixes up people whom any real face network tells apart. Distances in it are no figures to compare models by.

SHA-256: `{digest}`
"""


@click.group(help=__doc__.split("\n\n")[0])
def main() -> None:
    pass


@main.command(short_help="Train it.")
@click.option("--data", type=click.Path(path_type=Path), default=Path("../shared/data"), show_default=True)
@click.option("--run", type=click.Path(path_type=Path), default=Path("run/teacher"), show_default=True)
@click.option("--packed", type=click.Path(path_type=Path), help="Data that landmark training has packed.")
@click.option("--minutes", type=float, default=20.0, show_default=True, help="Of training, in all calls.")
@click.option("--batch", type=int, default=24, show_default=True)
def train(data: Path, run: Path, packed: Path | None, minutes: float, batch: int) -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    config = TeacherConfig(data=data, minutes=minutes, batch=batch)
    click.echo(f"{run}: step {distil(config, run, packed or run / 'packed', read_names(HELD_OUT))}")


@main.command(short_help="Put it into the package, with its card.")
@click.option("--run", type=click.Path(exists=True, path_type=Path), default=Path("run/teacher"), show_default=True)
def ship(run: Path) -> None:
    TEACHER.write_bytes((run / TEACHER.name).read_bytes())
    with open_weights(TEACHER, "missing") as file:
        about = json.loads(file.meta["note"])
        parameters = sum(tensor.numel() for tensor in file.tensors().values()) / 1e6
    card = CARD.format(
        name=TEACHER.name,
        vector=VECTOR,
        parameters=parameters,
        size=TEACHER.stat().st_size,
        digest=sha256(TEACHER),
        **{**about, "held_out": ", ".join(f"{name} {value:.3f}" for name, value in about["held_out"].items())},
    )
    TEACHER.with_suffix(".md").write_text(built_in_head("face_teacher") + "\n" + card)
    click.echo(card)


if __name__ == "__main__":
    main()
