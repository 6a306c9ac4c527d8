"""Training of a refiner of mouth or eyes (models.refiner): what `reenact train --config configs/refiner.yaml` does.

The generator stands still. Where all clips fit onto the device the faces that are refined are made there, batch by
batch; else they are packed first (training.refiner.data). Either way an episode is the same function of (seed, number).
"""

import dataclasses
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from fewshot_reenact.errors import InputError, ModelError, UsageError
from fewshot_reenact.files import partial_file
from fewshot_reenact.models.checkpoint import load_model
from fewshot_reenact.models.dimensions import RefinerDimensions
from fewshot_reenact.models.perceptual import FeatureNet
from fewshot_reenact.models.reenactor import Reenactor
from fewshot_reenact.models.refiner import Refiner
from fewshot_reenact.plain_json import read_object
from fewshot_reenact.training.checkpoints import newest_checkpoint, remember_clips
from fewshot_reenact.training.data.storage import is_url
from fewshot_reenact.training.distributed import World
from fewshot_reenact.training.presets import refiner_dimensions
from fewshot_reenact.training.refiner.config import RefinerConfig
from fewshot_reenact.training.refiner.data import pack
from fewshot_reenact.training.refiner.episodes import LargeBatches, LargeEpisodes, faces_of
from fewshot_reenact.training.refiner.learner import RefinerLearner, begin_with
from fewshot_reenact.training.refiner.packs import Packs
from fewshot_reenact.training.resident.opening import FOLDER, open_resident
from fewshot_reenact.training.resident.store import Store
from fewshot_reenact.training.stage import Stop, run_stage

FIXED = (
    *("part", "data", "held_out", "model", "go_on", "faces", "open_mouths", "judged", "chunk", "seed"),
    *("batch", "down_channels", "up_channels", "visible", "network", "skip_heads"),
)
HELD_SEED, _HELD_BATCH = 0, 20  # held-out episodes are the same whatever the run's seed is


class Source(Protocol):
    """Where a refiner's batches come from: packs, or clips on the device."""

    def batches(self, indices: Iterator[np.ndarray], /) -> Iterator[dict[str, Tensor]]:
        """A batch for each array of episode numbers."""
        ...


def train_refiner(config: RefinerConfig, folder: Path, device: torch.device, max_minutes: float | None = None) -> int:
    """Train, or go on training, in `folder`. Returns the step reached.

    Raises what check_refiner does; UsageError, ModelError, Diverged, Preempted as run_stage does.
    """
    model, sources = check_refiner(config), list[Source]()

    def prepare(stop: Stop) -> bool:
        sources.extend(_on_device(config, model, folder, device) or _packed(config, model, folder, stop))
        return bool(sources)

    def make() -> RefinerStage:
        learnt, held = sources
        stage = RefinerStage(config, model, device, learnt, held)
        if isinstance(learnt, LargeBatches):  # packs say themselves what they are of
            folder.mkdir(parents=True, exist_ok=True)
            remember_clips(learnt.store.fingerprint, folder)
            remember_base(faces_of(model), folder)
        return stage

    return run_stage(prepare, make, config, FIXED, folder, max_minutes)


def check_refiner(config: RefinerConfig) -> Reenactor:
    """Look for what training needs before anything that takes long. Returns the model whose faces are refined.

    Raises InputError: no clips; ModelError: a network is missing, or the model cannot be refined; UsageError: go_on,
    and the model has no refiner of this part.
    """
    for clips in (config.data.clips, config.held_out):
        if not is_url(clips) and not Path(clips).is_dir():
            raise InputError(f"{clips}: there is no such folder of clips")
    model = load_model(config.model)
    name = config.model or "the built-in model"
    FeatureNet(config.network, config.skip_heads)
    own = refiner_dimensions(config)
    try:
        refiner = Refiner(dataclasses.replace(model.dims, refiners=(own,)), own)
    except ValueError as error:
        raise ModelError(f"{name}: cannot have this refiner ({error})") from error
    if config.go_on:
        begin_with(refiner, own, model)
    return model


def _on_device(config: RefinerConfig, model: Reenactor, folder: Path, device: torch.device) -> list[Source]:
    """Clips on the device, those that are learnt from and held-out ones; none where they are not to be there or do not
    fit.
    """
    stores = []
    for clips, name in ((config.data.clips, FOLDER), (config.held_out, f"{FOLDER}_held_out")):
        data = config.data.model_copy(update={"clips": clips})
        found = open_resident(data, model.dims, folder / name, device, World(), tqdm.write)
        if not isinstance(found, Store):
            return []
        stores.append(found)
    learnt, held = stores
    return [
        LargeBatches(learnt, config.data, model.dims, config.seed, config.open_mouths > 0),
        LargeEpisodes(held, config.data, model.dims, HELD_SEED, open_mouths=True),
    ]


