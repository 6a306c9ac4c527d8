"""Consent: what a user says about the agreement of the person shown, and their own agreement to the rules of use."""

from __future__ import annotations

import datetime
import json
import os
from pathlib import Path

from fewshot_reenact.config_folder import config_folder, write_private
from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.files import sha256

VARIABLE = "REENACT_ACCEPT_USE"
LONGEST = 1000  # characters of a consent text
RULES = (
    "This tool makes people seem to move and speak in ways they never did. Use it only with pictures of people who "
    "agreed to it.\nNever for sexual content, fraud, impersonation, harassment, or pictures of minors; never to pass "
    "an identity check;\nand do not remove the marks from its output. RESPONSIBLE_USE.md says it in full."
)
_FILE = "accepted-use.json"
# Raised when the rules change so that they have to be accepted again.
_VERSION = 1


def check_consent(text: str | None) -> str | None:
    """A consent text as it goes into the manifest. Raises UsageError: empty, too long, with control characters."""
    if text is None:
        return None
    text = text.strip()
    if not text:
        raise UsageError("the consent text is empty; say who agreed, and how, or leave the option out")
    if len(text) > LONGEST:
        raise UsageError(f"the consent text has {len(text)} characters; {LONGEST} is the most")
    if not all(c.isprintable() or c == "\n" for c in text):
        raise UsageError("the consent text has control characters in it; write plain text")
    return text


def hash_of_statement(path: str | Path | None) -> str | None:
    """The SHA-256 of a file in which the person shown agrees, of whatever kind: a letter, a scan, a signed mail. It is
    not read otherwise. None without one. Raises InputError: it cannot be read, or is empty.
    """
    if path is None:
        return None
    try:
        if Path(path).stat().st_size == 0:
            raise InputError(f"{path}: is empty; give the statement itself")
        return sha256(Path(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the name") from error


def state() -> str | None:
    """Whether the rules were accepted ("accepted"), only shown ("shown": there was no terminal to ask on), or None."""
    if os.environ.get(VARIABLE, "") not in ("", "0"):
        return "accepted"
    try:
        kept = json.loads((config_folder() / _FILE).read_text(encoding="utf-8"))
        return str(kept["state"]) if kept["version"] == _VERSION else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def keep(what: str) -> None:
    """Remembers "accepted" or "shown", so that nobody is asked or told twice. Raises OSError."""
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    write_private(
        config_folder() / _FILE, json.dumps({"version": _VERSION, "state": what, "time": now}).encode() + b"\n"
    )
