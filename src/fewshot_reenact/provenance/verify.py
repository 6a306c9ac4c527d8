"""`reenact verify`: which marks a file carries, and what each of them is worth.

Three marks, each judged on its own: the C2PA signature (proves that nothing was changed since; who signed is known only
as far as their certificate is), the watermark (survives re-encoding; can be copied or forged by who reads this code)
and the plain tags (anybody can write or drop them). That no mark is found proves nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewshot_reenact.errors import InputError
from fewshot_reenact.files import as_paths, sha256
from fewshot_reenact.media.file_types import kind_of
from fewshot_reenact.media.pictures import read_colours
from fewshot_reenact.media.reader import VideoReader
from fewshot_reenact.progress import Progress
from fewshot_reenact.provenance import history
from fewshot_reenact.provenance import trust as trust_store
from fewshot_reenact.provenance.detector import detect
from fewshot_reenact.provenance.mark_pattern import PUBLIC_KEY
from fewshot_reenact.provenance.protect import RESERVED_ID
from fewshot_reenact.provenance.sign import printable
from fewshot_reenact.provenance.signature import Signature, read_signature
from fewshot_reenact.provenance.tags import Tags, read_tags
from fewshot_reenact.provenance.watermark_key import fingerprint, read_watermark_key

MADE, NO_MARK, UNREADABLE = 0, 1, 3
# Frames looked at together, some ten seconds: a marked part inside a longer video is found.
_WINDOW = 250
_SUREST = 0.999999  # a confidence is never rounded up to certainty
_FALSE_ALARM = 1e-6  # a file, however long
Timed = tuple[NDArray[np.uint8], float]  # a picture and its time in seconds
_SERIES_RATE = 25  # frames a second that pictures of a folder are taken to be


@dataclass(frozen=True)
class Watermark:
    """A watermark that was found. known: the entry of its id in this machine's history, if there is one. same_file:
    whether this is that output to the byte; None where that cannot be told (a series of pictures, an old entry).
    key: the fingerprint of the key that it is under; None: the public one. bits: how many of the id's 64 bits the
    picture holds; of 32, the id has 8 digits, or all 16 where the history or the file's own manifest know the others.
    """

    id: str
    confidence: float
    frames: int
    mirrored: bool
    known: history.Entry | None
    same_file: bool | None = None
    key: str | None = None
    bits: int = 64

    @property
    def protects(self) -> bool:
        """Whether it is the one of pictures that must not be animated."""
        return self.id == RESERVED_ID


@dataclass(frozen=True)
class MarkReport:
    """What was found in one file, or in a series of pictures. name: the file's. signature: a C2PA manifest. watermark:
    its id, confidence (0 to 1) and frames. tags: the file's plain comment and source type. None: there is none.
    unreadable: why nothing could be found; None: the file could be read.
    """

    name: str
    signature: Signature | None = None
    watermark: Watermark | None = None
    tags: Tags = field(default_factory=lambda: Tags(None, None))
    unreadable: str | None = None

    @property
    def made_by_this_tool(self) -> bool:
        """Whether at least one mark of this tool holds."""
        signed = self.signature is not None and self.signature.holds and self.signature.by_this_tool
        stamped = self.watermark is not None and not self.watermark.protects
        return signed or stamped or self.tags.by_this_tool

    @property
    def protected(self) -> bool:
        """Whether a mark says that it must not be animated (`reenact protect`)."""
        marks = (self.signature, self.watermark)
        return self.tags.protected or any(one is not None and one.protects for one in marks)

    @property
    def foreign_manifest(self) -> bool:
        """Whether signature and watermark name different outputs: one of them was carried over from another file."""
        stated = self.signature.statement.get("watermark") if self.signature else None
        return bool(stated and self.watermark and not str(stated).startswith(self.watermark.id))

    def report(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {
            **asdict(self),
            "made_by_this_tool": self.made_by_this_tool,
            "foreign_manifest": self.foreign_manifest,
            "protected": self.protected,
        }


def verify(
    paths: str | Path | Sequence[str | Path],
    *,
    trust: str | Path | None = None,
    watermark_key: str | Path | None = None,
    progress: Progress | None = None,
) -> list[MarkReport]:
    """Look for marks in files, and in the pictures and videos of folders.

    paths: one or several. trust: certificates (PEM) of authorities that are trusted besides this machine's own and
    those trusted by `reenact keys`. watermark_key: a file of it; watermarks under it are looked for besides the public.
    progress: see progress.Progress; the stage is the file's name.

    Returns a MarkReport for each file, in the order given; a folder's files in the order of their names. Pictures of
    one size in a folder are also looked at together, as a series: what is too faint in one may show in all. A file that
    cannot be read has a MarkReport too, with `unreadable` set. Raises InputError if `trust` or the key cannot be read.

    Example:

        from fewshot_reenact import verify

        for one in verify(["video.mp4"]):
            print(one.name, one.made_by_this_tool)
    """
    look = _Look(
        anchors=trust_store.anchors() + ("" if trust is None else trust_store.read_pem(trust)) or None,
        keys=(PUBLIC_KEY,) if watermark_key is None else (read_watermark_key(watermark_key)[0], PUBLIC_KEY),
    )
    tell = progress or (lambda stage, done, total: None)
    findings = []
    for path in as_paths(paths):
        if path.is_dir():
            findings += _folder(path, look, tell)
        else:
            findings.append(_file(path, look, tell))
    return findings


def exit_code(findings: Sequence[MarkReport]) -> int:
    """3 if a file could not be read, else 0 if one carries a mark of this tool, else 1."""
    if not findings or any(one.unreadable for one in findings):
        return UNREADABLE
    return MADE if any(one.made_by_this_tool for one in findings) else NO_MARK


@dataclass(frozen=True)
class _Look:
    """What is known to whoever looks: anchors, certificates as PEM; keys of watermarks, in the order of looking."""

    anchors: str | None
    keys: tuple[bytes, ...]


def _file(path: Path, look: _Look, tell: Progress) -> MarkReport:
    name = printable(path)
    try:
        if not path.is_file():
            raise InputError("is not an ordinary file" if path.exists() else "no such file; check the name")
        kind = kind_of(path)
        if kind is None:
            raise InputError("is neither a picture nor a video")
        frames = iter([(read_colours(path), 0.0)]) if kind == "picture" else _frames(path, tell)
        mark = _watermark(frames, look.keys)
        if mark is not None and mark.known is not None and mark.known.sha256:
            mark = replace(mark, same_file=sha256(path) == mark.known.sha256)
        signature = read_signature(path, look.anchors)
        return MarkReport(name, signature, _completed(mark, signature), read_tags(path))
    except (InputError, OSError) as error:
        why = str(error).removeprefix(f"{path}: ") if isinstance(error, InputError) else error.strerror or str(error)
        return MarkReport(name, unreadable=printable(why))


def _folder(folder: Path, look: _Look, tell: Progress) -> list[MarkReport]:
    try:
        files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    except OSError as error:
        return [MarkReport(printable(folder), unreadable=printable(error.strerror or str(error)))]
    files = [path for path in files if kind_of(path) is not None]
    if not files:
        return [MarkReport(printable(folder), unreadable="there is no picture and no video in this folder")]
    findings, series = [], dict[tuple[int, ...], list[Path]]()
    for path in files:
        finding = _file(path, look, tell)
        findings.append(finding)
        if not finding.unreadable and kind_of(path) == "picture":
            series.setdefault(read_colours(path).shape, []).append(path)
    for (height, width, _), paths in series.items():
        if len(paths) > 1:
            mark = _watermark(((read_colours(path), n / _SERIES_RATE) for n, path in enumerate(paths)), look.keys)
            findings.append(
                MarkReport(f"{printable(folder)}: {len(paths)} pictures of {width}x{height} together", None, mark)
            )
    return findings


def _frames(path: Path, tell: Progress) -> Iterator[Timed]:
    with VideoReader(path) as reader:
        for frame in reader:
            tell(path.name, frame.index + 1, None)
            yield frame.picture, frame.time


def _watermark(pictures: Iterable[Timed], keys: tuple[bytes, ...]) -> Watermark | None:
    """The first watermark found, looking at some seconds at a time; the pictures are never all in memory. Turned and
    stretched ones are looked for in the first seconds only, as that takes as long as all the rest.
    """
    pictures = iter(pictures)
    for number, first in enumerate(pictures, 1):
        window = _chain(first, islice(pictures, _WINDOW - 1))
        # Many looks, many chances to err: shares of 1, 1/4, 1/9, ... of the whole add up to it.
        found = detect(window, _FALSE_ALARM * 6 / (math.pi * number) ** 2, keys, turned=number == 1)
        if found is not None:
            known = history.find(found.id)
            name = RESERVED_ID if RESERVED_ID.startswith(found.id) else known.id if known else found.id
            key = None if found.key == PUBLIC_KEY else fingerprint(found.key)
            sure = min(found.confidence, _SUREST)
            return Watermark(name, sure, found.frames, found.mirrored, known, key=key, bits=found.bits)
        for _ in window:  # what the detector did not look at
            pass
    return None


def _completed(mark: Watermark | None, signature: Signature | None) -> Watermark | None:
    """With the id that the file's own manifest states, where it begins like the half of it that was found."""
    stated = str(signature.statement.get("watermark")) if signature else ""
    return mark if mark is None or not stated.startswith(mark.id) else replace(mark, id=stated)


def _chain(first: Timed, rest: Iterable[Timed]) -> Iterator[Timed]:
    yield first
    yield from rest
