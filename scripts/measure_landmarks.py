#!/usr/bin/env python3
"""Measure the built-in landmarks: accuracy on clips/val against the teacher, faces found, false faces, time.

    scripts/measure_landmarks.py --data ../shared/data [--every 3] [--json FILE] [--sheet FOLDER]

Errors are means of distances over the distance of the outer eye corners, in per cent. Two ways: `detect` on each
frame by itself, and `track`, refining from the last frame's points as the tracker does.
"""

import json
import time
from collections import defaultdict
from pathlib import Path

import av
import click
import cv2
import numpy as np
import torch

from fewshot_reenact.landmarks.base import Face
from fewshot_reenact.landmarks.builtin import BuiltinLandmarks
from fewshot_reenact.landmarks.topology import LEFT_LIDS, LIP_PAIRS, RIGHT_LIDS, eye_distance

GROUPS = {
    "all": range(83),
    "mouth": range(48, 68),
    "eyes": range(36, 48),
    "irises": (81, 82),
    "brows": range(17, 27),
    "nose": range(27, 36),
    "jaw": range(17),
    "forehead": range(68, 81),
}


def read(path: Path) -> list[np.ndarray]:
    if path.suffix == ".mp4":
        with av.open(str(path)) as container:
            return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    assert picture is not None, path
    return [np.ascontiguousarray(picture[..., ::-1])]


def yaw(points: np.ndarray) -> np.ndarray:
    """Degrees the head is turned, roughly, by the nose tip's place between the eye corners. (N, 83, 2) -> (N,)."""
    axis = points[:, 45] - points[:, 36]
    share = ((points[:, 30] - points[:, 36]) * axis).sum(1) / (axis**2).sum(1) - 0.5
    return np.degrees(np.arctan(share * 1.6))


def gap(points: np.ndarray, pairs: tuple[tuple[int, int], ...]) -> np.ndarray:
    apart = np.stack([np.linalg.norm(points[:, a] - points[:, b], axis=-1) for a, b in pairs]).mean(0)
    return apart / eye_distance(points)


def nearest(faces: list[Face], want: np.ndarray) -> np.ndarray | None:
    """The points of the face at that place, or None: a face elsewhere is not a face found."""
    near = [f for f in faces if np.linalg.norm(f.points.mean(0) - want.mean(0)) < eye_distance(want)]
    return near[0].points if near else None


def clips(backend: BuiltinLandmarks, data: Path, every: int) -> dict[str, object]:
    errors: dict[str, dict[str, list[float]]] = {"detect": defaultdict(list), "track": defaultdict(list)}
    frames = found = lost = extra = 0
    lips, lids, hits, calls, blinks = [], [], 0, 0, 0
    for path in sorted((data / "clips" / "val").glob("*.mp4")):
        want = np.load(path.with_suffix(".npz"))["points"].astype(np.float64)
        pictures = read(path)[: len(want)]
        tracked: list[np.ndarray] = []
        last: np.ndarray | None = None
        for i, picture in enumerate(pictures):
            if i % every == 0:
                frames += 1
                faces = backend.detect(picture)
                points = nearest(faces, want[i])
                found += points is not None
                extra += max(0, len(faces) - 1)
                if points is not None:
                    note(errors["detect"], points, want[i])
            face = backend.refine(picture, last) if last is not None else None
            if face is None:
                lost += last is not None
                faces = backend.detect(picture)
                face = faces[0] if faces else None
            last = face.points if face is not None else None
            if last is not None:
                note(errors["track"], last, want[i])
            tracked.append(last if last is not None else np.full((83, 2), np.nan))
        got = np.stack(tracked)
        ok = np.isfinite(got).all((1, 2))
        got, want = got[ok], want[: len(got)][ok]
        lips.append(correlation(gap(got, LIP_PAIRS), gap(want, LIP_PAIRS)))
        opened, truth = gap(got, LEFT_LIDS + RIGHT_LIDS), gap(want, LEFT_LIDS + RIGHT_LIDS)
        lids.append(correlation(opened, truth))
        hits += int(((opened < 0.035) & (truth < 0.035)).sum())
        calls += int((opened < 0.035).sum())
        blinks += int((truth < 0.035).sum())
    return {
        "frames": frames,
        "found_%": round(100 * found / frames, 2),
        "other_faces": extra,
        "lost_while_tracking": lost,
        "error_%": {
            way: {k: round(100 * float(np.mean(v)), 2) for k, v in rows.items()} | {"n": len(rows["all"])}
            for way, rows in errors.items()
        },
        "lip_gap_correlation_median": round(float(np.nanmedian(lips)), 3),
        "lid_gap_correlation_median": round(float(np.nanmedian(lids)), 3),
        "blink_recall_%": round(100 * hits / max(blinks, 1), 1),
        "blink_precision_%": round(100 * hits / max(calls, 1), 1),
    }


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """NaN where the teacher's gap hardly changes: there is nothing to follow then."""
    return float(np.corrcoef(a, b)[0, 1]) if len(a) > 5 and b.std() > 0.004 and a.std() > 0 else float("nan")


