#!/usr/bin/env python3
"""Yaw, pitch and roll from 83 points against the referee's, on clips: the landmarks' plane trace and the solid head.

    scripts/measure/poses.py points ../shared/data/clips/val out/poses/val          # with the project's environment
    scripts/measure/poses.py points ../shared/data/clips/train out/poses/train --step 10 --clips 4
    scripts/measure/poses.py referee ../shared/data/clips/val out/poses/val          # with the referee's (mediapipe)
    scripts/measure/poses.py referee ../shared/data/clips/train out/poses/train --step 10 --clips 4
    scripts/measure/poses.py table out/poses --write                                 # with the project's

`points` tracks every clip as `reenact` does. `referee` asks the referee for the rotation of the head in each frame;
with --pad the frame stands in the middle of a picture three times as wide, so that the referee, which takes every
picture for what one and the same lens shows, believes in a camera farther away. `table` prints mean absolute errors in
degrees.

Both have zeros of their own. The three constants between them are the medians on clips/train; nothing else is fitted
to the referee. Each error stands there twice: as it is, and less the clip's mean error: people differ in what is level.
"""

import sys
from pathlib import Path

import click
import numpy as np

from tables import write

TURNED = 20.0  # degrees of yaw by the referee
MIRROR = np.diag([1.0, -1.0, 1.0])  # the referee's y points up
HEAD = [
    "| angles from | against | frames | yaw | pitch | roll | yaw, less the clip's mean | pitch | roll |",
    "|---" * 9 + "|",
]


@click.group(help=__doc__)
def main() -> None:
    pass


@main.command()
@click.argument("clips", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--step", default=1, show_default=True, help="Keep every STEP-th frame; all are tracked.")
@click.option("--clips", "every", default=1, show_default=True, help="Take every N-th clip.")
def points(clips: Path, out: Path, step: int, every: int) -> None:
    """Track the clips: OUT/NAME.points.npy, (frames, 83, 2), NaN without a face. What is there is kept."""
    import torch

    from fewshot_reenact.landmarks.registry import load_backend
    from fewshot_reenact.media.reader import VideoReader
    from measure_steadiness import track

    torch.set_num_threads(1)
    backend = load_backend()
    out.mkdir(parents=True, exist_ok=True)
    for clip in sorted(clips.glob("*.mp4"))[::every]:
        target = out / f"{clip.stem}.points.npy"
        if not target.exists():
            with VideoReader(clip) as reader:
                np.save(target, track(backend, [frame.picture for frame in reader])[::step])


@main.command()
@click.argument("clips", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--step", default=1, show_default=True, help="Look at every STEP-th frame.")
@click.option("--referee", "folder", type=click.Path(exists=True, path_type=Path), default=Path("../shared/referee"))
@click.option("--clips", "every", default=1, show_default=True, help="Take every N-th clip.")
@click.option("--pad", is_flag=True, help="Show the frame in the middle of a picture three times as wide.")
def referee(clips: Path, out: Path, step: int, every: int, folder: Path, pad: bool) -> None:
    """Ask the referee: OUT/NAME.referee.npy (or .padded.npy), (frames, 3, 3), NaN without a face; kept if there."""
    sys.path.insert(0, str(folder))
    import cv2
    import referee as judge  # type: ignore[import-not-found]

    faces = judge.Faces()
    out.mkdir(parents=True, exist_ok=True)
    for clip in sorted(clips.glob("*.mp4"))[::every]:
        target = out / f"{clip.stem}.{'padded' if pad else 'referee'}.npy"
        if target.exists():
            continue
        rows = []
        for picture in judge.read(str(clip), step=step):
            high, wide = picture.shape[:2]
            shown = cv2.copyMakeBorder(picture, high, high, wide, wide, cv2.BORDER_REPLICATE) if pad else picture
            seen = faces.look(shown)
            rows.append(np.full((3, 3), np.nan) if seen is None else MIRROR @ seen["rot"] @ MIRROR)
        np.save(target, np.stack(rows))


@main.command()
@click.argument("out", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--write", "into_docs", is_flag=True, help="Write the table into docs/landmarks.md.")
def table(out: Path, into_docs: bool) -> None:
    """Print the table of OUT/train (for the constants) and OUT/val."""
    lines = list(HEAD)
    for against, label in (("referee", "referee"), ("padded", "referee, padded")):
        train, val = load(out / "train", against), load(out / "val", against)
        if not val:
            continue
        for name, method in METHODS.items():
            # The padded pictures are of val alone; their constants are those of the frames themselves.
            zero = np.median(np.concatenate(errors(train or load(out / "train", "referee"), method)), axis=0)
            lines += rows(name, label, val, [one - zero for one in errors(val, method)])
    text = "\n".join(lines)
    click.echo(text)
    if into_docs:
        click.echo(write("poses", text))


def load(folder: Path, against: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """(points (T, 83, 2), the referee's angles (T, 3)) of each clip, frames that both saw."""
    from fewshot_reenact.geometry.rotation import angles_of

    clips = []
    for path in sorted(folder.glob(f"*.{against}.npy")):
        rotation, seen = np.load(path), np.load(folder / f"{path.name.split('.')[0]}.points.npy").astype(np.float64)
        count = min(len(rotation), len(seen))
        rotation, seen = rotation[:count], seen[:count]
        both = np.isfinite(rotation).all((1, 2)) & np.isfinite(seen).all((1, 2))
        if both.any():
            left, _, right = np.linalg.svd(rotation[both])
            clips.append((seen[both], angles_of(left @ right)))
    return clips


def plane(seen: np.ndarray) -> np.ndarray:
    from fewshot_reenact.geometry.pose import head_pose

    return head_pose(seen)


def solid(seen: np.ndarray) -> np.ndarray:
    from fewshot_reenact.geometry.solid import fit_track

    return fit_track(seen).angles


def alone(seen: np.ndarray) -> np.ndarray:
    from fewshot_reenact.geometry.solid import fit_head

    return np.stack([fit_head(one).angles for one in seen])


METHODS = {"plane trace": plane, "solid head, the clip": solid, "solid head, each frame alone": alone}


def errors(clips: list[tuple[np.ndarray, np.ndarray]], method) -> list[np.ndarray]:  # type: ignore[no-untyped-def]
    return [method(seen) - wanted for seen, wanted in clips]


def rows(name: str, label: str, clips: list[tuple[np.ndarray, np.ndarray]], found: list[np.ndarray]) -> list[str]:
    wanted = np.concatenate([angles for _, angles in clips])
    raw = np.abs(np.concatenate(found))
    own = np.abs(np.concatenate([one - one.mean(0) for one in found]))
    lines = []
    for what, keep in (("all", np.ones(len(raw), bool)), ("turned by 20 or more", np.abs(wanted[:, 0]) >= TURNED)):
        cells = " | ".join(f"{value:.2f}" for value in (*raw[keep].mean(0), *own[keep].mean(0)))
        lines.append(f"| {name} | {label} | {what}, {keep.sum():,} | {cells} |")
    return lines


if __name__ == "__main__":
    main()
