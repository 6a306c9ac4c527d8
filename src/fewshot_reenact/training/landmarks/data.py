"""Data for training the landmark networks: stills and clip frames with points, negatives, augmentation."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

from fewshot_reenact.errors import InputError
from fewshot_reenact.geometry import align
from fewshot_reenact.geometry.affine import invert, transform
from fewshot_reenact.geometry.topology import FLIP
from fewshot_reenact.landmarks.detector import face_size
from fewshot_reenact.media.source import open_container
from fewshot_reenact.training.landmarks.augment import animal, occlude, photograph, photometric, shuffled
from fewshot_reenact.training.landmarks.dress import WORN
from fewshot_reenact.training.packed import digest, is_packed, write_record

SIDE = 256
# The teacher's x of a picture and of its mirror image add up to this (mean over 120 stills; 255 would be pixel centres,
# 256 pixel edges): mirroring so adds no bias.
MIRROR_SUM = 255.67


def read_names(path: Path) -> frozenset[str]:
    """The names in a list, one a line; what follows # is a comment."""
    lines = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    return frozenset(line for line in lines if line)


def to_tensor(pictures: list[np.ndarray]) -> torch.Tensor:
    """(S, S, 3) uint8 pictures as the networks' (B, 3, S, S) in -1..1."""
    x = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return x.contiguous(memory_format=torch.channels_last)


def pack(
    data: Path, out: Path, held_out: frozenset[str], frame_step: int = 8, stop: Callable[[], bool] = lambda: False
) -> bool:
    """Write pictures.npy (N, 256, 256, 3) uint8 RGB, points.npy (N, 83, 2) float32, held.npy (N,) bool: held out, and
    clips.npy (N,): the clip's number, -1 for a still.

    Held out: the stills of these names, and the clips of people p300 and above. What is packed already stays. stop:
    asked before each clip. Returns False when it said so: then nothing is written. Raises InputError: no stills there;
    UsageError: OUT holds what was packed from something else.
    """
    try:
        labels = np.load(data / "stills" / "stills.npz")
        names = [str(name) for name in labels["names"]]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{data / 'stills' / 'stills.npz'}: names and points of stills cannot be read") from error
    labelled = sorted((data / "clips" / "train").glob("*.npz"))
    record = {
        "stills": digest(names),
        "clips": digest(path.name for path in labelled),
        "held_out": digest(sorted(held_out)),
        "frame_step": frame_step,
    }
    if is_packed(out, record, "clips.npy"):
        return True
    pictures, points, held, clips = [], [], [], []
    for name, p in zip(names, labels["points"], strict=True):
        picture = cv2.imread(str(data / "stills" / name))
        if picture is not None and picture.shape == (SIDE, SIDE, 3):
            pictures.append(picture[..., ::-1])
            points.append(p.astype(np.float32))
            held.append(name in held_out)
            clips.append(-1)
    for number, path in enumerate(labelled):
        if stop():
            return False
        p = np.load(path)["points"].astype(np.float32)
        with open_container(path.with_suffix(".mp4")) as container:
            for i, frame in enumerate(container.decode(video=0)):
                if i % frame_step == 0 and i < len(p):
                    pictures.append(frame.to_ndarray(format="rgb24"))
                    points.append(p[i])
                    held.append(path.name >= "p300")
                    clips.append(number)
    if not pictures:
        raise InputError(f"{data}: none of the stills is there, {SIDE} pixels square, and no clip")
    out.mkdir(parents=True, exist_ok=True)
    np.save(out / "pictures.npy", np.stack(pictures))
    np.save(out / "points.npy", np.stack(points))
    np.save(out / "held.npy", np.array(held))
    np.save(out / "clips.npy", np.array(clips))
    write_record(out, record)
    return True


def rarity(points: np.ndarray) -> np.ndarray:
    """How much oftener than others each face is drawn: closed eyes, open mouths, turned heads. (N, 83, 2) -> (N,)."""
    eyes = np.linalg.norm(points[:, 45] - points[:, 36], axis=1)
    lids = [
        np.linalg.norm(points[:, a] - points[:, b], axis=1) / eyes for a, b in ((37, 41), (38, 40), (43, 47), (44, 46))
    ]
    gap = np.linalg.norm(points[:, 62] - points[:, 66], axis=1) / eyes
    turn = ((points[:, 30] - points[:, 36]) * (points[:, 45] - points[:, 36])).sum(1) / eyes**2 - 0.5
    turned = 1.5 * (np.abs(turn) > 0.15) + 3.0 * (np.abs(turn) > 0.3)
    return 1.0 + 1.5 * (np.mean(lids, 0) < 0.06) + 1.0 * (gap > 0.12) + turned


def read_packed(packed: Path, train: bool, seed: int) -> "LandmarkSource":
    """Of what is packed, what is not held out (`train`) or what is. The rarer faces are drawn oftener in training.

    Raises InputError: there is none of it.
    """
    held, points = np.load(packed / "held.npy"), np.load(packed / "points.npy")
    index = np.flatnonzero(~held if train else held)
    if not len(index):
        raise InputError(f"{packed}: {'all' if train else 'none'} of it is held out; see held_out in the config")
    return LandmarkSource(
        np.load(packed / "pictures.npy", mmap_mode="r"), points, index, rarity(points) if train else None, seed
    )


