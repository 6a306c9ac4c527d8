"""Training of the lid network: eyes out of the packed pictures, looked for where a painting's may be found to be."""

import numpy as np
import torch
from torch import Tensor

from fewshot_reenact.geometry.affine import invert, transform
from fewshot_reenact.landmarks.eye_network import to_input
from fewshot_reenact.landmarks.lids import EYES, HEIGHT, WIDTH, LidNet, cut_eye, lid_frame
from fewshot_reenact.training.landmarks.data import SIDE
from fewshot_reenact.training.landmarks.eyes import EyeTask

# Deviations of where an eye is looked for: across and down in widths of the eye, of its size and its direction.
_OFF, _SIZE, _TURN = 0.13, 0.13, 0.10
_NEAR = 0.3  # share of looks that are nearly right, as the last ones are


class LidTask(EyeTask):
    """Eyes, and where their lids are."""

    network = LidNet

    def batch(self) -> dict[str, Tensor]:
        """x (B, 1, 48, 64), see LidNet; places (B, 6, 2) crop pixels from the middle."""
        eyes: list[np.ndarray] = []
        lids: list[np.ndarray] = []
        count, middle = self.settings.batch, np.array([WIDTH - 1, HEIGHT - 1]) / 2
        while len(eyes) < count:
            picture, points = self.drawn()
            for eye, _ in EYES:
                own = points[eye].astype(np.float64)
                if (np.abs(own - SIDE / 2) < SIDE / 2).all():
                    frame = lid_frame(self._astray(own))
                    eyes.append(cut_eye(picture, frame))
                    lids.append(transform(invert(frame), own) - middle)
        return {"x": to_input(eyes[:count]), "places": torch.tensor(np.array(lids[:count]), dtype=torch.float32)}

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
