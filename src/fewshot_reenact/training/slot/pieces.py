"""Named blobs of bytes as files of limited size, and back: what may travel at once is limited, and so is each file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fewshot_reenact.errors import InputError, UsageError

MANIFEST = "manifest.json"


def write_pieces(folder: Path, blobs: dict[str, bytes], *, piece: int, part: int | None = None) -> list[Path]:
    """Write blobs as files of at most `piece` bytes: into the folder itself, or, with `part`, into folders part-00,
    part-01 ... in it of at most `part` bytes each. Every folder gets a manifest of all pieces.

    Returns the folders. Raises UsageError: a part cannot hold one piece.
    """
    if part is not None and part < piece:
        raise UsageError(f"a part of {part} bytes cannot hold a piece of {piece}")
    rows: list[dict[str, Any]] = []
    files, number, filled = [], 0, 0
    for name, blob in blobs.items():
        for index, at in enumerate(range(0, max(len(blob), 1), piece)):
            data = blob[at : at + piece]
            if part is not None and filled + len(data) > part:
                number, filled = number + 1, 0
            filled += len(data)
            rows.append({"blob": name, "file": f"{name}.{index:02d}", "part": number, "sha256": _sha256(data)})
            files.append(data)
    folders = [folder if part is None else folder / f"part-{k:02d}" for k in range(number + 1)]
    written = [(folders[row["part"]] / row["file"], data) for row, data in zip(rows, files, strict=True)]
    written += [(one / MANIFEST, (json.dumps({"pieces": rows}) + "\n").encode()) for one in folders]
    for path, data in written:  # all beside those of an earlier call, then all in their places: it may be killed
        path.parent.mkdir(parents=True, exist_ok=True)
        _beside(path).write_bytes(data)
    for path, _ in written:
        _beside(path).replace(path)
    return folders


def read_pieces(folders: Iterable[Path]) -> dict[str, bytes]:
    """The blobs whose pieces lie in these folders, or in folders part-00, part-01 ... in them.

    Raises InputError: no manifest, a piece is missing or damaged, or the folders are of different packs.
    """
    given = list(folders)
    folders = [part for folder in given for part in _parts_in(folder)]
    manifests = [folder / MANIFEST for folder in folders]
    missing = [str(path) for path in manifests if not path.is_file()]
    if missing or not folders:
        raise InputError(f"{', '.join(missing) or 'no folder'}: there is no pack here; name all its parts' folders")
    texts = {path.read_text() for path in manifests}
    if len(texts) > 1:
        raise InputError(f"{', '.join(map(str, folders))}: are parts of different packs; pack again")
    found: dict[str, list[bytes]] = {}
    for row in json.loads(texts.pop())["pieces"]:
        path = next((folder / row["file"] for folder in folders if (folder / row["file"]).is_file()), None)
        if path is None:
            raise InputError(f"{row['file']}: of part {row['part']} is in none of {', '.join(map(str, folders))}")
        data = path.read_bytes()
        if _sha256(data) != row["sha256"]:
            raise InputError(f"{path}: is damaged; copy it again")
        found.setdefault(row["blob"], []).append(data)
    return {name: b"".join(parts) for name, parts in found.items()}


def _parts_in(folder: Path) -> list[Path]:
    """The folder itself, or the parts that it holds."""
    held = sorted(path.parent for path in folder.glob(f"part-*/{MANIFEST}"))
    return held if held and not (folder / MANIFEST).is_file() else [folder]


def _beside(path: Path) -> Path:
    return path.with_name(path.name + ".partial")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
