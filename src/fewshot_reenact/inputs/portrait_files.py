"""PORTRAIT: one picture of a person or several, or a fine-tuned person: found at once, then read and measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.files import as_file
from fewshot_reenact.inputs.person import Person, is_person, load_person
from fewshot_reenact.inputs.portrait import Portrait
from fewshot_reenact.landmarks.backend import LandmarkBackend, look_closely
from fewshot_reenact.landmarks.selection import LARGEST, FaceChoice, choose_face, find_face, from_left, parse_face
from fewshot_reenact.landmarks.upright import how_it_lies, quarter_turns, turned
from fewshot_reenact.media.pictures import PICTURE_SUFFIXES, is_picture, is_video, read_alpha, read_picture
from fewshot_reenact.motion.builtins import is_builtin_motion


@dataclass(frozen=True)
class PortraitSource:
    """PORTRAIT as it was given, looked at once; nothing is read yet.

    files: the pictures in their order, or one file of a fine-tuned person, or one video. face: "largest" or N from the
    left, in the first picture.
    """

    files: list[Path]
    face: FaceChoice = LARGEST

    @classmethod
    def parse(
        cls, portraits: str | Path | Sequence[str | Path], face: str | int = "largest", video: bool = False
    ) -> PortraitSource:
        """The pictures meant: a file, a folder's pictures in the order of their names, or several of either. A
        fine-tuned person's file stands alone. video: so may a video, each of whose frames then is a portrait.

        Raises InputError for a folder without pictures, a video or a file of another kind; UsageError for the face.
        """
        chosen = parse_face(face)
        given = [portraits] if isinstance(portraits, str | Path) else list(portraits)
        if not given or not all(str(path) for path in given):
            raise InputError("no portrait was given")
        for name in given:
            if is_builtin_motion(name):
                raise InputError(f"{name}: is a driver, not a picture; PORTRAIT comes first, then DRIVER")
        files: list[Path] = []
        for path in map(as_file, given):
            files += _pictures_in(path) if path.is_dir() else [path]
        for path in files:
            _check(path, alone=len(files) == 1, video=video)
        return cls(files, chosen)

    @property
    def name(self) -> str:
        """What an output is called after: the first file, without folders and suffix."""
        return self.files[0].stem

    @property
    def is_person(self) -> bool:
        """Whether it is what `reenact finetune` made: networks, psi and portraits in one."""
        return is_person(self.files[0])

    @property
    def is_video(self) -> bool:
        """Whether it is a video, whose own frames are changed."""
        return not self.is_person and self.files[0].is_file() and is_video(self.files[0])

    def person(self, model: str | Path | None, device: torch.device | str) -> Person | None:
        """The fine-tuned person that stands for the portrait, if one does. Raises UsageError beside another model."""
        if not self.is_person:
            return None
        if model is not None:
            raise UsageError(f"{self.files[0]}: holds networks of its own; leave out the model")
        return load_person(self.files[0], device)

    def load(self, backend: LandmarkBackend) -> tuple[list[Portrait], list[str]]:
        """Read the pictures and find the face in each. Returns the portraits and lines that the user should be told.

        `face` chooses in the first picture, the largest counts in the others. Raises InputError: unreadable, no face.
        """
        portraits, notes = [], []
        for number, path in enumerate(self.files):
            picture, alpha = read_picture(path), read_alpha(path)
            wanted = self.face if number == 0 else LARGEST
            faces = backend.detect(picture)
            turn = quarter_turns(picture, faces, backend, wanted)
            if turn:
                picture, alpha = turned(picture, turn), None if alpha is None else turned(alpha, turn)
                faces = backend.detect(picture)
                notes.append(f"{path.name}: {how_it_lies(turn)}; it is used turned upright")
            chosen = choose_face(faces, wanted)
            if chosen is None:
                chosen = find_face(picture, backend, wanted, path.name)  # raises, with the reason
            if len(faces) > 1 and wanted == LARGEST:
                at = from_left(faces).index(chosen) + 1
                notes.append(
                    f"{path.name}: {len(faces)} faces; the largest (number {at} from the left) is used, "
                    "choose another with --face N"
                )
            refined = backend.refine(picture, chosen.points) or chosen
            clear = None if alpha is None else alpha.astype(np.float32) / 255
            portraits.append(Portrait(picture, look_closely(backend, picture, refined.points), alpha=clear))
        return portraits, notes


def _pictures_in(folder: Path) -> list[Path]:
    inside = sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES and not p.name.startswith("."))
    if not inside:
        raise InputError(f"{folder}: there is no picture in this folder")
    return inside


def _check(path: Path, alone: bool, video: bool) -> None:
    if is_person(path):
        if not alone:
            raise InputError(f"{path}: a fine-tuned person has pictures of their own; give the file alone")
    elif path.is_file() and video and is_video(path):
        if not alone:
            raise UsageError(f"{path}: is a video; as the portrait it stands alone, without further ones")
    elif path.is_file() and not is_picture(path):
        swapped = "; PORTRAIT comes first, then DRIVER" if is_video(path) else ""
        raise InputError(
            f"{path}: is not a picture; a portrait is one, or several of one person (-p A -p B, a folder){swapped}"
        )
