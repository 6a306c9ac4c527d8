"""The options of `reenact animate` as parts of a form, each with the command's own help."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fewshot_reenact.motion.pacing import FITS
from fewshot_reenact.motion.retarget import MOTIONS, REGION_CHOICES
from fewshot_reenact.pipelines.options import AUDIO, CROP_SIZES, FRAMES, RUNTIMES, AnimateOptions


@dataclass(frozen=True)
class Field:
    """One option. name: AnimateOptions'. label: what people read."""

    name: str
    label: str

    @property
    def default(self) -> Any:
        """What is filled in where nobody sets it."""
        return "all" if self.name == "region" else AnimateOptions.default(self.name)

    def part(self, gr: Any, text: str) -> Any:
        """gradio's component for it, with this text as its help."""
        return self.component(gr, label=self.label, info=text, value=self.default, elem_id=f"option-{self.name}")

    def component(self, gr: Any, **common: Any) -> Any:
        """Of its kind."""
        raise NotImplementedError

    def read(self, value: Any) -> Any:
        """AnimateOptions' value from what the component gives."""
        return value


@dataclass(frozen=True)
class OneOf(Field):
    """One of a few. choices: their names, which are the values; or values by their names."""

    choices: tuple[str, ...] | Mapping[str, Any] = ()

    @property
    def default(self) -> Any:
        """The name of it."""
        value = super().default
        return next(name for name in self.choices if self.read(name) == value)

    def component(self, gr: Any, **common: Any) -> Any:
        """See Field."""
        return gr.Radio(list(self.choices), **common)

    def read(self, value: Any) -> Any:
        """See Field."""
        return self.choices[value] if isinstance(self.choices, Mapping) else value


@dataclass(frozen=True)
class Switch(Field):
    """On or off."""

    def component(self, gr: Any, **common: Any) -> Any:
        """See Field."""
        return gr.Checkbox(**common)


@dataclass(frozen=True)
class Share(Field):
    """A number between two. whole: without a fraction."""

    low: float = 0.0
    high: float = 1.0
    whole: bool = False

    def component(self, gr: Any, **common: Any) -> Any:
        """See Field."""
        return gr.Slider(self.low, self.high, step=2 if self.whole else 0.1, **common)

    def read(self, value: Any) -> Any:
        """See Field."""
        return int(value) if self.whole else value


@dataclass(frozen=True)
class Moment(Field):
    """A time, or none: a number that is left empty comes as 0."""

    def component(self, gr: Any, **common: Any) -> Any:
        """See Field."""
        return gr.Number(minimum=0, step=0.1, **common)

    def read(self, value: Any) -> Any:
        """See Field."""
        return value or None


@dataclass(frozen=True)
class Words(Field):
    """A text, or none."""

    def component(self, gr: Any, **common: Any) -> Any:
        """See Field."""
        return gr.Textbox(**{**common, "value": self.default or ""})

    def read(self, value: Any) -> Any:
        """See Field."""
        return str(value or "").strip() or self.default


_USUAL = "as usual"
FIELDS: tuple[Field, ...] = (
    OneOf("motion", "Motion", MOTIONS),
    OneOf("region", "What moves", REGION_CHOICES),
    Share("strength", "Strength", high=2.0),
    Share("travel", "How far the head goes"),
    Share("smooth", "Smoothness"),
    Switch("neutral", "Portrait without its own expression"),
    OneOf("frame", "Whole picture, or a square about the head", FRAMES),
    Share("size", "Side of that square", *CROP_SIZES, whole=True),
    Words("face", "Which face of the portrait"),
    Words("driver_face", "Which face of the driver"),
    Moment("start", "Begin at this second of the driver"),
    Moment("end", "End at this second"),
    Switch("mirror", "Exchange left and right"),
    Words("background", "Behind the person"),
    OneOf("audio", "Sound", AUDIO),
    OneOf("fit", "Lengths, where the portrait is a video", {_USUAL: None, **{fit: fit for fit in FITS}}),
    Switch("compare", "Portrait, driver and output side by side"),
    Switch("warp_only", "Without the networks"),
    OneOf("dense", "Motion that the points miss", {_USUAL: None, "on": True, "off": False}),
    OneOf("runtime", "What computes", RUNTIMES),
    Switch("full_size", "Larger than most players show"),
    OneOf("label", 'Visible label "AI-generated"', {"yes": True, "in Chinese": "cn", "no": False}),
    Switch("embed_thumbnails", "Small pictures in the manifest"),
    Switch("private_driver", "Nothing of the driver in the manifest"),
    Words("provider", "Who makes this available"),
)


def options_from(values: Mapping[str, Any], consent: str) -> AnimateOptions:
    """What was filled in. Raises UsageError: values that make no sense."""
    given = {field.name: field.read(values[field.name]) for field in FIELDS}
    return AnimateOptions(**given, consent=consent.strip() or None)
