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
from fewshot_reenact.files import held_folder
from fewshot_reenact.training.config import TrainConfig, check_config, check_together
from fewshot_reenact.training.config_files import find_config, read_yaml


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
        """Train, or go on training. Raises UsageError where another run is at it in this folder."""
        if os.environ.get("RANK", "0") != "0":  # one of several processes of a run, whose first one holds the folder
            return self.train(folder, device, max_minutes)
        with held_folder(folder, f"{folder}: another run trains in this folder; wait for it, or use another --run"):
            return self.train(folder, device, max_minutes)


def load_any(
    config: str | Path,
    *,
    clips: str | Path | None = None,
    perceptual: str | Path | None = None,
    identity: str | Path | None = None,
    **overrides: Any,
) -> tuple[BaseModel, TrainingJob]:
    """The config in a YAML file, or of that name in the package, and what it trains.

    clips, perceptual, identity: in place of its data.clips and of the networks that compare features and faces.
    overrides: in place of its other keys, where not None. Raises UsageError naming the file and the key.
    """
    path = find_config(config)
    name = read_yaml(path).get("trainer", "meta")
    if not isinstance(name, str) or name not in _TRAINERS:
        raise UsageError(f"{path}: trainer: {name!r} is not one of {', '.join(_TRAINERS)}")
    given = {"clips": clips, "perceptual": perceptual, "identity": identity}
    said = {key: str(value) for key, value in given.items() if value is not None}
    if said and name != "meta":
        raise UsageError(f"{path}: the trainer {name} takes its {', '.join(said)} from the config; write it there")
    return _TRAINERS[name](path, overrides | said)


def _meta(path: Path, overrides: dict[str, Any]) -> tuple[BaseModel, TrainingJob]:
    from fewshot_reenact.training.loop import check_networks, train

    raw, others = _with(path, read_yaml(path), overrides)
    config = check_config(path, raw, TrainConfig, check_together, **others)
    run = TrainingJob(
        lambda folder, device, minutes: train(config, folder, device=device, max_minutes=minutes),
        lambda: check_networks(config),
        choose_device,
        "model.safetensors",
        config.steps,
    )
    return config, run


def _with(path: Path, raw: dict[str, Any], overrides: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The mapping with clips and networks where they belong, and the other overrides.

    Raises UsageError: a network that its losses have no use for.
    """
    others = dict(overrides)
    clips, perceptual, identity = (others.pop(key, None) for key in ("clips", "perceptual", "identity"))
    data, loss = (raw.get(key) or {} for key in ("data", "loss"))
    if not isinstance(data, dict) or not isinstance(loss, dict):
        return raw, others  # check_config says what is wrong with it
    paper = loss.get("preset", "textured") != "textured"
    if identity and not paper:
        raise UsageError(f"{path}: its losses compare no faces, so there is no use for --identity; leave it out")
    networks = {"vgg19_network" if paper else "network": perceptual, "vggface_network": identity}
    data |= {"clips": clips} if clips else {}
    loss |= {key: value for key, value in networks.items() if value}
    return {**raw, **({"data": data} if data else {}), **({"loss": loss} if loss else {})}, others


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
        lambda folder, device, minutes: train_refiner(config, folder, device, minutes),
        lambda: check_refiner(config),
        _one_process,
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
    """The one device of the landmarks' trainer. Raises UsageError: another was asked for, or several processes."""
    _refuse_several()
    if name not in ("auto", "cpu"):
        raise UsageError(f"--device {name}: landmarks are trained on the processor; leave --device out")
    return torch.device("cpu"), "landmarks are trained on the processor"


def _one_process(name: str) -> tuple[torch.device, str]:
    """Any device, in one process. Raises UsageError."""
    _refuse_several()
    return choose_device(name)


def _refuse_several() -> None:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("trainer: landmarks and refiner train in one process; start reenact train without torchrun")


_TRAINERS = {"meta": _meta, "landmarks": _landmarks, "refiner": _refiner, "matte": _matte}
