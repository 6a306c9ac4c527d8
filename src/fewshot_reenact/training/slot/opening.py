"""What a slot was given, opened: films on the device, the config, what it trains."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fewshot_reenact.errors import InputError
from fewshot_reenact.models.checkpoint import DEFAULT_MODEL
from fewshot_reenact.training.resident.store import Store
from fewshot_reenact.training.slot.films import unpack_films
from fewshot_reenact.training.slot.pieces import read_pieces
from fewshot_reenact.training.slot.settings import PlainConfig
from fewshot_reenact.training.slot.stages import Learner, SlotStage, make_stage
from fewshot_reenact.training.slot.state import decode_state
from fewshot_reenact.training.trainer import Trainer

_CLIPS = ("train", "held_out")


@dataclass(frozen=True)
class Packed:
    """What a slot is given. parts: folders of the pack. films: another pack whose films are taken, where this one has
    none. model: whose faces are refined, where that is not the one that was packed. batch: episodes a step, where not
    the config's.
    """

    parts: Sequence[Path]
    films: Sequence[Path] = ()
    model: Path | None = None
    batch: int | None = None


@dataclass
class Slot:
    """blobs: what came. folder: for what is needed on the way."""

    stage: SlotStage
    train: Store
    folder: Path
    blobs: dict[str, bytes]

    def learner(self, compiled: bool | str) -> Learner:
        """With the packed state, or where none was packed with what the config begins with."""
        learner = self.stage.learner(compiled)
        if "state" in self.blobs:
            learner.restore(decode_state(self.blobs["state"], self.stage.device))
        elif isinstance(learner, Trainer):
            learner.begin_from(DEFAULT_MODEL)
        return learner

    @property
    def ways(self) -> list[bool | str]:
        """In which ways the networks might be compiled here, the fastest first."""
        wanted = self.stage.config.compile if self.stage.device.type != "cpu" else False
        return [wanted, True][: 1 + (wanted == "graphs")] if wanted else []


def open_slot(packed: Packed, folder: Path, device: torch.device) -> Slot:
    """folder: for files on the way. Raises InputError: parts, films or a model are missing."""
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True  # every shape is met thousands of times
    blobs = read_pieces(packed.parts)
    if packed.films:
        blobs |= {name: blob for name, blob in read_pieces(packed.films).items() if name.startswith(_CLIPS)}
    missing = [name for name in _CLIPS if f"{name}.films" not in blobs]
    if missing:
        raise InputError("the parts hold no films; name the pack that has them too, with --films")
    config: Any = PlainConfig.loads(blobs["config"].decode())
    config.tensorboard = False
    if packed.batch is not None:
        config.batch = packed.batch
        blobs["config"] = json.dumps({**json.loads(blobs["config"]), "batch": packed.batch}).encode()
    if device.type == "cpu":
        config.amp = False  # slower there
    for name in ("network", "vgg19_network", "vggface_network", "model"):
        if name in blobs:
            path = folder / f"{name}.safetensors"
            path.write_bytes(blobs[name])
            setattr(config.loss if hasattr(config, "loss") else config, name, path)
    if config.trainer == "refiner":
        if packed.model is None and "model" not in blobs:
            raise InputError("the parts hold no model whose faces could be refined; name one with --model")
        config.model = packed.model or config.model
        config.go_on = False  # it has begun: the state travels
    stores = [
        unpack_films({name: blobs[f"{kind}.{name}"] for name in ("films", "points", "index")}).to(device)
        for kind in _CLIPS
    ]
    return Slot(make_stage(config, stores[0], stores[1], device, folder), stores[0], folder, blobs)
