"""Which face is meant: the largest, or one counted from the left; and where a face is."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.landmarks.backend import Face, LandmarkBackend

LARGEST: Literal["largest"] = "largest"

FaceChoice: TypeAlias = int | Literal["largest"]
"""Which face is meant, parsed: the largest, or N counted from the left, beginning with 1."""


def parse_face(value: str | int) -> FaceChoice:
    """--face as it is used, whatever its case and the spaces about it. Raises UsageError for anything else."""
    text = str(value).strip().lower()
    if text == LARGEST:
        return LARGEST
    if text.isascii() and text.isdigit() and int(text) > 0:
        return int(text)
    raise UsageError(f"face {value!r} is not known: use 'largest', or a number counted from the left, beginning with 1")


def from_left(faces: Iterable[Face]) -> list[Face]:
    """Faces in the order in which N counts them."""
    return sorted(faces, key=lambda one: float(one.points[:, 0].mean()))


def choose_face(faces: list[Face], face: FaceChoice, fewer: bool = False) -> Face | None:
    """The largest face, or the Nth from the left; None when there are fewer than N (the rightmost with `fewer`)."""
    if not faces:
        return None
    if face == LARGEST:
        return max(faces, key=lambda one: Place.of(one).size)
    ordered = from_left(faces)
    if face > len(ordered) and not fewer:
        return None
    return ordered[min(face, len(ordered)) - 1]


def find_face(
    picture: np.ndarray, backend: LandmarkBackend, face: str | int = LARGEST, name: str = "", option: str = "--face"
) -> Face:
    """The chosen face of one picture, (H, W, 3) uint8 RGB. `name` says which picture in the error.

    Raises InputError when it is not there, UsageError for a `face` that is neither "largest" nor a number from 1.
    """
    faces = backend.detect(picture)
    chosen = choose_face(faces, parse_face(face))
    if chosen is None:
        raise no_face(name or "the picture", "the picture", face, len(faces), option)
    return backend.refine(picture, chosen.points) or chosen


def no_face(name: str, where: str, face: str | int, most: int, option: str = "--face") -> InputError:
    """What to raise where the face asked for is not there. most: faces seen at once. option: how a face is chosen."""
    if most:
        return InputError(
            f"{name}: face {face} was asked for, but there {'are' if most > 1 else 'is'} only {most} in {where}: "
            f"choose {option} {'1' if most == 1 else f'1 to {most}'}"
        )
    return InputError(f"{name}: no face was found in {where}: use one with a face seen from the front, not too small")


@dataclass(frozen=True)
class Place:
    """Where a face is and how large, in pixels."""

    centre: np.ndarray
    size: float

    @staticmethod
    def of(face: Face) -> "Place":
        """Where a face is, and how large."""
        low, high = face.points.min(0), face.points.max(0)
        return Place((low + high) / 2, max(float(np.sqrt(np.prod(high - low))), 1e-3))

    def distance(self, other: "Place") -> float:
        """How far another face is from this one, in sizes; unequal sizes count as distance too."""
        apart = float(np.linalg.norm(self.centre - other.centre)) / max(self.size, other.size)
        return apart + abs(float(np.log(self.size / other.size)))
