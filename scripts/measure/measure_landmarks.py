#!/usr/bin/env python3
"""Measure the built-in landmarks: accuracy on clips/val and on held-out stills against the teacher, blinks and lips,
agreement between frames, trembling and lag, faces found in portraits, time.

    scripts/measure/measure_landmarks.py --data ../shared/data [--only clips] [--step 1] [--json FILE] [--sheet FOLDER]

Errors are means of distances over the distance of the outer eye corners, in per cent. On the clips in two ways:
`detect` on each frame by itself, and `track` as `reenact` does, before smoothing.
`scripts/measure/benchmark.py landmarks` prints the same figures beside their targets.
"""

import json
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import av
import click
import cv2
import numpy as np
import torch

from fewshot_reenact.geometry.affine import transform
from fewshot_reenact.geometry.topology import LEFT_LIDS, LIP_PAIRS, RIGHT_LIDS, eye_distance
from fewshot_reenact.landmarks.backend import Face, LandmarkBackend
from fewshot_reenact.landmarks.builtin import BuiltinLandmarks
from fewshot_reenact.landmarks.detector import find
from fewshot_reenact.landmarks.tracker import Tracker
from fewshot_reenact.motion.smoothing import smooth_motion
from fewshot_reenact.training.landmarks.augment import painted
from fewshot_reenact.training.landmarks.data import read_names, read_stills
from fewshot_reenact.training.landmarks.dress import WORN
from fewshot_reenact.training.landmarks.pairs import gap, match
from measure_steadiness import lag, track, trembling

HELD_OUT = Path(__file__).resolve().parents[2] / "configs" / "landmarks_held_out.txt"
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
CLOSED = 0.035  # gap of the lids in eye distances below which an eye counts as closed
PAIRS = 6  # of frames of each clip whose points are compared by flow


def read(path: Path) -> list[np.ndarray]:
    if path.suffix == ".mp4":
        with av.open(str(path)) as container:
            return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    assert picture is not None, path
    return [np.ascontiguousarray(picture[..., ::-1])]


def yaw(points: np.ndarray) -> float:
    """Degrees the head is turned, roughly, by the nose tip's place between the eye corners. points: (83, 2)."""
    axis = points[45] - points[36]
    share = ((points[30] - points[36]) * axis).sum() / (axis**2).sum() - 0.5
    return float(np.degrees(np.arctan(share * 1.6)))


def nearest(faces: list[Face], want: np.ndarray) -> np.ndarray | None:
    """The points of the face at that place, or None: a face elsewhere is not a face found."""
    near = [f for f in faces if np.linalg.norm(f.points.mean(0) - want.mean(0)) < eye_distance(want)]
    return near[0].points if near else None


def note(rows: dict[str, list[float]], got: np.ndarray, want: np.ndarray) -> None:
    """Add one face's errors, by part and by how far the head is turned."""
    error = np.linalg.norm(got - want, axis=1) / eye_distance(want)
    for name, which in GROUPS.items():
        rows[name].append(float(error[list(which)].mean()))
    turn = abs(yaw(want))
    rows[f"yaw {'0-15' if turn < 15 else '15-30' if turn < 30 else 'over 30'}"].append(float(error.mean()))


def per_cent(rows: dict[str, list[float]], digits: int = 2) -> dict[str, float]:
    return {name: round(100 * float(np.mean(values)), digits) for name, values in rows.items()}


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """NaN where the teacher's gap hardly changes: there is nothing to follow then."""
    return float(np.corrcoef(a, b)[0, 1]) if len(a) > 5 and b.std() > 0.004 and a.std() > 0 else float("nan")


def gaps(points: np.ndarray, pairs: tuple[tuple[int, int], ...]) -> np.ndarray:
    return np.array([gap(one, pairs) for one in points])


