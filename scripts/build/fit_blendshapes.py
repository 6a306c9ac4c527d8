#!/usr/bin/env python3
"""Fit the rig of the 52 blendshapes (motion.blendshapes) and write its card: training.fitting.blendshapes.

scripts/build/label_blendshapes.py FACE.task ../shared/data/clips/train run/blendshapes_train.npz --frames 5
scripts/build/fit_blendshapes.py run/blendshapes_train.npz run/clips
"""

import io
from pathlib import Path

import click
import numpy as np

from fewshot_reenact.files import partial_file, sha256
from fewshot_reenact.models.cards import built_in_head
from fewshot_reenact.motion.blendshapes import MODEL, NAMES
from fewshot_reenact.training.fitting.blendshapes import LEAST, fit_rig, read_labelled


@click.command(help=__doc__.split("\n\n")[0])
@click.argument("labels", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("clips", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), default=MODEL, show_default=True)
def main(labels: Path, clips: Path, output: Path) -> None:
    found = read_labelled(labels, clips)
    rig = fit_rig(found)
    # The map to coefficients is a difference of large numbers; the others are small displacements.
    arrays = {name: getattr(rig, name).astype(np.float32) for name in ("rest", "weight", "bias", "pivot")}
    arrays["shapes"] = rig.shapes.astype(np.float16)
    # Through memory, since numpy writes the time of day into an archive's members only when it makes the file itself.
    packed = io.BytesIO()
    np.savez_compressed(packed, allow_pickle=False, **arrays)
    with partial_file(output, True) as partial:
        partial.write_bytes(packed.getvalue())
    none = [name for name, shape in zip(NAMES, rig.shapes, strict=True) if not shape.any()]
    card = CARD.format(
        size=output.stat().st_size, digest=sha256(output), clips=len(found),
        people=len({one.name.split("_")[0] for one in found}), frames=sum(len(one.solid) for one in found),
        none=", ".join(none), least=LEAST, pivot=rig.pivot, behind=-rig.pivot[2],
    )  # fmt: skip
    output.with_suffix(".md").write_text(built_in_head("blendshapes") + "\n" + card, "utf-8")
    click.echo(f"{output}: {output.stat().st_size} bytes; pivot {rig.pivot.round(2)}; none: {', '.join(none)}")


CARD = """# blendshapes.npz

The 52 blendshapes of ARKit for the 83 points (see `motion/blendshapes.py`): a mean head with all coefficients 0, what
each adds to it, the linear map from a head's points to coefficients, and about which point heads turn. {size} bytes,
SHA-256 {digest}.

Made by `scripts/build/fit_blendshapes.py` from {frames:,} frames of {clips} training clips of {people} people: the
built-in extractor's points, and the scores that MediaPipe's face landmarker gives to the pictures
(`scripts/build/label_blendshapes.py`; Apache-2.0). Its scores are learnt from, its weights are not in it. No picture
and nobody's own face is in it.

These scores varied by less than {least} over the frames (standard deviation), so that nothing could be learnt of them.
What they add is 0, and what is measured of them is 0:
{none}.

Heads turn about the point {pivot[1]:.2f} eye distances below and {behind:.2f} behind the middle between the outer eye
corners. How well scores measured from points agree with the teacher's is in docs/motion.md.
"""

if __name__ == "__main__":
    main()
