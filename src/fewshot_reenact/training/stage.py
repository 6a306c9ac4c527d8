"""The loop of the smaller trainers (landmarks, refiner, face teacher): one process, one network, held-out figures at
each save.

Like the meta-learning loop it goes on where it stopped, exactly: what a step needs is in the checkpoint or a function
of (seed, step).
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from tqdm import tqdm

from fewshot_reenact.training.averaging import average
from fewshot_reenact.training.checkpoints import newest_checkpoint, remember_code, remember_config, write_checkpoint
from fewshot_reenact.training.config import StageConfig
from fewshot_reenact.training.log import Log
from fewshot_reenact.training.schedule import learning_rate
from fewshot_reenact.training.stopping import Preempted, heeding_sigterm


class Stage(Protocol):
    """What the loop asks of a trainer. step: updates done. spent: seconds of training in all calls."""

    step: int
    spent: float

    @property
    def signature(self) -> str:
        """What must be the same for a checkpoint to fit."""
        ...

    def learn(self) -> dict[str, float] | None:
        """One update, which adds 1 to step. Returns numbers for the log; None: see Waiting."""
        ...

    def score(self) -> dict[str, float]:
        """Figures of the averaged weights on what is held out."""
        ...

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, besides step and spent."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Take over a checkpoint."""
        ...

    def export(self, folder: Path, figures: dict[str, float]) -> None:
        """Write the averaged weights into the run folder."""
        ...


class AveragedStage:
    """What the stages of one network with averaged weights have in common: how it moves, what a checkpoint keeps."""

    config: StageConfig
    network: Any
    averaged: Any
    optimiser: torch.optim.Optimizer
    step: int
    spent: float

    def move(self, loss: Tensor, *, rise: int, least: float) -> None:
        """One update by this loss, at the rate of the step, see `learning_rate`."""
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.config, self.step, self.spent, rise=rise, least=least)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimiser.step()
        self.step += 1
        average(self.averaged, self.network, self.step, self.config.ema, buffers="average")

    def state(self) -> dict[str, Any]:
        """See Stage."""
        return {name: getattr(self, name).state_dict() for name in _KEPT}

    def restore(self, state: dict[str, Any]) -> None:
        """See Stage."""
        for name in _KEPT:
            getattr(self, name).load_state_dict(state[name])
        self.step, self.spent = int(state["step"]), float(state["spent"])


_KEPT = ("network", "averaged", "optimiser")


@runtime_checkable
class Waiting(Stage, Protocol):
    """A stage whose numbers stay on its device until somebody needs them."""

    def read(self) -> list[dict[str, float]]:
        """The numbers of the steps since the last call. Raises Diverged: one was none."""
        ...


__all__ = ["AveragedStage", "Stage", "Stop", "Waiting", "learning_rate", "run_stage"]

Stop = Callable[[], bool]  # whether the run is to stop now


def run_stage(
    prepare: Callable[[Stop], bool],
    make: Callable[[], Stage],
    config: StageConfig,
    fixed: tuple[str, ...],
    folder: Path,
    max_minutes: float | None = None,
) -> int:
    """Train, or go on training, in `folder`. Returns the step reached, 0 when it was stopped while it prepared.

    prepare: makes what is learnt from ready, as far as it is not yet; returns False when it was told to stop before
    that was done. make: builds the trainer. Both are called once the folder is known to be this config's. fixed: keys
    of the config that may not change from call to call. max_minutes: stop this call after so long, saved.
    Raises UsageError: the folder belongs to another config; ModelError; Preempted after SIGTERM (saved too).
    """
    with heeding_sigterm() as asked:
        deadline = time.monotonic() + 60 * max_minutes if max_minutes else float("inf")

        def stop() -> bool:
            return bool(asked) or time.monotonic() > deadline

        remember_config(config, folder, fixed, write=False)
        if not prepare(stop):
            if asked:
                raise Preempted(0)
            return 0
        stage = make()
        folder.mkdir(parents=True, exist_ok=True)
        remember_config(config, folder, fixed)
        remember_code(folder)
        log = Log(folder, config.tensorboard)
        state = newest_checkpoint(folder, torch.device("cpu"), stage.signature)
        if state is not None:
            stage.restore(state)
            log.sums = dict(state["sums"])
        log.trim(stage.step)
        _learn(stage, config, folder, log, stop)
        log.close()
        if asked:
            raise Preempted(stage.step)
        return stage.step


def _learn(stage: Stage, config: StageConfig, folder: Path, log: Log, stop: Stop) -> None:
    """Step after step until the steps, the minutes or the patience run out; saved at the end too."""

    def ended() -> bool:
        out_of_time = config.minutes is not None and stage.spent >= 60 * config.minutes
        return stage.step >= config.steps or out_of_time

    saved = stage.step
    with tqdm(total=config.steps, initial=stage.step, unit="step", mininterval=5, disable=None) as bar:
        while not ended() and not stop():
            began = time.monotonic()
            numbers = stage.learn()
            if numbers is not None:
                log.add(numbers)
            if stage.step % config.log_every == 0 or stage.step % config.save_every == 0:
                _read(stage, log)
            stage.spent += time.monotonic() - began
            bar.update()
            if stage.step % config.log_every == 0:
                log.write(stage.step)
            if stage.step % config.save_every == 0:
                saved = _save(stage, folder, log, config.keep)
    _read(stage, log)
    if saved == stage.step:
        return
    if ended():
        _save(stage, folder, log, config.keep)
    else:  # whoever stops a run waits for it, or kills it: no minutes for figures
        _write(stage, folder, log, config.keep)


def _read(stage: Stage, log: Log) -> None:
    for numbers in stage.read() if isinstance(stage, Waiting) else ():
        log.add(numbers)


def _save(stage: Stage, folder: Path, log: Log, keep: int) -> int:
    figures = stage.score()
    log.held_out(stage.step, figures)
    _write(stage, folder, log, keep)
    stage.export(folder, figures)
    return stage.step


def _write(stage: Stage, folder: Path, log: Log, keep: int) -> None:
    own = {"step": stage.step, "spent": stage.spent, "dimensions": stage.signature, "sums": log.sums}
    write_checkpoint(folder, {**stage.state(), **own}, keep)
