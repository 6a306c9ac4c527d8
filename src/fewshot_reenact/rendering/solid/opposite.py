"""The expression of a head's mirror image, that may stand for the side which a portrait hides."""

from functools import lru_cache

import torch
from torch import Tensor

from fewshot_reenact.geometry.topology import FLIP, LEFT_EYE, LEFT_IRIS, RIGHT_EYE, RIGHT_IRIS


def mirror_image(own: Tensor, moved: Tensor) -> Tensor:
    """own: (1 or B, 83, 3), portraits' heads in their own axes. moved: (B, 83, 3), with new expressions. Returns
    (B, 83, 3): the portraits with these expressions on the other side.

    The change is mirrored and not the head: eyes and mouths of turned faces are measured smaller on the side that
    looks away. Irises are mirrored as they stand in their eyes, or the two would not look at one thing.
    """
    image = own + _mirrored(moved - own)
    other = _mirrored(moved)
    for eye, iris in ((LEFT_EYE, LEFT_IRIS), (RIGHT_EYE, RIGHT_IRIS)):
        image[:, iris] = image[:, eye].mean(1) + other[:, iris] - other[:, eye].mean(1)
    return image


def _mirrored(solid: Tensor) -> Tensor:
    """The left side in place of the right one, (B, 83, 3)."""
    across, *others = solid[:, _flip(solid.device)].unbind(-1)
    return torch.stack([-across, *others], -1)


@lru_cache(maxsize=8)
def _flip(device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.from_numpy(FLIP).to(device)
