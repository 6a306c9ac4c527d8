"""What a slot trains: the generator (a config with trainer: meta) or a refiner (trainer: refiner). Both are asked for
the same things.
"""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from fewshot_reenact.models.checkpoint import DEFAULT_MODEL, load_model
from fewshot_reenact.training.compiling import uncompiled
from fewshot_reenact.training.examining import Examiner, resident_batches
from fewshot_reenact.training.refiner.episodes import LargeBatches, LargeEpisodes, faces_of
from fewshot_reenact.training.refiner.learner import LEAST, RISE, RefinerLearner
from fewshot_reenact.training.resident import flow
from fewshot_reenact.training.resident.batches import ResidentEpisodes
from fewshot_reenact.training.slot.look import look
from fewshot_reenact.training.trainer import Trainer

if TYPE_CHECKING:
    from collections.abc import Callable

    from fewshot_reenact.training.resident.store import Store

_HELD_BATCH = 32


class Learner(Protocol):
    """Networks and optimisers in training: Trainer, RefinerLearner."""

    step: int
    rate: Callable[[int], float]

    def compile(self, how: bool | str, /) -> None:
        """Compile the networks, also between two steps."""
        ...

    def advance(self, batch: dict[str, Tensor], /) -> None:
        """One step."""
        ...

    def read(self) -> list[dict[str, float]]:
        """The numbers of the steps since the last call. Raises Diverged."""
        ...

    def state(self) -> dict[str, Any]:
        """All that a run needs that goes on from here."""
        ...

    def restore(self, state: dict[str, Any], /) -> None:
        """Take over what `state` gave."""
        ...


class SlotStage(Protocol):
    """A training that a slot can hold. rate, rise, final: the learning rate, steps in which it rises, the share of it
    that is left at the end.
    """

    config: Any
    device: torch.device
    rate: float
    rise: int
    final: float

    def learner(self, compiled: bool | str) -> Learner:
        """With weights from where the config says, at step 0."""
        ...

    def batches(self, indices: Iterator[np.ndarray], /) -> Generator[dict[str, Tensor], None, None]:
        """A batch for each array of episode numbers."""
        ...

    def late(self, learner: Any, /) -> None:
        """Let it be at a step from which everything is learnt that there is."""
        ...

    def look(self, learner: Any, count: int, /) -> dict[str, float]:
        """Figures of the averaged weights on so many episodes of people who are not learnt from."""
        ...

    def base(self) -> str:
        """What the training stands on besides its config and clips, as a fingerprint; "" where that is nothing."""
        ...


class GeneratorSlot:
    """E and G, and D if there is one."""

    def __init__(self, config: Any, train: Store, held: Store, device: torch.device, folder: Path) -> None:
        self.config, self.device, self.folder = config, device, folder
        self.rate, self.rise = config.optimiser.rate, config.optimiser.warmup
        self.final = config.optimiser.final
        dims, seed = config.dimensions(), config.seed
        self._train, self._held = (ResidentEpisodes(store, config.data, dims, seed) for store in (train, held))
        self._videos = 1 + int(train.videos.max())

    def learner(self, compiled: bool | str) -> Trainer:
        """See SlotStage."""
        config = _with(self.config, compile=compiled)
        trainer = Trainer(config, self.folder, self.device, self._videos, registration=flow.register)
        game = config.adversarial
        if game is not None and game.held_out is not None:  # the people who travel with the pack
            batches = resident_batches(self._held.store, config)
            trainer.examiner = Examiner(batches, game.judges, game.judge_every, flow.register)
        return trainer

    def batches(self, indices: Iterator[np.ndarray]) -> Generator[dict[str, Tensor], None, None]:
        """See SlotStage."""
        return self._train.batches(indices)

    def late(self, learner: Trainer) -> None:
        """See SlotStage."""
        if self.config.adversarial is not None:
            learner.step = max(learner.step, self.config.adversarial.start)

    def look(self, learner: Trainer, count: int) -> dict[str, float]:
        """See training.slot.look."""
        with uncompiled():
            return look(learner, self._held, count)

    def base(self) -> str:
        """None."""
        return ""


class RefinerSlot:
    """A refiner on the faces of a model that stands still."""

    def __init__(self, config: Any, train: Store, held: Store, device: torch.device) -> None:
        self.config, self.device = config, device
        self.rate, self.rise, self.final = config.rate, RISE, LEAST
        self._model = load_model(config.model, device)
        dims = self._model.dims
        self._train = LargeBatches(train, config.data, dims, config.seed, config.open_mouths > 0)
        self._held = LargeEpisodes(held, config.data, dims, 0, open_mouths=True)

    def learner(self, compiled: bool | str) -> RefinerLearner:
        """See SlotStage."""
        config = _with(self.config, compile=compiled)
        # A model of its own: what is compiled stays compiled, and that may be what does not work.
        return RefinerLearner(config, load_model(config.model, self.device), self.device)

    def batches(self, indices: Iterator[np.ndarray]) -> Generator[dict[str, Tensor], None, None]:
        """See SlotStage."""
        return self._train.batches(indices)

    def late(self, learner: RefinerLearner) -> None:
        """See SlotStage."""
        adversarial = self.config.adversarial
        learner.step = max(learner.step, adversarial.start + adversarial.alone)

    def look(self, learner: RefinerLearner, count: int) -> dict[str, float]:
        """See RefinerLearner.score."""
        ends = [(at, min(at + _HELD_BATCH, count)) for at in range(0, count, _HELD_BATCH)]
        with uncompiled():
            return learner.score(self._held.batches(np.arange(*some) for some in ends))

    def base(self) -> str:
        """Of the model whose faces are refined."""
        return faces_of(self._model)


def make_stage(config: Any, train: Store, held: Store, device: torch.device, folder: Path) -> SlotStage:
    """What this config trains. folder: for what training writes on the way."""
    if config.trainer == "refiner":
        return RefinerSlot(config, train, held, device)
    return GeneratorSlot(config, train, held, device, folder)


def batches_from(stage: SlotStage, step: int) -> Generator[dict[str, Tensor], None, None]:
    """The batches of the steps from this one on."""
    batch = stage.config.batch
    return stage.batches(np.arange(at * batch, (at + 1) * batch) for at in itertools.count(step))


def model_file(config: Any) -> Path | None:
    """The weights that the training stands on."""
    if config.trainer != "refiner":
        return None
    return Path(config.model) if config.model is not None else DEFAULT_MODEL


def _with(config: Any, **changes: Any) -> Any:
    """A config with other fields, checked or plain."""
    if hasattr(config, "model_copy"):
        return config.model_copy(update=changes)
    return config.but(**changes)
