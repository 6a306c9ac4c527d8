"""Places in crops of single eyes, by a small network: what those of irises and of lids have in common."""

from __future__ import annotations

from typing import ClassVar

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from fewshot_reenact.models.convolutions import ConvNorm

_STRIDE = 4


class EyeNet(nn.Module):
    """forward: eyes (B, 1, height, width), grey, of mean 0 and deviation 1 each -> places, (B, points, 2) crop pixels
    from the crop's middle: for each the mean of where the cells of a map are, by how likely each is (softmax).

    size: (width, height) of the crops, pixels; points: how many places. A kind of eye network says both.
    """

    size: ClassVar[tuple[int, int]]
    points: ClassVar[int]
    grid: Tensor

    def __init__(self, widths: tuple[int, ...]):
        super().__init__()
        self.dims = {"widths": list(widths)}
        layers: list[nn.Module] = []
        before = 1
        for number, width in enumerate(widths):
            for ends, stride in ((before, 2 if number < 2 else 1), (width, 1)):
                layers += [ConvNorm(ends, width, 3, stride), nn.ReLU(inplace=True)]
            before = width
        self.body, self.likely = nn.Sequential(*layers), nn.Conv2d(before, self.points, 1)
        columns, rows = (side // _STRIDE for side in self.size)
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        middle = torch.tensor([columns - 1, rows - 1]) / 2
        places = (torch.stack([x, y], -1).flatten(0, 1) - middle) * _STRIDE
        self.register_buffer("grid", places, persistent=False)

    def forward(self, eyes: Tensor) -> Tensor:
        """See the class."""
        return self.likely(self.body(eyes)).flatten(2).softmax(2) @ self.grid


def to_input(eyes: list[np.ndarray]) -> Tensor:
    """Crops (height, width, 3) uint8 as an EyeNet takes them, (B, 1, height, width)."""
    grey = torch.from_numpy(np.stack([cv2.cvtColor(eye, cv2.COLOR_RGB2GRAY) for eye in eyes])).float()
    middle = grey - grey.mean((1, 2), keepdim=True)
    return (middle / (middle.std((1, 2), keepdim=True) + 5))[:, None]
