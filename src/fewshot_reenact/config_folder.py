"""The folder where this tool keeps what belongs to a user: signing key, history, acceptance of the rules of use."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from platformdirs import user_config_dir

VARIABLE = "REENACT_CONFIG"
_NAME = "fewshot-reenact"


def config_folder() -> Path:
    """Where it is; it need not exist. $REENACT_CONFIG, else the system's place for such files."""
    if chosen := os.environ.get(VARIABLE):
        return Path(chosen).absolute()
    try:
        place = Path(user_config_dir(_NAME, appauthor=False, roaming=True))
    except RuntimeError:  # no home
        place = Path("~")
    if place.is_absolute():
        return place
    # The XDG specification: a relative path is to be ignored. With neither $HOME nor an entry for this user nothing can
    # be kept, as with HOME=/.
    try:
        home = Path.home()
    except RuntimeError:
        home = Path(os.sep)
    return home / ".config" / _NAME


def write_private(path: Path, data: bytes, replace: bool = True) -> bool:
    """Writes a file that only its owner may read (0600), whole or not at all; makes its folder (0700). OSError.

    replace=False: a file that is there stays. Returns whether the data is what is there now.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with os.fdopen(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            partial.replace(path)
            return True
        try:
            os.link(partial, path)  # fails where the name is taken, without a moment between looking and writing
        except FileExistsError:
            return False
        except (OSError, NotImplementedError):  # a file system without hard links
            if path.exists():
                return False
            partial.replace(path)
        return True
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def append_private(path: Path, line: str) -> None:
    """Adds a line to a file that only its owner may read; makes it, and its folder. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # One write to a file opened for appending: two runs at a time do not tear each other's lines.
    with os.fdopen(os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600), "ab") as file:
        file.write(line.encode() + b"\n")


def open_to_others(path: Path) -> bool:
    """Whether other users of this machine may read a file. Windows keeps that elsewhere and is not asked."""
    return os.name == "posix" and bool(path.stat().st_mode & 0o077)
