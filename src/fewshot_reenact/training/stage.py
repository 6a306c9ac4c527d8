"""The loop of the smaller trainers (landmarks, refiners): one process, one network, held-out figures at each save.

Like the meta-learning loop it goes on where it stopped, exactly: what a step needs is in the checkpoint or a function
of (seed, step).
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from pydantic import BaseModel
from tqdm import tqdm

from fewshot_reenact.training.checkpoints import newest_checkpoint, remember_code, remember_config, write_checkpoint
from fewshot_reenact.training.log import Log
from fewshot_reenact.training.stopping import Preempted, heeding_sigterm


class Stage(Protocol):
    """What the loop asks of a trainer. step: updates done. spent: seconds of training in all calls."""

    step: int
    spent: float

    @property
    def signature(self) -> str:
        """What must be the same for a checkpoint to fit."""
        ...

    def learn(self) -> dict[str, float]:
        """One update, which adds 1 to step. Returns numbers for the log."""
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


class Schedule(BaseModel):
    """steps: of the whole run. minutes: of training in all calls, at most; then the run is at its end too."""

    steps: int
    minutes: float | None
    log_every: int
    save_every: int
    keep: int = 2


def run_stage(
    make: Callable[[], Stage],
    config: BaseModel,
    fixed: tuple[str, ...],
    folder: Path,
    schedule: Schedule,
    max_minutes: float | None = None,
) -> int:
    """Train, or go on training, in `folder`. Returns the step reached.

    make: builds the trainer; called once the folder is known to be this config's. fixed: keys of the config that may
    not change from call to call. max_minutes: stop this call after so long, saved.
    Raises UsageError: the folder belongs to another config; ModelError; Preempted after SIGTERM (saved too).
    """
    with heeding_sigterm() as asked:
        remember_config(config, folder, fixed, write=False)
        stage = make()
        folder.mkdir(parents=True, exist_ok=True)
        remember_config(config, folder, fixed)
        remember_code(folder)
        log = Log(folder, False)
        state = newest_checkpoint(folder, torch.device("cpu"), stage.signature)
        if state is not None:
            stage.restore(state)
            log.sums = dict(state["sums"])
            log.trim(stage.step)
        deadline = time.monotonic() + 60 * max_minutes if max_minutes else float("inf")

        def ended() -> bool:
            out_of_time = schedule.minutes is not None and stage.spent >= 60 * schedule.minutes
            return stage.step >= schedule.steps or out_of_time

        saved = stage.step
        with tqdm(total=schedule.steps, initial=stage.step, unit="step", mininterval=5, disable=None) as bar:
            while not ended() and not asked and time.monotonic() < deadline:
                began = time.monotonic()
                log.add(stage.learn())
                stage.spent += time.monotonic() - began
                bar.update()
                if stage.step % schedule.log_every == 0:
                    log.write(stage.step)
                if stage.step % schedule.save_every == 0:
                    saved = _save(stage, folder, log, schedule.keep)
        if saved != stage.step:
            _save(stage, folder, log, schedule.keep)
        if asked:
            raise Preempted(stage.step)
        return stage.step


def _save(stage: Stage, folder: Path, log: Log, keep: int) -> int:
    figures = stage.score()
    log.held_out(stage.step, figures)
    own = {"step": stage.step, "spent": stage.spent, "dimensions": stage.signature, "sums": log.sums}
    write_checkpoint(folder, {**stage.state(), **own}, keep)
    stage.export(folder, figures)
    return stage.step
