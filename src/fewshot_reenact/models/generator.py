"""G: landmarks (and, textured, the warped portrait) -> picture, steered by AdaIN from the embedding.

Zakharov et al. 2019, section 3.2; `textured` corrects a warp. One class: the dimensions decide.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewshot_reenact.models.blocks import (
    ResidualBlock,
    SelfAttention,
    adain_layers,
    assign_style,
    make_norm,
    maybe_spectral,
    style_length,
)
from fewshot_reenact.models.dimensions import ModelDimensions

_ATTENTION_DOWN, _ATTENTION_UP = 32, 64
_PICTURES = {"paper": 1, "textured": 4}  # how many three-channel pictures G looks at


class Generator(nn.Module):
    """forward: pictures (B, 3 * n, S, S) in -1..1 and embedding (B, N) -> (B, 3, S, S).

    paper: n = 1, the driver's landmark picture; the result is the picture, -1..1.
    textured: n = 4, [warped portrait, portrait, its landmark picture, the driver's], and with `dims.visible` one more
    channel, 1 where the portrait hides a place; the result is the change to add to
    the warped portrait, in units of the -1..1 scale; it is zero before training. `maps` more channels follow,
    (B, 3 + maps, S, S): smooth, zero before training, any scale. With `dims.flow` they are two: the shift that corrects
    the warp, x and y.
    """

    def __init__(self, dims: ModelDimensions, maps: int | None = None):
        super().__init__()
        self.dims = dims
        self.maps = maps if maps is not None else 2 if dims.flow else 0
        sn, shuffle = dims.spectral_norm, dims.generator_unshuffle
        channels = (3 * _PICTURES[dims.kind] + dims.visible) * shuffle**2
        size = dims.size // shuffle
        self.stem = maybe_spectral(nn.Conv2d(channels, dims.stem, 3, padding=1), sn) if dims.stem else nn.Identity()
        channels = dims.stem or channels

        skips = [channels]
        self.down = nn.ModuleList()
        for i, wide in enumerate(dims.down_channels):
            first = i == 0 and not dims.stem
            norm = "none" if first and dims.as_published else "instance"
            block = ResidualBlock(channels, wide, norm=norm, resample="down", spectral=sn, first=first)
            channels, size = wide, size // 2
            attend = dims.attention and size == _ATTENTION_DOWN
            self.down.append(nn.Sequential(block, SelfAttention(channels, spectral=sn)) if attend else block)
            skips.append(channels)

        self.middle = nn.Sequential(
            *(ResidualBlock(channels, channels, norm="adain", spectral=sn) for _ in range(dims.residual_blocks))
        )
        self.up = nn.ModuleList()
        for wide in dims.up_channels:
            seen = channels + skips.pop() if dims.skips else channels
            block = ResidualBlock(seen, wide, norm="adain", resample="up", spectral=sn)
            channels, size = wide, size * 2
            attend = dims.attention and size == _ATTENTION_UP
            self.up.append(nn.Sequential(block, SelfAttention(channels, spectral=sn)) if attend else block)
        seen = channels + skips.pop() if dims.skips else channels
        self.last = ResidualBlock(seen, channels, norm="adain", spectral=sn) if dims.skips else nn.Identity()
        self.out_norm = make_norm("adain", channels)
        # The maps are smooth: they need no unfolding to single pixels.
        out = nn.Conv2d(channels, 3 * shuffle**2 + self.maps, 3, padding=1)
        if dims.kind == "textured":
            nn.init.zeros_(out.weight)
            nn.init.zeros_(out.bias)  # type: ignore[arg-type]
        # Zero weights have no spectral norm to be divided by: the result would be no number.
        self.out = maybe_spectral(out, sn and dims.kind != "textured")
        self.style_length = style_length(self)
        self.project = maybe_spectral(nn.Linear(dims.embedding, self.style_length), sn)
        if not sn:
            self._start_style_near_identity()

    def _start_style_near_identity(self) -> None:
        """Without spectral norm P would start with arbitrary scales: start at scale 1, shift 0, little from e."""
        nn.init.normal_(self.project.weight, std=0.02 / self.dims.embedding**0.5)  # type: ignore[arg-type]
        bias = torch.zeros(self.style_length)
        at = 0
        for layer in adain_layers(self):
            bias[at + layer.channels : at + 2 * layer.channels] = 1.0
            at += 2 * layer.channels
        with torch.no_grad():
            self.project.bias.copy_(bias)  # type: ignore[operator]

    def style(self, embedding: Tensor) -> Tensor:
        """psi = P e. (B, N) -> (B, style_length)."""
        return self.project(embedding)

    def forward(self, pictures: Tensor, embedding: Tensor, psi: Tensor | None = None) -> Tensor:
        """`psi` (B, style_length) replaces P e where it is given (a fine-tuned person)."""
        assign_style(self, self.style(embedding) if psi is None else psi)
        shuffle = self.dims.generator_unshuffle
        x = self.stem(F.pixel_unshuffle(pictures, shuffle) if shuffle > 1 else pictures)
        skips = [x]
        for block in self.down:
            x = block(x)
            skips.append(x)
        x = self.middle(x)
        for block in self.up:
            x = block(torch.cat([x, skips.pop()], 1) if self.dims.skips else x)
        x = self.last(torch.cat([x, skips.pop()], 1) if self.dims.skips else x)
        x = self.out(F.relu(self.out_norm(x), inplace=True))
        colour, maps = x[:, : 3 * shuffle**2], x[:, 3 * shuffle**2 :]
        if shuffle > 1:
            colour = F.pixel_shuffle(colour, shuffle)
        if self.dims.kind == "paper":
            return torch.tanh(colour)
        if not self.maps:
            return colour
        return torch.cat([colour, F.interpolate(maps, colour.shape[-2:], mode="bilinear", align_corners=False)], 1)
