"""What an output's C2PA manifest says: who made it with what, when, from which inputs, under which watermark id."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fewshot_reenact._version import __version__

TOOL = "fewshot-reenact"
STATEMENT = "org.fewshot-reenact.animation"
PROTECTION = "org.fewshot-reenact.protection"
TRAINING_MINING = "cawg.training-mining"
SOFT_BINDING = "c2pa.soft-binding"
# In the form that C2PA's list of such algorithms asks for, which allows no hyphen; it is not on the list.
WATERMARK_ALGORITHM = "org.fewshotreenact.watermark.2"


_SYSTEM = {"name": TOOL, "version": __version__}


@dataclass(frozen=True)
class Ingredient:
    """An input of an output: "portrait", "driver" or "model", and the SHA-256 of its file in hexadecimal.

    path: None if it is no file: a built-in motion (`name` says which), or a camera (`live`). A manifest has no names of
    files, often people's. consent, consent_file: what was said of the person's agreement when the input itself was
    made, and the SHA-256 of a statement of theirs. private: the manifest says that there was one, and nothing of it.
    """

    role: str
    sha256: str | None
    path: Path | None = None
    name: str | None = None
    consent: str | None = None
    consent_file: str | None = None
    live: bool = False
    private: bool = False


@dataclass
class Origin:
    """What an output's manifest says of how it came about.

    source_type: IPTC's digitalSourceType. edited: whether the output is the portrait's picture with parts of it
    replaced (C2PA: opened and edited), rather than a new one. consent: what the user said on the agreement of the
    person shown. settings: further facts, plain data. provider: who makes this available; None: this tool.
    watermark_key: the fingerprint of the watermark's key; None: the public one. consent_file: the SHA-256 of a
    statement of the person shown. protects: nothing was generated, but a picture marked as not to be animated.
    """

    source_type: str
    ingredients: Sequence[Ingredient] = ()
    edited: bool = False
    consent: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    provider: str | None = None
    watermark_key: str | None = None
    consent_file: str | None = None
    protects: bool = False


def manifest(
    origin: Origin,
    watermark: str | None,
    whole: Sequence[int],
    pictures: Mapping[int, bytes],
    now: datetime.datetime | None = None,
) -> dict[str, Any]:
    """The definition that the library makes a manifest of, with the ingredients that are stated by hash alone.

    watermark: the id in the pictures. whole: ingredients that the library reads itself, for their marks. pictures:
    thumbnails. now: the time that it states; None: this machine's.
    """
    time = (now or datetime.datetime.now(datetime.timezone.utc)).strftime("%Y-%m-%dT%H:%M:%SZ")
    alone = [stated(origin, n, pictures) for n in range(len(origin.ingredients)) if n not in whole]
    return {
        "claim_generator_info": [_SYSTEM],
        "ingredients": [{**one, "format": "application/octet-stream"} for one in alone],
        "assertions": [
            {
                "label": "c2pa.actions.v2",
                "data": {"actions": _actions(origin, watermark, time), "allActionsIncluded": True},
            },
            *([_soft_binding(watermark, origin.watermark_key)] if watermark else []),
            *(_protection(time) if origin.protects else [_statement(origin, watermark, time)]),
        ],
    }


def _statement(origin: Origin, watermark: str | None, time: str) -> dict[str, Any]:
    """What this tool states of an output, in an assertion of its own."""
    said = {
        **origin.settings,
        **_disclosure(origin, watermark, time),
        "inputs": [_input(one) for one in origin.ingredients],
        "watermark": watermark,
        "watermark_key": origin.watermark_key,
        "consent": origin.consent,
        "consent_file": origin.consent_file,
    }
    return {"label": STATEMENT, "kind": "Json", "data": {k: v for k, v in said.items() if v is not None}}


def _protection(time: str) -> list[dict[str, Any]]:
    """Nothing is allowed that CAWG's assertion has a name for."""
    uses = ("ai_inference", "ai_generative_training", "ai_training", "data_mining")
    entries = {f"cawg.{use}": {"use": "notAllowed"} for use in uses}
    return [
        {"label": TRAINING_MINING, "data": {"entries": entries}},
        {"label": PROTECTION, "kind": "Json", "data": {"do_not_animate": True, "time": time}},
    ]


def _disclosure(origin: Origin, watermark: str | None, time: str) -> dict[str, Any]:
    """What California's SB 942 asks of latent marks: provider, system and version, time, a unique id."""
    return {"provider": origin.provider or TOOL, "system": _SYSTEM, "time": time, "id": watermark}


def _soft_binding(watermark: str, key: str | None) -> dict[str, Any]:
    """The watermark is in all of every frame: the scope is empty."""
    data: dict[str, Any] = {"alg": WATERMARK_ALGORITHM, "blocks": [{"scope": {}, "value": watermark}]}
    return {"label": SOFT_BINDING, "data": data | ({"alg_params": f"key {key}"} if key else {})}


def _actions(origin: Origin, watermark: str | None, time: str) -> list[dict[str, Any]]:
    labels = [_label(origin, number) for number in range(len(origin.ingredients))]
    made: dict[str, Any] = {"digitalSourceType": origin.source_type, "softwareAgent": _SYSTEM, "when": time}
    bound = [{"action": "c2pa.watermarked.bound", "softwareAgent": _SYSTEM, "when": time}] if watermark else []
    if origin.protects:
        return [{"action": "c2pa.opened", "parameters": {"ingredientIds": labels[:1]}}, *bound]
    if origin.edited:
        rest = {"parameters": {"ingredientIds": labels[1:]}} if labels[1:] else {}
        return [
            {"action": "c2pa.opened", "parameters": {"ingredientIds": labels[:1]}},
            {"action": "c2pa.edited", **made, **rest},
            *bound,
        ]
    parameters = {"parameters": {"ingredientIds": labels}} if labels else {}
    return [{"action": "c2pa.created", **made, **parameters}, *bound]


def _input(one: Ingredient) -> dict[str, Any]:
    if one.private:
        return {"role": one.role, "private": True}
    more = {"name": one.name, "consent": one.consent, "consent_file": one.consent_file}
    return {"role": one.role, "sha256": one.sha256, **{name: value for name, value in more.items() if value}}


def stated(origin: Origin, number: int, pictures: Mapping[int, bytes]) -> dict[str, Any]:
    """An ingredient as the library wants it described."""
    one = origin.ingredients[number]
    what = "live pictures, which are in no file" if one.live else f"part of {TOOL} {__version__}"
    what = f"SHA-256 {one.sha256}" if one.sha256 else what
    if one.private:
        one, what = Ingredient(one.role, None, name="private"), "what it was is left out"
    return {
        "title": f"{one.role}: {one.name}" if one.name else one.role,
        "label": _label(origin, number),
        "relationship": "parentOf" if origin.edited and number == 0 else "inputTo",
        "instance_id": f"urn:sha256:{one.sha256}" if one.sha256 else f"urn:{TOOL}:{one.name}",
        "description": what,
        **({"thumbnail": {"format": "image/jpeg", "identifier": f"thumbnail-{number}"}} if number in pictures else {}),
    }


def portraits(origin: Origin) -> dict[int, Path]:
    """Their files, by the number of the ingredient."""
    return {n: one.path for n, one in enumerate(origin.ingredients) if one.role == "portrait" and one.path is not None}


def _label(origin: Origin, number: int) -> str:
    return f"{origin.ingredients[number].role}-{number + 1}"
