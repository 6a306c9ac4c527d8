"""Training of the built-in landmark networks, the face detector and the 83-point network: what is behind
`reenact train --config configs/landmarks_points.yaml`.

The first call packs the data. The averaged weights land in the run folder; scripts/build/ship_landmarks.py puts them
into the package.
"""

import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.geometry.topology import N_POINTS
from fewshot_reenact.landmarks.network import PointNet, read_weights, save_network
from fewshot_reenact.training.averaging import average
from fewshot_reenact.training.checkpoints import refuse_foreign
from fewshot_reenact.training.landmarks.config import LandmarkConfig
from fewshot_reenact.training.landmarks.data import pack, read_names
from fewshot_reenact.training.landmarks.pairs import pack_pairs
from fewshot_reenact.training.landmarks.points import PointTask
from fewshot_reenact.training.landmarks.scenes import DetectorTask
from fewshot_reenact.training.stage import Schedule, run_stage

TASKS: dict[str, Any] = {"points": PointTask, "detector": DetectorTask}
_FIXED = ("part", "data", "seed", "batch", "pairs", "only")
_RISE, _LEAST = 200, 0.005  # steps in which the rate rises; the share of it that is left at the end


def train_landmarks(config: LandmarkConfig, folder: Path, beside: Path, max_minutes: float | None = None) -> int:
    """Train, or go on training, in `folder`. beside: the folder of the config, where `held_out` is.

    Returns the step reached. Raises InputError: no such data; UsageError, ModelError, Preempted as run_stage does.
    """
    schedule = Schedule(
        steps=config.steps, minutes=config.minutes, log_every=config.log_every, save_every=config.save_every
    )
    refuse_foreign(folder, f"{config.part}.safetensors")
    return run_stage(lambda: _LandmarkStage(config, folder, beside), config, _FIXED, folder, schedule, max_minutes)


class _LandmarkStage:
    """One of the two networks while it learns; see training.stage.Stage."""

    def __init__(self, config: LandmarkConfig, folder: Path, beside: Path):
        cv2.setNumThreads(torch.get_num_threads())
        torch.manual_seed(config.seed)
        self.config, self.step, self.spent = config, 0, 0.0
        packed = _packed(config, folder, beside)
        task = TASKS[config.part]
        self.task, self.held = task(packed, True, config.seed, config), task(packed, False, 1, config)
        dims: dict[str, Any] = {}
        self.network = self.task.network()
        if config.start is not None:
            dims, tensors = read_weights(config.start)
            self.network = self.task.network(**dims)
            self.network.load_state_dict(tensors)
        self.averaged = self.task.network(**dims)
        self.averaged.load_state_dict(self.network.state_dict())
        for each in (self.network, self.averaged):
            each.to(memory_format=torch.channels_last)
        if config.only is not None:
            keep_all_but(self.network, *config.only)
        learnt = [p for p in self.network.parameters() if p.requires_grad]
        decay = 0.0 if config.only is not None else 1e-4
        self.optimiser = torch.optim.AdamW(learnt, lr=config.rate, weight_decay=decay)

    @property
    def signature(self) -> str:
        return f"{self.config.part} {json.dumps(self.network.dims)}"

    def learn(self) -> dict[str, float]:
        for group in self.optimiser.param_groups:
            group["lr"] = self._rate()
        self.network.train(self.config.only is None)
        # A batch is a function of seed and step, so that a run that was stopped goes on as if it had not been.
        self.task.source.rng = np.random.default_rng([self.config.seed, self.step])
        loss, numbers = self.task.loss(self.network, self.task.batch())
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimiser.step()
        self.step += 1
        average(self.averaged, self.network, self.step, self.config.ema, buffers="average")
        return {"loss": float(loss.detach()), **numbers}

    def _rate(self) -> float:
        """The rate rises, and falls by a cosine over the steps or over the time allowed, whichever runs out first."""
        done = self.step / self.config.steps
        if self.config.minutes is not None:
            done = max(done, self.spent / (60 * self.config.minutes))
        fall = 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
        return self.config.rate * min(1.0, (self.step + 1) / _RISE) * max(fall, _LEAST)

    def score(self) -> dict[str, float]:
        figures: dict[str, float] = self.held.score(self.averaged.eval())
        return figures

    def state(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        for name in ("network", "averaged", "optimiser"):
            getattr(self, name).load_state_dict(state[name])
        self.step, self.spent = int(state["step"]), float(state["spent"])

    def export(self, folder: Path, figures: dict[str, float]) -> None:
        note = f"step {self.step} of {self.config.steps}; held out: {json.dumps(figures)}"
        save_network(self.averaged, folder / f"{self.config.part}.safetensors", self.averaged.dims, note)


def _packed(config: LandmarkConfig, folder: Path, beside: Path) -> Path:
    """The folder of the packed data, made if it is not there."""
    names, packed = beside / config.held_out, folder / "packed"
    if not names.is_file():
        raise UsageError(f"{names}: held_out: there is no such list; it is looked for beside the config")
    if not (config.data / "stills" / "stills.npz").is_file():
        raise InputError(
            f"{config.data / 'stills' / 'stills.npz'}: no such file; `data` is a folder of stills and clips"
        )
    pack(config.data, packed, read_names(names))
    if config.pairs:
        pack_pairs(packed, config.pairs_packed)
    return packed


def keep_all_but(network: PointNet, first: int, end: int) -> None:
    """Let training change nothing but how the cells vote for the points first..end: all others stay where they are."""
    network.requires_grad_(False)
    rows = torch.zeros(3, N_POINTS)
    rows[:, first:end] = 1
    bias = network.votes.bias
    assert isinstance(bias, nn.Parameter)
    for parameter, mask in ((network.votes.weight, rows.flatten()[:, None, None, None]), (bias, rows.flatten())):
        parameter.requires_grad_(True).register_hook(_masked(mask))  # type: ignore[no-untyped-call]


def _masked(mask: Tensor) -> Any:
    return lambda gradient: gradient * mask
