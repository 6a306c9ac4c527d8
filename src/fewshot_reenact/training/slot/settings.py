"""A training config on a machine without the package that checks configs: read from the JSON that it was dumped to."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewshot_reenact.training.presets import discriminator_dimensions, loss_weights, model_dimensions

if TYPE_CHECKING:
    from fewshot_reenact.models.dimensions import ModelDimensions
    from fewshot_reenact.models.discriminator import DiscriminatorDimensions
    from fewshot_reenact.models.losses import LossWeights

_PATHS = ("network", "vgg19_network", "vggface_network")


class PlainConfig:
    """Fields as attributes, sections as PlainConfigs; the methods are those of training.config's classes."""

    dims: Any
    model: Any
    loss: Any
    adversarial: Any

    def __init__(self, fields: dict[str, Any]) -> None:
        for name, value in fields.items():
            section = isinstance(value, dict) and name not in ("model", "dims")
            setattr(self, name, PlainConfig(value) if section else value)
        for name in _PATHS:
            if getattr(self, name, None):
                setattr(self, name, Path(getattr(self, name)))

    @classmethod
    def loads(cls, text: str) -> PlainConfig:
        """From the JSON text of a TrainConfig or a RefinerConfig."""
        return cls(json.loads(text))

    def but(self, **changes: Any) -> PlainConfig:
        """The same with other fields."""
        other = copy.copy(self)
        other.__dict__ |= changes
        return other

    def dimensions(self) -> Any:
        """ModelDimensions of a whole config, DiscriminatorDimensions of its adversarial section."""
        return self._discriminator() if hasattr(self, "dims") else self._model()

    def _model(self) -> ModelDimensions:
        return model_dimensions(self.model)

    def _discriminator(self) -> DiscriminatorDimensions:
        return discriminator_dimensions(self.dims)

    def weights(self) -> LossWeights:
        """The preset of the losses with what the config says otherwise."""
        return loss_weights(self.loss, self.adversarial)
