"""What a slot left, back in a run folder, where `reenact train` and the next slot go on from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.training.checkpoints import newest_checkpoint, remember_clips, remember_config, write_checkpoint
from fewshot_reenact.training.config import TrainConfig
from fewshot_reenact.training.curves import METRICS
from fewshot_reenact.training.log import Log
from fewshot_reenact.training.loop import FIXED
from fewshot_reenact.training.refiner.config import RefinerConfig
from fewshot_reenact.training.refiner.train import FIXED as REFINER_FIXED
from fewshot_reenact.training.refiner.train import remember_base
from fewshot_reenact.training.slot.pieces import read_pieces
from fewshot_reenact.training.slot.run import split
from fewshot_reenact.training.slot.state import decode_state
from fewshot_reenact.training.trainer import Trainer


def merge(came: Path, folder: Path) -> int:
    """Put what came back into a run folder, new or the one that the slot was packed from. Returns the step.

    Raises InputError: pieces are missing or damaged; UsageError: the folder is of another config, other clips, another
    model that is refined, or has got farther than the slot did.
    """
    blobs = read_pieces([came])
    if "slot" not in blobs:
        raise InputError(f"{came}: is not what a slot leaves; name the folder that it wrote")
    found = split(blobs["slot"])
    state = decode_state(found["state"], torch.device("cpu"))
    there = newest_checkpoint(folder, torch.device("cpu"), None) if folder.is_dir() else None
    step = int(state["step"])
    if there is not None and int(there["step"]) >= step:
        raise UsageError(f"{folder}: is at step {there['step']} already, the slot at {step}; use another --run")
    refines = json.loads(found["config"]).get("trainer") == "refiner"
    config: Any = (RefinerConfig if refines else TrainConfig).model_validate_json(found["config"])
    folder.mkdir(parents=True, exist_ok=True)
    remember_config(config, folder, REFINER_FIXED if refines else FIXED)
    remember_clips(found["fingerprint"].decode(), folder)
    log = Log(folder, False)
    log.trim(step)
    with (folder / METRICS).open("ab") as file:
        file.write(found["metrics"])
        file.write((json.dumps({"step": step, "slot": json.loads(found["report"])}) + "\n").encode())
    if refines:
        remember_base(json.loads(found["about"])["base"], folder)
        write_checkpoint(folder, {**state, "sums": {}}, config.keep)
        return step
    trainer = Trainer(config, folder, torch.device("cpu"), _rows(state))
    trainer.restore(state)
    trainer.save()
    trainer.log.close()
    return step


def _rows(state: dict[str, object]) -> int:
    """How many videos W has rows for."""
    adversary = state.get("adversary")
    networks = adversary.get("networks", {}) if isinstance(adversary, dict) else {}
    return next((len(value) for name, value in networks.items() if name.startswith("rows.")), 1)
