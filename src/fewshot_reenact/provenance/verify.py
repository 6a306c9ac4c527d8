"""`reenact verify`: which marks a file carries, and what each of them is worth.

Three marks, each judged on its own: the C2PA signature (proves that nothing was changed since; who signed is known only
as far as their certificate is), the watermark (survives re-encoding; can be copied or forged by who reads this code)
and the plain tags (anybody can write or drop them). That no mark is found proves nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import c2pa
import numpy as np
from numpy.typing import NDArray

from fewshot_reenact.errors import InputError
from fewshot_reenact.files import as_paths, sha256
from fewshot_reenact.media.file_types import kind_of
from fewshot_reenact.media.pictures import read_colours
from fewshot_reenact.media.reader import VideoReader
from fewshot_reenact.progress import Progress
from fewshot_reenact.provenance import history
from fewshot_reenact.provenance.keys import own_authority
from fewshot_reenact.provenance.sign import (
    STATEMENT,
    TOOL,
    damaged_manifest,
    opened,
    printable,
    reason,
    remote_manifest,
)
from fewshot_reenact.provenance.tags import Tags, read_tags
from fewshot_reenact.provenance.watermark import detect

MADE, NO_MARK, UNREADABLE = 0, 1, 3
# Frames looked at together, some ten seconds: a marked part inside a longer video is found.
_WINDOW = 250
_SUREST = 0.999999  # a confidence is never rounded up to certainty
_FALSE_ALARM = 1e-6  # a file, however long
_STORES = (bytes.fromhex("d8fec3d61b0e483c92975828877ec481"), b"caBX", b"jumdc2pa")  # where MP4, PNG, JPEG keep theirs
Picture = NDArray[np.uint8]
"""Called with the file's name and the frames of it that were looked at."""


@dataclass(frozen=True)
class Signature:
    """A C2PA manifest.

    state: "trusted" (holds, by a certificate known here), "valid" (holds, by whomever), "altered" (file or manifest
    was changed after signing, or the manifest is another file's), "broken" (the manifest itself does not hold),
    "remote" (it is on the net, and nothing is fetched). tool: what signed, as it says. by_this_tool: whether that, or
    an ingredient, is this tool. signer: the certificate's owner. statement: what this tool states in it, empty for
    others. problems: codes of the C2PA standard.
    """

    state: str
    tool: str
    by_this_tool: bool
    signer: str
    statement: dict[str, Any]
    problems: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether the signature is valid, whoever made it."""
        return self.state in ("trusted", "valid")

    @property
    def as_ingredient(self) -> bool:
        """Whether another tool signed, and this tool's output went into what it made."""
        return self.by_this_tool and self.tool.split(" ")[0] != TOOL


