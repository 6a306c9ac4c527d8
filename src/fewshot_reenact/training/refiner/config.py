"""The configuration of a refiner's training: one YAML file, checked."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from fewshot_reenact.training.config import DataConfig, StageConfig, Strict


class PatchAdversaryConfig(Strict):
    """The discriminator of patches."""

    wide: int = Field(32, ge=1, description="channels of its first block")
    start: int = Field(0, ge=0, description="the step from which it learns")
    alone: int = Field(100, ge=0, description="steps that it learns before it counts")
    share: float = Field(0.3, ge=0, description="its force on the pictures, in that of the other losses")
    feature_matching: float = Field(1.0, ge=0)
    rate: float = Field(5e-4, gt=0)


class RefinerDataConfig(DataConfig):
    """As in meta-learning, with its usual settings, and more candidates: portrait and target should differ by an open
    mouth or a blink.
    """

    candidates: int = Field(6, ge=1)
    rare: float = Field(0.35, ge=0, le=1)
    dense: float = Field(0.8, ge=0, le=1)
    point_noise: float = Field(0.004, ge=0)
    shuffle_shards: None = Field(None, description="meta-learning's alone: here any clip may come at any time")


class RefinerConfig(StageConfig):
    """configs/refiner.yaml."""

    trainer: Literal["refiner"]
    part: Literal["mouth", "eyes"]
    data: RefinerDataConfig
    held_out: str | Path = Field(description="clips of people who are not learnt from, as data.clips")
    model: Path | None = Field(None, description="whose faces are refined; null: the built-in model")
    go_on: bool = Field(False, description="begin with the refiner that the model has")
    faces: int = Field(
        8000,
        ge=1,
        description="episodes of the model's faces that are packed once, where clips are not on the device",
    )
    open_mouths: int = Field(
        8000, ge=0, description="and of mouths that open; 0: no such episodes, wherever the clips are"
    )
    judged: int = Field(200, ge=1, description="episodes of held-out mouths that open, for the figures")
    chunk: int = Field(200, ge=8, multiple_of=8, description="episodes in a file of a pack")
    down_channels: tuple[int, ...] = (48, 96)
    up_channels: tuple[int, ...] = (48, 32)
    visible: bool = Field(True, description="whether it is told how well the portrait shows each place")
    network: Path = Field(description="safetensors feature network (models.perceptual)")
    skip_heads: int = Field(1, ge=0)
    l1: float = Field(4.0, ge=0)
    perceptual: float = Field(1.0, ge=0)
    rate: float = Field(5e-4, gt=0)
    batch: int = Field(16, ge=2)
    amp: bool = Field(False, description="networks in bfloat16")
    compile: bool | Literal["graphs"] = Field(False, description="see training.config.TrainConfig")
    log_every: int = Field(100, ge=1)
    save_every: int = Field(500, ge=1)
    adversarial: PatchAdversaryConfig = PatchAdversaryConfig()  # type: ignore[call-arg]
