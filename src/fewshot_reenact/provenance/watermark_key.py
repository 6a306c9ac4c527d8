"""A watermark key of one's own: who does not have it can neither stamp a mark that it finds nor take one away aimedly.

A file of one line, readable by its owner alone. Everybody who stamps or looks for such marks needs it, so an
organisation shares it; who has it can forge.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from pathlib import Path

from fewshot_reenact.config_folder import open_to_others, write_private
from fewshot_reenact.errors import InputError, UsageError

_HEAD = "fewshot-reenact watermark key 1: "
_BYTES = 32


def make_watermark_key(path: str | Path) -> str:
    """Writes a new key (0600) and returns its fingerprint. Raises UsageError: a file is there, or cannot be written."""
    key = secrets.token_bytes(_BYTES)
    try:
        if not Path(path).absolute().parent.is_dir():
            raise UsageError(f"{path}: there is no such folder")
        if not write_private(Path(path), f"{_HEAD}{key.hex()}\n".encode(), replace=False):
            raise UsageError(f"{path}: exists already, and a key is never written over; name another file")
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror})") from error
    return fingerprint(key)


def read_watermark_key(path: str | Path) -> tuple[bytes, list[str]]:
    """The key, and what the user should know of the file. Raises InputError: missing, or no key."""
    try:
        text = Path(path).read_bytes()[:200].decode("ascii", "replace")
        opened = open_to_others(Path(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the name") from error
    found = re.fullmatch(rf"{_HEAD}([0-9a-f]{{{2 * _BYTES}}})\s*", text)
    if found is None:
        raise InputError(f"{path}: is no watermark key; `reenact keys --new-watermark-key FILE` makes one")
    notes = [f"{path}: others on this machine may read this key; chmod 600 it"] if opened else []
    return bytes.fromhex(found[1]), notes


def fingerprint(key: bytes) -> str:
    """16 hexadecimal digits by which a key is named where it must not be shown, as in a manifest."""
    return hashlib.sha256(b"fewshot-reenact watermark key fingerprint " + key).hexdigest()[:16]
