"""Training of the detector: composed scenes, CenterNet's loss, and its score on what is held out."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from fewshot_reenact.landmarks.detector import SIZE_UNIT, STRIDE, DetectorNet, face_size
from fewshot_reenact.training.landmarks.config import LandmarkConfig
from fewshot_reenact.training.landmarks.data import read_packed, to_tensor

SCENE = 192


class DetectorTask:
    """Composed scenes of faces, and where eyes and mouths are in them."""

    network = DetectorNet

    def __init__(self, packed: Path, train: bool, seed: int, settings: LandmarkConfig):
        self.source = read_packed(packed, train, seed)
        self.settings = settings

    def batch(self) -> dict[str, Tensor]:
        """x (B, 3, 192, 192), heat (B, h, w), values (B, 7, h, w), owned (B, h, w): cells that answer for a face."""
        source, size = self.source, self.settings.batch
        scenes, faces = zip(*(source.scene(SCENE) for _ in range(size)), strict=True)
        cells = SCENE // STRIDE
        heat, values, owned = (
            np.zeros((size, cells, cells), np.float32),
            np.zeros((size, 7, cells, cells), np.float32),
            np.zeros((size, cells, cells), np.float32),
        )
        grid = np.stack(np.meshgrid(np.arange(cells), np.arange(cells)), -1) * STRIDE + (STRIDE - 1) / 2
        for b, threes in enumerate(faces):
            for three in threes:
                s, centre = float(face_size(three)), three.mean(0)
                if s < 7 or not (0 <= centre[0] < SCENE and 0 <= centre[1] < SCENE):
                    continue
                spread = max(4.0, 0.12 * s)
                near = np.exp(-((grid - centre) ** 2).sum(-1) / (2 * spread**2)).astype(np.float32)
                y, x = np.unravel_index(np.argmax(near), near.shape)
                near /= near[y, x]
                heat[b] = np.maximum(heat[b], near)
                inside = near > 0.6
                owned[b][inside] = 1
                values[b, 0][inside] = np.log(s / SIZE_UNIT)
                for k in range(3):
                    offset = (three[k] - grid[inside]) / s
                    values[b, 1 + 2 * k][inside], values[b, 2 + 2 * k][inside] = offset[:, 0], offset[:, 1]
        return {
            "x": to_tensor(list(scenes)),
            "heat": torch.from_numpy(heat),
            "values": torch.from_numpy(values),
            "owned": torch.from_numpy(owned),
        }

    def loss(self, net: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """CenterNet's loss of a batch, and numbers for the log."""
        out = net(batch["x"])
        heat, owned = batch["heat"], batch["owned"]
        p = out[:, 0].sigmoid().clamp(1e-5, 1 - 1e-5)
        peak = heat > 0.999
        # CenterNet's focal loss: cells near a centre count less as negatives.
        focal = torch.where(peak, -((1 - p) ** 2) * p.log(), -((1 - heat) ** 4) * p**2 * (1 - p).log())
        n = peak.sum().clamp(min=1)
        m = owned.sum().clamp(min=1)
        size = ((out[:, 1] - batch["values"][:, 0]).abs() * owned).sum() / m
        where = ((out[:, 2:] - batch["values"][:, 1:]).abs().sum(1) * owned).sum() / m
        loss = focal.sum() / n + 0.5 * size + 2.0 * where
        hit = ((out[:, 0] > 0) & peak).sum() / n
        false = ((out[:, 0] > 0) & (heat < 0.1)).sum() / len(heat)
        return loss, {
            "focal": float((focal.sum() / n).detach()),
            "where": float(where.detach()),
            "hit": float(hit),
            "false": float(false),
        }

    @torch.no_grad()
    def score(self, net: nn.Module) -> dict[str, float]:
        """The same numbers on the same scenes each time."""
        self.source.rng = np.random.default_rng(1)
        rows = [self.loss(net, self.batch())[1] for _ in range(8)]
        return {k: round(float(np.mean([r[k] for r in rows])), 4) for k in rows[0]}
