#!/usr/bin/env python3
"""Whether eyes shut where the driver's do, as a referee sees it.

    scripts/measure/blinks.py render out/blinks --name new --data ../shared/data     # with the project's environment
    PYTHONPATH=CHECKOUT/src scripts/measure/blinks.py render out/blinks --name old --data ../shared/data    # another's
    scripts/measure/blinks.py score out/blinks --referee ../shared/referee            # with the referee's, and prints

`render` makes OUT/NAME/PORTRAIT--DRIVER.mp4, relative motion, without marks; what is there is kept. `score` takes the
referee's scores of both eyes' blinks, the mean of the two: an eye is shut from 0.5 on, open below 0.2. It counts how
many frames in which the driver's are shut are shut in the output too, and how many in which they are open are shut.
"""

import sys
from pathlib import Path
from typing import Any

import click
import numpy as np

from pairs import by_a_referee, of_a_version, render_pairs

PORTRAITS = ("mona_lisa_crop602", "generated_person_3", "einstein_1921")
DRIVERS = ("v001_00", "v005_00", "v016_00", "v018_00")
SHUT, OPEN = 0.5, 0.2
LEFT, RIGHT = 9, 10  # of MediaPipe's 52 scores


@click.group(help=__doc__)
def main() -> None:
    pass


@main.command()
@of_a_version
def render(out: Path, name: str, data: Path) -> None:
    """Animate every pair."""
    render_pairs(out / name, data, PORTRAITS, DRIVERS)


@main.command()
@by_a_referee
def score(out: Path, referee: Path, data: Path) -> None:
    """Count, for each version, and print a table."""
    sys.path.insert(0, str(referee))
    import referee as judge  # type: ignore[import-not-found]

    faces = judge.Faces()
    drivers = {one: _blinks(judge, faces, data / "clips" / "val" / f"{one}.mp4") for one in DRIVERS}
    click.echo("| version | frames with the driver's eyes shut | shut too | score there | frames open | shut |")
    click.echo("|---|---|---|---|---|---|")
    for folder in sorted(path for path in out.iterdir() if path.is_dir()):
        pairs = []
        for film in sorted(folder.glob("*--*.mp4")):
            theirs, mine = drivers[film.stem.split("--")[1]], _blinks(judge, faces, film)
            pairs.append(np.stack([theirs[: len(mine)], mine[: len(theirs)]]))
        theirs, mine = np.concatenate(pairs, 1)
        known = np.isfinite(theirs) & np.isfinite(mine)
        shut, open_ = known & (theirs >= SHUT), known & (theirs < OPEN)
        cells = [folder.name, shut.sum(), f"{100 * (mine[shut] >= SHUT).mean():.1f} %", f"{mine[shut].mean():.2f}"]
        cells += [open_.sum(), f"{100 * (mine[open_] >= SHUT).mean():.1f} %"]
        click.echo("| " + " | ".join(map(str, cells)) + " |")


def _blinks(judge: Any, faces: Any, film: Path) -> np.ndarray:
    """The mean score of both eyes in each frame, (T,); no number where no face is seen."""
    seen = [faces.look(frame) for frame in judge.read(str(film))]
    return np.array([np.nan if one is None else (one["bs"][LEFT] + one["bs"][RIGHT]) / 2 for one in seen])


if __name__ == "__main__":
    main()
