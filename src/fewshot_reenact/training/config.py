"""The training configuration: one YAML file, checked; its fields are documented here and nowhere else."""

import difflib
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fewshot_reenact.errors import UsageError
from fewshot_reenact.models.dimensions import ModelDimensions


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataConfig(_Strict):
    clips: Path = Field(description="folder of NAME.mp4 with NAME.npz (points, identity): see training.episodes")
    frame_step: int = Field(2, ge=1, description="every frame_step-th frame of a clip is used: neighbours are alike")
    portraits: int = Field(1, ge=1, description="K, portraits an episode")
    candidates: int = Field(4, ge=1, description="drawn for the target frame; the one that differs most is likeliest")
    point_noise: float = Field(0.006, ge=0, description="jitter of the points, in eye distances: extractors err")
    colour: float = Field(
        0.15, ge=0, description="strength of gain and colour jitter, the same for portrait and target"
    )


class LossConfig(_Strict):
    l1: float = 4.0
    mouth: float = Field(4.0, description="extra weight of L1 about the mouth")
    eyes: float = Field(3.0, description="extra weight of L1 about each eye")
    perceptual: float = 0.25
    perceptual_mouth: float = 0.25
    shift: float = Field(
        0.05, ge=0, description="L1 of the correction of the flow, per pixel, to what optical flow sees"
    )
    network: Path | None = Field(None, description="safetensors feature network (models.perceptual); null: L1 alone")
    skip_heads: int = Field(1, ge=0, description="taps left out at the shallow end: dear, and L1 sees the same")


class OptimiserConfig(_Strict):
    rate: float = Field(5e-4, gt=0)
    betas: tuple[float, float] = (0.5, 0.99)
    warmup: int = Field(100, ge=0, description="steps of linear rise")
    final: float = Field(0.02, ge=0, le=1, description="share of the rate left at the last step; falls linearly")
    clip: float = Field(1.0, gt=0, description="largest norm of the gradient")
    ema: float = Field(0.998, ge=0, lt=1, description="decay of the averaged weights that are shipped")


class TrainConfig(_Strict):
    model: Literal["textured"] | dict[str, Any] = Field("textured", description="a preset, or ModelDimensions by name")
    data: DataConfig
    loss: LossConfig = LossConfig()  # type: ignore[call-arg]
    optimiser: OptimiserConfig = OptimiserConfig()  # type: ignore[call-arg]
    init: Path | None = Field(None, description="weights to begin with (safetensors), of the same dimensions")
    seed: int = 0
    batch: int = Field(8, ge=1)
    steps: int = Field(ge=1)
    workers: int = Field(0, ge=0, description="processes that make episodes; 0: the training process itself")
    save_every: int = Field(200, ge=1)
    log_every: int = Field(20, ge=1)
    picture_every: int = Field(500, ge=1)
    keep: int = Field(3, ge=1, description="checkpoints kept")

    def dimensions(self) -> ModelDimensions:
        if isinstance(self.model, str):
            return ModelDimensions.textured()
        return ModelDimensions.from_dict(self.model)


def load_config(path: Path, **overrides: Any) -> TrainConfig:
    """Read and check a YAML file. Raises UsageError naming the file, the key and what was expected."""
    try:
        raw = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot read the config ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not YAML ({str(error).splitlines()[0]})") from error
    if not isinstance(raw, dict):
        raise UsageError(f"{path}: a config is a mapping of names to values")
    raw.update({k: v for k, v in overrides.items() if v is not None})
    try:
        config = TrainConfig.model_validate(raw)
        if config.dimensions().kind != "textured":
            raise ValueError("only kind 'textured' can be trained so far")
    except ValidationError as error:
        raise UsageError(f"{path}: {_explain(error)}") from error
    except ValueError as error:
        raise UsageError(f"{path}: model: {error}") from error
    return config


def _explain(error: ValidationError) -> str:
    """The first problem on one line; an unknown key gets the nearest known one."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] != "extra_forbidden":
        return f"{where}: {first['msg']}"
    owner: Any = TrainConfig
    for part in first["loc"][:-1]:
        owner = owner.model_fields[str(part)].annotation
    near = difflib.get_close_matches(str(first["loc"][-1]), owner.model_fields, n=1, cutoff=0.3)
    return f"unknown key {where}" + (f": did you mean {near[0]}?" if near else "")
