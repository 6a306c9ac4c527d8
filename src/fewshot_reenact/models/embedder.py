"""E: portrait and its landmark picture -> embedding (Zakharov et al. 2019, section 3.2)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewshot_reenact.models.blocks import encoder_blocks
from fewshot_reenact.models.dimensions import ModelDimensions


class Embedder(nn.Module):
    """forward: portrait (B, 3, S, S) and landmark picture (B, 3, S, S), both -1..1 -> embedding (B, N), not
    negative.
    """

    def __init__(self, dims: ModelDimensions):
        super().__init__()
        self.unshuffle = dims.embedder_unshuffle
        self.blocks = nn.Sequential(
            *encoder_blocks(
                6 * self.unshuffle**2,
                dims.size // self.unshuffle,
                dims.embedder_channels,
                attention=dims.attention,
                spectral=dims.spectral_norm,
                rectified=dims.as_published,
            )
        )
        channels = dims.embedder_channels[-1]
        self.out = nn.Identity() if channels == dims.embedding else nn.Linear(channels, dims.embedding)

    def forward(self, portrait: Tensor, landmarks: Tensor) -> Tensor:
        """See the class."""
        x = torch.cat([portrait, landmarks], 1)
        if self.unshuffle > 1:
            x = F.pixel_unshuffle(x, self.unshuffle)
        return self.out(F.relu(self.blocks(x)).sum((2, 3)))
