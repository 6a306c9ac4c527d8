#!/usr/bin/env python3
"""Put trained matte weights into the package, with their model card.

scripts/build/ship_matte.py run/matte/train/matte.safetensors     # copy these weights, and write the card
"""

import json
import re
import shutil
from pathlib import Path

import click
from safetensors import safe_open

from fewshot_reenact.files import partial_file, sha256
from fewshot_reenact.models.cards import built_in_head
from fewshot_reenact.weights import WEIGHTS

CARD = """# matte.safetensors

The network that tells the person from the ground in a portrait (`models/matte.py`, `rendering/matte.py`): a picture of
256 x 256 pixels about a head in, where the person is out. {parameters:,} parameters, {size:,} bytes, SHA-256 {digest}.

Made by `reenact train --config configs/matte.yaml` ({note}), distilled from a teacher's labels:
`scripts/build/label_mattes.py` asked MediaPipe's selfie segmenter (package mediapipe 0.10.21, Apache-2.0) about crops
of 5,573 still portraits and four frames of each of 614 training clips. What the teacher does wrong is learnt too.
No picture and nothing of the teacher is in the file. Pictures are altered at random: painted, grey, toned, in other
light, blurred, and people before other grounds.

## Measured

Mean intersection over union with the teacher's mattes, people that were not learnt from (one in twenty by name):

| what | overlap |
|---|---|
| stills | {iou:.3f} |
| stills in other light, grey, toned or painted | {altered:.3f} |
| frames of clips | {clips:.3f} |

## Limits

It finds people as the teacher does: all who are in the square, with what they hold. Hair is coarse; a guided filter at
the picture's own size refines it. It says nothing of who somebody is.
"""


@click.command(help=__doc__.split("\n\n")[0])
@click.argument("weights", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def main(weights: Path) -> None:
    target = WEIGHTS / "matte.safetensors"
    with safe_open(weights, framework="numpy") as file:
        note = file.metadata()["note"]
        parameters = sum(file.get_tensor(name).size for name in list(file.keys()))
    with partial_file(target, overwrite=True) as partial:
        shutil.copyfile(weights, partial)
    step = re.match(r"step (\d+ of \d+)", note)
    figures = json.loads(note.split("held out: ", 1)[1])
    card = CARD.format(
        parameters=parameters,
        size=target.stat().st_size,
        digest=sha256(target),
        note=f"step {step[1]}" if step else "?",
        **figures,
    )
    with partial_file(target.with_suffix(".md"), overwrite=True) as partial:
        partial.write_text(built_in_head("matte") + "\n" + card, encoding="utf-8")
    click.echo(f"{target}: {target.stat().st_size:,} bytes; {figures}")


if __name__ == "__main__":
    main()
