#!/usr/bin/env python3
"""Put trained landmark weights into the package, with their model card (src/fewshot_reenact/weights/README.md).

scripts/build/ship_landmarks.py --points FILE --detector FILE     # copy these weights, and write the cards
scripts/build/ship_landmarks.py --points FILE --points FILE       # the mean of two stages of one training
scripts/build/ship_landmarks.py --irises FILE --lids FILE
scripts/build/ship_landmarks.py --figures figures.json            # what `benchmark.py landmarks --json` measured
scripts/build/ship_landmarks.py                                   # the cards alone; the figures stay
"""

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file, save

from fewshot_reenact.files import partial_file, sha256
from fewshot_reenact.models.cards import built_in_head
from fewshot_reenact.weights import WEIGHTS

ABOUT = {
    "detector": "Face detector of the built-in landmarks (`landmarks/detector.py`).",
    "landmarks": "Point network of the built-in landmarks (`landmarks/network.py`): 83 points of a face.",
    "irises": "Iris network of the built-in landmarks (`landmarks/irises.py`): how far along an eye its iris stands.",
    "lids": "Lid network of the built-in landmarks (`landmarks/lids.py`): where the lids of a portrait's eyes are.",
    "forehead": "Linear map that completes 68 points by the forehead for `--landmarks fan` (`landmarks/fan.py`).",
}
MADE = {
    "detector": "reenact train --config configs/landmarks_detector.yaml",
    "landmarks": "reenact train --config configs/landmarks_points.yaml",
    "irises": "reenact train --config configs/landmarks_irises.yaml",
    "lids": "reenact train --config configs/landmarks_lids_alone.yaml",
    "forehead": "scripts/build/fit_forehead.py",
}
CARD = """# Built-in landmark weights

{files}

The other weights have cards of their own beside them: the default model in textured.md, what fine-tuning compares
pictures with in face_teacher.md, the head's shape in shape_basis.md (flat) and head_shape.md (solid), the
built-in motions in motions.md.

## What they do

The detector finds faces and says where eyes and mouth are; the point network sees an upright square of 128 pixels about
each and gives 83 points and how sure it is. The iris network sees each eye alone and says how far to the side its iris
stands. The lid network looks about each eye of a portrait for its lids: in paintings the point network may miss them by
a quarter of an eye. None recognises anybody, and none says anything of a person but where the face's parts are.

## Data and teacher

5,350 still portraits and every eighth frame of 584 clips of 299 people: short excerpts from the example pages of
public research repositories. The points to learn are those of MediaPipe Face Mesh, a network too: good to about 2 % of
the eye distance inside the face, looser on the jaw; what it does wrong is learnt with the rest. No picture is in the
files. Held out: the 223 stills listed by name in `configs/landmarks_held_out.txt`, the clips of people p300 and above,
and the 21 people of clips/val.

Light, grey, blur, noise, paint, covered parts, turns (`training/landmarks/augment.py`), drawn glasses, beards and head
coverings (`training/landmarks/dress.py`; points only) are added at random. What is no face is taught with photographs
of things and textures, a cat, drawn animals, faces cut up or upside down.

## Measured

`scripts/measure/benchmark.py landmarks`, these files. Errors are mean distances from the teacher's points over the
distance of the outer eye corners. "Darkest" and "lightest fifth" go by the grey level of the cheeks in the picture:
light as much as skin, for the data has no labels of people. Glasses, beards and coverings are drawn over held-out
stills. Times are lower quartiles on one core; other programs on the machine make them longer.

<!-- figures -->
{figures}
<!-- /figures -->

## Limits

- The grounds of the composed scenes are of the same collections (scikit-image's photographs, drawn animals) as those
  that the detector learnt to ignore: on others it may see more faces that are none. The faces there are held out.
- The faces lean to adults who look at a camera in good light. No label in the data says who they are, so nothing can be
  said about ages, sexes or origins; measure on your own people before you rely on it.
- Beyond 30 degrees of turn errors grow to about twice those from the front; profiles are not found.
- Of faces under 30 pixels (brow to chin) some are missed.
- Closed eyes are as closed as the teacher has them; behind dark glasses eyes are guessed.
- Animals and most cartoons are no faces to it.

## How to train again

    reenact train --config configs/landmarks_detector.yaml --run run/landmarks_detector --threads 1
    reenact train --config configs/landmarks_points.yaml --run run/landmarks --threads 1
    reenact train --config configs/landmarks_irises.yaml --run run/irises --threads 1
    reenact train --config configs/landmarks_lids_alone.yaml --run run/lids_alone --threads 1
    scripts/build/ship_landmarks.py --points run/landmarks/points.safetensors \\
      --detector run/landmarks_detector/detector.safetensors --irises run/irises/irises.safetensors \\
      --lids run/lids_alone/lids.safetensors

The shipped detector learnt for 20 minutes of one shared CPU core, the points' first stage for 56 (a config
sets this with `minutes:`); they were made before drawn glasses, beards and coverings were among the changes.

{stages}
"""
AGREED = """In a second stage (`configs/landmarks_agree.yaml`: supervision by registration, Dong et al. 2018), where
those were, the points learnt to agree between frames; shipped is the mean of stages (`ship_landmarks.py --points FIRST
--points SECOND`; model soups, Wortsman et al. 2022). What was done to closed eyes since
(`configs/landmarks_blinks.yaml`, `configs/landmarks_lids.yaml`) is in docs/training-log.md."""
FIRST_ONLY = """A second stage of the points (`configs/landmarks_agree.yaml`: supervision by registration, Dong et al.
2018) was tried and not shipped: docs/training-log.md says why."""


