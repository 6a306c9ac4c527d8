"""What check and verify find in files, in their own words, for who has put them in."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fewshot_reenact.checks.files import check
from fewshot_reenact.inputs.person import is_person
from fewshot_reenact.progress import Progress
from fewshot_reenact.provenance.report import in_words
from fewshot_reenact.provenance.verify import MarkReport, verify

_LOOKED_AT = 8  # files that are shown with what is seen in them


def look_at(
    files: Sequence[str] | str | None, folder: Path | None = None, progress: Progress | None = None
) -> tuple[str, str | None]:
    """What `reenact check` says of files, before anything is made of them, and a picture of what it saw in the first
    ones, in `folder`; None: no picture. progress: see check.
    """
    given = [files] if isinstance(files, str) else files
    if not given:
        return "", None
    picture = None if folder is None else Path(tempfile.mkdtemp(dir=folder)) / "seen.jpg"
    paths = [Path(file) for file in given if not is_person(Path(file))]
    shown, more = paths[:_LOOKED_AT], paths[_LOOKED_AT:]
    reports = (check(shown, picture=picture, progress=progress) if shown else []) + (
        check(more, progress=progress) if more else []
    )
    lines = [f"{Path(file).name}: a person that networks were fitted to" for file in given if Path(file) not in paths]
    lines += [replace(report, file=Path(report.file).name).in_words() for report in reports]
    return "\n\n".join(lines), str(picture) if picture is not None and picture.is_file() else None


def look_for_marks(files: Sequence[str] | str | None, watermark_key: Path | None = None) -> str:
    """What `reenact verify` says of files. watermark_key: see verify."""
    given = [files] if isinstance(files, str) else files
    if not given:
        return ""
    return "\n".join(
        line for one in verify(list(given), watermark_key=watermark_key) for line in in_words(_without_folders(one))
    )


def _without_folders(found: MarkReport) -> MarkReport:
    """The same with files' names alone: where they lie on this machine is not the visitors' business."""
    watermark = found.watermark
    if watermark is not None and watermark.known is not None:
        known = replace(watermark.known, file=Path(watermark.known.file).name)
        watermark = replace(watermark, known=known)
    return replace(found, name=Path(found.name).name, watermark=watermark)
