"""What a config's short names stand for: dimensions, weights of the losses.

Apart from training.config, which checks configs, because a run on a machine without its packages needs these too.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from fewshot_reenact.models.dimensions import ModelDimensions, RefinerDimensions
from fewshot_reenact.models.discriminator import DiscriminatorDimensions
from fewshot_reenact.models.losses import PRESETS, LossWeights

if TYPE_CHECKING:
    from fewshot_reenact.training.config import AdversarialConfig, LossConfig
    from fewshot_reenact.training.refiner.config import RefinerConfig


def model_dimensions(model: str | dict[str, Any]) -> ModelDimensions:
    """By the preset's name, or by the dimensions' own. Raises ValueError."""
    if isinstance(model, str):
        return ModelDimensions.paper() if model == "paper" else ModelDimensions.textured()
    return ModelDimensions.from_dict(model)


def discriminator_dimensions(dims: str | dict[str, Any]) -> DiscriminatorDimensions:
    """The same of a discriminator."""
    if isinstance(dims, dict):
        return DiscriminatorDimensions.from_dict(dims)
    return DiscriminatorDimensions.paper() if dims == "paper" else DiscriminatorDimensions.light()


def refiner_dimensions(config: RefinerConfig) -> RefinerDimensions:
    """A refiner's. Raises ValueError."""
    down, up = tuple(config.down_channels), tuple(config.up_channels)
    return RefinerDimensions(config.part, down, up, visible=config.visible)


def loss_weights(loss: LossConfig, adversarial: AdversarialConfig | None) -> LossWeights:
    """The preset with what the config says otherwise."""
    names = [field.name for field in dataclasses.fields(LossWeights)]
    said = {name: getattr(loss, name) for name in names if hasattr(loss, name)}
    if adversarial is not None:
        said["adversarial"] = adversarial.weight
        said |= {name: getattr(adversarial, name) for name in ("feature_matching", "match")}
    given = {name: value for name, value in said.items() if value is not None}
    return dataclasses.replace(PRESETS[loss.preset], **given)
