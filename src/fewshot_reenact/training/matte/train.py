"""Training of the matte network, what is behind `reenact train --config configs/matte.yaml`: distilled from a teacher's
labels.
"""

import json
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fewshot_reenact.landmarks.network import save_network
from fewshot_reenact.models.matte import MatteNet
from fewshot_reenact.training.checkpoints import refuse_foreign
from fewshot_reenact.training.matte.config import MatteConfig
from fewshot_reenact.training.matte.data import Labelled
from fewshot_reenact.training.stage import AveragedStage, run_stage

_FIXED = ("packed", "seed", "batch", "altered", "grounds")
_RISE, _LEAST = 200, 0.01  # steps in which the rate rises; the share of it that is left at the end


def train_matte(config: MatteConfig, folder: Path, max_minutes: float | None = None) -> int:
    """Train, or go on training, in `folder`. Returns the step reached. Raises InputError: nothing is packed;
    UsageError, ModelError, Preempted as run_stage does.
    """
    refuse_foreign(folder, "matte.safetensors")
    return run_stage(lambda _: True, lambda: _MatteStage(config), config, _FIXED, folder, max_minutes)


class _MatteStage(AveragedStage):
    """The network while it learns; see training.stage.Stage."""

    config: MatteConfig

    def __init__(self, config: MatteConfig):
        cv2.setNumThreads(1)
        torch.manual_seed(config.seed)
        self.config, self.step, self.spent = config, 0, 0.0
        self.data = Labelled(config.packed)
        self.network, self.averaged = (MatteNet().to(memory_format=torch.channels_last) for _ in range(2))  # type: ignore[call-overload]
        self.averaged.load_state_dict(self.network.state_dict())
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=config.rate, weight_decay=1e-4)

    @property
    def signature(self) -> str:
        return f"matte {json.dumps(self.network.dims)}"

    def learn(self) -> dict[str, float]:
        self.network.train()
        # A batch is a function of seed and step, so that a run that was stopped goes on as if it had not been.
        rng = np.random.default_rng([self.config.seed, self.step])
        pictures, mattes = self.data.batch(rng, self.config.batch, self.config.altered, self.config.grounds)
        loss = matte_loss(self.network(signed(pictures)), wanted(mattes))
        self.move(loss, rise=_RISE, least=_LEAST)
        return {"loss": float(loss.detach())}

    @torch.no_grad()
    def score(self) -> dict[str, float]:
        """Mean intersection over union with the teacher's mattes, of what is held out."""
        network = self.averaged.eval()
        figures = {}
        for name, which, altered in (("iou", "stills", False), ("altered", "stills", True), ("clips", "clips", False)):
            found = [
                overlap(network(signed(pictures)), wanted(mattes))
                for pictures, mattes in self.data.held_out(which, altered)
            ]
            figures[name] = float(torch.cat(found).mean()) if found else float("nan")
        return figures

    def export(self, folder: Path, figures: dict[str, float]) -> None:
        note = f"step {self.step} of {self.config.steps}; held out: {json.dumps(figures)}"
        save_network(self.averaged, folder / "matte.safetensors", self.averaged.dims, note)


def signed(pictures: np.ndarray) -> Tensor:
    """(B, 256, 256, 3) uint8 -> (B, 3, 256, 256) in -1..1."""
    x = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return x.contiguous(memory_format=torch.channels_last)


def wanted(mattes: np.ndarray) -> Tensor:
    """(B, 256, 256) uint8 -> (B, 1, 256, 256) in 0..1."""
    return torch.from_numpy(np.ascontiguousarray(mattes))[:, None].float() / 255


def matte_loss(logits: Tensor, mattes: Tensor) -> Tensor:
    """Cross entropy, more of it at the edge, and the soft overlap of the whole. Both (B, 1, H, W)."""
    spread = F.max_pool2d(mattes, 9, 1, 4) + F.max_pool2d(-mattes, 9, 1, 4)
    each = F.binary_cross_entropy_with_logits(logits, mattes, reduction="none") * (1 + 2 * spread)
    share = logits.sigmoid()
    both, either = (share * mattes).sum((1, 2, 3)), (share + mattes - share * mattes).sum((1, 2, 3))
    return each.mean() + 0.5 * (1 - (both + 1) / (either + 1)).mean()


def overlap(logits: Tensor, mattes: Tensor) -> Tensor:
    """Intersection over union of what is more person than ground, (B,)."""
    mine, theirs = logits > 0, mattes > 0.5
    return (mine & theirs).sum((1, 2, 3)) / (mine | theirs).sum((1, 2, 3)).clamp(min=1)
