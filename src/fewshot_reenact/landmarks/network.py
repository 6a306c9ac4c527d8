"""The point network: an upright crop of a face -> its 83 points and how sure it is; how weights are kept."""

import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from fewshot_reenact.errors import ModelError
from fewshot_reenact.geometry.align import CROP
from fewshot_reenact.geometry.topology import N_POINTS
from fewshot_reenact.weights import open_weights, save_weights


class ConvNorm(nn.Module):
    """Convolution and batch norm, made one for inference by `fuse`. (B, c_in, H, W) -> (B, c_out, H', W')."""

    def __init__(self, c_in: int, c_out: int, kernel: int = 3, stride: int = 1, groups: int = 1):
        super().__init__()
        self.conv: nn.Module = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return self.norm(self.conv(x))


class Block(nn.Module):
    """Residual block; with stride 2 it halves the size. (B, c_in, H, W) -> (B, c_out, H', W')."""

    def __init__(self, c_in: int, c_out: int, stride: int = 1):
        super().__init__()
        self.a, self.b = ConvNorm(c_in, c_out, 3, stride), ConvNorm(c_out, c_out)
        self.skip: nn.Module = ConvNorm(c_in, c_out, 1, stride) if stride > 1 or c_in != c_out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return F.relu_(self.b(F.relu_(self.a(x))).add_(self.skip(x)))


class Pointwise(nn.Module):
    """A 1 x 1 convolution as a matrix product over the channels. (B, c_in, H, W) -> (B, c_out, H, W).

    For small maps PyTorch's own convolution leaves oneDNN and copies the map to another layout and back.
    """

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        self.weight = nn.Parameter(conv.weight.detach().flatten(1).contiguous(), requires_grad=False)
        self.bias = None if conv.bias is None else nn.Parameter(conv.bias.detach().clone(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return F.linear(x.permute(0, 2, 3, 1), self.weight, self.bias).permute(0, 3, 1, 2)


def _is_pointwise(module: nn.Module) -> bool:
    return (
        isinstance(module, nn.Conv2d)
        and module.kernel_size == (1, 1)
        and module.stride == (1, 1)
        and module.groups == 1
    )


def fuse(network: nn.Module) -> nn.Module:
    """Fold batch norms into the convolutions before them, for inference: the same numbers, faster. In place."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, ConvNorm):  # the convolution alone takes its place: every call of a module costs
                child = fuse_conv_bn_eval(child.conv, child.norm)  # type: ignore[arg-type, type-var]
            setattr(module, name, Pointwise(child) if _is_pointwise(child) else child)  # type: ignore[arg-type]
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


class Thin(nn.Module):
    """Residual pair of depthwise-separable convolutions: a ninth of a dense block's work. (B, c, H, W) -> the same."""

    def __init__(self, c: int):
        super().__init__()
        self.a, self.b = ConvNorm(c, c, 3, groups=c), ConvNorm(c, c, 1)
        self.c, self.d = ConvNorm(c, c, 3, groups=c), ConvNorm(c, c, 1)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return F.relu_(self.d(self.c(F.relu_(self.b(self.a(x))))).add_(x))


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
