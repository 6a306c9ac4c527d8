#!/usr/bin/env python3
"""Cross-identity on a folder of clips: one person's first frame is moved by another person's clip.

    scripts/measure/cross_identity.py render ../shared/data/clips/val out/cross # with the project's environment
    scripts/measure/cross_identity.py score out/cross --referee ../shared/referee          # with the referee's

Twenty pairs by a fixed rule: the people in order, each with the one seven places on as driver, relative motion, with
the model, with the networks by points alone, and with the plain warp. There is no truth: likeness (csim) is measured to
the portrait, expression against the driver, jitter is the output's less the driver's. Gaze is how far the output's eyes
go with the driver's: the correlation over a pair's frames of what the referee says of where both look, as far as the
driver's eyes move at all.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

VARIANTS = ("warp", "points", "model")
# Networks left out, dense motion used: what each variant of `animate` is.
MADE = {"warp": (True, False), "points": (False, False), "model": (False, True)}
PAIRS, STRIDE = 20, 7
KEYS = ("csim", "expression", "pose_deg", "jitter", "lost", "gaze_across", "gaze_up")
# Of the referee's 52 scores: in and out tell of looking to the nose and away from it. +1: to the picture's right, up.
GAZE = {
    "gaze_across": {"eyeLookInLeft": -1, "eyeLookOutLeft": 1, "eyeLookInRight": 1, "eyeLookOutRight": -1},
    "gaze_up": {"eyeLookUpLeft": 1, "eyeLookDownLeft": -1, "eyeLookUpRight": 1, "eyeLookDownRight": -1},
}
# The order of the scores is the alphabet's, after one for a neutral face.
NAMES = ("Down", "In", "Out", "Up")
FIRST = 11
MOVES = 0.05  # standard deviation of a direction in the driver below which there is nothing to follow


def pairs(clips: Path) -> list[tuple[Path, Path]]:
    """(portrait's clip, driver's clip): the first clip of each person, whose name ends before the underscore."""
    first: dict[str, Path] = {}
    for clip in sorted(clips.glob("*.mp4")):
        first.setdefault(clip.stem.split("_")[0], clip)
    people = list(first.values())
    return [(one, people[(i + STRIDE) % len(people)]) for i, one in enumerate(people)][:PAIRS]


def render(clips: Path, out: Path, model: Path | None, variants: list[str]) -> None:
    from fewshot_reenact import animate
    from fewshot_reenact.media.marks import PlainNote
    from fewshot_reenact.media.pictures import write_picture
    from fewshot_reenact.media.reader import VideoReader

    for portrait, driver in pairs(clips):
        folder = out / f"{portrait.stem}--{driver.stem}"
        folder.mkdir(parents=True, exist_ok=True)
        with VideoReader(portrait) as reader:
            write_picture(folder / "portrait.png", next(iter(reader)).picture, overwrite=True)
        link = folder / "driver.mp4"
        if not link.is_symlink():
            link.symlink_to(driver.resolve())
        for variant in variants:
            warp_only, dense = MADE[variant]
            made = animate(
                folder / "portrait.png", driver, folder / f"{variant}.mp4", model=model, warp_only=warp_only,
                dense=dense, overwrite=True, audio="none",
                marks=PlainNote(),  # pixels are measured: neither label nor watermark
            )  # fmt: skip
            print(folder.name, variant, made.frames, flush=True)


def score(out: Path, referee: Path, step: int, variants: list[str]) -> None:
    sys.path.insert(0, str(referee))
    import referee as judge  # type: ignore[import-not-found]

    faces = judge.Faces()
    scores: dict[str, dict[str, dict[str, float]]] = {}
    for folder in sorted(path.parent for path in out.glob("*/driver.mp4")):
        portrait = judge.read(str(folder / "portrait.png"))[0]
        driver = judge.read(str(folder / "driver.mp4"), step=step)
        for variant in variants:
            output = judge.read(str(folder / f"{variant}.mp4"), step=step)
            found = judge.measure_cross(portrait, driver, output, faces)
            scores.setdefault(variant, {})[folder.name] = found | gaze(driver, output, faces)
        print(folder.name, file=sys.stderr, flush=True)
    (out / f"scores_every_{step}.json").write_text(json.dumps(scores, indent=1))
    print(table(scores, step))


def looks(face: dict | None) -> dict[str, float]:
    """Where a face looks, about -1..1, by the names of GAZE; nothing for no face."""
    if face is None:
        return {}
    at = {
        f"eyeLook{name}{side}": FIRST + 2 * k + j
        for k, name in enumerate(NAMES)
        for j, side in enumerate(("Left", "Right"))
    }
    return {key: sum(sign * float(face["bs"][at[name]]) for name, sign in of.items()) / 2 for key, of in GAZE.items()}


def gaze(driver: list, output: list, faces: Any) -> dict[str, float]:
    """Correlation of both, by direction; a direction in which the driver's eyes rest is left out."""
    import numpy as np

    both = [(looks(faces.look(d)), looks(faces.look(o))) for d, o in zip(driver, output, strict=False)]
    seen = [(theirs, ours) for theirs, ours in both if theirs and ours]
    found = {}
    for key in GAZE:
        theirs, ours = (np.array([one[k][key] for one in seen]) for k in (0, 1))
        if len(seen) > 2 and theirs.std() > MOVES:
            found[key] = float(np.corrcoef(theirs, ours)[0, 1]) if ours.std() else 0.0
    return found


def table(scores: dict[str, dict[str, dict[str, float]]], step: int) -> str:
    """Means over pairs."""
    number = min(len(of) for of in scores.values())
    rows = [f"| {number} pairs, every {step}. frame | {' | '.join(scores)} |", "|---" * (len(scores) + 1) + "|"]
    for key in KEYS:
        known = [[row[key] for row in of.values() if key in row] for of in scores.values()]
        count = f" ({len(known[0])} pairs)" if len(known[0]) < number else ""
        means = [sum(values) / max(len(values), 1) for values in known]
        rows.append(f"| {key}{count} | {' | '.join(f'{value:.4f}' for value in means)} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("render", help="animate every pair")
    one.add_argument("clips", type=Path)
    one.add_argument("out", type=Path)
    one.add_argument("--model", type=Path, help="safetensors; default: the built-in model")
    two = commands.add_parser("score", help="measure and print the table")
    two.add_argument("out", type=Path)
    two.add_argument("--referee", type=Path, required=True)
    two.add_argument("--step", type=int, default=4, help="every STEP-th frame")
    for each in (one, two):
        each.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    a = parser.parse_args()
    if a.command == "render":
        render(a.clips, a.out, a.model, a.variants)
    else:
        score(a.out, a.referee, a.step, a.variants)


if __name__ == "__main__":
    main()
