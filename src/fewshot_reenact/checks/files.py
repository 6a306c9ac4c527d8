"""Checks of several files: which is what, and that one that cannot be read does not keep the others from being seen."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fewshot_reenact._version import __version__
from fewshot_reenact.checks.draw import annotated_driver, annotated_portrait, annotated_unreadable
from fewshot_reenact.checks.driver import check_driver
from fewshot_reenact.checks.portrait import check_portrait
from fewshot_reenact.checks.report import Report, unreadable, worst
from fewshot_reenact.device import choose_device
from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.files import as_paths, check_output
from fewshot_reenact.inputs.driver import DriverSource
from fewshot_reenact.inputs.portrait_files import PortraitSource
from fewshot_reenact.landmarks.backend import LandmarkBackend
from fewshot_reenact.landmarks.registry import Landmarks, load_backend
from fewshot_reenact.landmarks.selection import parse_face
from fewshot_reenact.media.marks import PlainNote
from fewshot_reenact.media.pictures import PICTURE_OUTPUTS, is_picture, write_picture
from fewshot_reenact.motion.files import READ
from fewshot_reenact.progress import Progress, stage

_SHOWN = 8  # files in one picture


class _Annotated(PlainNote):
    """Words beside somebody's picture do not make it AI-generated, so the file does not say that it is."""

    def metadata(self) -> dict[str, str]:
        return {"comment": "An input checked by fewshot-reenact, landmarks drawn over the original picture"}


def check(
    files: str | Path | Sequence[str | Path],
    *,
    picture: str | Path | None = None,
    portrait: str | Path | None = None,
    face: str | int = "largest",
    fps: float | None = None,
    any_size: bool = False,
    landmarks: Landmarks | LandmarkBackend = "builtin",
    device: str = "auto",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> list[Report]:
    """Say of each file how good it is: a picture as a portrait, a video or a motion file as a driver.

    files: one or several. portrait: the picture that the drivers among them are to move; how far they go beyond
    what it can show is said too. picture: also write a picture (.png, .jpg) of them, annotated, one below the
    other; of eight files at most; none where no file can be shown. face: "largest" or N from the left. fps: frames
    a second of the folders of numbered frames among them. any_size: videos beyond the limits of size too. landmarks:
    "builtin", "fan", or a backend. device: "auto", "cpu", "cuda", "cuda:1", "mps". overwrite: replace `picture` if it
    exists. progress: see progress.Progress; the stage is the file's name.

    Returns a Report for each file, in the order given. A file that cannot be read is unusable and its report says why.
    Raises UsageError (no file, an output that cannot be written), InputError (`portrait`), ModelError.

    Example:

        from fewshot_reenact import check

        for one in check(["portrait.jpg", "driver.mp4"]):
            print(one.file, one.verdict)
    """
    chosen = parse_face(face)
    paths = as_paths(files)
    if not paths:
        raise UsageError("no file to check was given")
    if picture is not None:
        if len(paths) > _SHOWN:
            raise UsageError(f"--picture shows {_SHOWN} files at most: check fewer at a time")
        check_output(picture, overwrite, paths, PICTURE_OUTPUTS)
    where, _ = choose_device(device)
    backend = load_backend(landmarks, str(where)) if isinstance(landmarks, str) else landmarks
    moved = None if portrait is None else PortraitSource.parse(portrait).load(backend)[0][0]
    reports: list[Report] = []
    drawn: list[np.ndarray | None] = []
    for path in paths:
        kind = "portrait" if is_picture(path) and path.suffix.lower() not in READ else "driver"
        shown: np.ndarray | None = None
        try:
            # What holds for any input: a file that is there.
            rate = fps if path.is_dir() else None
            source = DriverSource.parse(path, face=chosen, option="--face", fps=rate, any_size=any_size)
            if kind == "portrait":
                report, found = check_portrait(path, backend, chosen)
                if picture is not None:
                    shown = annotated_portrait(report, path, None if found is None else found.points)
            else:
                report, driver = check_driver(source, backend, stage(progress, str(path)), moved)
                if picture is not None:
                    shown = annotated_driver(report, driver.source, driver.motion)
        except InputError as error:
            report = unreadable(str(path), kind, str(error).removeprefix(f"{path}: "))
        drawn.append(shown)
        reports.append(report)
    if picture is not None and any(shown is not None for shown in drawn):
        rows = [
            annotated_unreadable(report) if shown is None else shown
            for shown, report in zip(drawn, reports, strict=True)
        ]
        write_picture(picture, _one_below_the_other(rows), overwrite, inputs=paths, marks=_Annotated())
    return reports


def _one_below_the_other(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """(H, W, 3) uint8 each; W of the result is that of the widest, and what is beside narrower ones is black."""
    wide = max(picture.shape[1] for picture in pictures)
    return np.concatenate([np.pad(one, ((0, 0), (0, wide - one.shape[1]), (0, 0))) for one in pictures])


def as_data(reports: Sequence[Report]) -> dict[str, Any]:
    """The whole check as plain data, for JSON."""
    return {
        "schema": "fewshot-reenact/check/1",
        "version": __version__,
        "verdict": worst([report.verdict for report in reports]),
        "files": [report.report() for report in reports],
    }
