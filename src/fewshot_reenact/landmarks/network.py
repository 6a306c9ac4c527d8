"""The point network: an upright crop of a face -> its 83 points and how sure it is; how weights are kept."""

import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewshot_reenact.errors import ModelError
from fewshot_reenact.geometry.align import CROP
from fewshot_reenact.geometry.topology import N_POINTS
from fewshot_reenact.models.convolutions import Block, ConvNorm, fuse
from fewshot_reenact.weights import open_weights, save_weights


class PointNet(nn.Module):
    """forward: crops (B, 3, 128, 128) in -1..1 -> points (B, 83, 2) in crop pixels, logits (B,): face and points right.

    Every cell of a 16 x 16 map votes for each point: how much its vote counts (softmax over the cells) and where the
    point is as seen from the cell. So a point may lie between cells or outside the crop.
    """

    grid: Tensor

    def __init__(
        self, widths: tuple[int, ...] = (16, 32, 64, 128), blocks: tuple[int, ...] = (1, 1, 2), neck: int = 96
    ):
        super().__init__()
        self.dims = {"widths": list(widths), "blocks": list(blocks), "neck": neck}
        self.stem = nn.Sequential(ConvNorm(3, widths[0], 3, 2), nn.ReLU(inplace=True))
        layers: list[nn.Module] = []
        for c_in, c_out, count in zip(widths, widths[1:], blocks, strict=False):
            layers.append(nn.Sequential(Block(c_in, c_out, 2), *(Block(c_out, c_out) for _ in range(count - 1))))
        self.stages = nn.ModuleList(layers)
        self.lateral = ConvNorm(widths[-2], neck, 1)
        self.above = ConvNorm(widths[-1], neck, 1)
        self.merge = ConvNorm(neck, neck, 3)
        self.votes = nn.Conv2d(neck, 3 * N_POINTS, 1)
        self.sure = nn.Linear(2 * widths[-1], 1)
        side = CROP // 8
        y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
        self.register_buffer("grid", torch.stack([x, y], 0).flatten(1).float() * 8 + 3.5, persistent=False)

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        points, sure, _ = self.look(crops)
        return points, sure

    def look(self, crops: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As forward, and the weights of the votes before the softmax, (B, 83, 256), which training steers too."""
        points, sure, weights, _ = self._vote(crops)
        return points, sure, weights

    def measure(self, crops: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As forward, and how far apart the votes for each point lie: (B, 83), root mean square in crop pixels."""
        points, sure, weights, (x, y) = self._vote(crops)
        share = weights.softmax(-1)
        square = (share * ((x - points[..., :1]) ** 2 + (y - points[..., 1:]) ** 2)).sum(-1)
        return points, sure, square.sqrt()

    def _vote(self, crops: Tensor) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
        """Points, logits, the weights of the votes, and the votes themselves: x and y, (B, 83, 256) each."""
        x = self.stem(crops)
        for stage in self.stages[:-1]:
            x = stage(x)
        top = self.stages[-1](x)
        y = F.relu(self.lateral(x) + F.interpolate(self.above(top), scale_factor=2, mode="nearest"))
        votes = self.votes(F.relu(self.merge(y))).flatten(2).unflatten(1, (3, N_POINTS))
        share = votes[:, 0].softmax(-1)
        places = [votes[:, 1 + i] * 8 + self.grid[i] for i in range(2)]
        points = torch.stack([(share * place).sum(-1) for place in places], -1)
        pooled = torch.cat([top.mean((2, 3)), top.amax((2, 3))], 1)
        return points, self.sure(pooled)[:, 0], votes[:, 0], places


def save_network(network: nn.Module, path: Path, dims: dict[str, Any], note: str) -> None:
    """Write the weights as float16, with the dimensions in the metadata."""
    save_weights(path, network.state_dict(), {"dimensions": json.dumps(dims), "note": note}, half=True)


def read_weights(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Dimensions and float32 tensors of a weights file. Raises ModelError when it is missing or damaged."""
    again = "install the package again"
    with open_weights(
        path, f"landmark weights are missing; {again}", f"landmark weights are damaged ({{reason}}); {again}"
    ) as file:
        dims, tensors = json.loads(file.meta["dimensions"]), file.tensors()
    return dims, {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}


def load_network(kind: type[nn.Module], path: Path) -> nn.Module:
    """Build a network from its file, fused and ready for inference. Raises ModelError."""
    dims, tensors = read_weights(path)
    try:
        network = kind(**dims)
        network.load_state_dict(tensors)
    except (TypeError, RuntimeError) as error:
        raise ModelError(f"{path}: weights do not fit this version ({str(error).splitlines()[0]})") from error
    return fuse(network.eval().requires_grad_(False))
