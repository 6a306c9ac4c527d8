"""What `reenact verify` found, in plain words. "No mark found" is never worded as "real"."""

from __future__ import annotations

import re
from typing import Any

from fewshot_reenact.provenance.aigc import MEANINGS
from fewshot_reenact.provenance.assertions import TOOL
from fewshot_reenact.provenance.sign import printable
from fewshot_reenact.provenance.signature import Signature, TimeStamp
from fewshot_reenact.provenance.verify import MarkReport, Watermark

PROTECTED = "says of itself that it must not be animated, nor used for training (reenact protect)"
_SHOWN = 8  # of what a manifest lists
NOTHING = (
    f"no mark of {TOOL} found. That proves nothing: marks can be removed, and what other tools make has other marks "
    "or none"
)


def in_words(finding: MarkReport) -> list[str]:
    """Lines for one file, the verdict first."""
    if finding.unreadable:
        return [f"{finding.name}: could not be read: {finding.unreadable}"]
    lines = [f"{finding.name}: {_verdict(finding)}"]
    if finding.signature:
        lines.append(f"  signature  {_signature(finding.signature)}")
    if finding.signature:
        lines += [f"  {name:<9}  {line}" for name, line in _manifest(finding.signature)]
    if finding.watermark:
        lines.append(f"  watermark  {_watermark(finding.watermark)}")
    if finding.foreign_manifest:
        lines.append("  beware     signature and watermark name different outputs: one comes from another file")
    # Another program's comment ("Lavc63") is no mark.
    tags = [f'"{finding.tags.comment}"'] if finding.tags.comment and finding.tags.by_this_tool else []
    if finding.tags.source_type:
        tags.append(f"digitalSourceType {finding.tags.source_type.rsplit('/', 1)[-1]}")
    if tags:
        lines.append(f"  tags       {', '.join(tags)} (anybody can write or remove these)")
    if finding.tags.aigc:
        lines.append(f"  AIGC       {_aigc(finding.tags.aigc)} (GB 45438-2025; anybody can write or remove it)")
    missing = [
        name
        for name, there in (("signature", finding.signature), ("watermark", finding.watermark), ("tags", tags))
        if not there
    ]
    if missing and finding.made_by_this_tool:
        lines.append(f"  not found  {', '.join(missing)}")
    if finding.signature and finding.signature.holds:  # else it may be what was said of another file
        for consent, when in _consents(finding.signature.statement, "consent"):
            lines.append(f'  consent    "{printable(consent, 1000)}" (said by who made it{when}; not checked)')
        for digest, when in _consents(finding.signature.statement, "consent_file"):
            lines.append(f"  consent    a statement with SHA-256 {printable(digest, 64)} (kept by who made it{when})")
    return lines


def _consents(statement: dict[str, Any], name: str) -> list[tuple[object, str]]:
    """What is said on consent and when, from a manifest that anybody may have written."""
    inputs = statement.get("inputs")
    said = [one.get(name) for one in inputs if isinstance(one, dict)] if isinstance(inputs, list) else []
    return [
        (consent, when)
        for consent, when in ((statement.get(name), ""), *((one, " at fine-tuning") for one in said[:8]))
        if consent
    ]


def _verdict(finding: MarkReport) -> str:
    altered = "ALTERED. " if finding.signature and finding.signature.state == "altered" else ""
    signed = finding.signature is not None and finding.signature.holds and finding.signature.by_this_tool
    if finding.signature and signed and finding.signature.as_ingredient and not finding.watermark:
        return f"contains material made with {TOOL}: AI-generated"
    if signed or (finding.watermark and not finding.watermark.protects):
        return f"{altered}Made with {TOOL}: AI-generated" if altered else f"made with {TOOL}: AI-generated"
    if finding.tags.by_this_tool:
        says = "it says of itself that it was" if altered else "says of itself that it was"
        return f"{altered}{says[0].upper() + says[1:] if altered else says} made with {TOOL}: AI-generated"
    if finding.protected:
        return f"{altered}{PROTECTED[0].upper() + PROTECTED[1:] if altered else PROTECTED}"
    if altered:
        return f"{altered}No other mark of {TOOL} found"
    if finding.tags.generated:
        return f"says of itself that it is AI-generated; {NOTHING}"
    return NOTHING


