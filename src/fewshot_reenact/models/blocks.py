"""Building blocks of the embedder, the generator and the discriminator.

Sources: Zakharov et al. 2019, section 3.2 and supplement; BigGAN's residual block (Brock et al. 2019) and AdaIN
(Huang and Belongie 2017) as the paper uses them; self-attention of Zhang et al. 2019.
"""

from collections.abc import Iterator
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.utils.parametrizations import spectral_norm

from fewshot_reenact.models.resampling import convolved_larger, convolved_smaller, fits_processor

NORM_EPS = 1e-4
Layer = TypeVar("Layer", bound=nn.Module)


def maybe_spectral(module: Layer, wanted: bool) -> Layer:
    """The module with spectral norm, or as it is."""
    if wanted:
        spectral_norm(module, eps=NORM_EPS)
    return module


def instance_norm(x: Tensor) -> Tensor:
    """Each channel of each picture to mean 0 and variance 1 over its places. (B, C, H, W) -> the same."""
    if not fits_processor(x):
        return F.instance_norm(x, eps=NORM_EPS)
    # torch's own copies to channels-first and leaves the result there, so the next convolution copies it back: on a CPU
    # that takes three times as long as the arithmetic.
    b, c, h, w = x.shape
    places = x.permute(0, 2, 3, 1).reshape(b, h * w, c)
    away = places - places.mean(1, keepdim=True)
    scale = torch.rsqrt(away.square().mean(1, keepdim=True) + NORM_EPS)
    return (away * scale).view(b, h, w, c).permute(0, 3, 1, 2)


