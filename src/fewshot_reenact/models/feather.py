"""The mask that lets a change fade out at the edge of where it is made, so that pasting it leaves no edge."""

from functools import lru_cache

import torch
from torch import Tensor

from fewshot_reenact.geometry.smoothstep import smoothstep

_SHARE = 0.10  # of the shorter side, over which the change fades out


def feather(width: int, height: int) -> Tensor:
    """(1, 1, height, width): 1 inside, falling smoothly to 0 at the edge."""
    reach = _SHARE * min(width, height)
    ramps = []
    for side in (height, width):
        line = torch.arange(side)
        ramps.append(smoothstep((torch.minimum(line, side - 1 - line) / reach).clamp(0, 1)))
    return (ramps[0][:, None] * ramps[1][None, :])[None, None]


@lru_cache(maxsize=8)
def feather_on(side: int, device: torch.device) -> Tensor:
    """The same of a square on a device, kept there: a copy from the host would be waited for at each step."""
    with torch.inference_mode(False):
        return feather(side, side).to(device)