def remember_base(faces: str, folder: Path) -> None:
    """Keep whose faces a run refines; refuse to go on there with another model's."""
    path = folder / "base.json"
    if not path.is_file():
        with partial_file(path) as partial:
            partial.write_text(json.dumps({"faces": faces}) + "\n")
        return
    try:
        then = read_object(path.read_bytes()).get("faces")
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: damaged, so whose faces this run refines is not known; use another --run") from error
    if then != faces:
        raise UsageError(f"{path}: this run refines the faces of another model; use another --run folder")


def _packed(config: RefinerConfig, model: Reenactor, folder: Path, stop: Stop) -> list[Source]:
    """Pack what is learnt from, and what is held out. None when it was stopped before."""
    packs, held = folder / "packs", config.data.model_copy(update={"clips": config.held_out})
    how: dict[str, Any] = {"chunk": config.chunk, "stop": stop}
    done = (
        pack(model, config.data, packs / "faces", config.faces, seed=config.seed, **how)
        and (
            not config.open_mouths
            or pack(model, config.data, packs / "open", config.open_mouths, seed=config.seed, open_mouths=True, **how)
        )
        and pack(model, held, packs / "held_out", config.judged, seed=HELD_SEED, open_mouths=True, **how)
    )
    if not done:
        return []
    learnt = ["faces", "open"] if config.open_mouths else ["faces"]
    return [
        Packs([packs / name for name in learnt], config.part, config.seed),
        Packs([packs / "held_out"], config.part, config.seed),
    ]


class RefinerStage:
    """A refiner that learns from a source of batches; see training.stage.Waiting."""

    def __init__(self, config: RefinerConfig, model: Reenactor, device: torch.device, learnt: Source, held: Source):
        self.config, self.held_out = config, held
        self.learner = RefinerLearner(config, model, device)
        self._learnt = learnt
        self._batches: Iterator[dict[str, Tensor]] | None = None

    @property
    def step(self) -> int:
        """Updates done."""
        return self.learner.step

    @step.setter
    def step(self, number: int) -> None:
        self.learner.step = number

    @property
    def spent(self) -> float:
        """Seconds of training in all calls."""
        return self.learner.spent

    @spent.setter
    def spent(self, seconds: float) -> None:
        self.learner.spent = seconds

    @property
    def signature(self) -> str:
        """The refiner's dimensions."""
        return self.learner.signature

    def learn(self) -> None:
        """One step; see RefinerLearner."""
        if self._batches is None:
            batch = self.config.batch
            steps = itertools.count(self.step)
            self._batches = self._learnt.batches(np.arange(step * batch, (step + 1) * batch) for step in steps)
        self.learner.advance(next(self._batches))

    def read(self) -> list[dict[str, float]]:
        """The numbers of the steps since the last call. Raises Diverged."""
        return self.learner.read()

    def score(self) -> dict[str, float]:
        """Figures on what is held out, see RefinerLearner."""
        judged = self.config.judged
        ends = [(at, min(at + _HELD_BATCH, judged)) for at in range(0, judged, _HELD_BATCH)]
        return self.learner.score(self.held_out.batches(np.arange(*some) for some in ends))

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return self.learner.state()

    def restore(self, state: dict[str, Any]) -> None:
        """Take over a checkpoint."""
        self.learner.restore(state)
        self._batches = None

    def export(self, folder: Path, figures: dict[str, float]) -> None:
        """Nothing but the figures: `join` takes the averaged weights from the checkpoint."""
        with partial_file(folder / "held_out.json", overwrite=True) as partial:
            partial.write_text(json.dumps({"step": self.step, **figures}) + "\n")


def join(base: Reenactor, runs: list[Path], strength: float = 1.0) -> tuple[Reenactor, str]:
    """A model with the refiners of these runs in place of any that it had, and a word on how long each learnt.

    strength: how much of their change counts, 0..1. Raises ModelError: a run without a checkpoint.
    """
    states = [_finished(run) for run in runs]
    refiners = tuple(_dimensions(state, strength) for state in states)
    model = Reenactor(dataclasses.replace(base.dims, refiners=refiners))
    tensors = {name: value for name, value in base.state_dict().items() if not name.startswith("refiners.")}
    for at, state in enumerate(states):
        tensors |= {f"refiners.{at}.{name}": value for name, value in state["averaged"].items()}
    model.load_state_dict(tensors)
    return model, ", ".join(f"{own.part} {state['step']} steps" for own, state in zip(refiners, states, strict=True))


def _finished(run: Path) -> dict[str, Any]:
    state = newest_checkpoint(run, torch.device("cpu"), None)
    if state is None:
        raise ModelError(f"{run}: there is no checkpoint of a refiner in this folder")
    return state


def _dimensions(state: dict[str, Any], strength: float) -> RefinerDimensions:
    own = json.loads(state["dimensions"])
    own["down_channels"], own["up_channels"] = tuple(own["down_channels"]), tuple(own["up_channels"])
    return RefinerDimensions(**{**own, "strength": strength})
