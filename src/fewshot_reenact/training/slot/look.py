"""Figures of a model that learns, on people who are not learnt from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from fewshot_reenact.training.batch import make_faces, make_inputs

if TYPE_CHECKING:
    from fewshot_reenact.training.resident.batches import ResidentEpisodes
    from fewshot_reenact.training.trainer import Trainer


@torch.no_grad()
def look(trainer: Trainer, held: ResidentEpisodes, count: int) -> dict[str, float]:
    """Figures of the averaged model on people who are not learnt from: losses, and L1 over that of the plain warp."""
    device, size, sums, batch = trainer.device, trainer.model.dims.size, dict[str, float](), 32
    for at in range(0, count, batch):
        x = make_inputs(held[np.arange(at, min(at + batch, count))], size, device, trainer.registration)
        face, _ = make_faces(trainer.averaged, x)
        loss, parts = trainer.content(face, x.truth, x.points)
        parts |= {"loss": loss, "floor": trainer.content.floor(x.faces.warped, x.truth, x.points)}
        for name, value in parts.items():
            sums[name] = sums.get(name, 0.0) + float(value) * len(x.truth) / count
    sums["l1_over_warp"] = sums["l1"] / max(sums.pop("floor"), 1e-9) if "l1" in sums else float("nan")
    return {name: round(value, 5) for name, value in sums.items()}
