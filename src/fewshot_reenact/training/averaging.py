"""The averaged weights that every trainer ships: an exponential moving average (EMA) over the steps."""

from typing import Literal

import torch
from torch import Tensor, nn


@torch.no_grad()
def average(
    averaged: nn.Module,
    current: nn.Module,
    step: int,
    decay: float,
    buffers: Literal["copy", "average"] = "copy",
    hold: Tensor | None = None,
) -> None:
    """Move the averaged weights towards the current ones after update number `step` (from 1).

    The decay is less in the beginning, so that the random start is soon forgotten. buffers: "copy" where they belong to
    the weights (spectral norm's vectors: old ones would scale the averaged weights wrongly), "average" where they are
    statistics (batch norm). hold: a flag on the device; 1.0 leaves the averaged weights as they are, without anybody
    waiting to see it.
    """
    share = 1 - min(decay, step / (step + 10))
    weights: list[Tensor] = list(averaged.parameters())
    towards: list[Tensor] = list(current.parameters())
    if hold is None:
        torch._foreach_lerp_(weights, towards, share)
    else:
        way = list(torch._foreach_sub(towards, weights))
        torch._foreach_mul_(way, share * (1 - hold))
        torch._foreach_add_(weights, way)
    for mine, theirs in zip(averaged.buffers(), current.buffers(), strict=True):
        if buffers == "average" and mine.is_floating_point():
            mine.lerp_(theirs, share)
        else:
            mine.copy_(theirs)
