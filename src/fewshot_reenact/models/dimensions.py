"""The architecture as data: everything that is needed to build the networks, stored in the checkpoint."""

import dataclasses
import difflib
import json
from dataclasses import dataclass
from typing import Any, TypeVar

from fewshot_reenact.geometry.raster import STYLES
from fewshot_reenact.plain_json import read_object

T = TypeVar("T")
REFINED = 1.25  # refiners work on a face frame this much larger than the generator's: what clips of 256 pixels show


@dataclass(frozen=True)
class RefinerDimensions:
    """A small generator for one part of the face frame, see models.refiner."""

    part: str
    """One of models.refiner.PARTS."""
    down_channels: tuple[int, ...] = (64, 128)
    up_channels: tuple[int, ...] = (64, 32)
    residual_blocks: int = 2
    stem: int = 32
    generator_unshuffle: int = 2
    strength: float = 1.0
    """How much of its change counts, 0..1; chosen after training."""
    visible: bool = False
    """Whether it is told how well the portrait shows each place."""

    def generator(self, model: "ModelDimensions", side: int) -> "ModelDimensions":
        """Dimensions of the Generator that does the work, on pictures whose shorter side is this."""
        own = {name: value for name, value in dataclasses.asdict(self).items() if name not in ("part", "strength")}
        return dataclasses.replace(
            model,
            size=side,
            embedder_channels=(1,),
            embedder_unshuffle=1,
            skips=True,
            flow=False,
            refiners=(),
            **own,
        )


