"""The local ledger: which watermark id was given to which output, and when. It never leaves this machine.

A line of JSON an output, in the config folder, readable by its owner alone. `reenact history` shows, empties and
disables it.
"""

from __future__ import annotations

import datetime
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fewshot_reenact.config_folder import append_private, config_folder, write_private
from fewshot_reenact.files import sha256

_LEDGER, _OFF = "history.jsonl", "history-is-off"
_read: dict[str, Any] = {}  # the ledger as it was read last


@dataclass(frozen=True)
class Entry:
    """id: of the watermark, 16 hexadecimal digits. time: ISO 8601, UTC. file: where the output was written. sha256: of
    the output, in hexadecimal; empty in entries of versions that did not note it.
    """

    id: str
    time: str
    file: str
    sha256: str = ""


def record(watermark: str, file: Path) -> list[str]:
    """Notes an output, unless the ledger is disabled. Returns what the user should know, if it could not be written."""
    return _note(watermark, str(file), file)


def record_stream(watermark: str, portrait: str) -> list[str]:
    """The same of pictures that went into no file of ours, but to whoever uses a session."""
    return _note(watermark, f"pictures of a session with {portrait}", None)


def _note(watermark: str, what: str, file: Path | None) -> list[str]:
    if not enabled():
        return []
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    try:
        append_private(_path(), json.dumps(asdict(Entry(watermark, now, what, sha256(file) if file else ""))))
    except OSError as error:
        return [f"{_path()}: the history could not be written ({error.strerror}); the output is not affected"]
    return []


def entries() -> list[Entry]:
    """All entries, oldest first; lines that cannot be read are left out. Raises OSError."""
    try:
        lines = _path().read_text(encoding="utf-8", errors="replace").split("\n")
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        try:
            read = json.loads(line)
            kept = {key: str(read[key]) for key in ("id", "time", "file")}
            found.append(Entry(**kept, sha256=str(read.get("sha256", ""))))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue
    return found


def find(watermark: str) -> Entry | None:
    """The entry of a watermark id, None if this installation did not give it (or forgot). Of the first 8 digits of one,
    the last output that has them.
    """
    try:
        stat = _path().stat()
        key = str(_path()), stat.st_size, stat.st_mtime_ns
        if _read.get("key") != key:  # once for all files that are looked at, not for each
            noted = entries()
            _read.update(key=key, by_id={one.id[:8]: one for one in noted} | {one.id: one for one in noted})
        return _read["by_id"].get(watermark)
    except OSError:
        return None


def clear() -> int:
    """Empties the ledger; returns how many entries there were. Raises OSError."""
    count = len(entries())
    _path().unlink(missing_ok=True)
    return count


def enabled() -> bool:
    """Whether outputs are noted; they are unless `switch(False)` was called."""
    return not (config_folder() / _OFF).exists()


def switch(on: bool) -> None:
    """Enables or disables the ledger from now on; what is in it stays. Raises OSError."""
    if on:
        (config_folder() / _OFF).unlink(missing_ok=True)
    else:
        write_private(config_folder() / _OFF, b"outputs are not noted; `reenact history --enable` changes that\n")


def _path() -> Path:
    return config_folder() / _LEDGER