def read_stills(data: Path, names: frozenset[str], seed: int) -> "LandmarkSource":
    """The stills of these names. Raises FileNotFoundError where there are none of them."""
    labels = np.load(data / "stills" / "stills.npz")
    chosen = [i for i, name in enumerate(labels["names"]) if str(name) in names]
    read = [cv2.imread(str(data / "stills" / str(labels["names"][i]))) for i in chosen]
    pictures = [picture[..., ::-1] for picture in read if picture is not None]
    if not pictures or len(pictures) < len(read):
        raise FileNotFoundError(f"{data / 'stills'}: {len(names) - len(pictures)} of {len(names)} stills are missing")
    points = labels["points"][chosen].astype(np.float32)
    return LandmarkSource(np.stack(pictures), points, np.arange(len(pictures)), None, seed)


class LandmarkSource:
    """Pictures (N, 256, 256, 3) uint8 RGB and their points (N, 83, 2), and random augmented samples of them.

    index: the numbers that are drawn; chance (N,): how often, in proportion, or None for evenly.
    """

    def __init__(
        self, pictures: np.ndarray, points: np.ndarray, index: np.ndarray, chance: np.ndarray | None, seed: int
    ):
        self.pictures, self.points, self.index, self.chance = pictures, points, index, chance
        chosen = np.ones(len(index)) if chance is None else chance[index]
        self.ladder = np.cumsum(chosen / chosen.sum())
        self.rng = np.random.default_rng(seed)

    def draw(self) -> tuple[np.ndarray, np.ndarray]:
        """A random picture (256, 256, 3) and its points, mirrored half of the time."""
        i = int(self.index[min(int(np.searchsorted(self.ladder, self.rng.random())), len(self.index) - 1)])
        return self.still(i, self.rng.random() < 0.5)

    def still(self, i: int, mirrored: bool) -> tuple[np.ndarray, np.ndarray]:
        """Packed picture i and its points."""
        picture, points = np.array(self.pictures[i]), self.points[i]
        if mirrored:
            picture, points = picture[:, ::-1], points[FLIP] * [-1, 1] + [MIRROR_SUM, 0]
        return np.ascontiguousarray(picture), points.astype(np.float32)

    # ---- point network ------------------------------------------------------------------------------------------

    def crop(self, spread: float = 1.0) -> tuple[np.ndarray, np.ndarray, bool]:
        """A training crop: picture (128, 128, 3), points in it, and whether there is a face in its place."""
        rng = self.rng
        picture, points = self.draw()
        matrix = align.crop_matrix(align.anchors(points))
        wrong = rng.random() < 0.2
        kind = rng.random() if wrong else 0.0
        if rng.random() < 0.15:
            spread = 2 * spread  # a head that jumped since the last frame
        if wrong and kind > 0.3:  # no face at all, or none that stands upright
            if kind > 0.9:
                crop = shuffled(align.cut(picture, matrix), rng)
            elif kind > 0.85:
                crop = np.ascontiguousarray(align.cut(picture, self.shake(matrix, 1.0))[::-1])
            elif kind > 0.6:
                base = photograph(rng, align.CROP) if kind > 0.75 else self.background(align.CROP)
                crop = animal(base, rng, close=True)
            else:
                crop = self.empty(align.CROP)
        else:
            matrix = self.shake(matrix, spread, wrong)
            crop = align.cut(picture, matrix)
        inside = transform(invert(matrix), points)
        if not wrong:
            for put_on in WORN.values():
                if rng.random() < 0.07:
                    crop = put_on(crop, inside, rng)
            if rng.random() < 0.25:
                crop = occlude(crop, rng)
        crop = photometric(crop, rng)
        return crop, inside.astype(np.float32), not wrong

    def shake(self, matrix: np.ndarray, spread: float, wrong: bool = False) -> np.ndarray:
        """Move, turn and scale a crop as the detector's or the last frame's errors do; `wrong`: right off the face."""
        rng, c = self.rng, align.CROP
        angle = rng.normal(0, 0.16 * spread)
        scale = np.exp(rng.normal(0, 0.10 * spread))
        shift = rng.normal(0, 0.045 * spread, 2) * c
        if wrong:
            turn = rng.uniform(0, 2 * np.pi)
            shift = np.array([np.cos(turn), np.sin(turn)]) * rng.uniform(0.6, 1.1) * c
            scale *= np.exp(rng.uniform(-1.0, 0.3))
        middle = (c - 1) / 2
        around = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * scale
        offset = np.full(2, middle) + shift - around @ np.full(2, middle)
        linear = matrix[:, :2] @ around
        return np.concatenate([linear, (matrix[:, :2] @ offset + matrix[:, 2])[:, None]], 1)

    # ---- detector ------------------------------------------------------------------------------------------------

    def background(self, side: int) -> np.ndarray:
        """A picture without a face: a part of a still far from its face, enlarged, or texture."""
        rng = self.rng
        kind = rng.random()
        if kind < 0.15:
            small = rng.integers(0, 256, (int(rng.integers(2, 24)), int(rng.integers(2, 24)), 3), dtype=np.uint8)
            return cv2.resize(small, (side, side), interpolation=cv2.INTER_CUBIC)
        picture, points = self.draw()
        low, high = points.min(0), points.max(0)
        # The largest strip beside, above or below the face.
        strips = [
            (0, 0, int(low[0]), SIDE),
            (int(high[0]), 0, SIDE, SIDE),
            (0, int(high[1]), SIDE, SIDE),
            (0, 0, SIDE, int(low[1])),
        ]
        x0, y0, x1, y1 = max(strips, key=lambda s: (max(0, s[2] - s[0]) * max(0, s[3] - s[1])) * rng.uniform(0.3, 1))
        part = picture[max(0, y0) : y1, max(0, x0) : x1]
        if min(part.shape[:2]) < 12:
            part = picture[:24, :24]
        if kind > 0.6:  # several strips: more edges, fewer flat colours
            part = np.concatenate([part, part[::-1, ::-1]], int(rng.integers(2)))
        turned = np.rot90(part, int(rng.integers(4)))
        return cv2.resize(np.ascontiguousarray(turned), (side, side), interpolation=cv2.INTER_LINEAR)

    def empty(self, side: int) -> np.ndarray:
        """A picture without a human face: background, photographs of things, or a drawn animal."""
        kind = self.rng.random()
        if kind < 0.3:
            return photograph(self.rng, side)
        if kind < 0.6:
            base = photograph(self.rng, side) if kind < 0.4 else self.background(side)
            return animal(base, self.rng)
        return self.background(side)

    def scene(self, side: int) -> tuple[np.ndarray, np.ndarray]:
        """A scene (side, side, 3) with 0 to 4 faces; their eyes and mouths (N, 3, 2)."""
        rng = self.rng
        canvas = self.empty(side)
        count = int(rng.choice([0, 1, 1, 1, 2, 3, 4]))
        threes: list[np.ndarray] = []
        for _ in range(count):
            picture, points = self.draw()
            three = align.anchors(points)
            wanted = np.exp(rng.uniform(np.log(9), np.log(190 if count == 1 else 60)))
            scale = wanted / float(face_size(three))
            angle = rng.normal(0, 0.3) if rng.random() < 0.85 else rng.uniform(-0.9, 0.9)
            turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            centre = rng.uniform(0.12, 0.88, 2) * side
            matrix = np.concatenate([turn, (centre - turn @ three.mean(0))[:, None]], 1)
            placed = transform(matrix, three)
            if any(np.linalg.norm(placed.mean(0) - t.mean(0)) < 0.8 * (wanted + face_size(t)) for t in threes):
                continue
            if scale < 0.6:
                small = max(2, round(SIDE * scale * 1.6))
                k = small / SIDE
                picture = cv2.resize(picture, (small, small), interpolation=cv2.INTER_AREA)
                matrix = np.concatenate([matrix[:, :2] / k, matrix[:, 2:]], 1)
            # Sometimes the whole picture is there, sometimes only the head.
            mask = np.full(picture.shape[:2], 255, np.uint8)
            if rng.random() < 0.6:
                mask[:] = 0
                k = picture.shape[0] / SIDE
                hull = cv2.convexHull(
                    ((points - points.mean(0)) * rng.uniform(1.15, 1.6) + points.mean(0)).astype(np.float32) * k
                )
                cv2.fillConvexPoly(mask, hull.astype(np.int32), 255)
            # Only the part of the canvas that the picture reaches is touched.
            corners = transform(matrix, np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) * (picture.shape[0] - 1.0))
            x0, y0 = np.clip(np.floor(corners.min(0)).astype(int), 0, side - 1)
            x1, y1 = np.clip(np.ceil(corners.max(0)).astype(int) + 1, 1, side)
            if x1 <= x0 or y1 <= y0:
                continue
            local = matrix.copy()
            local[:, 2] -= [x0, y0]
            extent = (int(x1 - x0), int(y1 - y0))
            warped = cv2.warpAffine(picture, local, extent, flags=cv2.INTER_LINEAR)
            soft = cv2.warpAffine(mask, local, extent, flags=cv2.INTER_LINEAR)
            part = canvas[y0:y1, x0:x1].astype(np.int32)
            canvas[y0:y1, x0:x1] = part + ((warped.astype(np.int32) - part) * soft[..., None] // 255)
            alpha = np.zeros((side, side), np.uint8)
            alpha[y0:y1, x0:x1] = soft
            # What the new picture covers is gone.
            gone = [
                alpha[int(np.clip(t.mean(0)[1], 0, side - 1)), int(np.clip(t.mean(0)[0], 0, side - 1))] > 127
                for t in threes
            ]
            threes = [t for t, hidden in zip(threes, gone, strict=True) if not hidden]
            threes.append(placed)
        if rng.random() < 0.3:
            canvas = occlude(canvas, rng, 0.12)
        return photometric(canvas, rng), np.array(threes, np.float32).reshape(-1, 3, 2)