def modulated_norm(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Instance norm, then another scale and shift. x: (B, C, H, W). scale, shift: (C,) or (B, C). Returns as x."""
    if fits_processor(x):
        if torch.is_grad_enabled():
            return _ModulatedNorm.apply(x, scale, shift)  # type: ignore[no-any-return, no-untyped-call]
        if torch.is_inference_mode_enabled():  # a training step, which also has parts without gradients, has no loops
            return _picture_by_picture(x, scale, shift)
    return instance_norm(x) * scale[..., None, None] + shift[..., None, None]


def _picture_by_picture(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """`modulated_norm` where nothing is learnt, on a CPU, channels last: batch norm of one picture is instance norm, in
    two passes over memory that stay in the processor's cache. The operations one by one took 2 to 8 times as long for
    four pictures.
    """
    scale, shift = (values.expand(len(x), -1) for values in (scale, shift))
    made, unused = torch.empty_like(x), x.new_empty(2, x.shape[1])
    for k in range(len(x)):  # each written where it belongs: putting them together took a third of the time
        one = slice(k, k + 1)
        torch.native_batch_norm(
            x[one], scale[k], shift[k], None, None, True, 0.0, NORM_EPS, out=(made[one], unused[0], unused[1])
        )
    return made


class _ModulatedNorm(torch.autograd.Function):
    """`modulated_norm` for training on a CPU, channels last: five passes over memory and six back, where the operations
    one by one take eight and twenty, which cost more there than the arithmetic.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """x: (B, C, H, W). scale, shift: (C,) or (B, C)."""
        b, c, h, w = x.shape
        places = x.permute(0, 2, 3, 1).reshape(b, h * w, c)
        away = places - places.mean(1, keepdim=True)
        variance = torch.linalg.vector_norm(away, dim=1, keepdim=True).square_().div_(h * w)
        steep = torch.rsqrt(variance + NORM_EPS)
        ctx.save_for_backward(away, steep, scale)
        out = torch.empty_like(x)  # no view, or nobody could go on in place
        flat = out.permute(0, 2, 3, 1).view(b, h * w, c)
        torch.addcmul(_in_places(shift), away, steep * _in_places(scale), out=flat)
        return out

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """With n = away * steep: of x, scale * steep * (g - mean(g) - n mean(g n)); of scale, sum(g n); of shift,
        sum(g). Ioffe and Szegedy 2015, section 3, for one picture.
        """
        away, steep, scale = ctx.saved_tensors
        b, c, h, w = gradient.shape
        g = gradient.permute(0, 2, 3, 1).reshape(b, h * w, c)
        of_shift = g.sum(1)
        of_scale = (g * away).sum(1) * steep[:, 0]
        size = _in_places(scale) * steep
        share = size / (h * w)
        of_x = torch.addcmul(-share * of_shift[:, None], g, size)
        of_x.addcmul_(away, -share * steep * of_scale[:, None])
        if scale.ndim == 1:
            of_scale, of_shift = of_scale.sum(0), of_shift.sum(0)
        return of_x.view(b, h, w, c).permute(0, 3, 1, 2), of_scale, of_shift


def _in_places(values: Tensor) -> Tensor:
    """(C,) or (B, C) -> (1 or B, 1, C)."""
    return values.view(-1, 1, values.shape[-1])


class InstanceNorm(nn.InstanceNorm2d):
    """Instance norm with a learnt scale and shift. (B, C, H, W) -> the same."""

    def __init__(self, channels: int):
        super().__init__(channels, eps=NORM_EPS, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return modulated_norm(x, self.weight, self.bias)


class AdaIN(nn.Module):
    """Instance norm whose scale and shift are set from outside before each forward (by `assign_style`).

    forward: (B, C, H, W) -> (B, C, H, W).
    """

    def __init__(self, channels: int):
        super().__init__()
        self.channels = channels
        self.scale: Tensor | None = None
        self.shift: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        if self.scale is None or self.shift is None:
            raise RuntimeError("AdaIN has no style yet: call assign_style first")
        return modulated_norm(x, self.scale, self.shift)


def adain_layers(module: nn.Module) -> Iterator[AdaIN]:
    """All of a module's, in order."""
    return (m for m in module.modules() if isinstance(m, AdaIN))


def style_length(module: nn.Module) -> int:
    """How many numbers psi has for this module: a scale and a shift for each channel of each AdaIN."""
    return 2 * sum(layer.channels for layer in adain_layers(module))


def assign_style(module: nn.Module, psi: Tensor) -> None:
    """Deal out psi (B, style_length) to the AdaIN layers in order: shift, then scale, each (B, C)."""
    at = 0
    for layer in adain_layers(module):
        layer.shift = psi[:, at : at + layer.channels]
        layer.scale = psi[:, at + layer.channels : at + 2 * layer.channels]
        at += 2 * layer.channels
    if at != psi.shape[1]:
        raise ValueError(f"psi has {psi.shape[1]} numbers, the AdaIN layers need {at}")


def make_norm(kind: str, channels: int) -> nn.Module:
    """ "none", "instance" (affine) or "adain"."""
    if kind == "none":
        return nn.Identity()
    if kind == "instance":
        return InstanceNorm(channels)
    if kind == "adain":
        return AdaIN(channels)
    raise ValueError(f"norm {kind!r} is not one of none, instance, adain")


class ResidualBlock(nn.Module):
    """norm - ReLU - (up) - conv3 - norm - ReLU - conv3 - (down), plus a 1x1 shortcut where the shape changes.

    resample: "none", "up" (nearest, x2) or "down" (average, /2). first: leave out the leading norm and ReLU, for a
    block that sees pixels. rectified: without norms, the shortcut too sees what the leading ReLU leaves.
    forward: (B, c_in, H, W) -> (B, c_out, H', W').
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        *,
        norm: str,
        resample: str = "none",
        spectral: bool = False,
        first: bool = False,
        rectified: bool = False,
    ):
        super().__init__()
        # A norm takes constants away: a bias before it is useless, and so is the shortcut's, which meets the next norm.
        bias = norm == "none"
        self.resample, self.first = resample, first
        self.rectified = rectified and norm == "none" and not first
        self.norm1 = nn.Identity() if first else make_norm(norm, c_in)
        self.conv1 = maybe_spectral(nn.Conv2d(c_in, c_out, 3, padding=1, bias=bias), spectral)
        self.norm2 = make_norm(norm, c_out)
        self.conv2 = maybe_spectral(nn.Conv2d(c_out, c_out, 3, padding=1, bias=bias), spectral)
        shortcut = c_in != c_out or resample != "none"
        self.shortcut = maybe_spectral(nn.Conv2d(c_in, c_out, 1, bias=bias), spectral) if shortcut else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        y = self.norm1(x)
        if not self.first:
            y = F.relu(y, inplace=y is not x)  # nobody needs a norm's result but this
        if self.rectified:
            x = y
        y = convolved_larger(y, self.conv1) if self.resample == "up" else self.conv1(y)
        y = F.relu(self.norm2(y), inplace=True)
        if self.resample == "down":
            # Averaging and a 1x1 convolution commute: averaging first is four times cheaper, and the same.
            return convolved_smaller(y, self.conv2) + self.shortcut(F.avg_pool2d(x, 2))
        y = self.conv2(y)
        if self.resample == "up":
            return y + F.interpolate(self.shortcut(x), scale_factor=2, mode="nearest")
        return y + self.shortcut(x)


class SelfAttention(nn.Module):
    """Self-attention over positions (Zhang et al. 2019), with a gate that starts at zero. (B, C, H, W) -> the same."""

    def __init__(self, channels: int, *, spectral: bool):
        super().__init__()
        inner = channels // 8
        self.query = maybe_spectral(nn.Conv2d(channels, inner, 1, bias=False), spectral)
        self.key = maybe_spectral(nn.Conv2d(channels, inner, 1, bias=False), spectral)
        self.value = maybe_spectral(nn.Conv2d(channels, channels, 1, bias=False), spectral)
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        b, c, h, w = x.shape
        q, k, v = (f(x).flatten(2).transpose(1, 2) for f in (self.query, self.key, self.value))
        mixed = F.scaled_dot_product_attention(q, k, v, scale=1.0)
        return x + self.gate * mixed.transpose(1, 2).reshape(b, c, h, w)


ENCODER_ATTENTION = 32  # side at which E and D attend


def encoder_blocks(
    channels: int, size: int, wide: tuple[int, ...], *, attention: bool, spectral: bool, rectified: bool = False
) -> list[nn.Module]:
    """The way down that E and D share: a block that halves the size for each of `wide`, without norms, and
    self-attention where 32x32 is reached. channels, size: of what comes in. rectified: see ResidualBlock.
    """
    blocks: list[nn.Module] = []
    for i, out in enumerate(wide):
        block = ResidualBlock(
            channels, out, norm="none", resample="down", spectral=spectral, first=i == 0, rectified=rectified
        )
        blocks.append(block)
        channels, size = out, size // 2
        if attention and size == ENCODER_ATTENTION:
            blocks.append(SelfAttention(channels, spectral=spectral))
    return blocks