def _signature(one: Signature) -> str:
    # Quoted unless it is ours: anybody may write a sentence there.
    ours = re.fullmatch(rf"{TOOL} [\w.+]*", one.tool)
    by = (f"by {one.tool}" if ours else f'by "{one.tool}"') if one.tool else "by nobody named"
    problems = f" ({', '.join(one.problems[:4])})" if one.problems else ""
    if one.state == "trusted":
        kept = "picture and sound were not changed since"
        return f"holds: signed {by}, {kept}; the certificate is trusted here ({one.signer})"
    if one.state == "valid":
        return (
            f"holds: signed {by}, picture and sound were not changed since; "
            f"the certificate is not known here, so who signed is not proven ({one.signer})"
        )
    if one.state == "altered" and not one.tool:
        return f"is there and cannot be read: something was added to the file or cut away after signing{problems}"
    if one.state == "altered":
        return (
            f"does not fit: signed {by}, then the file was changed, or the signature comes from another file{problems}"
        )
    if one.state == "remote":
        return "is kept on the net, says the file, and was not fetched: nothing here uses the network"
    return f"is there and cannot be relied on{problems}"


def _manifest(one: Signature) -> list[tuple[str, str]]:
    """What a manifest says, of this tool or any other, each a line with its name: who said it is said above."""
    lines = []
    worth = "not checked" if one.holds else "of the file before it was changed, or of another file"
    if one.time_stamp:
        lines.append(("stamped", _time_stamp(one.time_stamp)))
    ours = {name: printable(one.statement[name]) for name in ("provider", "time", "id") if one.statement.get(name)}
    if ours:
        told = "".join(f', {name} "{what}"' for name, what in ours.items() if name != "provider")
        lines.append(("says", f'made available by "{ours.get("provider", "nobody named")}"{told} ({worth})'))
    said = [f"actions {'; '.join(one.said.actions[:_SHOWN])}"] if one.said.actions else []
    if one.said.ingredients:
        said.append("made from " + ", ".join(f'"{title}"' for title in one.said.ingredients[:_SHOWN]))
    if one.said.mining:
        said.append("use by AI: " + ", ".join(f"{name} {use}" for name, use in one.said.mining.items()))
    lines += [("says", f"{line} ({worth})") for line in said]
    lines += [("binding", f"{alg}: {value}") for alg, value in one.said.bindings[:_SHOWN]]
    codes = [f"{kind}: {', '.join(found)}" for kind, found in one.codes.items() if found]
    if codes:
        lines.append(("C2PA", "; ".join(codes)))
    return lines


def _time_stamp(one: TimeStamp) -> str:
    if one.time is None:
        return "by a time stamp that does not fit the signature: it says nothing"
    known = "trusted here" if one.trusted else "not known here, so the time is not proven; --trust names authorities"
    return f'{one.time}, by "{one.authority}", an authority {known}'


def _aigc(label: dict[str, str]) -> str:
    """The elements of the label that say something."""
    meaning = MEANINGS.get(label["Label"], "no known value")
    others = [f'{name} "{value}"' for name, value in label.items() if name != "Label" and value]
    return ", ".join([f'Label "{label["Label"]}" ({meaning})', *others])


def _watermark(one: Watermark) -> str:
    frames = f"{one.frames} frame{'s' if one.frames != 1 else ''}"
    known = "not in this machine's history"
    if one.known:
        output = f"made on this machine, {one.known.time}, as {printable(one.known.file)}"
        known = output if one.same_file else f"the id of what was {output}"
        if one.same_file is False:
            known += "; this is another file: a changed copy, or one that the id was carried over to"
    under = f", under the key {one.key}, which is not public" if one.key else ""
    if one.protects:
        known = "the reserved id of pictures that must not be animated"
    half = " (32 bits of it)" if one.bits < 64 else ""
    return (
        f"id {one.id}{half}{under}, confidence {one.confidence:.6f}, in {frames}{', mirrored' * one.mirrored}; {known}"
    )
