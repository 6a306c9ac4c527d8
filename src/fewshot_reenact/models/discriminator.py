"""D: how real is a picture of this person in this pose (Zakharov et al. 2019, section 3.2; projection as in Miyato and
Koyama 2018).

    score = v . (W_i + w0) + b        v = V(picture, landmark picture), W_i the row of training video i

W has a row of N numbers for each training video, 145,569 for VoxCeleb2: more than all the networks. A batch touches a
few of them, so gradient and optimiser state are sparse (`Rows`). The co-author's code divides W by its spectral norm
too; that takes a product with the whole of W at each step and is left out here: rows start small and are held by the
match loss. All else has spectral norm.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewshot_reenact.models.blocks import ResidualBlock, encoder_blocks, maybe_spectral
from fewshot_reenact.models.dimensions import read_dimensions, whole
from fewshot_reenact.plain_json import read_object
from fewshot_reenact.weights import open_weights, save_weights

DISCRIMINATOR = "discriminator.safetensors"  # beside the weights of the model that it was trained with
_FORMAT = "fewshot-reenact/discriminator/1"
_ROW_START = 0.1  # rows start uniformly in -0.1..0.1, as in the co-author's code


@dataclass(frozen=True)
class DiscriminatorDimensions:
    """One discriminator. `paper()` is that of Zakharov et al. 2019 to the parameter, `light()` the default model's."""

    size: int
    """Side of the pictures it sees, pixels."""
    embedding: int
    """N, numbers in v and in each row of W: the embedder's, so that the match loss can compare them."""
    channels: tuple[int, ...]
    """Channels of the downsampling blocks."""
    residual_blocks: int = 1
    """Blocks at the smallest size."""
    unshuffle: int = 1
    """Space folded into channels before the first block (1: none)."""
    spectral_norm: bool = True
    attention: bool = True
    """Self-attention at 32x32."""
    as_published: bool = False
    """As the co-author's published code computes it: the ReLU that a block begins with works in place, so that its
    shortcut and feature matching see the result. That code has no self-attention.
    """
    patches: bool = False
    """Judge each place by itself, without summing v over the picture: for texture."""

    def __post_init__(self) -> None:
        for name, least in (("size", 1), ("embedding", 1), ("residual_blocks", 0), ("unshuffle", 1)):
            if not whole(getattr(self, name), least):
                raise ValueError(f"{name} must be a whole number from {least}, not {getattr(self, name)!r}")
        if not isinstance(self.channels, tuple) or not all(whole(value, 1) for value in self.channels):
            raise ValueError(f"channels must be a list of whole numbers from 1, not {self.channels!r}")
        step = self.unshuffle * 2 ** len(self.channels)
        if not self.channels or self.size % step:
            raise ValueError(f"size {self.size} must be divisible by {step} (unshuffle times two for each block)")

    @classmethod
    def paper(cls) -> "DiscriminatorDimensions":
        """19.63 M parameters with w0 and b, without W."""
        return cls(size=256, embedding=512, channels=(64, 128, 256, 512, 512, 512))

    @classmethod
    def light(cls) -> "DiscriminatorDimensions":
        """For the textured model's 128 x 128 face frame: judges patches, cheap enough for a CPU."""
        return cls(
            size=128, embedding=256, channels=(32, 64, 128), residual_blocks=0, unshuffle=4, attention=False,
            patches=True,
        )  # fmt: skip

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> "DiscriminatorDimensions":
        """From plain data, see `read_dimensions`."""
        return read_dimensions(cls, raw)


class Discriminator(nn.Module):
    """V, w0 and b. The rows of W are given to `forward`: see Rows. region: what it has learnt to judge, "face" (the
    whole picture) or "mouth" (losses.mouth_of); kept in its file, so that fine-tuning shows it the same.
    """

    def __init__(self, dims: DiscriminatorDimensions, region: str = "face"):
        super().__init__()
        self.dims, self.region = dims, region
        sn = dims.spectral_norm
        blocks = encoder_blocks(
            6 * dims.unshuffle**2,
            dims.size // dims.unshuffle,
            dims.channels,
            attention=dims.attention,
            spectral=sn,
            rectified=dims.as_published,
        )
        wide = dims.channels[-1]
        blocks += [
            ResidualBlock(wide, wide, norm="none", spectral=sn, rectified=dims.as_published)
            for _ in range(dims.residual_blocks)
        ]
        self.blocks = nn.ModuleList(blocks)
        self.out = nn.Identity() if wide == dims.embedding else maybe_spectral(nn.Conv2d(wide, dims.embedding, 1), sn)
        self.score = maybe_spectral(nn.Linear(dims.embedding, 1), sn)  # w0 and b

    def forward(self, pictures: Tensor, landmarks: Tensor, rows: Tensor | None = None) -> tuple[Tensor, list[Tensor]]:
        """Scores (B, 1), or (B, places) for `patches`, larger for real; and the feature maps after each block.

        pictures, landmarks: (B, 3, S, S) in -1..1. rows: W_i of each picture, (B, N); None: w0 alone.
        """
        x = torch.cat([pictures, landmarks], 1)
        if self.dims.unshuffle > 1:
            x = F.pixel_unshuffle(x, self.dims.unshuffle)
        features = []
        for block in self.blocks:
            x = block(x)
            if isinstance(block, ResidualBlock):
                features.append(x)
        if self.dims.as_published:
            features = [*(F.relu(one) for one in features[:-1]), features[-1]]
        v = F.relu(self.out(x)).flatten(2).transpose(1, 2)  # (B, places, N)
        if not self.dims.patches:
            v = v.sum(1, keepdim=True)
        scores = self.score(v)[..., 0]
        if rows is not None:
            scores = scores + (v * rows[:, None]).sum(2)
        return scores, features

    def own_row(self) -> Tensor:
        """w0, (N,), as it counts (after spectral norm)."""
        return self.score.weight[0]  # type: ignore[index, return-value]


class Rows(nn.Embedding):
    """W: a row of N numbers for each training video. forward: (B,) video numbers -> (B, N); sparse gradients.

    To be trained with SparseAdam, whose moments move for the rows of a batch only: with a dense Adam every step
    would push the rows of all videos along by their old momentum, and cost as much as the rest of the networks.
    """

    def __init__(self, videos: int, embedding: int):
        super().__init__(videos, embedding, sparse=True)
        nn.init.uniform_(self.weight, -_ROW_START, _ROW_START)


def save_discriminator(network: Discriminator, path: Path, half: bool = False) -> None:
    """Write V, w0 and b atomically, with their dimensions. W is not needed for new people, and large.

    half: as float16, half the size.
    """
    meta = {"format": _FORMAT, "dimensions": json.dumps(dataclasses.asdict(network.dims)), "region": network.region}
    save_weights(path, network.state_dict(), meta, half=half)


def load_discriminator(path: Path) -> Discriminator:
    """Build the network that the file describes. Raises ModelError: missing, damaged, not a discriminator."""
    with open_weights(path, "no such discriminator; training leaves it beside model.safetensors") as file:
        file.expect(_FORMAT, f"is not a discriminator ({_FORMAT})")
        dims = DiscriminatorDimensions.from_dict(read_object(file.meta["dimensions"]))
        network = Discriminator(dims, file.meta.get("region", "face"))
        network.load_state_dict({name: tensor.float() for name, tensor in file.tensors().items()})
    return network
