#!/usr/bin/env python3
"""Put trained landmark weights into the package, with a card each: what they are, their SHA-256, how they were made.

scripts/ship_landmarks.py --run run/landmarks [--figures FILE]     FILE: the JSON of scripts/measure_landmarks.py
"""

import hashlib
import json
import shutil
from pathlib import Path

import click
from safetensors import safe_open

from fewshot_reenact.landmarks.network import WEIGHTS

ABOUT = {
    "detector": "Face detector of the built-in landmarks (`landmarks/detector.py`).",
    "landmarks": "Point network of the built-in landmarks (`landmarks/network.py`): 83 points of a face.",
    "forehead": "Linear map that completes 68 points by the forehead for `--landmarks fan` (`landmarks/fan.py`).",
}
MADE = {
    "detector": "scripts/train_landmarks.py detector",
    "landmarks": "scripts/train_landmarks.py points",
    "forehead": "scripts/fit_forehead.py",
}
SOURCE = """Trained on the points and pictures of 5,350 still portraits and of every eighth frame of clips of 300
people, short excerpts from the example pages of public research repositories; the points are those of MediaPipe
Face Mesh, the teacher. No picture is in the file. Its faces lean to young, front-facing, well-lit people: expect
larger errors elsewhere. It finds faces; it recognises nobody."""


@click.command()
@click.option("--run", type=click.Path(path_type=Path), help="Copy the trained weights from here.")
@click.option("--figures", type=click.Path(path_type=Path), help="Measured figures for the cards.")
def main(run: Path | None, figures: Path | None) -> None:
    if run:
        shutil.copyfile(run / "points.safetensors", WEIGHTS / "landmarks.safetensors")
        shutil.copyfile(run / "detector.safetensors", WEIGHTS / "detector.safetensors")
    for name, about in ABOUT.items():
        path = WEIGHTS / f"{name}.safetensors"
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        with safe_open(str(path), "np") as file:
            note = (file.metadata() or {}).get("note", "")
        lines = [f"# {path.name}", "", about, f"{path.stat().st_size} bytes, SHA-256 {digest}.", ""]
        lines += [f"Made by `{MADE[name]}`: {note}.", "", SOURCE if name != "forehead" else "Points only, no pictures."]
        if figures and name != "forehead":
            lines += ["", "Measured by `scripts/measure_landmarks.py`:", "", "```json"]
            lines += [json.dumps(json.loads(figures.read_text()), indent=1), "```"]
        (WEIGHTS / f"{name}.md").write_text("\n".join(lines) + "\n")
        click.echo(f"{path}: {digest}")


if __name__ == "__main__":
    main()
