#!/usr/bin/env python3
"""Give training clips the built-in extractor's points: training.data.relabel.

scripts/build/relabel_clips.py ../shared/data/clips/train run/clips
"""

from pathlib import Path

import click
import numpy as np

from fewshot_reenact.training.data.relabel import relabel


@click.command(help=__doc__.split("\n\n")[0])
@click.argument("clips", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
def main(clips: Path, out: Path) -> None:
    errors = relabel(clips, out)
    if errors:
        click.echo(f"{len(errors)} frames, mean difference {100 * np.mean(errors):.2f} % of the eye distance")


if __name__ == "__main__":
    main()