def clips(backend: LandmarkBackend, data: Path, every: int = 6, step: int = 1) -> dict[str, object]:
    """Every `step`-th clip of clips/val, tracked; a detection by itself on every `every`-th frame."""
    errors: dict[str, dict[str, list[float]]] = {"detect": defaultdict(list), "track": defaultdict(list)}
    found, late = [], []
    lips, lids, blinks = [], [], np.zeros(3, int)  # blinks of both, ours, the teacher's
    agree: dict[str, list[float]] = defaultdict(list)
    shake: dict[str, list[float]] = defaultdict(list)
    rng = np.random.default_rng(0)
    for path in sorted((data / "clips" / "val").glob("*.mp4"))[::step]:
        with np.load(path.with_suffix(".npz"), allow_pickle=False) as labels:
            want, fps = labels["points"].astype(np.float64), float(labels["fps"])
        pictures = read(path)[: len(want)]
        want = want[: len(pictures)]
        for picture, truth in list(zip(pictures, want, strict=True))[::every]:
            alone = nearest(backend.detect(picture), truth)
            found.append(alone is not None)
            if alone is not None:
                note(errors["detect"], alone, truth)
        got = track(backend, pictures)
        ok = np.isfinite(got).all((1, 2))
        for ours, truth in zip(got[ok], want[ok], strict=True):
            note(errors["track"], ours, truth)
        for i, j in rng.integers(0, len(want), (PAIRS, 2)):
            if ok[i] and ok[j] and i != j:
                compare(agree, (pictures[i], want[i], got[i]), (pictures[j], want[j], got[j]))
        lips.append(correlation(gaps(got[ok], LIP_PAIRS), gaps(want[ok], LIP_PAIRS)))
        opened, truth = (gaps(p[ok], LEFT_LIDS + RIGHT_LIDS) for p in (got, want))
        lids.append(correlation(opened, truth))
        both = ((opened < CLOSED) & (truth < CLOSED)).sum()
        blinks += [both, (opened < CLOSED).sum(), (truth < CLOSED).sum()]
        if ok.all():
            smooth = smooth_motion(got, np.arange(len(got)) / fps)
            shake["ours"].append(trembling(smooth))
            shake["ours, unsmoothed"].append(trembling(got))
            shake["teacher"].append(trembling(want))
            spoken = gaps(want, LIP_PAIRS)
            if len(want) > 30 and spoken.std() > 0.01:
                late.append(lag(gaps(smooth, LIP_PAIRS), spoken))
    return {
        "found_%": round(100 * float(np.mean(found)), 2),
        "error_%": {way: per_cent(rows) | {"n": len(rows["all"])} for way, rows in errors.items()},
        "agreement_%": per_cent(agree) | {"pairs": len(agree["ours"])},
        "trembling_%": per_cent(shake, 3),
        "lag_frames": {"median": round(float(np.median(late)), 3), "largest": round(float(np.abs(late).max()), 2)},
        "lip_gap_correlation_median": round(float(np.nanmedian(lips)), 3),
        "lid_gap_correlation_median": round(float(np.nanmedian(lids)), 3),
        "blink_recall_%": round(100 * blinks[0] / max(blinks[2], 1), 1),
        "blink_precision_%": round(100 * blinks[0] / max(blinks[1], 1), 1),
    }


Labelled = tuple[np.ndarray, np.ndarray, np.ndarray]  # a frame, the teacher's points and ours


def compare(rows: dict[str, list[float]], a: Labelled, b: Labelled) -> None:
    """How far the points of two frames are from being the same skin, as flow between the frames has it."""
    seen = match(a[0], a[1], b[0], b[1])
    if seen.weight.sum() < 8:
        return
    for who, k in (("teacher", 1), ("ours", 2)):
        miss = np.linalg.norm(seen.miss(a[k], b[k]), axis=1) / eye_distance(a[1])
        rows[who].append(float((miss * seen.weight).sum() / seen.weight.sum()))
        for name in ("mouth", "eyes", "brows", "nose"):
            part = list(GROUPS[name])
            if seen.weight[part].sum() > 1:
                share = seen.weight[part] / seen.weight[part].sum()
                rows[f"{who}, {name}"].append(float((miss[part] * share).sum()))


