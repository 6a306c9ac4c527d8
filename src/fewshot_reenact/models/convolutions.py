"""Blocks of the small networks that look at pictures: convolutions with batch norm, made one for inference."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from fewshot_reenact.models.resampling import for_onnx


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
        if for_onnx():  # other runtimes have no such trouble
            return F.conv2d(x, self.weight[:, :, None, None], self.bias)
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