def note(rows: dict[str, list[float]], got: np.ndarray, want: np.ndarray) -> None:
    error = np.linalg.norm(got - want, axis=1) / eye_distance(want)
    for name, which in GROUPS.items():
        rows[name].append(float(error[list(which)].mean()))
    turn = abs(float(yaw(want[None])[0]))
    rows[f"yaw {'0-15' if turn < 15 else '15-30' if turn < 30 else 'over 30'}"].append(float(error.mean()))


def held_stills(backend: BuiltinLandmarks, data: Path) -> dict[str, object]:
    """Stills that training never saw: every 25th, as in landmark_data.pack."""
    labels = np.load(data / "stills" / "stills.npz")
    rows: dict[str, list[float]] = defaultdict(list)
    for name, want in list(zip(labels["names"], labels["points"].astype(np.float64), strict=True))[::25]:
        points = nearest(backend.detect(read(data / "stills" / str(name))[0]), want)
        rows["found"].append(points is not None)
        if points is not None:
            note(rows, points, want)
    return {k: round(100 * float(np.mean(v)), 2) for k, v in rows.items()} | {"n": len(rows["found"])}


def portraits(backend: BuiltinLandmarks, data: Path, sheet: Path | None) -> dict[str, list[float]]:
    out = {}
    for path in sorted((data / "portraits").glob("**/*.jpg")):
        picture = read(path)[0]
        faces = backend.detect(picture)
        out[str(path.relative_to(data / "portraits"))] = [round(f.confidence, 3) for f in faces]
        if sheet:
            sheet.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(sheet / f"{path.stem}.png"), draw(picture, faces)[..., ::-1])
    return out


def draw(picture: np.ndarray, faces: list[Face], side: int = 480) -> np.ndarray:
    """The largest face enlarged, with its points; or the whole picture where there is none."""
    if faces:
        low, high = faces[0].points.min(0), faces[0].points.max(0)
        centre, half = (low + high) / 2, 0.65 * float((high - low).max())
    else:
        centre, half = np.array(picture.shape[1::-1]) / 2, max(picture.shape[:2]) / 2
    k = side / (2 * half)
    matrix = np.array([[k, 0, side / 2 - k * centre[0]], [0, k, side / 2 - k * centre[1]]])
    out = cv2.warpAffine(picture, matrix, (side, side), flags=cv2.INTER_AREA)
    for face in faces:
        for x, y in face.points @ matrix[:, :2].T + matrix[:, 2]:
            cv2.circle(out, (round(float(x)), round(float(y))), 2, (0, 255, 0), -1, cv2.LINE_AA)
    return out


def times(backend: BuiltinLandmarks, data: Path) -> dict[str, float]:
    """Milliseconds, medians: wall-clock, and processor time, which other programs on the machine change less."""
    picture = read(data / "portraits" / "mona_lisa_crop602.jpg")[0]
    out = {}
    for name, size in (("640x360", (640, 360)), ("640x640", (640, 640)), ("1920x1080", (1920, 1080))):
        scene = np.full((size[1], size[0], 3), 90, np.uint8)
        part = cv2.resize(picture, (size[1], size[1]))
        scene[:, : size[1]] = part[:, : size[0]]
        points = backend.detect(scene)[0].points
        for what, call in (
            ("detect", lambda s=scene: backend.detect(s)),
            ("refine", lambda s=scene, p=points: backend.refine(s, p)),
        ):
            taken = []
            for _ in range(30):
                wall, cpu = time.perf_counter(), time.process_time()
                call()
                taken.append((1000 * (time.perf_counter() - wall), 1000 * (time.process_time() - cpu)))
            wall, cpu = np.median(taken, 0).round(1).tolist()
            out[f"{what} {name}"], out[f"{what} {name}, processor"] = wall, cpu
    return out


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default=Path("../shared/data"), show_default=True)
@click.option("--every", type=int, default=3, show_default=True, help="Detect on every so many frames of clips/val.")
@click.option("--threads", type=int, default=1, show_default=True)
@click.option("--json", "report", type=click.Path(path_type=Path))
@click.option(
    "--sheet", type=click.Path(path_type=Path), help="Write the portraits with their points into this folder."
)
@click.option("--only", type=click.Choice(["clips", "stills", "portraits", "times"]))
def main(data: Path, every: int, threads: int, report: Path | None, sheet: Path | None, only: str | None) -> None:
    torch.set_num_threads(threads)
    backend = BuiltinLandmarks()
    parts = {
        "portraits": lambda: portraits(backend, data, sheet),
        "times": lambda: times(backend, data),
        "stills": lambda: held_stills(backend, data),
        "clips": lambda: clips(backend, data, every),
    }
    out = {name: part() for name, part in parts.items() if only in (None, name)}
    text = json.dumps(out, indent=1)
    click.echo(text)
    if report:
        report.write_text(text + "\n")


if __name__ == "__main__":
    main()
