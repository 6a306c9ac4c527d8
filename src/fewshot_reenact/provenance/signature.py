"""A file's C2PA manifest, whoever wrote it: whether it holds and what it says, with the standard's validation codes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import c2pa

from fewshot_reenact.provenance.assertions import PROTECTION, SOFT_BINDING, STATEMENT, TOOL, TRAINING_MINING
from fewshot_reenact.provenance.sign import damaged_manifest, opened, printable, reason, remote_manifest

_STORES = (bytes.fromhex("d8fec3d61b0e483c92975828877ec481"), b"caBX", b"jumdc2pa")  # where MP4, PNG, JPEG keep theirs
_MOST = 24  # things of a kind that are taken from a manifest, which anybody may have written
# CAWG's assertion, and the one of C2PA up to 2.1 that it took the place of.
_MINING = (TRAINING_MINING, "c2pa.training-mining")


@dataclass(frozen=True)
class TimeStamp:
    """An RFC 3161 time stamp of a signature. time: ISO 8601, None if it cannot be relied on. authority: who stamped, as
    its certificate says. trusted: whether that certificate is trusted here.
    """

    time: str | None
    authority: str
    trusted: bool


@dataclass(frozen=True)
class ManifestContents:
    """What a manifest says, as plain data: nobody has checked it, and it counts only as far as the signature does.

    actions: each with its source type and program. ingredients: their titles. bindings: (algorithm, value) of soft
    bindings, such as a watermark's id. mining: what may be done with the picture, by use: "allowed", "notAllowed",
    "constrained". assertions: the labels of all.
    """

    actions: tuple[str, ...] = ()
    ingredients: tuple[str, ...] = ()
    bindings: tuple[tuple[str, str], ...] = ()
    mining: dict[str, str] = field(default_factory=dict)
    assertions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Signature:
    """A C2PA manifest.

    state: "trusted" (holds, by a certificate known here), "valid" (holds, by whomever), "altered" (file or manifest
    was changed after signing, or the manifest is another file's), "broken" (the manifest itself does not hold),
    "remote" (it is on the net, and nothing is fetched). tool: what signed, as it says. by_this_tool: whether that, or
    an ingredient, is this tool. signer: the certificate's owner. statement: what this tool states in it, empty for
    others. problems: codes of the C2PA standard for what failed. codes: all of them, under "success", "informational"
    and "failure". said: what else it says. time_stamp: by a third party; None: there is none.
    """

    state: str
    tool: str
    by_this_tool: bool
    signer: str
    statement: dict[str, Any]
    problems: tuple[str, ...]
    codes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    said: ManifestContents = field(default_factory=ManifestContents)
    time_stamp: TimeStamp | None = None

    @property
    def holds(self) -> bool:
        """Whether the signature is valid, whoever made it."""
        return self.state in ("trusted", "valid")

    @property
    def protects(self) -> bool:
        """Whether it is of a picture that must not be animated, not of one that was generated."""
        return PROTECTION in self.said.assertions

    @property
    def as_ingredient(self) -> bool:
        """Whether another tool signed, and this tool's output went into what it made."""
        return self.by_this_tool and self.tool.split(" ")[0] != TOOL


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
    codes = {kind: _codes(results.get(kind)) for kind in ("success", "informational", "failure")}
    known = {"Trusted": "trusted", "Valid": "valid"}.get(state or "", "broken")
    # Of the file or of the manifest: what was signed is not what is there.
    if known == "broken" and any(code.endswith(".mismatch") for code in codes["failure"]):
        known = "altered"
    signed = active.get("signature_info") or {}
    statement = next((one.get("data") for one in active.get("assertions") or [] if one.get("label") == STATEMENT), None)
    return Signature(
        state=known,
        tool=_tool(active),
        by_this_tool=any(_tool(one).split(" ")[0] == TOOL and not _protects(one) for one in manifests.values()),
        signer=printable(signed.get("issuer") or signed.get("common_name") or "nobody named"),
        statement=statement if isinstance(statement, dict) else {},
        problems=codes["failure"],
        codes=codes,
        said=what_is_said(active),
        time_stamp=_time_stamp(signed.get("time"), results),
    )


def what_is_said(manifest: dict[str, Any]) -> ManifestContents:
    """Out of a manifest as the library reads it, by whatever tool; what is of an unexpected kind is left out."""
    assertions = [one for one in _list(manifest.get("assertions")) if isinstance(one, dict)]
    data = [(str(one.get("label")), one.get("data")) for one in assertions]
    actions, bindings = [], []
    mining: dict[str, str] = {}
    for label, what in data:
        if not isinstance(what, dict):
            continue
        if label.startswith("c2pa.actions"):
            actions += [_action(one) for one in _list(what.get("actions"))]
        elif label.split("__")[0] == SOFT_BINDING:
            blocks = [one for one in _list(what.get("blocks")) if isinstance(one, dict)]
            bindings += [(printable(what.get("alg") or "unnamed"), printable(one.get("value"))) for one in blocks]
        elif label.split("__")[0] in _MINING:
            entries = what.get("entries")
            entries = entries if isinstance(entries, dict) else {}
            uses = {str(name).rsplit(".", 1)[-1]: one.get("use") for name, one in entries.items() if _is(one)}
            mining |= {printable(name): printable(use) for name, use in list(uses.items())[:_MOST]}
    titles = [one.get("title") or "untitled" for one in _list(manifest.get("ingredients")) if _is(one)]
    return ManifestContents(
        actions=tuple(actions[:_MOST]),
        ingredients=tuple(printable(title, 80) for title in titles[:_MOST]),
        bindings=tuple(bindings[:_MOST]),
        mining=mining,
        assertions=tuple(printable(label, 80) for label, _ in data[:_MOST]),
    )


def _protects(manifest: dict[str, Any]) -> bool:
    return PROTECTION in what_is_said(manifest).assertions


def _action(one: Any) -> str:
    if not _is(one):
        return "unnamed"
    source = str(one.get("digitalSourceType") or "").rsplit("/", 1)[-1]
    agent = one.get("softwareAgent")
    agent = " ".join(str(agent[key]) for key in ("name", "version") if agent.get(key)) if _is(agent) else agent
    more = ", ".join(str(text) for text in (source, agent, one.get("when")) if text)
    return printable(f"{one.get('action') or 'unnamed'}{f' ({more})' if more else ''}")


def _time_stamp(time: Any, results: dict[str, Any]) -> TimeStamp | None:
    """Out of the library's codes, which alone say whether it fits and whose it is."""
    found = [one for kind in results.values() for one in _list(kind) if _is(one)]
    mine = {str(one.get("code")): str(one.get("explanation") or "") for one in found}
    mine = {code: text for code, text in mine.items() if code.startswith("timeStamp.")}
    if not mine and not time:
        return None
    fits = "timeStamp.validated" in mine
    authority = mine.get("timeStamp.validated", "").partition(": ")[2]
    return TimeStamp(
        printable(time) if time and fits else None, printable(authority or "nobody named"), "timeStamp.trusted" in mine
    )


def _codes(results: Any) -> tuple[str, ...]:
    """Each once, in their order."""
    return tuple(dict.fromkeys(printable(one.get("code")) for one in _list(results) if _is(one)))[:_MOST]


def _tool(manifest: dict[str, Any]) -> str:
    told = manifest.get("claim_generator_info") or [{}]
    named = told[0] if isinstance(told, list) and isinstance(told[0], dict) else {}
    return printable(
        f"{named.get('name') or manifest.get('claim_generator') or 'unnamed'} {named.get('version') or ''}"
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


def _list(value: Any) -> Iterable[Any]:
    return value if isinstance(value, list) else []


def _is(value: Any) -> bool:
    """Whether it is an object with names."""
    return isinstance(value, dict)
