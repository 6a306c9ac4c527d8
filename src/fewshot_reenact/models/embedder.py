"""E: portrait and its landmark picture -> embedding (Zakharov et al. 2019, section 3.2)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewshot_reenact.models.blocks import ResidualBlock, SelfAttention
from fewshot_reenact.models.dimensions import ModelDimensions

_ATTENTION_SIZE = 32


class Embedder(nn.Module):
    """forward: portrait (B, 3, S, S) and landmark picture (B, 3, S, S), both -1..1 -> embedding (B, N), not
    negative.
    """

    def __init__(self, dims: ModelDimensions):
        super().__init__()
        self.unshuffle = dims.embedder_unshuffle
        blocks: list[nn.Module] = []
        channels, size = 6 * self.unshuffle**2, dims.size // self.unshuffle
        for i, wide in enumerate(dims.embedder_channels):
            blocks.append(
                ResidualBlock(channels, wide, norm="none", resample="down", spectral=dims.spectral_norm, first=i == 0)
            )
            channels, size = wide, size // 2
            if dims.attention and size == _ATTENTION_SIZE:
                blocks.append(SelfAttention(channels, spectral=dims.spectral_norm))
        self.blocks = nn.Sequential(*blocks)
        self.out = nn.Identity() if channels == dims.embedding else nn.Linear(channels, dims.embedding)

    def forward(self, portrait: Tensor, landmarks: Tensor) -> Tensor:
        x = torch.cat([portrait, landmarks], 1)
        if self.unshuffle > 1:
            x = F.pixel_unshuffle(x, self.unshuffle)
        return self.out(F.relu(self.blocks(x)).sum((2, 3)))
