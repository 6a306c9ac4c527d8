"""Folders of data that a trainer packs once: each says what it was made of, so that no run learns from another's."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fewshot_reenact.errors import UsageError
from fewshot_reenact.files import partial_file
from fewshot_reenact.plain_json import read_object

_RECORD = "packed.json"


def is_packed(folder: Path, record: dict[str, Any], data: str) -> bool:
    """Whether the folder has this record. False: it has none, and no file like `data` (a glob) either.

    Raises UsageError: it was packed from something else, or nobody knows from what.
    """
    path = folder / _RECORD
    again = f"delete {folder}, and it is packed again, or use another folder"
    if not path.is_file():
        if any(folder.glob(data)):
            raise UsageError(f"{folder}: does not say what it was packed from ({_RECORD} is missing); {again}")
        return False
    try:
        then = read_object(path.read_bytes())
        differ = [key for key in record if then.get(key) != record[key]]
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: damaged; {again}") from error
    if differ:
        raise UsageError(f"{path}: packed with another {', '.join(differ)}; {again}")
    return True


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """Say what the folder was packed from."""
    with partial_file(folder / _RECORD, overwrite=True) as partial:
        partial.write_text(json.dumps(record, indent=2) + "\n", "utf-8")


def digest(lines: Iterable[str]) -> str:
    """SHA-256 of a list of names."""
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
