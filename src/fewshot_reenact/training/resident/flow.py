"""Optical flow as tensor operations, a batch at a time on any device: what rendering.registration measures with OpenCV,
picture by picture.

Pyramidal Lucas-Kanade (Lucas and Kanade 1981; Bouguet 2001) with a Gaussian window, on pictures whose local brightness
and contrast were taken out. Like OpenCV's DIS at the preset that registration uses, it stops at half the size. The
constants were chosen on 32 pairs of training clips: the pictures come as near as by DIS (0.074 of 0.104 is left by
either), with shifts of about the same length.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from fewshot_reenact.models.reenactor import REACH
from fewshot_reenact.rendering.registration import SMOOTH
from fewshot_reenact.rendering.warp import grid, sample

_LEVELS, _ROUNDS = 3, 3  # sizes, from half the picture's down; steps at each
_WINDOW, _LOCAL = 1.5, 4.0  # pixels of a level, standard deviations: of the match; of what local brightness is
_STEADY = 0.06  # added to the squared gradients, of pictures of contrast 1: where nothing is seen nothing moves
_FAINT = 0.02  # contrast, on the 0..1 scale, under which there is but noise
_STEP = 1.0  # pixels of a level that one round may go
_RIGID = 1.5  # pixels of a level: neighbours move alike
_GREY = (0.299, 0.587, 0.114)


def register(seen: Tensor, wanted: Tensor) -> Tensor:
    """The shift by which `seen` becomes `wanted`: what belongs at a place stands this far from it in `seen`.

    seen, wanted: (B, 3, S, S) in -1..1. Returns (B, 2, S, S), x and y in pixels, smooth, at most REACH of the side;
    float32, also where the networks around it run in bfloat16, whose products would blur too coarsely.
    """
    with torch.autocast(seen.device.type, enabled=False):
        return _register(seen.float(), wanted.float())


def _register(seen: Tensor, wanted: Tensor) -> Tensor:
    size, count = seen.shape[-1], len(seen)
    weights = seen.new_tensor(_GREY).view(1, 3, 1, 1)
    both = (torch.cat([wanted, seen]).clamp(-1, 1) * weights).sum(1, keepdim=True) / 2
    levels = [F.avg_pool2d(both, 2)]
    while len(levels) < _LEVELS and levels[-1].shape[-1] % 2 == 0:
        levels.append(F.avg_pool2d(levels[-1], 2))
    flow = seen.new_zeros(count, 2, *levels[-1].shape[-2:])
    for level in reversed(levels):
        if flow.shape[-1] != level.shape[-1]:
            flow = 2 * F.interpolate(flow, size=level.shape[-2:], mode="bilinear", align_corners=False)
        there, here = _equalise(level).chunk(2)
        flow = _follow(there, here, flow)
    flow = F.interpolate(flow, size=(size, size), mode="bilinear", align_corners=False) * (size / flow.shape[-1])
    return blur(flow, SMOOTH * size).clamp(-REACH * size, REACH * size)


def blur(pictures: Tensor, deviation: float) -> Tensor:
    """Gaussian blur of (B, C, H, W), the border going on; deviation in pixels. As matrix products along either side:
    for small pictures many times faster than a convolution of few channels.
    """
    h, w = pictures.shape[-2:]
    down, across = (_smoothing(side, deviation, pictures.device) for side in (h, w))
    return down @ (pictures @ across.T)


@lru_cache(maxsize=32)
def _smoothing(side: int, deviation: float, device: torch.device) -> Tensor:
    """A line of pixels -> the same blurred, (side, side)."""
    reach = max(1, round(3 * deviation))
    kernel = torch.exp(-(torch.arange(-reach, reach + 1) / deviation).square() / 2)
    from_ = (torch.arange(side)[:, None] + torch.arange(-reach, reach + 1)).clamp(0, side - 1)
    matrix = torch.zeros(side, side).scatter_add_(1, from_, (kernel / kernel.sum()).expand(side, -1))
    return matrix.to(device)


def _equalise(grey: Tensor) -> Tensor:
    """Without local brightness, and with local contrast 1 where there is any."""
    plain = grey - blur(grey, _LOCAL)
    return plain / (blur(plain.square(), _LOCAL).sqrt() + _FAINT)


def _follow(there: Tensor, here: Tensor, flow: Tensor) -> Tensor:
    """A few steps towards the flow at which `here`, seen through it, is `there`. Pictures (B, 1, h, w)."""
    size = there.shape[-1]
    place = grid(size, size, there.device).to(there.dtype).view(1, size, size, 2)
    for _ in range(_ROUNDS):
        seen = sample(here, place + flow.permute(0, 2, 3, 1))
        dx, dy = _gradient((there + seen) / 2)
        away = there - seen
        sums = blur(torch.cat([dx * dx, dx * dy, dy * dy, dx * away, dy * away], 1), _WINDOW)
        xx, xy, yy, xt, yt = torch.split(sums, 1, 1)
        xx, yy = xx + _STEADY, yy + _STEADY
        least = xx * yy - xy * xy
        step = torch.cat([yy * xt - xy * yt, xx * yt - xy * xt], 1) / least
        flow = blur(flow + step.clamp(-_STEP, _STEP), _RIGID)
    return flow


def _gradient(picture: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences along x and y."""
    padded = F.pad(picture, (1, 1, 1, 1), "replicate")
    return (
        (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2,
        (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2,
    )
