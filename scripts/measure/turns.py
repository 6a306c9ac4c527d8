#!/usr/bin/env python3
"""How well an output turns with its driver: pictures moved by turning drivers, and clips by their most frontal frame.

    scripts/measure/turns.py render out/turns --name new --data ../shared/data      # with the project's environment
    PYTHONPATH=CHECKOUT/src scripts/measure/turns.py render out/turns --name old --data ../shared/data # another version
    scripts/measure/turns.py score out/turns --referee ../shared/referee             # with the referee's
    scripts/measure/turns.py table out/turns --write                                 # with the project's

`render` makes OUT/NAME/PORTRAIT--DRIVER.mp4, relative motion, and OUT/NAME/CLIP.mp4: the clip by its own most frontal
frame, absolute motion, which OUT/clips.json keeps. What is there is kept. Neither has marks: pixels are measured.

Of pairs `score` finds the output's yaw against the driver's (slope), the angle between what both turned since the frame
in which the output is nearest to the portrait's view (pose), and likeness to the portrait, in all frames and in those
turned by more than 15 degrees from it. Of clips: pd, csim, nme and mouth_pd by how far the truth is turned from the
portrait.
"""

import json
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np

from pairs import animate_unmarked, by_a_referee, of_a_version, render_pairs

PORTRAITS = ("mona_lisa_crop602", "generated_person_2", "lp_s4", "lp_s6_terracotta", "pearl_earring_1024")
DRIVERS = ("v013_00", "v013_01", "v005_00", "v018_00", "v010_01")
BINS = ((0.0, 8.0), (8.0, 16.0), (16.0, 40.0))
FAR = 15.0
SIDE = ("pd", "csim", "nme", "mouth_pd")
STEP = 6


@click.group(help=__doc__)
def main() -> None:
    pass


@main.command()
@of_a_version
@click.option("--clips", "most", default=16, show_default=True, help="Clips of clips/val at most, turning ones first.")
def render(out: Path, name: str, data: Path, most: int) -> None:
    """Animate every pair and every clip."""
    folder, clips = out / name, data / "clips" / "val"
    render_pairs(folder, data, PORTRAITS, DRIVERS)
    for clip, number in _frontal(out, clips)[:most]:
        target, still = folder / f"{clip}.mp4", out / f"{clip}.png"
        if not still.exists():
            _save_frame(clips / f"{clip}.mp4", number, still)
        if not target.exists():
            animate_unmarked(still, clips / f"{clip}.mp4", target, motion="absolute")


def _save_frame(film: Path, number: int, target: Path) -> None:
    import cv2

    cv2.imwrite(str(target), _frames(film)[number])


def _frames(film: Path) -> list[np.ndarray]:
    import cv2

    reader, frames = cv2.VideoCapture(str(film)), []
    while True:
        ok, picture = reader.read()
        if not ok:
            return frames
        frames.append(picture)


def _frontal(out: Path, clips: Path) -> list[tuple[str, int]]:
    """Clips with the number of their most frontal frame, those first that turn farthest from it; found once."""
    kept = out / "clips.json"
    if not kept.exists():
        try:
            from fewshot_reenact.geometry.solid import fit_track
        except ImportError as error:
            raise click.UsageError(
                "this version has no solid head: render another first, it finds the frames"
            ) from error

        rows = []
        for path in sorted(clips.glob("*.npz")):
            with np.load(path, allow_pickle=False) as known:
                rotation = fit_track(known["points"].astype(np.float64)).rotation
            best = int(rotation[:, 2, 2].argmax())
            away = np.degrees(np.arccos(np.clip(rotation[:, :, 2] @ rotation[best, :, 2], -1, 1)))
            rows.append((float(np.quantile(away, 0.9)), path.stem, best))
        kept.write_text(json.dumps([(clip, best) for _, clip, best in sorted(rows, reverse=True)]))
    return [(clip, int(number)) for clip, number in json.loads(kept.read_text())]


@main.command()
@by_a_referee
def score(out: Path, referee: Path, data: Path) -> None:
    """Measure what is there and not measured yet: OUT/NAME/FILE.json."""
    sys.path.insert(0, str(referee))
    import referee as judge  # type: ignore[import-not-found]

    faces, nets = judge.Faces(), (judge.Chain("vgg19_relu1_to_3"), judge.Chain("vgg19_distilled_relu1_to_5"))
    clips = data / "clips" / "val"
    for film in sorted(out.glob("*/*.mp4")):
        target = film.with_suffix(".json")
        if target.exists():
            continue
        if "--" in film.stem:
            portrait, driver = film.stem.split("--")
            own = faces.look(judge.read(str(data / "portraits" / f"{portrait}.jpg"))[0])
            pairs = zip(
                judge.read(str(clips / f"{driver}.mp4"), step=STEP), judge.read(str(film), step=STEP), strict=False
            )
            seen = [(faces.look(truth), faces.look(made)) for truth, made in pairs]
            found = _of_pair(own, [(a, b) for a, b in seen if a and b])
            found["lost"] = sum(bool(a) and not b for a, b in seen) / max(len(seen), 1)
        else:
            found = _of_clip(judge, faces, nets, out / f"{film.stem}.png", clips / f"{film.stem}.mp4", film)
        target.write_text(json.dumps(found, indent=1))
        click.echo(f"{film.parent.name}/{film.stem} {found}")


