"""Training of the iris network: eyes out of the packed pictures, placed as our own points place them, a little off."""

import numpy as np
import torch
from torch import Tensor

from fewshot_reenact.errors import InputError
from fewshot_reenact.geometry.affine import invert, transform
from fewshot_reenact.geometry.topology import lid_gap
from fewshot_reenact.landmarks.eye_network import to_input
from fewshot_reenact.landmarks.irises import EYES, HEIGHT, WIDTH, IrisNet, cut_eye, eye_frame
from fewshot_reenact.training.landmarks.data import SIDE
from fewshot_reenact.training.landmarks.eyes import EyeTask

_OFF = 0.045  # deviation of a corner's place, widths of the eye: that of the point network's corners, and a little more
_OPEN = 0.1  # between the lids, widths of the eye: from there on an iris is seen
_TRIES = 200  # faces without an open eye, for each eye found


class IrisTask(EyeTask):
    """Eyes, and where their irises are."""

    network = IrisNet

    def batch(self) -> dict[str, Tensor]:
        """x (B, 1, 32, 64), see IrisNet; places (B, 2) crop pixels from the middle."""
        eyes: list[np.ndarray] = []
        irises: list[np.ndarray] = []
        tries = 0
        while len(eyes) < self.settings.batch:
            tries += 1
            if tries > _TRIES * (1 + len(eyes)):
                raise InputError("packed faces have hardly an open eye with an iris in it; look at the data's points")
            picture, points = self.drawn()
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
        return {"x": to_input(eyes[:count]), "places": torch.tensor(np.array(irises[:count]), dtype=torch.float32)}

    def figures(self, made: Tensor, there: Tensor) -> dict[str, float]:
        """See EyeTask; and the correlation of both places along the eye."""
        figures = super().figures(made, there)
        del figures["down_of_none"]  # the place across the eye is not this network's
        return figures | {"correlation": float(torch.corrcoef(torch.stack([made[:, 0], there[:, 0]]))[0, 1])}
