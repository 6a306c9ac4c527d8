"""Training of the lid network: eyes out of the packed pictures, looked for where a painting's may be found to be."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewshot_reenact.geometry.affine import invert, transform
from fewshot_reenact.landmarks.irises import to_input
from fewshot_reenact.landmarks.lids import EYES, HEIGHT, WIDTH, LidNet, cut_eye, lid_frame
from fewshot_reenact.training.landmarks.augment import photometric
from fewshot_reenact.training.landmarks.config import LandmarkConfig
from fewshot_reenact.training.landmarks.data import SIDE, read_packed

# Deviations of where an eye is looked for: across and down in widths of the eye, of its size and its direction.
_OFF, _SIZE, _TURN = 0.13, 0.13, 0.10
_NEAR = 0.3  # share of looks that are nearly right, as the last ones are
_SCORED = 512  # eyes


class LidTask:
    """Eyes, and where their lids are. Half of the faces that are drawn are mirrored."""

    network = LidNet

    def __init__(self, packed: Path, train: bool, seed: int, settings: LandmarkConfig):
        self.source, self.settings, self.train = read_packed(packed, train, seed), settings, train

    def batch(self) -> dict[str, Tensor]:
        """x (B, 1, 48, 64), see LidNet; lids (B, 6, 2) crop pixels from the middle."""
        eyes: list[np.ndarray] = []
        lids: list[np.ndarray] = []
        count, middle = self.settings.batch, np.array([WIDTH - 1, HEIGHT - 1]) / 2
        while len(eyes) < count:
            picture, points = self.source.draw()
            if self.train or self.source.rng.random() < 0.5:
                picture = photometric(picture, self.source.rng)
            for eye, _ in EYES:
                own = points[eye].astype(np.float64)
                if (np.abs(own - SIDE / 2) < SIDE / 2).all():
                    frame = lid_frame(self._astray(own))
                    eyes.append(cut_eye(picture, frame))
                    lids.append(transform(invert(frame), own) - middle)
        return {"x": to_input(eyes[:count]), "lids": torch.tensor(np.array(lids[:count]), dtype=torch.float32)}

    def _astray(self, lids: np.ndarray) -> np.ndarray:
        """Lids (6, 2) as they may be measured: moved, enlarged and turned."""
        rng = self.source.rng
        much = 0.25 if rng.random() < _NEAR else 1.0
        wide, angle = np.linalg.norm(lids[3] - lids[0]), rng.normal(0, much * _TURN)
        turn = np.exp(rng.normal(0, much * _SIZE)) * np.array(
            [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        )
        middle = lids.mean(0)
        moved: np.ndarray = (lids - middle) @ turn.T + middle + rng.normal(0, much * _OFF * wide, 2)
        return moved

    def loss(self, net: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """The loss of a batch, and numbers for the log."""
        apart = net(batch["x"]) - batch["lids"]
        across, down = (float(apart[..., k].detach().abs().mean()) for k in (0, 1))
        return F.smooth_l1_loss(apart, torch.zeros_like(apart)), {"across": across, "down": down}

    @torch.no_grad()
    def score(self, net: nn.Module) -> dict[str, float]:
        """On the same eyes each time, crop pixels: mean errors, and of always saying where lids are on the whole."""
        self.source.rng = np.random.default_rng(1)
        got, want = [], []
        for _ in range(max(1, _SCORED // self.settings.batch)):
            batch = self.batch()
            got.append(net(batch["x"]))
            want.append(batch["lids"])
        made, there = torch.cat(got), torch.cat(want)
        rest = (there - there.mean(0)).abs().mean((0, 1))
        across, down = (made - there).abs().mean((0, 1)).tolist()
        figures = {"across": across, "down": down, "across_of_none": float(rest[0]), "down_of_none": float(rest[1])}
        return {name: round(value, 4) for name, value in figures.items()}
