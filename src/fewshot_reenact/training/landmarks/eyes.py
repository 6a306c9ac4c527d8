"""Training of the networks that see single eyes: what those of irises and of lids have in common."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewshot_reenact.landmarks.eye_network import EyeNet
from fewshot_reenact.training.landmarks.augment import photometric
from fewshot_reenact.training.landmarks.config import LandmarkConfig
from fewshot_reenact.training.landmarks.data import read_packed

_SCORED = 512  # eyes


class EyeTask(ABC):
    """Eyes out of the packed pictures, and places in them. Half of the faces that are drawn are mirrored."""

    network: ClassVar[type[EyeNet]]

    def __init__(self, packed: Path, train: bool, seed: int, settings: LandmarkConfig):
        self.source, self.settings, self.train = read_packed(packed, train, seed), settings, train

    @abstractmethod
    def batch(self) -> dict[str, Tensor]:
        """x (B, 1, height, width), see EyeNet; places (B, ..., 2) crop pixels from the middle, as the network says."""

    def drawn(self) -> tuple[np.ndarray, np.ndarray]:
        """A picture (256, 256, 3) and its points, as one that is learnt from or that is looked at."""
        picture, points = self.source.draw()
        if self.train or self.source.rng.random() < 0.5:
            picture = photometric(picture, self.source.rng)
        return picture, points

    def loss(self, net: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """The loss of a batch, and numbers for the log."""
        apart = net(batch["x"]) - batch["places"]
        across, down = (float(apart[..., k].detach().abs().mean()) for k in (0, 1))
        return F.smooth_l1_loss(apart, torch.zeros_like(apart)), {"across": across, "down": down}

    @torch.no_grad()
    def score(self, net: nn.Module) -> dict[str, float]:
        """On the same eyes each time, see `figures`."""
        self.source.rng = np.random.default_rng(1)
        got, want = [], []
        for _ in range(max(1, _SCORED // self.settings.batch)):
            batch = self.batch()
            got.append(net(batch["x"]))
            want.append(batch["places"])
        figures = self.figures(torch.cat(got), torch.cat(want))
        return {name: round(value, 4) for name, value in figures.items()}

    def figures(self, made: Tensor, there: Tensor) -> dict[str, float]:
        """Of places (N, ..., 2), crop pixels: mean errors, and of always saying where places are on the whole."""
        across, down = (made - there).abs().flatten(0, -2).mean(0).tolist()
        rest = (there - there.mean(0)).abs().flatten(0, -2).mean(0).tolist()
        return {"across": across, "down": down, "across_of_none": rest[0], "down_of_none": rest[1]}