def describe(name: str) -> tuple[str, str, str]:
    """The file's name, its SHA-256, and the note inside it."""
    path = WEIGHTS / f"{name}.safetensors"
    with safe_open(str(path), "np") as file:
        note = (file.metadata() or {}).get("note", "")
    return path.name, sha256(path), note


def mean_of(sources: Sequence[Path], out: Path) -> None:
    """The mean of networks that began with the same weights, each number by itself (model soups, Wortsman et al. 2022):
    it keeps most of what a second stage gained, and little of what it lost.
    """
    every, notes, about = [load_file(path) for path in sources], [], {}
    for path in sources:
        with safe_open(str(path), "np") as file:
            about = file.metadata() or {}
            notes.append(about.get("note", ""))
    mean = {
        name: np.asarray(np.mean([one[name] for one in every], axis=0, dtype=np.float64)).astype(value.dtype)
        for name, value in every[0].items()
    }
    note = notes[0] if len(notes) == 1 else "the mean of two stages, " + " and ".join(notes)
    with partial_file(out, overwrite=True) as partial:
        partial.write_bytes(save(mean, metadata={**about, "note": note}))


def figures_of(report: Path | None, changed: bool) -> str:
    """The table for the card: of a report, or those that stand there if the weights are the same."""
    if report is not None:
        found = json.loads(report.read_text())
        if "card" not in found:
            raise click.UsageError(f"{report}: not what `scripts/measure/benchmark.py landmarks --json` writes today")
        return found["card"]
    card = WEIGHTS / "README.md"
    there = re.search(
        r"<!-- figures -->\n(.*)\n<!-- /figures -->", card.read_text() if card.is_file() else "", re.DOTALL
    )
    return "Not measured yet." if changed or there is None else there[1]


@click.command(help=__doc__.split("\n\n")[0])
@click.option("--points", multiple=True, type=click.Path(exists=True, path_type=Path), help="Point network to ship.")
@click.option("--detector", type=click.Path(exists=True, path_type=Path), help="Detector to ship.")
@click.option("--irises", type=click.Path(exists=True, path_type=Path), help="Iris network to ship.")
@click.option("--lids", type=click.Path(exists=True, path_type=Path), help="Lid network to ship.")
@click.option(
    "--figures", type=click.Path(exists=True, path_type=Path), help="JSON of scripts/measure/benchmark.py landmarks."
)
def main(
    points: tuple[Path, ...], detector: Path | None, irises: Path | None, lids: Path | None, figures: Path | None
) -> None:
    table = figures_of(figures, changed=bool(points or detector))
    if points:
        mean_of(points, WEIGHTS / "landmarks.safetensors")
    for name, file in (("detector", detector), ("irises", irises), ("lids", lids)):
        if file:
            shutil.copyfile(file, WEIGHTS / f"{name}.safetensors")
    files = []
    for name, about in ABOUT.items():
        file, digest, note = describe(name)
        size = (WEIGHTS / file).stat().st_size
        lines = [
            built_in_head(name),
            f"# {file}",
            "",
            about,
            f"{size} bytes, SHA-256 {digest}.",
            "",
            f"Made by `{MADE[name]}`: {note}.",
        ]
        lines += [
            "",
            "Points only, no pictures." if name == "forehead" else "Data, figures and limits: README.md here.",
        ]
        (WEIGHTS / f"{name}.md").write_text("\n".join(lines) + "\n")
        files.append(f"- `{file}`: {about} {size:,} bytes, SHA-256 {digest}")
        click.echo(files[-1])
    stages = AGREED if "mean of" in describe("landmarks")[2] else FIRST_ONLY
    (WEIGHTS / "README.md").write_text(
        built_in_head("README") + "\n" + CARD.format(files="\n".join(files), figures=table, stages=stages)
    )


if __name__ == "__main__":
    main()
