"""Which places of two frames of one clip are the same skin, by dense optical flow: so that landmarks can agree.

After supervision by registration (Dong et al. 2018, CVPR): the teacher labels each frame by itself, and two of its
sets of points disagree about the same skin by a pixel or so. Frame a is laid onto frame b by a spline through the
points, the rest of the way is found by DIS flow (Kroeger et al. 2016), and where it can be trusted, what is predicted
in one frame must be what is predicted in the other.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from tqdm import tqdm

from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.files import partial_file
from fewshot_reenact.geometry import align
from fewshot_reenact.geometry.affine import invert, transform
from fewshot_reenact.geometry.topology import FLIP, LEFT_LIDS, LIP_PAIRS, RIGHT_LIDS, eye_distance
from fewshot_reenact.rendering.warp import fit_warp
from fewshot_reenact.training.landmarks.augment import photometric
from fewshot_reenact.training.landmarks.data import MIRROR_SUM, LandmarkSource

SIDE = 192  # of the upright squares that are compared; the eyes' corners are 70 pixels apart there, as in the clips
GRID = 8  # pixels from one place to the next at which the spline is computed
FAR, ASTRAY = 8.0, 0.7  # pixels: flow beyond this is no correction; there and back may differ by about this
ALIKE, PLAIN = 0.75, 4e-4  # least correlation of the two patches, least strength of texture in both directions
PATCH = 11
LIDS, INNER_LIPS, IRISES = slice(36, 48), slice(60, 68), slice(81, 83)
LIDS_MOVE, LIPS_MOVE = 0.025, 0.04  # change of a gap, in eye distances, beyond which flow around it is not believed
LEAST = 0.05


@dataclass(frozen=True)
class Match:
    """Where frame b's places `there` (83, 2) are in frame a: `here` (83, 2), pixels; `bend` (83, 2, 2): how `here`
    moves with `there`; weight (83,) 0..1, how far to believe it.
    """

    here: np.ndarray
    there: np.ndarray
    bend: np.ndarray
    weight: np.ndarray

    def miss(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """By how many pixels points a (83, 2) of the first frame are not points b of the second. (83, 2)."""
        return a - self.here - np.einsum("nij,nj->ni", self.bend, b - self.there)

    def mirrored(self) -> "Match":
        """The same of both pictures mirrored."""
        here, there = (p[FLIP] * [-1, 1] + [MIRROR_SUM, 0] for p in (self.here, self.there))
        return Match(here, there, self.bend[FLIP] * [[1, -1], [-1, 1]], self.weight[FLIP])

    def within(self, way_a: np.ndarray, way_b: np.ndarray) -> "Match":
        """In the pixels of crops, given the (2, 3) matrices from crops to pictures."""
        back = invert(way_a)
        here, there = transform(back, self.here), transform(invert(way_b), self.there)
        return Match(here, there, back[:, :2] @ self.bend @ way_b[:, :2], self.weight)


class Pairs:
    """Packed pairs, and random augmented crops of them: of the source's pictures alone, the rarer faces oftener.

    Raises InputError: none of the pairs is of the source's pictures.
    """

    def __init__(self, source: LandmarkSource, packed: Path):
        self.source = source
        with np.load(packed / "pairs.npz", allow_pickle=False) as found:
            self.frames, self.columns = found["frames"], {k: found[k] for k in ("here", "there", "bend", "weight")}
        self.index = np.flatnonzero(np.isin(self.frames, source.index).all(1))
        if not len(self.index):
            raise InputError(f"{packed / 'pairs.npz'}: no pair is of these pictures; pack more pairs, or say pairs: 0")
        rare = np.ones(len(self.index)) if source.chance is None else source.chance[self.frames[self.index]].max(1)
        self.chance = rare / rare.sum()

    def draw(self) -> tuple[list[tuple[np.ndarray, np.ndarray]], Match]:
        """Crops (128, 128, 3) of two frames with the teacher's points in them, and their Match in the crops' pixels."""
        source = self.source
        i = int(source.rng.choice(self.index, p=self.chance))
        found = Match(**{name: column[i] for name, column in self.columns.items()})
        mirrored = source.rng.random() < 0.5
        crops, ways = [], []
        for k in self.frames[i]:
            picture, points = source.still(int(k), mirrored)
            way = source.shake(align.crop_matrix(align.anchors(points)), 1.0)
            ways.append(way)
            crop = photometric(align.cut(picture, way), source.rng)
            crops.append((crop, transform(invert(way), points).astype(np.float32)))
        return crops, (found.mirrored() if mirrored else found).within(*ways)


def pack_pairs(packed: Path, count: int, stop: Callable[[], bool] = lambda: False) -> bool:
    """Add pairs.npz to a folder of training.landmarks.data.pack: of `count` pairs of frames of one clip each those that
    match.

    frames (P, 2): numbers of the packed pictures a and b; here, there, bend, weight: see Match. What is there already
    stays. stop: asked before each pair. Returns False when it said so: then nothing is written. Raises InputError: no
    two frames match; UsageError: it was made of another count.
    """
    out = packed / "pairs.npz"
    if out.exists():
        with np.load(out, allow_pickle=False) as found:
            made = int(found["count"]) if "count" in found.files else None
        if made != count:
            raise UsageError(
                f"{out}: pairs_packed was {made or 'another'}, not {count}; delete it, and it is made again"
            )
        return True
    pictures, points = np.load(packed / "pictures.npy", mmap_mode="r"), np.load(packed / "points.npy")
    clips, rng = np.load(packed / "clips.npy"), np.random.default_rng(0)
    frames, matches = [], []
    for b in tqdm(rng.permutation(np.flatnonzero(clips >= 0))[:count], unit="pair"):
        if stop():
            return False
        others = np.flatnonzero(clips == clips[b])
        a = int(rng.choice(others))
        if a == b:
            continue
        found = match(pictures[a], points[a], pictures[b], points[b])
        if found.weight.sum() > 8:  # otherwise a cut, a blur, a blink
            frames.append((a, b))
            matches.append(found)
    if not matches:
        raise InputError(f"{packed}: of {count} pairs of frames no two match; pairs need clips, not stills alone")
    columns: dict[str, Any] = {
        name: np.stack([getattr(m, name) for m in matches]).astype(np.float32)
        for name in ("here", "there", "bend", "weight")
    }
    with partial_file(out) as partial, partial.open("wb") as file:
        np.savez(file, frames=np.array(frames, np.int32), count=np.array(count), **columns)
    return True


def match(picture_a: np.ndarray, a: np.ndarray, picture_b: np.ndarray, b: np.ndarray) -> Match:
    """Two frames, (H, W, 3) uint8 RGB, and points (83, 2) in them, roughly right."""
    ways = [align.crop_matrix(align.anchors(p), SIDE) for p in (a, b)]
    squares = [align.cut(p, m, SIDE) for p, m in zip((picture_a, picture_b), ways, strict=True)]
    grey_a, grey_b = (cv2.cvtColor(s, cv2.COLOR_RGB2GRAY) for s in squares)
    own_a, own_b = (transform(invert(m), p) for m, p in zip(ways, (a, b), strict=True))
    pose_b, pose_a = (torch.from_numpy(p)[None].double() for p in (own_b, own_a))
    spline = fit_warp(pose_b, pose_a, torch.tensor([[0, 0, SIDE, SIDE]]))

    def back(at: np.ndarray) -> np.ndarray:
        return spline(torch.from_numpy(at.reshape(1, -1, 2)))[0].numpy().reshape(at.shape)

    line = np.arange(0, SIDE + GRID, GRID, dtype=np.float64)
    grid = np.stack(np.meshgrid(line, line), -1)
    # Enlarged with its first sample on pixel 0: cv2.resize would shift it by half a cell.
    enlarge = np.array([[1 / GRID, 0, 0], [0, 1 / GRID, 0]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    where = cv2.warpAffine(back(grid).astype(np.float32), enlarge, (SIDE, SIDE), flags=flags)
    laid = cv2.remap(grey_a, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]  # no second map
    finder = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    finder.setFinestScale(0)
    forth, home = finder.calc(grey_b, laid, None), finder.calc(laid, grey_b, None)  # type: ignore[call-overload]  # makes its own
    flow = _sample(forth, own_b)
    weight = _trust(grey_b, laid, forth, home, own_b) * _still(a, b)

    at = own_b + flow
    here = back(at)
    steps = [(back(at + d) - back(at - d)) / 2 for d in (np.array([1.0, 0]), np.array([0, 1.0]))]
    bend = ways[0][:, :2] @ np.stack(steps, -1) @ np.linalg.inv(ways[1][:, :2])
    return Match(transform(ways[0], here), np.asarray(b, np.float64), bend, weight)


def _sample(field: np.ndarray, at: np.ndarray) -> np.ndarray:
    """A field (H, W) or (H, W, 2) at places (N, 2)."""
    places = at.astype(np.float32)[:, None]
    found: Any = cv2.remap(field, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    return np.asarray(found).reshape(len(at), *field.shape[2:])


def _trust(b: np.ndarray, laid: np.ndarray, forth: np.ndarray, home: np.ndarray, at: np.ndarray) -> np.ndarray:
    """0..1 for places (N, 2) of b: there and back again, alike there, something to hold on to, not far."""
    flow = _sample(forth, at)
    apart = np.linalg.norm(flow + _sample(home, at + flow), axis=1)
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
    found = cv2.remap(laid, x + forth[..., 0], y + forth[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    alike = _sample(_correlation(b.astype(np.float32) / 255, found.astype(np.float32) / 255), at)
    texture = _sample(cv2.cornerMinEigenVal(b, PATCH), at)
    sure = np.exp(-((apart / ASTRAY) ** 2)) * np.clip((alike - ALIKE) / (0.95 - ALIKE), 0, 1)
    sure *= np.clip(texture / PLAIN, 0, 1) * (np.linalg.norm(flow, axis=1) < FAR)
    return np.where(sure < LEAST, 0, sure)


def _correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of the patches about each pixel, -1..1. (H, W) 0..1 -> (H, W)."""

    def mean(x: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(x, (0, 0), PATCH / 3)

    mean_a, mean_b = mean(a), mean(b)
    spread = np.sqrt(np.maximum((mean(a * a) - mean_a**2) * (mean(b * b) - mean_b**2), 0))
    return (mean(a * b) - mean_a * mean_b) / (spread + 1e-4)


def _still(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(83,): 0 for irises, and for lids and inner lips that opened or closed: where things vanish flow lies."""
    weight = np.ones(83)
    lids, lips = (np.abs(gap(a, pairs) - gap(b, pairs)) for pairs in (LEFT_LIDS + RIGHT_LIDS, LIP_PAIRS))
    weight[LIDS] *= lids < LIDS_MOVE
    weight[INNER_LIPS] *= lips < LIPS_MOVE
    weight[IRISES] = 0
    return weight


def gap(points: np.ndarray, pairs: tuple[tuple[int, int], ...]) -> float:
    """Mean distance of pairs of points, in eye distances."""
    top, under = np.array(pairs).T
    return float(np.linalg.norm(points[top] - points[under], axis=1).mean() / eye_distance(points))
