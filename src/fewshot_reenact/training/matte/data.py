"""What the matte network learns from: labelled pictures, altered as portraits come."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from fewshot_reenact.errors import InputError
from fewshot_reenact.training.landmarks.augment import painted, photometric

_HELD_OUT = 20  # one person in so many is kept out


class Labelled:
    """pictures: (N, 256, 256, 3) uint8 RGB, mattes: (N, 256, 256) uint8, by a name each. learn, stills, clips: numbers
    of those to learn from, and of those that are held out.

    Raises InputError: no such files, or damaged ones.
    """

    def __init__(self, folder: Path):
        files = sorted(folder.glob("*.npz"))
        if not files:
            raise InputError(f"{folder}: packed: there is nothing; run scripts/build/label_mattes.py first")
        pictures, mattes, names = [], [], []
        for path in files:
            try:
                with np.load(path, allow_pickle=False) as part:
                    pictures.append(part["pictures"])
                    mattes.append(part["mattes"])
                    names += [f"{path.stem.split('_')[0]}/{name}" for name in part["names"].tolist()]
            except (OSError, ValueError, KeyError, EOFError) as error:
                raise InputError(f"{path}: packed: is damaged; delete it and label again") from error
        self.pictures, self.mattes = np.concatenate(pictures), np.concatenate(mattes)
        kept = np.array([_is_held_out(name) for name in names])
        still = np.array([name.startswith("stills/") for name in names])
        self.learn, self.stills, self.clips = (np.flatnonzero(part) for part in (~kept, kept & still, kept & ~still))

    def batch(
        self, rng: np.random.Generator, count: int, altered: float, grounds: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """(B, 256, 256, 3) uint8 and (B, 256, 256) uint8."""
        rows = [self._one(rng, altered, grounds) for _ in range(count)]
        return np.stack([picture for picture, _ in rows]), np.stack([matte for _, matte in rows])

    def _one(self, rng: np.random.Generator, altered: float, grounds: float) -> tuple[np.ndarray, np.ndarray]:
        number = int(rng.choice(self.learn))
        picture, matte = self.pictures[number], self.mattes[number]
        if rng.random() < grounds:
            picture = _before(picture, matte, self._ground(rng))
        picture, matte = _moved(picture, matte, rng)
        if rng.random() < altered:
            picture = alter(picture, rng)
        return picture, matte

    def _ground(self, rng: np.random.Generator) -> np.ndarray:
        """What is behind another person, drawn over them; or one colour, or two."""
        if rng.random() < 0.25:
            ends = rng.integers(0, 256, (2, 3)).astype(np.float32)
            share = np.linspace(0, 1, 256, dtype=np.float32)[:, None, None]
            return np.broadcast_to(ends[0] + share * (ends[1] - ends[0]), (256, 256, 3)).astype(np.uint8)
        number = int(rng.choice(self.learn))
        small = cv2.resize(self.pictures[number], (64, 64), interpolation=cv2.INTER_AREA)
        hole = cv2.dilate((cv2.resize(self.mattes[number], (64, 64)) > 40).astype(np.uint8), np.ones((3, 3), np.uint8))
        filled = cv2.resize(cv2.inpaint(small, hole, 3, cv2.INPAINT_TELEA), (256, 256), interpolation=cv2.INTER_CUBIC)
        share = self.mattes[number][..., None].astype(np.float32) / 255
        ground = (self.pictures[number] * (1 - share) + filled * share).astype(np.uint8)
        return ground[:, ::-1] if rng.random() < 0.5 else ground

    def held_out(self, which: str, altered: bool, at_once: int = 32) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The pictures that are held out, "stills" or "clips", as they are or altered; always the same."""
        numbers, rng = getattr(self, which), np.random.default_rng(1)
        for first in range(0, len(numbers), at_once):
            part = numbers[first : first + at_once]
            pictures = self.pictures[part]
            if altered:
                pictures = np.stack([alter(picture, rng) for picture in pictures])
            yield pictures, self.mattes[part]


def alter(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As portraits come: painted, grey, toned, in other light, blurred, noisy, compressed."""
    if rng.random() < 0.3:
        picture = painted(picture, rng)
    if rng.random() < 0.25:
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)[..., None] / 255
        dark, light = rng.uniform(0, 60, 3) * rng.random(), 255 - rng.uniform(0, 70, 3) * rng.random()
        picture = (dark + grey * (light - dark)).astype(np.uint8)
    return photometric(picture, rng)


def _before(picture: np.ndarray, matte: np.ndarray, ground: np.ndarray) -> np.ndarray:
    share = matte[..., None].astype(np.float32) / 255
    return np.round(picture * share + ground * (1 - share)).astype(np.uint8)


def _moved(picture: np.ndarray, matte: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Mirrored, turned a little, larger or smaller."""
    angle, scale = rng.normal(0, 8), np.exp(rng.normal(0, 0.15))
    matrix = cv2.getRotationMatrix2D((127.5, 127.5), angle, scale)
    matrix = matrix + np.array([[0, 0, rng.normal(0, 10)], [0, 0, rng.normal(0, 10)]])
    if rng.random() < 0.5:
        picture, matte = picture[:, ::-1], matte[:, ::-1]
    shown = [
        cv2.warpAffine(
            np.ascontiguousarray(part), matrix, (256, 256), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        for part in (picture, matte)
    ]
    return shown[0], shown[1]


def _is_held_out(name: str) -> bool:
    """By the person: every crop of a still, every frame of a clip's person goes to the same side."""
    kind, person = name.split("/")[:2]
    person = person.rsplit("-", 1)[0].rsplit("_", 1)[0] if kind == "clips" else person
    return hashlib.sha256(f"{kind}/{person}".encode()).digest()[0] % _HELD_OUT == 0
