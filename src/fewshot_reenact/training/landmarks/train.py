"""Training of the built-in landmark networks, detector, 83 points, irises and lids: what is behind
`reenact train --config configs/landmarks_points.yaml`.

The first call packs the data. The averaged weights land in the run folder; scripts/build/ship_landmarks.py puts them
into the package.
"""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from fewshot_reenact.errors import InputError, ModelError, UsageError
from fewshot_reenact.geometry.topology import N_POINTS
from fewshot_reenact.landmarks.network import PointNet, read_weights, save_network
from fewshot_reenact.training.checkpoints import refuse_foreign
from fewshot_reenact.training.landmarks.augment import photograph
from fewshot_reenact.training.landmarks.config import LandmarkConfig
from fewshot_reenact.training.landmarks.data import pack, read_names
from fewshot_reenact.training.landmarks.irises import IrisTask
from fewshot_reenact.training.landmarks.lids import LidTask
from fewshot_reenact.training.landmarks.pairs import pack_pairs
from fewshot_reenact.training.landmarks.points import PointTask
from fewshot_reenact.training.landmarks.scenes import DetectorTask
from fewshot_reenact.training.stage import AveragedStage, Stop, run_stage

TASKS: dict[str, Any] = {"points": PointTask, "detector": DetectorTask, "irises": IrisTask, "lids": LidTask}
_FIXED = ("part", "data", "held_out", "packed", "start", "seed", "batch", "pairs", "pairs_packed", "only")
_RISE, _LEAST = 200, 0.005  # steps in which the rate rises; the share of it that is left at the end


def train_landmarks(config: LandmarkConfig, folder: Path, beside: Path, max_minutes: float | None = None) -> int:
    """Pack what is to be learnt from, then train, or go on training, in `folder`. beside: the folder of the config,
    where `held_out` is.

    Returns the step reached. Raises what check_landmarks does; UsageError, ModelError, Preempted as run_stage does.
    """
    check_landmarks(config, beside)
    packed = config.packed or folder / "packed"

    def prepare(stop: Stop) -> bool:
        if not pack(config.data, packed, read_names(beside / config.held_out), stop=stop):
            return False
        return not config.pairs or pack_pairs(packed, config.pairs_packed, stop)

    refuse_foreign(folder, f"{config.part}.safetensors")
    return run_stage(prepare, lambda: _LandmarkStage(config, packed), config, _FIXED, folder, max_minutes)


def check_landmarks(config: LandmarkConfig, beside: Path) -> None:
    """Look for what training needs before anything that takes long.

    Raises UsageError: no list of what is held out, no scikit-image; InputError: no such data; ModelError: `start` is
    missing or of another network.
    """
    names, stills = beside / config.held_out, config.data / "stills" / "stills.npz"
    if not names.is_file():
        raise UsageError(f"{names}: held_out: there is no such list; it is looked for beside the config")
    if not stills.is_file():
        raise InputError(f"{stills}: no such file; `data` is a folder of stills and clips")
    _begin(config)
    photograph(np.random.default_rng(0), 8)


def _begin(config: LandmarkConfig) -> Any:
    """The network to begin with. Raises ModelError."""
    kind = TASKS[config.part].network
    if config.start is None:
        return kind()
    dims, tensors = read_weights(config.start)
    try:
        network = kind(**dims)
        network.load_state_dict(tensors)
    except (TypeError, RuntimeError) as error:
        raise ModelError(f"{config.start}: start: these are no weights of the {config.part} network") from error
    return network


class _LandmarkStage(AveragedStage):
    """One of the networks while it learns; see training.stage.Stage."""

    config: LandmarkConfig

    def __init__(self, config: LandmarkConfig, packed: Path):
        cv2.setNumThreads(torch.get_num_threads())
        torch.manual_seed(config.seed)
        self.config, self.step, self.spent = config, 0, 0.0
        task = TASKS[config.part]
        self.task, self.held = task(packed, True, config.seed, config), task(packed, False, 1, config)
        self.network = _begin(config)
        self.averaged = self.task.network(**self.network.dims)
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
        self.network.train(self.config.only is None)
        # A batch is a function of seed and step, so that a run that was stopped goes on as if it had not been.
        self.task.source.rng = np.random.default_rng([self.config.seed, self.step])
        loss, numbers = self.task.loss(self.network, self.task.batch())
        self.move(loss, rise=_RISE, least=_LEAST)
        return {"loss": float(loss.detach()), **numbers}

    def score(self) -> dict[str, float]:
        figures: dict[str, float] = self.held.score(self.averaged.eval())
        return figures

    def export(self, folder: Path, figures: dict[str, float]) -> None:
        note = f"step {self.step} of {self.config.steps}; held out: {json.dumps(figures)}"
        save_network(self.averaged, folder / f"{self.config.part}.safetensors", self.averaged.dims, note)


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
