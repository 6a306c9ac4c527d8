"""The trainers by the name in a config's `trainer`: meta, landmarks, refiner, matte."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel

from fewshot_reenact.device import choose_device
from fewshot_reenact.errors import UsageError
from fewshot_reenact.training.config import check_config, load_config, read_yaml


@dataclass(frozen=True)
class TrainingJob:
    """A trainer with its config. Calling it trains, or goes on training, in a folder: (folder, device, max_minutes) ->
    the step reached. check: looks for what it needs before anything that takes long. choose_device: as that of
    fewshot_reenact.device, among those that it can use. result: what it leaves in the folder.
    """

    train: Callable[[Path, torch.device, float | None], int]
    check: Callable[[], object]
    choose_device: Callable[[str], tuple[torch.device, str]]
    result: str
    steps: int

    def __call__(self, folder: Path, device: torch.device, max_minutes: float | None) -> int:
        """Train, or go on training."""
        return self.train(folder, device, max_minutes)


def load_any(path: Path, **overrides: Any) -> tuple[BaseModel, TrainingJob]:
    """The config in a YAML file and what it trains. Raises UsageError naming the file and the key."""
    name = read_yaml(path).get("trainer", "meta")
    if not isinstance(name, str) or name not in _TRAINERS:
        raise UsageError(f"{path}: trainer: {name!r} is not one of {', '.join(_TRAINERS)}")
    return _TRAINERS[name](path, overrides)


def _meta(path: Path, overrides: dict[str, Any]) -> tuple[BaseModel, TrainingJob]:
    from fewshot_reenact.training.loop import check_networks, train

    config = load_config(path, **overrides)
    run = TrainingJob(
        lambda folder, device, minutes: train(config, folder, device=device, max_minutes=minutes),
        lambda: check_networks(config),
        choose_device,
        "model.safetensors",
        config.steps,
    )
    return config, run


def _landmarks(path: Path, overrides: dict[str, Any]) -> tuple[BaseModel, TrainingJob]:
    from fewshot_reenact.training.landmarks.config import LandmarkConfig, check_together
    from fewshot_reenact.training.landmarks.train import check_landmarks, train_landmarks

    config = check_config(path, read_yaml(path), LandmarkConfig, check_together, **overrides)
    run = TrainingJob(
        lambda folder, _device, minutes: train_landmarks(config, folder, path.parent, minutes),
        lambda: check_landmarks(config, path.parent),
        _processor,
        f"{config.part}.safetensors",
        config.steps,
    )
    return config, run


def _refiner(path: Path, overrides: dict[str, Any]) -> tuple[BaseModel, TrainingJob]:
    from fewshot_reenact.training.refiner.config import RefinerConfig
    from fewshot_reenact.training.refiner.train import check_refiner, train_refiner

    config = check_config(path, read_yaml(path), RefinerConfig, **overrides)
    run = TrainingJob(
        lambda folder, _device, minutes: train_refiner(config, folder, minutes),
        lambda: check_refiner(config),
        _processor,
        "checkpoints",
        config.steps,
    )
    return config, run


def _matte(path: Path, overrides: dict[str, Any]) -> tuple[BaseModel, TrainingJob]:
    from fewshot_reenact.training.matte.config import MatteConfig
    from fewshot_reenact.training.matte.data import Labelled
    from fewshot_reenact.training.matte.train import train_matte

    config = check_config(path, read_yaml(path), MatteConfig, **overrides)
    run = TrainingJob(
        lambda folder, _device, minutes: train_matte(config, folder, minutes),
        lambda: Labelled(config.packed),
        _processor,
        "matte.safetensors",
        config.steps,
    )
    return config, run


def _processor(name: str) -> tuple[torch.device, str]:
    """The one device of the smaller trainers. Raises UsageError: another was asked for, or several processes."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("trainer: landmarks and refiner train in one process; start reenact train without torchrun")
    if name not in ("auto", "cpu"):
        raise UsageError(f"--device {name}: landmarks and refiner are trained on the processor; leave --device out")
    return torch.device("cpu"), "landmarks and refiner are trained on the processor"


_TRAINERS = {"meta": _meta, "landmarks": _landmarks, "refiner": _refiner, "matte": _matte}