@dataclass(frozen=True)
class ModelDimensions:
    """One model's dimensions. `paper()` is Zakharov et al. 2019 to the parameter, `textured()` the default model."""

    kind: str
    """"paper": landmark raster in, picture out. "textured": a change on the warped portrait, in the face's own
    frame.
    """
    size: int
    """Side of the square that the networks work on, pixels."""
    embedding: int
    """N, numbers in the portrait's embedding."""
    embedder_channels: tuple[int, ...]
    """Channels of the embedder's downsampling blocks."""
    down_channels: tuple[int, ...]
    """Channels of the generator's downsampling blocks."""
    up_channels: tuple[int, ...]
    """Channels of the generator's upsampling blocks."""
    residual_blocks: int
    """Blocks at the generator's smallest size."""
    generator_unshuffle: int = 1
    """Space folded into channels before the generator's first block (1: none): pixels are many, and dear."""
    embedder_unshuffle: int = 1
    """The same for the embedder."""
    stem: int = 0
    """Channels after the generator's first plain convolution; 0: no such convolution."""
    skips: bool = False
    """Whether the way up sees the way down (U-Net)."""
    spectral_norm: bool = True
    """Spectral norm on every convolution and on P (paper); costs a matrix product a layer while training."""
    attention: bool = True
    """Self-attention at 32x32 (E and G's way down) and 64x64 (G's way up), as in the paper."""
    raster_style: str = "filled"
    """How landmarks are drawn, see geometry.raster."""
    as_published: bool = False
    """Paper: as the co-author's published code computes it (shrubb/latent-pose-reenactment, FSTH): G's first block has
    no norm, and the ReLU that a block of E begins with works in place, so that the shortcut sees its result too.
    That code has no self-attention.
    """
    flow: bool = False
    """Textured: whether G also corrects the warp, by a shift of each place, besides the change of colour."""
    visible: bool = False
    """Textured: whether G is told where the portrait hides a place."""
    refiners: tuple[RefinerDimensions, ...] = ()
    """Textured: what works on single parts of the face after G."""

    @property
    def shown(self) -> int:
        """Side of the finished face frame: the networks' own, or the refiners'."""
        return self.refined if self.refiners else self.size

    @property
    def refined(self) -> int:
        """Side of the face frame that refiners work on."""
        return round(self.size * REFINED)

    def __post_init__(self) -> None:
        self._check_values()
        if len(self.down_channels) != len(self.up_channels):
            raise ValueError(f"{len(self.down_channels)} blocks down and {len(self.up_channels)} up: must be as many")
        for unshuffle, blocks in (
            (self.generator_unshuffle, self.down_channels),
            (self.embedder_unshuffle, self.embedder_channels),
        ):
            step = unshuffle * 2 ** len(blocks)
            if self.size % step:
                raise ValueError(
                    f"size {self.size} must be divisible by {step} (unshuffle times two for each block down)"
                )
        if self.skips and not self.stem:
            raise ValueError("skips need a stem: its output is the last of them")

    def _check_values(self) -> None:
        """Dimensions come from files: a wrong one should be named here, not fail somewhere in a layer."""
        if self.kind not in ("paper", "textured"):
            raise ValueError(f"kind must be 'paper' or 'textured', not {self.kind!r}")
        for names, least in ((_COUNTS, 1), (("residual_blocks", "stem"), 0)):
            for name in names:
                if not whole(getattr(self, name), least):
                    raise ValueError(f"{name} must be a whole number from {least}, not {getattr(self, name)!r}")
        for name in ("embedder_channels", "down_channels", "up_channels"):
            value = getattr(self, name)
            if not isinstance(value, tuple) or not value or not all(whole(v, 1) for v in value):
                raise ValueError(f"{name} must be a list of whole numbers from 1, not {value!r}")
        if self.as_published and self.kind != "paper":
            raise ValueError("as_published is about the paper's layout: only kind 'paper' has it")
        if self.flow and self.kind != "textured":
            raise ValueError("flow corrects a warp: only kind 'textured' has one")
        if self.visible and self.kind != "textured":
            raise ValueError("visible tells of a warp: only kind 'textured' has one")
        if self.refiners and self.kind != "textured":
            raise ValueError("refiners work on the face frame: only kind 'textured' has one")
        if self.raster_style not in STYLES:
            raise ValueError(f"raster_style must be one of {', '.join(STYLES)}, not {self.raster_style!r}")

    @classmethod
    def paper(cls) -> "ModelDimensions":
        """E 14.91 M, G 38.07 M parameters."""
        return cls(
            kind="paper",
            size=256,
            embedding=512,
            embedder_channels=(64, 128, 256, 512, 512, 512),
            down_channels=(64, 128, 256, 512),
            up_channels=(512, 256, 128, 64),
            residual_blocks=4,
            raster_style="strokes",
        )

    @classmethod
    def textured(cls) -> "ModelDimensions":
        """The default: small enough for a CPU."""
        return cls(
            kind="textured",
            size=128,
            embedding=256,
            embedder_channels=(64, 128, 256),
            down_channels=(48, 96, 192),
            up_channels=(128, 64, 32),
            residual_blocks=3,
            generator_unshuffle=2,
            embedder_unshuffle=4,
            stem=32,
            skips=True,
            spectral_norm=False,
            attention=False,
            flow=True,
            visible=True,
        )

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> "ModelDimensions":
        """From plain data, see `read_dimensions`."""
        refiners = raw.get("refiners", ())
        if not isinstance(refiners, list | tuple):
            raise ValueError(f"refiners must be a list of mappings, not {refiners!r}")
        return read_dimensions(cls, {**raw, "refiners": tuple(_refiner(one) for one in refiners)})

    @property
    def corrects_warp(self) -> bool:
        """Whether the networks correct a warped portrait ("textured"), or paint every pixel ("paper")."""
        return self.kind == "textured"

    def to_json(self) -> str:
        """As text, for a weights file."""
        raw = dataclasses.asdict(self)
        if not self.as_published:
            del raw["as_published"]  # runs and files that are older than it say the same then
        return json.dumps(raw, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "ModelDimensions":
        """The inverse of `to_json`. Raises ValueError as `from_dict` does, and for what is not JSON."""
        return cls.from_dict(read_object(text))


_COUNTS = ("size", "embedding", "generator_unshuffle", "embedder_unshuffle")


def whole(value: Any, least: int) -> bool:
    """Whether a value is a whole number from `least` on (True and False are none)."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def read_dimensions(kind: type[T], raw: dict[str, Any]) -> T:
    """A dataclass of dimensions from plain data, lists for tuples. Raises ValueError: unknown or missing names, bad
    values.
    """
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]
    known = [field.name for field in fields]
    for name in (str(name) for name in raw if name not in known):
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.3)
        hint = f"did you mean {near[0]}" if near else "misspelt"
        raise ValueError(f"unknown dimension {name}: {hint}, or made by a newer version?")
    needed = [field.name for field in fields if field.default is dataclasses.MISSING]
    if missing := [name for name in needed if name not in raw]:
        raise ValueError(f"dimensions incomplete: {', '.join(missing)} missing")
    values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in raw.items()}
    return kind(**values)


def _refiner(raw: Any) -> RefinerDimensions:
    if not isinstance(raw, dict):
        raise ValueError(f"refiners must be mappings, not {raw!r}")
    return read_dimensions(RefinerDimensions, raw)