def _of_pair(own: dict[str, Any], seen: list[tuple[dict[str, Any], dict[str, Any]]]) -> dict[str, float]:
    """own: the portrait as the referee sees it; seen: driver and output, frame by frame."""
    theirs, mine = (np.stack([pair[k]["rot"] for pair in seen]) for k in (0, 1))
    away = apart(mine, own["rot"][None])
    start = int(away.argmin())
    turned = [one @ one[start].T for one in (theirs, mine)]
    likeness = np.array([float(made["id"] @ own["id"]) for _, made in seen])
    far = away > FAR
    return {
        "slope": slope(yaw(theirs), yaw(mine)),
        "pose": float(apart(*turned).mean()),
        "csim": float(likeness.mean()),
        "csim far": float(likeness[far].mean()) if far.any() else float("nan"),
        "far": float(far.mean()),
    }


def _of_clip(judge: Any, faces: Any, nets: Any, still: Path, clip: Path, film: Path) -> dict[str, Any]:
    own = faces.look(judge.read(str(still))[0])
    rows: dict[str, list[dict[str, float]]] = {str(low): [] for low, _ in BINS}
    for truth, made in zip(judge.read(str(clip), step=STEP), judge.read(str(film), step=STEP), strict=False):
        face = faces.look(truth)
        if own is None or face is None:
            continue
        away = float(apart(face["rot"], own["rot"]))
        for low, high in BINS:
            if low <= away < high:
                found = judge.measure_self([truth], [made], faces, nets)
                rows[str(low)].append({key: found[key] for key in SIDE if key in found})
    return {low: {"frames": len(part), **means(part)} for low, part in rows.items()}


def means(rows: list[dict[str, float]]) -> dict[str, float]:
    """Of each key, over the rows that have it."""
    return {
        key: float(np.mean([row[key] for row in rows if key in row])) for key in SIDE if any(key in r for r in rows)
    }


def apart(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Degrees between rotations (..., 3, 3)."""
    trace = np.einsum("...ij,...ij->...", one, other)
    return np.degrees(np.arccos(np.clip((trace - 1) / 2, -1, 1)))


def yaw(rotation: np.ndarray) -> np.ndarray:
    """Degrees about the referee's upright axis, (..., 3, 3) -> (...)."""
    return np.degrees(np.arctan2(rotation[..., 0, 2], rotation[..., 2, 2]))


def slope(theirs: np.ndarray, mine: np.ndarray) -> float:
    """Of the least-squares line of the output's yaw over the driver's."""
    centred = theirs - theirs.mean()
    return float((centred * (mine - mine.mean())).sum() / max(float((centred**2).sum()), 1e-9))


@main.command()
@click.argument("out", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--write", "into", is_flag=True, help="Into docs/results.md.")
def table(out: Path, into: bool) -> None:
    """Means of the versions side by side."""
    text = "\n\n".join(part for part in (pairs_table(out), clips_table(out)) if part)
    click.echo(text)
    if into:
        from tables import write

        write("turns", text)


def _scores(folder: Path, pairs: bool) -> dict[str, Any]:
    found = sorted(path for path in folder.glob("*.json") if ("--" in path.stem) == pairs)
    return {path.stem: json.loads(path.read_text()) for path in found}


def _versions(out: Path) -> list[str]:
    return sorted((path.name for path in out.iterdir() if path.is_dir()), reverse=True)


def pairs_table(out: Path) -> str:
    """Of the pairs that every version has."""
    versions = {name: _scores(out / name, pairs=True) for name in _versions(out)}
    common = sorted(set.intersection(*(set(rows) for rows in versions.values())))
    keys = ("slope", "pose", "csim", "csim far", "lost")
    lines = [
        f"| {len(common)} pairs | slope, mean | least to most | pose, degrees | csim | csim, turned | lost |",
        "|---" * 7 + "|",
    ]
    for name, rows in versions.items():
        values = {key: np.array([rows[pair][key] for pair in common]) for key in keys}
        cells = [f"{values['slope'].mean():.2f}", f"{values['slope'].min():.2f} to {values['slope'].max():.2f}"]
        cells += [f"{values['pose'].mean():.2f}", *(f"{np.nanmean(values[key]):.3f}" for key in keys[2:])]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def clips_table(out: Path) -> str:
    """By how far the truth is turned away from the portrait; every frame counts alike. Empty: nothing is measured."""
    versions = {name: _scores(out / name, pairs=False) for name in _versions(out)}
    common = sorted(set.intersection(*(set(rows) for rows in versions.values())))
    if not common:
        return ""
    lines = [f"| {len(common)} clips | turned away | frames | {' | '.join(SIDE)} |", "|---" * (3 + len(SIDE)) + "|"]
    for low, high in BINS:
        for name, rows in versions.items():
            parts = [rows[clip][str(low)] for clip in common if rows[clip][str(low)]["frames"]]
            count = np.array([part["frames"] for part in parts])
            cells = [f"{np.average([part[key] for part in parts], weights=count):.4f}" if parts else "" for key in SIDE]
            lines.append(
                f"| {name} | {low:.0f} to {high:.0f} degrees | {count.sum() if parts else 0} | {' | '.join(cells)} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