def _turned(degrees: float) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    def turn(picture: np.ndarray, points: np.ndarray, _: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        middle = (picture.shape[1] / 2, picture.shape[0] / 2)
        matrix = cv2.getRotationMatrix2D(middle, degrees, 1.0)
        out = cv2.warpAffine(picture, matrix, picture.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
        return out, transform(matrix, points)

    return turn


def _grey(picture: np.ndarray, points: np.ndarray, _: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), points


def _dim(picture: np.ndarray, points: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    dark = 0.25 * picture + rng.normal(0, 3, picture.shape)
    return dark.round().clip(0, 255).astype(np.uint8), points


def _painted(picture: np.ndarray, points: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return painted(np.ascontiguousarray(picture), rng), points


def _worn(name: str) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    return lambda picture, points, rng: (WORN[name](picture, points, rng), points)


CHANGES: dict[str, Callable[..., tuple[np.ndarray, np.ndarray]]] = {
    "as they are": lambda picture, points, _: (picture, points),
    "grey": _grey,
    "a quarter of the light": _dim,
    "as if painted": _painted,
    "turned by 30 degrees": _turned(30),
    "turned by 45 degrees": _turned(45),
    "turned by -45 degrees": _turned(-45),
    "drawn glasses": _worn("glasses"),
    "drawn beard": _worn("beard"),
    "drawn head covering": _worn("covering"),
}


def skin_light(picture: np.ndarray, points: np.ndarray) -> float:
    """Mean grey level of the cheeks and the nose: of the picture's light as much as of the skin."""
    hull = cv2.convexHull(points[[1, 4, 12, 15, 28]].astype(np.int32))
    mask = np.zeros(picture.shape[:2], np.uint8)
    cv2.fillConvexPoly(mask, hull, 255)
    return float(cv2.mean(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), mask)[0])


def held_stills(backend: LandmarkBackend, data: Path, step: int = 1) -> dict[str, dict[str, float]]:
    """Stills that training never saw: as they are by part and by light, and changed in several ways."""
    source = read_stills(data, read_names(HELD_OUT), 0)
    every = range(0, len(source.points), step)
    light = np.array([skin_light(source.pictures[i], source.points[i]) for i in every])
    darkest, lightest = np.quantile(light, [0.2, 0.8])
    out = {}
    for name, change in CHANGES.items():
        rows: dict[str, list[float]] = defaultdict(list)
        for i, shade in zip(every, light, strict=True):
            picture, want = change(np.array(source.pictures[i]), source.points[i].astype(np.float64), source.rng)
            points = nearest(backend.detect(np.ascontiguousarray(picture)), want)
            rows["found"].append(points is not None)
            if points is None:
                continue
            note(rows, points, want)
            if name == "as they are" and not darkest < shade < lightest:
                rows["darkest fifth" if shade <= darkest else "lightest fifth"].append(rows["all"][-1])
        out[name] = per_cent(rows) | {"n": len(rows["found"])}
    return out


def portraits(backend: LandmarkBackend, data: Path, sheet: Path | None = None) -> dict[str, list[float]]:
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


def times(data: Path, repeat: int = 80) -> dict[str, dict[str, float]]:
    """Milliseconds on one core, lower quartiles: wall-clock, and processor time, which other programs change less."""
    backend = BuiltinLandmarks()
    picture = read(data / "portraits" / "mona_lisa_crop602.jpg")[0]
    out: dict[str, dict[str, float]] = {}
    for name, size in (("640x360", (640, 360)), ("640x640", (640, 640)), ("1920x1080", (1920, 1080))):
        scene = np.full((size[1], size[0], 3), 90, np.uint8)
        scene[:, : size[1]] = cv2.resize(picture, (size[1], size[1]))[:, : size[0]]
        points, tracker = backend.detect(scene)[0].points, Tracker(backend)
        calls: dict[str, Callable[[], object]] = {
            "detector": lambda s=scene: find(backend.detector, s, 0.5, backend.device),  # type: ignore[misc, arg-type]
            "points": lambda s=scene, p=points: backend.refine(s, p),  # type: ignore[misc]
            "tracking": lambda s=scene, t=tracker: t.update(s),  # type: ignore[misc]
            "finding anew": lambda s=scene: backend.detect(s),  # type: ignore[misc]
        }
        for what, call in calls.items():
            call()
            taken = []
            for _ in range(repeat):
                wall, cpu = time.perf_counter(), time.process_time()
                call()
                taken.append((1000 * (time.perf_counter() - wall), 1000 * (time.process_time() - cpu)))
            wall, cpu = np.quantile(taken, 0.25, 0).round(1).tolist()
            out[f"{what}, {name}"] = {"wall": wall, "processor": cpu}
    return out


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default=Path("../shared/data"), show_default=True)
@click.option("--every", default=6, show_default=True, help="Detect on every so many frames of clips/val.")
@click.option("--step", default=1, show_default=True, help="Use every so many clips and stills.")
@click.option("--threads", default=1, show_default=True)
@click.option("--json", "report", type=click.Path(path_type=Path))
@click.option(
    "--sheet", type=click.Path(path_type=Path), help="Write the portraits with their points into this folder."
)
@click.option("--only", type=click.Choice(["clips", "stills", "portraits", "times"]))
def main(
    data: Path, every: int, step: int, threads: int, report: Path | None, sheet: Path | None, only: str | None
) -> None:
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    backend = BuiltinLandmarks()
    parts = {
        "portraits": lambda: portraits(backend, data, sheet),
        "times": lambda: times(data),
        "stills": lambda: held_stills(backend, data, step),
        "clips": lambda: clips(backend, data, every, step),
    }
    out = {name: part() for name, part in parts.items() if only in (None, name)}
    text = json.dumps(out, indent=1)
    click.echo(text)
    if report:
        report.write_text(text + "\n")


if __name__ == "__main__":
    main()
