"""The built-in motions (motion/builtins.py), made from the points of clips: no pictures are read.

Nobody's face shape is shipped: every motion is a change added to one mean face, the average of a neutral
frame of every person, made symmetric. The changes are measured:

    talk      one lively talking clip: what its points do in the face's own frame, mouth and eyes scaled to the mean
              face's proportions, and how its head moves
    nod       how all 83 points move as a head bows (regressed over all clips), along two bows
    smile     one clip of a smile that comes, stays and goes
    surprise  brows as they rise in all clips (regressed), mouth and lids of one clip, with its timing
    blink     lids as they close on average over some 400 blinks, with the timing of a typical one

Smile and blink sway with the head of a calm speaker. Every motion begins and ends with the mean face at rest, so it can
be repeated.
"""

from itertools import pairwise
from pathlib import Path

import numpy as np
from tqdm import tqdm

from fewshot_reenact.errors import InputError
from fewshot_reenact.geometry.smoothstep import smoothstep
from fewshot_reenact.geometry.topology import FLIP, LEFT_LIDS, RIGHT_LIDS, eye_distance, lid_gap
from fewshot_reenact.motion.builtins import FPS, SIDE, UNITS
from fewshot_reenact.motion.smoothing import STEADY, smooth_motion

EYES = [36, 39, 42, 45]
LEFT_EYE, RIGHT_EYE, MOUTH = [*range(36, 42), 81], [*range(42, 48), 82], [*range(48, 68)]
SLOW = [*range(17), *range(27, 36), *range(68, 81)]  # jaw, nose, forehead: little moves there, and it is measured worst
EYE_PIXELS = 150  # distance of the outer eye corners of the mean face, in a picture of SIDE pixels
EYE_LINE = 225  # where they stand
TALK, SWAY, SMILE, SURPRISE = "p308_00", "p150_01", "p272_01", "p213_00"  # clips on which changes are measured

PointClip = tuple[np.ndarray, float]  # (T, 83, 2) float64 pixels, frames a second


def load_clips(folder: Path) -> dict[str, PointClip]:
    """The clips of a folder of NAME.npz (`points`, `fps`) by name. Raises InputError: none, or one without them."""
    clips = {}
    for path in sorted(folder.glob("*.npz")):
        try:
            with np.load(path, allow_pickle=False) as data:
                clips[path.stem] = (data["points"].astype(np.float64), float(data["fps"]))
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{path}: not the points of a clip, with fps") from error
    if not clips:
        raise InputError(f"{folder}: no clips (NAME.npz)")
    return clips


