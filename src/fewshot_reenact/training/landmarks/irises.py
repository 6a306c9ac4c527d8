"""Training of the iris network: eyes out of the packed pictures, placed as our own points place them, a little off."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewshot_reenact.errors import InputError
from fewshot_reenact.geometry.affine import invert, transform
from fewshot_reenact.geometry.topology import lid_gap
from fewshot_reenact.landmarks.irises import EYES, HEIGHT, WIDTH, IrisNet, cut_eye, eye_frame, to_input
from fewshot_reenact.training.landmarks.augment import photometric
from fewshot_reenact.training.landmarks.config import LandmarkConfig
from fewshot_reenact.training.landmarks.data import SIDE, read_packed

_OFF = 0.045  # deviation of a corner's place, widths of the eye: that of the point network's corners, and a little more
_OPEN = 0.1  # between the lids, widths of the eye: from there on an iris is seen
_SCORED = 512  # eyes
_TRIES = 200  # faces without an open eye, for each eye found


class IrisTask:
    """Eyes, and where their irises are. Half of the faces that are drawn are mirrored."""

    network = IrisNet

    def __init__(self, packed: Path, train: bool, seed: int, settings: LandmarkConfig):
        self.source, self.settings, self.train = read_packed(packed, train, seed), settings, train

    def batch(self) -> dict[str, Tensor]:
        """x (B, 1, 32, 64), see IrisNet; irises (B, 2) crop pixels from the middle."""
        eyes: list[np.ndarray] = []
        irises: list[np.ndarray] = []
        tries = 0
        while len(eyes) < self.settings.batch:
            tries += 1
            if tries > _TRIES * (1 + len(eyes)):
                raise InputError("packed faces have hardly an open eye with an iris in it; look at the data's points")
            picture, points = self.source.draw()
            if self.train or self.source.rng.random() < 0.5:
                picture = photometric(picture, self.source.rng)
            for iris, corners, lids in EYES:
                wide = np.linalg.norm(points[corners[1]] - points[corners[0]])
                if lid_gap(points, lids) < _OPEN * wide:
                    continue
                near = points.copy()
                near[list(corners)] += self.source.rng.normal(0, _OFF * wide, (2, 2))
                frame = eye_frame(near, corners)
                seen = transform(invert(frame), points[iris][None])[0] - [(WIDTH - 1) / 2, (HEIGHT - 1) / 2]
                if (np.abs(seen) < [WIDTH / 2, HEIGHT / 2]).all() and (
                    np.abs(points[iris] - SIDE / 2) < SIDE / 2
                ).all():
                    eyes.append(cut_eye(picture, frame))
                    irises.append(seen)
        count = self.settings.batch
        return {"x": to_input(eyes[:count]), "irises": torch.tensor(np.array(irises[:count]), dtype=torch.float32)}

    def loss(self, net: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """The loss of a batch, and numbers for the log."""
        apart = net(batch["x"]) - batch["irises"]
        across, down = (float(apart[:, k].detach().abs().mean()) for k in (0, 1))
        return F.smooth_l1_loss(apart, torch.zeros_like(apart)), {"across": across, "down": down}

    @torch.no_grad()
    def score(self, net: nn.Module) -> dict[str, float]:
        """On the same eyes each time, crop pixels: mean errors, and of always saying where irises are on the whole;
        the correlation of both places along the eye.
        """
        self.source.rng = np.random.default_rng(1)
        got, want = [], []
        for _ in range(max(1, _SCORED // self.settings.batch)):
            batch = self.batch()
            got.append(net(batch["x"]))
            want.append(batch["irises"])
        made, there = torch.cat(got), torch.cat(want)
        rest = (there - there.mean(0)).abs().mean(0)
        across, down = (made - there).abs().mean(0).tolist()
        alike = float(torch.corrcoef(torch.stack([made[:, 0], there[:, 0]]))[0, 1])
        figures = {"across": across, "down": down, "across_of_none": float(rest[0]), "correlation": alike}
        return {name: round(value, 4) for name, value in figures.items()}
