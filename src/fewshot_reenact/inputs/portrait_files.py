"""PORTRAIT: one picture of a person or several, found, read and measured."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fewshot_reenact.errors import InputError
from fewshot_reenact.files import refuse_odd_input
from fewshot_reenact.inputs.person import is_person
from fewshot_reenact.inputs.portrait import Portrait
from fewshot_reenact.landmarks.backend import LandmarkBackend
from fewshot_reenact.landmarks.tracker import choose_face, find_face, parse_face
from fewshot_reenact.media.pictures import PICTURE_SUFFIXES, is_picture, is_video, read_picture
from fewshot_reenact.motion.builtins import is_builtin_motion


def portrait_files(portraits: str | Path | Sequence[str | Path]) -> list[Path]:
    """The pictures meant: a file, a folder's pictures in the order of their names, or several of either. A fine-tuned
    person's file stands alone.

    Raises InputError for a folder without pictures, a video or a file of another kind.
    """
    given = [portraits] if isinstance(portraits, str | Path) else list(portraits)
    if not given or not all(str(path) for path in given):
        raise InputError("no portrait was given")
    for name in given:
        if is_builtin_motion(name):
            raise InputError(f"{name}: is a driver, not a picture; PORTRAIT comes first, then DRIVER")
        refuse_odd_input(name)
    files: list[Path] = []
    for path in map(Path, given):
        if path.is_dir():
            inside = sorted(
                p for p in path.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES and not p.name.startswith(".")
            )
            if not inside:
                raise InputError(f"{path}: there is no picture in this folder")
            files += inside
        else:
            files.append(path)
    for path in files:
        if is_person(path):
            if len(files) > 1:
                raise InputError(f"{path}: a fine-tuned person has pictures of their own; give the file alone")
            continue
        if path.is_file() and not is_picture(path):
            swapped = "; PORTRAIT comes first, then DRIVER" if is_video(path) else ""
            raise InputError(
                f"{path}: is not a picture; a portrait is one, or several of one person (-p A -p B, a folder){swapped}"
            )
    return files


def load_portraits(
    files: Sequence[Path], backend: LandmarkBackend, face: str | int = "largest"
) -> tuple[list[Portrait], list[str]]:
    """Read the pictures and find the face in each. Returns the portraits and lines that the user should be told.

    `face` chooses in the first picture, the largest counts in the others. Raises InputError: unreadable, no face.
    """
    portraits, notes = [], []
    for number, path in enumerate(files):
        picture = read_picture(path)
        wanted = parse_face(face) if number == 0 else "largest"
        faces = backend.detect(picture)
        chosen = choose_face(faces, wanted)
        if chosen is None:
            chosen = find_face(picture, backend, wanted, path.name)  # raises, with the reason
        if len(faces) > 1 and wanted == "largest":
            at = sorted(faces, key=lambda one: float(one.points[:, 0].mean())).index(chosen) + 1
            notes.append(
                f"{path.name}: {len(faces)} faces; the largest (number {at} from the left) is used, "
                "choose another with --face N"
            )
        refined = backend.refine(picture, chosen.points) or chosen
        portraits.append(Portrait(picture, np.asarray(refined.points, np.float32)))
    return portraits, notes
