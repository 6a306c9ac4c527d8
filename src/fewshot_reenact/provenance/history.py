"""The local ledger: which watermark id was given to which output, and when. It never leaves this machine.

A line of JSON an output, in the config folder, readable by its owner alone. `reenact history` shows, empties and
disables it.
"""

from __future__ import annotations

import datetime
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from fewshot_reenact.config_folder import append_private, config_folder, write_private

_LEDGER, _OFF = "history.jsonl", "history-is-off"


@dataclass(frozen=True)
class Entry:
    """id: of the watermark, 16 hexadecimal digits. time: ISO 8601, UTC. file: where the output was written."""

    id: str
    time: str
    file: str


def record(watermark: str, file: Path) -> list[str]:
    """Notes an output, unless the ledger is disabled. Returns what the user should know, if it could not be written."""
    if not enabled():
        return []
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    try:
        append_private(_path(), json.dumps(asdict(Entry(watermark, now, str(file)))))
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
            found.append(Entry(*(str(read[key]) for key in ("id", "time", "file"))))
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    return found


def find(watermark: str) -> Entry | None:
    """The entry of a watermark id, None if this installation did not give it (or forgot)."""
    try:
        return next((one for one in reversed(entries()) if one.id == watermark), None)
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