@dataclass(frozen=True)
class Watermark:
    """A watermark that was found. known: the entry of its id in this machine's history, if there is one. same_file:
    whether this is that output to the byte; None where that cannot be told (a series of pictures, an old entry).
    """

    id: str
    confidence: float
    frames: int
    mirrored: bool
    known: history.Entry | None
    same_file: bool | None = None


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
        return signed or self.watermark is not None or self.tags.by_this_tool

    @property
    def foreign_manifest(self) -> bool:
        """Whether signature and watermark name different outputs: one of them was carried over from another file."""
        stated = self.signature.statement.get("watermark") if self.signature else None
        return bool(stated and self.watermark and stated != self.watermark.id)

    def report(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {
            **asdict(self),
            "made_by_this_tool": self.made_by_this_tool,
            "foreign_manifest": self.foreign_manifest,
        }


def verify(
    paths: str | Path | Sequence[str | Path], *, trust: str | Path | None = None, progress: Progress | None = None
) -> list[MarkReport]:
    """Look for marks in files, and in the pictures and videos of folders.

    paths: one or several. trust: certificates (PEM) of authorities that are trusted besides this machine's own.
    progress: see progress.Progress; the stage is the file's name.

    Returns a MarkReport for each file, in the order given; a folder's files in the order of their names. Pictures of
    one size in a folder are also looked at together, as a series: what is too faint in one may show in all. A file that
    cannot be read has a MarkReport too, with `unreadable` set. Raises InputError if `trust` cannot be read.

    Example:

        from fewshot_reenact import verify

        for one in verify(["video.mp4"]):
            print(one.name, one.made_by_this_tool)
    """
    anchors = _anchors(trust)
    tell = progress or (lambda stage, done, total: None)
    findings = []
    for path in as_paths(paths):
        if path.is_dir():
            findings += _folder(path, anchors, tell)
        else:
            findings.append(_file(path, anchors, tell))
    return findings


def exit_code(findings: Sequence[MarkReport]) -> int:
    """3 if a file could not be read, else 0 if one carries a mark of this tool, else 1."""
    if not findings or any(one.unreadable for one in findings):
        return UNREADABLE
    return MADE if any(one.made_by_this_tool for one in findings) else NO_MARK


def read_signature(path: Path, anchors: str | None = None) -> Signature | None:
    """The C2PA manifest in a file, checked; None without one. Raises OSError. Nothing is fetched from the net."""
    try:
        with opened(path, anchors) as reader:
            store, state = json.loads(reader.json()), reader.get_validation_state()
    except c2pa.C2paError.ManifestNotFound:
        return None
    except (c2pa.C2paError, ValueError, RecursionError) as error:
        if remote_manifest(error):
            return Signature("remote", "", False, "", {}, ())
        if damaged_manifest(error):
            return Signature("broken", "", False, "", {}, (reason(error),))
        # Else a kind of file that cannot carry one, unless it does: then something was added to it or cut away.
        return Signature("altered", "", False, "", {}, (reason(error),)) if _has_store(path) else None
    manifests = store.get("manifests") or {}
    active = manifests.get(store.get("active_manifest")) or {}
    results = (store.get("validation_results") or {}).get("activeManifest") or {}
    problems = [str(one.get("code")) for one in results.get("failure") or []]
    known = {"Trusted": "trusted", "Valid": "valid"}.get(state or "", "broken")
    # Of the file or of the manifest: what was signed is not what is there.
    if known == "broken" and any(code.endswith(".mismatch") for code in problems):
        known = "altered"
    signed = active.get("signature_info") or {}
    statement = next((one.get("data") for one in active.get("assertions") or [] if one.get("label") == STATEMENT), None)
    return Signature(
        state=known,
        tool=_tool(active),
        by_this_tool=any(_tool(one).split(" ")[0] == TOOL for one in manifests.values()),
        signer=printable(signed.get("issuer") or signed.get("common_name") or "nobody named"),
        statement=statement if isinstance(statement, dict) else {},
        problems=tuple(printable(code) for code in problems),
    )


def _has_store(path: Path) -> bool:
    """Whether somewhere in a file there is what C2PA manifests are kept in."""
    before = b""
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            if any(mark in before + block for mark in _STORES):
                return True
            before = block[-16:]
    return False


def _file(path: Path, anchors: str | None, tell: Progress) -> MarkReport:
    name = printable(path)
    try:
        if not path.is_file():
            raise InputError("is not an ordinary file" if path.exists() else "no such file; check the name")
        kind = kind_of(path)
        if kind is None:
            raise InputError("is neither a picture nor a video")
        frames = iter([read_colours(path)]) if kind == "picture" else _frames(path, tell)
        mark = _watermark(frames)
        if mark is not None and mark.known is not None and mark.known.sha256:
            mark = replace(mark, same_file=sha256(path) == mark.known.sha256)
        return MarkReport(name, read_signature(path, anchors), mark, read_tags(path))
    except (InputError, OSError) as error:
        why = str(error).removeprefix(f"{path}: ") if isinstance(error, InputError) else error.strerror or str(error)
        return MarkReport(name, unreadable=printable(why))


def _folder(folder: Path, anchors: str | None, tell: Progress) -> list[MarkReport]:
    try:
        files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    except OSError as error:
        return [MarkReport(printable(folder), unreadable=printable(error.strerror or str(error)))]
    files = [path for path in files if kind_of(path) is not None]
    if not files:
        return [MarkReport(printable(folder), unreadable="there is no picture and no video in this folder")]
    findings, series = [], dict[tuple[int, ...], list[Path]]()
    for path in files:
        finding = _file(path, anchors, tell)
        findings.append(finding)
        if not finding.unreadable and kind_of(path) == "picture":
            series.setdefault(read_colours(path).shape, []).append(path)
    for (height, width, _), paths in series.items():
        if len(paths) > 1:
            mark = _watermark(read_colours(path) for path in paths)
            findings.append(
                MarkReport(f"{printable(folder)}: {len(paths)} pictures of {width}x{height} together", None, mark)
            )
    return findings


def _frames(path: Path, tell: Progress) -> Iterator[Picture]:
    with VideoReader(path) as reader:
        for frame in reader:
            tell(path.name, frame.index + 1, None)
            yield frame.picture


def _watermark(pictures: Iterable[Picture]) -> Watermark | None:
    """The first watermark found, looking at some seconds at a time; the pictures are never all in memory."""
    pictures = iter(pictures)
    for number, first in enumerate(pictures, 1):
        window = _chain(first, islice(pictures, _WINDOW - 1))
        # Many looks, many chances to err: shares of 1, 1/4, 1/9, ... of the whole add up to it.
        found = detect(window, _FALSE_ALARM * 6 / (math.pi * number) ** 2)
        if found is not None:
            name = f"{found.payload:016x}"
            return Watermark(name, min(found.confidence, _SUREST), found.frames, found.mirrored, history.find(name))
        for _ in window:  # what the detector did not look at
            pass
    return None


def _chain(first: Picture, rest: Iterable[Picture]) -> Iterator[Picture]:
    yield first
    yield from rest


def _tool(manifest: dict[str, Any]) -> str:
    told = manifest.get("claim_generator_info") or [{}]
    named = told[0] if isinstance(told, list) and isinstance(told[0], dict) else {}
    return printable(
        f"{named.get('name') or manifest.get('claim_generator') or 'unnamed'} {named.get('version') or ''}"
    )


def _anchors(trust: str | Path | None) -> str | None:
    """Certificates that make a signature trusted: this machine's own and those given."""
    given = ""
    if trust is not None:
        try:
            given = Path(trust).read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{trust}: cannot be read as certificates; give a PEM file") from error
        if "BEGIN CERTIFICATE" not in given:
            raise InputError(f"{trust}: has no certificate in it; give a PEM file")
    return (own_authority() or "") + given or None
