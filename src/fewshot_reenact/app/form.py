"""The options of `reenact animate` as parts of a form, each with the command's own help."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import click

from fewshot_reenact.pipelines.options import CROP_SIZES, FRAMES, AnimateOptions

_default = AnimateOptions.default


@dataclass(frozen=True)
class Field:
    """One option. name: AnimateOptions'. label: what people read. kind: "choice", "number", "switch" or "text".
    choices: of a choice; low, high, step: of a number.
    """

    name: str
    label: str
    kind: str
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    step: float = 0.1

    @property
    def help(self) -> str:
        """What the command says of it."""
        return command_help()[self.name]

    @property
    def default(self) -> Any:
        """Where nobody sets it."""
        value = _default(self.name)
        return "all" if self.name == "region" else "" if value is None and self.kind == "text" else value


FIELDS = (
    Field("motion", "Motion", "choice", ("relative", "absolute")),
    Field("region", "What moves", "choice", ("all", "expression", "pose", "lips", "eyes")),
    Field("strength", "Strength", "number", low=0, high=2),
    Field("travel", "How far the head goes", "number", low=0, high=1),
    Field("smooth", "Smoothness", "number", low=0, high=1),
    Field("neutral", "Portrait without its own expression", "switch"),
    Field("frame", "Whole picture, or a square about the head", "choice", FRAMES),
    Field("size", "Side of that square", "number", low=CROP_SIZES[0], high=CROP_SIZES[1], step=2),
    Field("face", "Which face of the portrait", "text"),
    Field("driver_face", "Which face of the driver", "text"),
    Field("start", "Begin at this second of the driver", "number", step=0.1),
    Field("end", "End at this second", "number", step=0.1),
    Field("mirror", "Exchange left and right", "switch"),
    Field("background", "Behind the person", "text"),
    Field("audio", "Sound", "choice", ("driver", "none")),
    Field("compare", "Portrait, driver and output side by side", "switch"),
    Field("warp_only", "Without the networks", "switch"),
    Field("embed_thumbnails", "Small pictures in the manifest", "switch"),
    Field("label", 'Visible label "AI-generated" (other marks are always there)', "switch"),
)


@lru_cache(maxsize=1)
def command_help() -> dict[str, str]:
    """Help of each option of `reenact animate`, by the name in AnimateOptions."""
    from fewshot_reenact.cli.animate import animate

    found = {
        param.name or "": " ".join((param.help or "").split())
        for param in animate.params
        if isinstance(param, click.Option)
    }
    found["label"] = "Watermark, signature and tags are there without it too."
    return found


def options_from(values: dict[str, Any], consent: str) -> AnimateOptions:
    """What was filled in. Raises UsageError: values that make no sense."""
    given: dict[str, Any] = {}
    for field in FIELDS:
        value = values[field.name]
        if field.kind == "text":
            value = str(value or "").strip() or field.default or None
        elif field.default is None:
            value = value or None  # a number that is left empty comes as 0
        if field.name == "size":
            value = int(value)
        given[field.name] = value
    return AnimateOptions(**given, consent=consent.strip() or None)
