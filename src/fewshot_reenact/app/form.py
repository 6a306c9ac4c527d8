"""The options of `reenact animate` as parts of a form, each with the command's own help."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from fewshot_reenact.app.terms import Offer
from fewshot_reenact.errors import UsageError
from fewshot_reenact.inputs.grounds import TRANSPARENT, Ground
from fewshot_reenact.landmarks.registry import BACKENDS
from fewshot_reenact.motion.pacing import FITS
from fewshot_reenact.motion.retarget import MOTIONS, REGION_CHOICES
from fewshot_reenact.pipelines.options import AUDIO, CROP_SIZES, FRAMES, RUNTIMES, AnimateOptions


@dataclass(frozen=True)
class Field:
    """One option. name: AnimateOptions'. label: what people read. local: whether only a page that nobody but this
    machine's user reaches has it: what uses the network, or as much memory as it likes.
    """

    name: str
    label: str
    local: bool = False

    @property
    def option(self) -> str:
        """Whose help this has."""
        return self.name

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
        """See Field. Raises UsageError: it was not offered."""
        if value not in self.choices:
            raise UsageError(f"{self.label}: {value!r} is not one of {', '.join(self.choices)}")
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


@dataclass(frozen=True)
class Colour(Words):
    """What is behind a person, typed: never a file's name, which would be one of this machine's own files."""

    def read(self, value: Any) -> Any:
        """See Field. Raises UsageError: it is no colour."""
        text = str(value or "").strip()
        ground = Ground.plain(text) if text else None
        if text and ground is None:
            raise UsageError(
                f"background {text!r}: is neither a colour (white, #1e90ff) nor {TRANSPARENT!r}; put a picture in below"
            )
        return TRANSPARENT if ground is not None and ground.transparent else text or None


@dataclass(frozen=True)
class Upload(Field):
    """A file that is put in, or none. of: the option that it is, where it is another way to give one."""

    of: str = ""

    @property
    def option(self) -> str:
        """See Field."""
        return self.of or self.name

    @property
    def default(self) -> None:
        """None is put in."""
        return

    def component(self, gr: Any, **common: Any) -> Any:
        """See Field; gradio's own has no place for help."""
        text = common.pop("info")
        part = gr.File(type="filepath", height=130, **common)
        if not self.of:  # where it is another way, the help is at the first
            gr.Markdown(text, elem_classes="help")
        return part


_USUAL, _BUILT_IN = "as usual", "built-in"
_GROUND = "background_picture"
FIELDS: tuple[Field, ...] = (
    OneOf("motion", "Motion", choices=MOTIONS),
    OneOf("region", "What moves", choices=REGION_CHOICES),
    Share("strength", "Strength", high=2.0),
    Share("travel", "How far the head goes"),
    Share("smooth", "Smoothness"),
    Switch("neutral", "Portrait without its own expression"),
    OneOf("frame", "Whole picture, or a square about the head", choices=FRAMES),
    Share("size", "Side of that square", low=CROP_SIZES[0], high=CROP_SIZES[1], whole=True),
    Words("face", "Which face of the portrait"),
    Words("driver_face", "Which face of the driver"),
    Moment("start", "Begin at this second of the driver"),
    Moment("end", "End at this second"),
    Switch("mirror", "Exchange left and right"),
    Switch("any_size", "Videos of any size", local=True),
    Colour("background", "Behind the person"),
    Upload(_GROUND, "Behind the person: a picture", of="background"),
    Upload("matte", "Where the person is"),
    OneOf("audio", "Sound", choices=AUDIO),
    OneOf("fit", "Lengths, where the portrait is a video", choices={_USUAL: None, **{fit: fit for fit in FITS}}),
    Switch("compare", "Portrait, driver and output side by side"),
    Switch("warp_only", "Without the networks"),
    OneOf("dense", "Motion that the points miss", choices={_USUAL: None, "on": True, "off": False}),
    OneOf("landmarks", "What measures faces", local=True, choices=tuple(BACKENDS)),
    OneOf("runtime", "What computes", choices=RUNTIMES),
    Switch("full_size", "Larger than most players show"),
    OneOf("label", 'Visible label "AI-generated"', choices={"yes": True, "in Chinese": "cn", "no": False}),
    Upload("consent_file", "A statement of the person shown"),
    Switch("embed_thumbnails", "Small pictures in the manifest"),
    Switch("private_driver", "Nothing of the driver in the manifest"),
    Words("provider", "Who makes this available"),
    Words("timestamp", "Who stamps the signature with the time", local=True),
)
"""Those that every machine has; see fields_for."""


def fields_for(offer: Offer) -> tuple[Field, ...]:
    """What a page offers to its visitors: on this machine, by who serves it."""
    devices = ["auto", "cpu", *[name for name, there in _devices().items() if there]]
    more: list[Field] = [OneOf("device", "Where the networks run", choices=tuple(devices))]
    if offer.models:
        more.append(OneOf("model", "Weights", choices={_BUILT_IN: None, **offer.models}))
    return tuple(field for field in (*FIELDS, *more) if offer.local or not field.local)


def _devices() -> dict[str, bool]:
    """Other processors than the CPU, and whether they are there."""
    return {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}


def options_from(values: Mapping[str, Any], consent: str, offer: Offer | None = None) -> AnimateOptions:
    """What was filled in, of what is offered; anything else is left out. Raises UsageError: values that make no
    sense.
    """
    given = {field.name: field.read(values[field.name]) for field in fields_for(offer or Offer())}
    picture = given.pop(_GROUND)
    if picture and given["background"]:
        raise UsageError("behind the person can be a colour or a picture: leave one out")
    return AnimateOptions(**{**given, "background": picture or given["background"]}, consent=consent.strip() or None)


def files_of(options: AnimateOptions) -> list[str]:
    """What was put in with the options."""
    ground = options.background
    pictures = [] if ground is None or Ground.plain(ground) is not None else [ground]
    return [*pictures, *(str(path) for path in (options.matte, options.consent_file) if path is not None)]