def align(points: np.ndarray, onto: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(T, 83, 2) brought onto (83, 2) by a similarity each, fitted to the steady points; and the similarities.

    Returns (T, 83, 2) and (T, 2) complex: factor and place, so that points = factor * aligned + place.
    """
    z, target = points[..., 0] + 1j * points[..., 1], onto[:, 0] + 1j * onto[:, 1]
    centre, middle = z[:, STEADY].mean(1, keepdims=True), target[STEADY].mean()
    steady, goal = z[:, STEADY] - centre, target[STEADY] - middle
    turn = (steady * goal.conj()).sum(1) / (abs(goal) ** 2).sum()
    own = (z - centre) / turn[:, None] + middle
    return np.stack([own.real, own.imag], -1), np.stack([turn, centre[:, 0] - turn * middle], 1)


def features(points: np.ndarray) -> dict[str, np.ndarray]:
    """What a face does, each (T,), in eye distances: lips and lids apart, mouth's width, brows' height, turn, bow."""
    size = eye_distance(points)
    up = points[:, EYES].mean(1) - points[:, 8]
    up /= np.linalg.norm(up, axis=-1, keepdims=True)
    across = np.stack([-up[:, 1], up[:, 0]], -1)

    def along(axis: np.ndarray, a: list[int], b: list[int]) -> np.ndarray:
        return ((points[:, a].mean(1) - points[:, b].mean(1)) * axis).sum(-1) / size

    return {
        "lips": np.linalg.norm(points[:, 62] - points[:, 66], axis=-1) / size,
        "width": np.linalg.norm(points[:, 48] - points[:, 54], axis=-1) / size,
        "corners": along(up, [48, 54], [51, 57]),
        "brows": along(up, [18, 19, 20, 23, 24, 25], EYES),
        "lids": lid_gap(points, (*LEFT_LIDS, *RIGHT_LIDS)) / size,
        "turn": along(across, [30], [27]),
        "bow": along(up, [30], EYES) / np.abs(along(up, [51], EYES)),  # grows as the head is raised
    }


def mean_face(clips: dict[str, PointClip]) -> np.ndarray:
    """(83, 2): the neutral frames of all people averaged, symmetric, in eye distances about the middle of the eyes."""
    neutral: dict[str, list[np.ndarray]] = {}
    for name, (points, _) in clips.items():
        f = features(points)
        bad = np.abs(f["turn"]) * 4 + f["lips"] * 3 + np.abs(f["lids"] / np.median(f["lids"]) - 1)
        best = int(bad.argmin())
        if bad[best] < 0.3:
            neutral.setdefault(name.split("_")[0], []).append(points[best])
    people = np.stack([frames[0] for frames in neutral.values()])
    mean = people[0]
    for _ in range(4):
        aligned, _ = align(people, mean)
        mean = aligned.mean(0)
        mirrored = mean[FLIP] * [-1, 1]
        mean = (mean + align(mirrored[None], mean)[0][0]) / 2
        axis = complex(*(mean[45] - mean[36]))
        z = (mean[:, 0] + 1j * mean[:, 1] - complex(*mean[EYES].mean(0))) / axis
        mean = np.stack([z.real, z.imag], -1)
    mean = (mean + mean[FLIP] * [-1, 1]) / 2
    tqdm.write(f"mean face of {len(people)} people")
    return mean


def regress(clips: dict[str, PointClip], mean: np.ndarray) -> dict[str, np.ndarray]:
    """For each feature: how the points move in the face's frame as it grows by 1, the others held. (83, 2) each.

    "bow" also has "bow_place": how the place of the head moves, (2,), in eye distances.
    """
    names = list(features(next(iter(clips.values()))[0]))
    gram, moment = np.zeros((len(names), len(names))), np.zeros((len(names), 168))
    for points, fps in clips.values():
        if len(points) < 40:
            continue
        points = smooth_motion(points, np.arange(len(points)) / fps, 0.5).astype(np.float64)
        f = features(points)
        if np.abs(f["turn"]).max() > 0.15:
            continue
        own, pose = align(points, mean)
        place = pose[:, 1] / abs(pose[:, 0].mean())
        x = np.stack([f[name] - f[name].mean() for name in names], 1)
        y = np.concatenate([own.reshape(len(own), -1), place.real[:, None], place.imag[:, None]], 1)
        # Everybody counts alike, however much they move.
        weight = 1 / (len(x) * max((x**2).mean(), 1e-6))
        gram += weight * x.T @ x
        moment += weight * x.T @ (y - y.mean(0))
    solved = np.linalg.solve(gram + 1e-3 * np.trace(gram) / len(names) * np.eye(len(names)), moment)
    modes = {name: row[:166].reshape(83, 2) for name, row in zip(names, solved, strict=True)}
    # Left and right alike: what is left of a side is people's own.
    modes = {name: (mode + mode[FLIP] * [-1, 1]) / 2 for name, mode in modes.items() if name != "turn"}
    modes["bow_place"] = solved[names.index("bow"), 166:]
    return modes


def resampled(values: np.ndarray, fps: float) -> np.ndarray:
    """(T, ...) at fps -> at FPS, linearly."""
    times = np.arange(0, (len(values) - 1) / fps + 1e-9, 1 / FPS) * fps
    low = np.minimum(times.astype(int), len(values) - 2)
    part = (times - low).reshape(-1, *[1] * (values.ndim - 1))
    return values[low] * (1 - part) + values[low + 1] * part


def blurred(values: np.ndarray, sigma: float) -> np.ndarray:
    """(T, ...) smoothed along time by a Gaussian of `sigma` frames."""
    reach = int(4 * sigma) + 1
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    padded = np.concatenate([np.repeat(values[:1], reach, 0), values, np.repeat(values[-1:], reach, 0)])
    return sum(k * padded[i : i + len(values)] for i, k in enumerate(kernel / kernel.sum()))  # type: ignore[return-value]


def measured(clip: PointClip, first: int, last: int, rest: int, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What a clip's face does from `first` to `last` compared with frame `rest`, in the mean face's proportions.

    Returns (T, 83, 2) changes in eye distances, and (T, 2) complex: how the head moves, factor and place.
    """
    points, fps = clip
    points = smooth_motion(points, np.arange(len(points)) / fps, 0.6).astype(np.float64)
    # Upright and one eye distance wide at rest, so that across and down can be scaled apart.
    z = points[..., 0] + 1j * points[..., 1]
    z = (z - z[rest, EYES].mean()) / (z[rest, 45] - z[rest, 36])
    points = np.stack([z.real, z.imag], -1)
    own, pose = align(points, points[rest])
    change = own[first : last + 1] - own[rest]
    change[:, SLOW] = blurred(change[:, SLOW], 1.5)
    # A mouth that is wider opens wider; lids that are further apart have further to go.
    still = own[rest]
    change[:, MOUTH] *= np.linalg.norm(mean[54] - mean[48]) / np.linalg.norm(still[54] - still[48])
    for eye, lids in ((LEFT_EYE, LEFT_LIDS), (RIGHT_EYE, RIGHT_LIDS)):
        change[:, eye, 1] *= lid_gap(mean, lids) / lid_gap(still, lids)
    moved = pose[first : last + 1] / [pose[rest, 0], 1] - [0, pose[rest, 1]]
    return resampled(change, fps), resampled(moved, fps)


def closing(clips: dict[str, PointClip], mean: np.ndarray) -> np.ndarray:
    """(83, 2): from open to closed lids, averaged over everybody's blinks, scaled to close the mean face's eyes."""
    changes = []
    for clip in clips.values():
        f = features(clip[0])
        lids, usual = f["lids"], np.median(f["lids"])
        for t in range(6, len(lids) - 6):
            quiet = np.ptp(f["turn"][t - 5 : t + 6]) < 0.03 and np.ptp(f["bow"][t - 5 : t + 6]) < 0.06
            if lids[t] < 0.4 * usual and lids[t] == lids[t - 5 : t + 6].min() and quiet and lids[t - 5] > 0.85 * usual:
                own, _ = align(clip[0][[t - 5, t]], mean)
                changes.append(own[1] - own[0])
    change = np.median(changes, 0)
    change = (change + change[FLIP] * [-1, 1]) / 2
    keep = np.zeros(83)
    keep[[*LEFT_EYE, *RIGHT_EYE]] = 1
    keep[EYES] = 0.3  # corners stay: the yardstick of every size must not pulse with the lids
    keep[17:27] = 0.5  # brows come down a little
    change *= keep[:, None]
    tqdm.write(f"lids of {len(changes)} blinks")
    open_gap = lid_gap(mean, LEFT_LIDS)
    # Teachers see a slit in closed eyes; an eighth of the opening looks closed and does not turn the lids over.
    return change * (0.88 * open_gap / (open_gap - lid_gap(mean + change, LEFT_LIDS)))


def course(keys: list[tuple[float, float]], seconds: float) -> np.ndarray:
    """(T,) at FPS through (time, value) points, with smooth starts and stops between them."""
    times = np.arange(round(seconds * FPS) + 1) / FPS
    out = np.zeros(len(times))
    for (t0, v0), (t1, v1) in pairwise(keys):
        part = np.clip((times - t0) / (t1 - t0), 0, 1)
        out = np.where(times >= t0, v0 + (v1 - v0) * smoothstep(part), out)
    return out


def at_rest_at_ends(values: np.ndarray, frames: int = 8) -> np.ndarray:
    """(T, ...) faded to 0 over the first and last frames."""
    t = np.arange(len(values))
    part = np.clip(np.minimum(t, t[::-1]) / frames, 0, 1)
    return values * smoothstep(part).reshape(-1, *[1] * (values.ndim - 1))


def composed(mean: np.ndarray, change: np.ndarray, head: np.ndarray | None = None) -> np.ndarray:
    """(T, 83, 2) pixels in a picture of SIDE: the mean face, what it does, and how the head moves (T, 2) complex."""
    face = mean + at_rest_at_ends(change)
    z = face[..., 0] + 1j * face[..., 1]
    if head is not None:
        factor, place = at_rest_at_ends(np.log(head[:, 0])), at_rest_at_ends(head[:, 1])
        z = z * np.exp(factor)[:, None] + place[:, None]
    z = z * EYE_PIXELS + complex((SIDE - 1) / 2, EYE_LINE)
    return np.stack([z.real, z.imag], -1)


BLINK = [(0.0, 0.0), (0.12, 1.0), (0.16, 1.0), (0.40, 0.0)]  # seconds, share closed: quick to close, slower to open


def blinks(starts: list[float], seconds: float) -> np.ndarray:
    """(T,): how far the lids are closed, blinks beginning at `starts`."""
    return np.max([course([(start + t, v) for t, v in BLINK], seconds) for start in starts], 0)


def make_motions(clips: dict[str, PointClip]) -> dict[str, np.ndarray]:
    """Name -> (T, 83, 2) pixels. Raises InputError: a clip that a motion is measured on is missing."""
    missing = sorted({TALK, SWAY, SMILE, SURPRISE} - clips.keys())
    if missing:
        raise InputError(f"the clips {', '.join(missing)} are missing: motions are measured on them")
    mean = mean_face(clips)
    modes = regress(clips, mean)
    lids = closing(clips, mean)
    motions = {}

    change, head = measured(clips[TALK], 6, 139, 7, mean)
    # One of this person's eyes closes later than the other: both take the mean course, with the lids of all people.
    upper = change + mean
    gap = (lid_gap(upper, LEFT_LIDS) + lid_gap(upper, RIGHT_LIDS)) / 2
    closed = 1 - gap / np.median(gap)
    change[:, [*LEFT_EYE, *RIGHT_EYE]] = blurred(change[:, EYES].mean(1), 2.0)[:, None]
    change += (closed / np.percentile(closed, 98.5)).clip(-0.25, 1)[:, None, None] * lids
    motions["talk"] = composed(mean, change, blurred(head, 1.0))
    _, sway = measured(clips[SWAY], 0, 119, 0, mean)

    # Two bows as people agree, the second smaller; a little deeper than in clip p178_01.
    bow = course([(0.2, 0), (0.55, -0.17), (0.9, 0.03), (1.2, -0.11), (1.6, 0.0), (2.4, 0)], 2.4)
    change = bow[:, None, None] * modes["bow"] + blinks([1.55], 2.4)[:, None, None] * lids
    place = bow * complex(*modes["bow_place"])
    motions["nod"] = composed(mean, change, np.stack([np.ones(len(bow)), place], 1))

    change, head = measured(clips[SMILE], 6, 66, 8, mean)
    back = change[:20][::-1]
    change = np.concatenate([change, np.repeat(change[-1:], 6, 0), resampled(back + change[-1] - back[0], FPS / 1.4)])
    change = 0.8 * (change + change[:, FLIP] * [-1, 1]) / 2
    change[:, [*LEFT_EYE, *RIGHT_EYE]] = change[:, [*LEFT_EYE, *RIGHT_EYE]] / 0.8  # a blink stays a whole blink
    motions["smile"] = composed(mean, change, sway[: len(change)])

    mouth, _ = measured(clips[SURPRISE], 55, 106, 52, mean)
    mouth = np.concatenate([mouth, np.zeros((12, 83, 2))])
    seconds = (len(mouth) - 1) / FPS
    brows = course([(0.12, 0), (0.36, 0.115), (1.2, 0.10), (1.75, 0.0), (seconds + 1, 0)], seconds)
    change = 0.6 * mouth + brows[:, None, None] * modes["brows"]
    wide = course([(0.12, 0), (0.32, 0.022), (1.15, 0.016), (1.45, 0.0), (seconds + 1, 0)], seconds)
    change += wide[:, None, None] * modes["lids"]
    change = (change + change[:, FLIP] * [-1, 1]) / 2
    raised = course([(0.1, 0), (0.4, 0.04), (1.3, 0.03), (2.0, 0), (seconds + 1, 0)], seconds)
    change += raised[:, None, None] * modes["bow"]
    place = raised * complex(*modes["bow_place"])
    motions["surprise"] = composed(mean, change, np.stack([np.ones(len(place)), place], 1))

    change = blinks([0.5, 1.9], 2.8)[:, None, None] * lids
    motions["blink"] = composed(mean, change, sway[: len(change)])
    return motions


def stored(motions: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """As motion.builtins reads them: int16, in UNITS of a pixel."""
    return {name: np.round(points * UNITS).astype(np.int16) for name, points in motions.items()}
