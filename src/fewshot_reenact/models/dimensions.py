"""The architecture as data: everything that is needed to build the networks, stored in the checkpoint (DESIGN 4)."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any


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
    """How landmarks are drawn, see landmarks.raster."""

    def __post_init__(self) -> None:
        if self.kind not in ("paper", "textured"):
            raise ValueError(f"kind must be 'paper' or 'textured', not {self.kind!r}")
        if len(self.down_channels) != len(self.up_channels):
            raise ValueError(f"{len(self.down_channels)} blocks down and {len(self.up_channels)} up: must be as many")
        step = self.generator_unshuffle * 2 ** len(self.down_channels)
        if self.size % step:
            raise ValueError(f"size {self.size} must be divisible by {step} (unshuffle times two for each block down)")
        if self.skips and not self.stem:
            raise ValueError("skips need a stem: its output is the last of them")

    @classmethod
    def paper(cls) -> "ModelDimensions":
        """E 14.91 M, G 38.07 M parameters (ANCHORS 1.2)."""
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
        )

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> "ModelDimensions":
        """From plain data, lists for tuples. Raises TypeError for unknown or missing names, ValueError for bad values."""
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in raw.items()}
        return cls(**values)

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "ModelDimensions":
        """Raises ValueError when a name is unknown, one is missing or a value makes no sense."""
        raw: dict[str, Any] = json.loads(text)
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(raw) - known):
            raise ValueError(f"unknown dimensions {', '.join(unknown)}: made by a newer version?")
        try:
            return cls.from_dict(raw)
        except TypeError as error:
            raise ValueError(f"dimensions incomplete: {error}") from error
