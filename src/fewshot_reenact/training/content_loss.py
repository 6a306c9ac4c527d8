"""How far a picture is from the truth: the losses that need no opponent, as a config asks for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from fewshot_reenact.models.backbones import load_backbone
from fewshot_reenact.models.losses import LossWeights, content_loss, textured_loss
from fewshot_reenact.models.perceptual import FeatureNet

if TYPE_CHECKING:
    from fewshot_reenact.training.config import LossConfig


class Content(nn.Module):
    """forward: made, truth (B, 3, S, S) in -1..1 and driver points (B, 83, 2) -> the loss and its parts, for the log.

    Raises ModelError when a network that is weighed is missing: never a silent zero.
    """

    def __init__(self, config: LossConfig, weights: LossWeights):
        super().__init__()
        self.weights = weights
        self.relative = FeatureNet(config.network, config.skip_heads, maps_only=True) if config.network else None
        self.networks = nn.ModuleDict()
        if weights.vgg19:
            self.networks["vgg19"] = load_backbone(config.vgg19_network or "torchvision", "vgg19", config.vgg19_inputs)
        if weights.vggface and config.vggface_network:
            self.networks["vggface"] = load_backbone(config.vggface_network, "vggface", config.vggface_inputs)

    def forward(self, made: Tensor, truth: Tensor, points: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """See the class."""
        total, parts = textured_loss(made, truth, points, self.relative, self.weights)
        more, said = content_loss(dict(self.networks.items()), made, truth, points, self.weights)
        return total + more, parts | said

    @torch.no_grad()
    def floor(self, free: Tensor, truth: Tensor, points: Tensor) -> Tensor:
        """L1 of a picture that costs nothing: the plain warp, or the portrait as it is."""
        return textured_loss(free, truth, points, None, self.weights)[1]["l1"]
