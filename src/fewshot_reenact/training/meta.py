"""Meta-learning: the loop behind `reenact train`.

Reads as edm's training loop: set up, resume, then step after step until the steps, the minutes or the patience (a
signal) run out. Everything that a step needs is in the checkpoint or a function of (seed, step), so a run that was
killed and resumed equals one that was not.
"""

import json
import pickle
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from fewshot_reenact.errors import ModelError, ReenactError, UsageError
from fewshot_reenact.models.checkpoint import load_model, save_model
from fewshot_reenact.models.losses import LossWeights, shift_loss, textured_loss
from fewshot_reenact.models.perceptual import FeatureNet
from fewshot_reenact.models.reenactor import Reenactor
from fewshot_reenact.training.config import OptimiserConfig, TrainConfig
from fewshot_reenact.training.episodes import Episodes, load_clips
from fewshot_reenact.training.inputs import make_faces, make_inputs, seen_shift
from fewshot_reenact.video.output import partial_file

EXIT_PREEMPTED = 75  # EX_TEMPFAIL: a scheduler should queue the job again


class Diverged(ReenactError):
    """The loss is no longer a number."""


class Preempted(ReenactError):
    """SIGTERM came: the state is saved."""

    exit_code = EXIT_PREEMPTED


def learning_rate(step: int, total: int, config: OptimiserConfig) -> float:
    """Linear rise over `warmup` steps, then linear fall to `final` of the rate at the last step."""
    rise = min(1.0, (step + 1) / max(config.warmup, 1))
    left = max(0.0, 1 - step / total)
    return config.rate * rise * (config.final + (1 - config.final) * left)


class Trainer:
    """State of one run: networks, averaged networks, optimiser, step. `run` trains; `save` and `resume` do what they
    say.
    """

    def __init__(self, config: TrainConfig, folder: Path, device: torch.device):
        self.config, self.folder, self.device = config, folder, device
        torch.manual_seed(config.seed)
        self.model = Reenactor(config.dimensions()).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.averaged = Reenactor(config.dimensions()).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.averaged.load_state_dict(self.model.state_dict())
        self.averaged.requires_grad_(False).eval()
        self.optimiser = torch.optim.Adam(
            self.model.parameters(), lr=config.optimiser.rate, betas=config.optimiser.betas
        )
        loss = config.loss
        self.net = FeatureNet(loss.network, loss.skip_heads).to(device) if loss.network else None
        self.weights = LossWeights(loss.l1, loss.mouth, loss.eyes, loss.perceptual, loss.perceptual_mouth)
        self.step = 0
        self.sums: dict[str, list[float]] = {}  # the log's numbers since its last line

    # ---- state ----------------------------------------------------------------------------------------------------

    def save(self) -> Path:
        """Write checkpoint and averaged weights atomically, drop checkpoints beyond the last `keep`."""
        path = self.folder / "checkpoints" / f"step_{self.step:07d}.pt"
        path.parent.mkdir(parents=True, exist_ok=True)
        state = {
            "step": self.step,
            "dimensions": self.model.dims.to_json(),
            "model": self.model.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "sums": self.sums,
        }
        with partial_file(path, overwrite=True) as partial:
            torch.save(state, partial)
        save_model(self.averaged, self.folder / "model.safetensors", note=f"step {self.step}")
        for old in sorted(path.parent.glob("step_*.pt"))[: -self.config.keep]:
            old.unlink()
        return path

    def begin_from(self, path: Path) -> None:
        """Begin with a model's weights instead of random ones. Raises ModelError: missing, other dimensions.

        A model that corrects colours alone may begin one that corrects the flow too: the shift starts at zero.
        """
        given = load_model(path)
        if replace(given.dims, flow=self.model.dims.flow) != self.model.dims or (
            given.dims.flow and not self.model.dims.flow
        ):
            raise ModelError(f"{path}: has other model dimensions than the config's; take them over or leave out init")
        state = given.state_dict()
        for model in (self.model, self.averaged):
            for name, own in model.state_dict().items():
                own.zero_()[: len(state[name])].copy_(state[name]) if own.ndim else own.copy_(state[name])

    def resume(self) -> bool:
        """Go on from the newest checkpoint that can be read. False when there is none at all.

        Raises ModelError when none can be read, or when it is of another architecture.
        """
        paths = sorted((self.folder / "checkpoints").glob("step_*.pt"), reverse=True)
        for path in paths:
            try:
                state = torch.load(path, map_location=self.device, weights_only=True)
            except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError):
                tqdm.write(f"{path}: cannot be read, trying the one before")
                continue
            if state["dimensions"] != self.model.dims.to_json():
                raise ModelError(
                    f"{path}: made with other model dimensions than the config's; use another --run folder"
                )
            self.model.load_state_dict(state["model"])
            self.averaged.load_state_dict(state["averaged"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.step = int(state["step"])
            self.sums = dict(state.get("sums", {}))
            self._trim_log()
            return True
        if paths:
            raise ModelError(f"{paths[0].parent}: no checkpoint can be read; use another --run folder to start over")
        return False

    def _trim_log(self) -> None:
        """Drop the lines of steps that a killed run had logged but not saved: they will be done again."""
        path = self.folder / "metrics.jsonl"
        if not path.is_file():
            return
        lines = path.read_text().splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= self.step]
        if len(kept) < len(lines):
            with partial_file(path, overwrite=True) as partial:
                partial.write_text("".join(kept))

    # ---- one step -------------------------------------------------------------------------------------------------

    def train_step(self, batch: dict[str, Tensor]) -> dict[str, float]:
        """One update. Returns the numbers for the log. Raises Diverged, with nothing changed, when the loss or its
        gradient is not finite.
        """
        config = self.config.optimiser
        x = make_inputs(batch, self.model.dims.size, self.device)
        face, correction = make_faces(self.model, x)
        loss, parts = textured_loss(face, x.truth, x.points, self.net, self.weights)
        if correction.shift is not None and self.config.loss.shift:
            parts["shift"] = shift_loss(correction.shift, seen_shift(x.faces.warped, x.truth), x.points, self.weights)
            loss = loss + self.config.loss.shift * parts["shift"]
        self._check_finite("loss", loss)
        with torch.no_grad():  # the floor: what the warp alone would get on this very batch
            floor, _ = textured_loss(x.faces.warped, x.truth, x.points, None, self.weights)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.clip)
        self._check_finite("norm of the gradient", norm)
        rate = learning_rate(self.step, self.config.steps, config)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.step()
        self.step += 1
        self._average(min(config.ema, self.step / (self.step + 10)))
        numbers = {"loss": loss, **parts, "l1_over_warp": parts["l1"] * self.weights.l1 / floor, "gradient": norm}
        return {name: float(value.detach()) for name, value in numbers.items()} | {"rate": rate}

    def _check_finite(self, what: str, value: Tensor) -> None:
        if not torch.isfinite(value):
            raise Diverged(
                f"{what} is {value.item()} at step {self.step}; the last checkpoint in "
                f"{self.folder / 'checkpoints'} is good: lower optimiser.rate and resume"
            )

    @torch.no_grad()
    def _average(self, decay: float) -> None:
        mine, theirs = list(self.averaged.parameters()), list(self.model.parameters())
        torch._foreach_lerp_(mine, theirs, 1 - decay)

    # ---- the loop -------------------------------------------------------------------------------------------------

    def run(self, batches: Iterator[dict[str, Tensor]], stop: Callable[[], bool]) -> None:
        """Train until the config's steps are done or `stop` says so, logging and saving on the way."""
        log = (self.folder / "metrics.jsonl").open("a")
        bar = tqdm(total=self.config.steps, initial=self.step, unit="step", dynamic_ncols=True, mininterval=5)
        with log, bar:
            while self.step < self.config.steps and not stop():
                batch = next(batches)
                numbers = self.train_step(batch)
                for name, value in numbers.items():
                    self.sums.setdefault(name, []).append(value)
                bar.update()
                if self.step % self.config.log_every == 0:
                    means = {name: round(float(np.mean(values)), 6) for name, values in self.sums.items()}
                    self.sums.clear()
                    log.write(json.dumps({"step": self.step, "time": round(time.time(), 1), **means}) + "\n")
                    log.flush()
                    bar.set_postfix(loss=means["loss"], over_warp=means["l1_over_warp"])
                if self.step % self.config.picture_every == 0:
                    self.write_pictures(batch)
                if self.step % self.config.save_every == 0:
                    self.save()
        self.save()

    @torch.no_grad()
    def write_pictures(self, batch: dict[str, Tensor]) -> None:
        """A grid in pictures/: a row an episode, columns portrait, driver's landmarks, warp, output, truth."""
        x = make_inputs(batch, self.model.dims.size, self.device)
        face, _ = make_faces(self.averaged, x)
        rows = torch.cat([x.faces.source, x.faces.driver_raster, x.faces.warped, face, x.truth], 3)
        sheet = ((rows.clamp(-1, 1) + 1) * 127.5).byte().permute(0, 2, 3, 1).flatten(0, 1).cpu().numpy()
        path = self.folder / "pictures" / f"step_{self.step:07d}.png"
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), np.ascontiguousarray(sheet[..., ::-1]))


def train(config: TrainConfig, folder: Path, *, device: torch.device, max_minutes: float | None = None) -> int:
    """Train, or go on training, in `folder`. Returns the step reached.

    max_minutes: stop cleanly, saved, inside a time slice. Raises Preempted after SIGTERM (saved too), UsageError when
    the folder belongs to another config, Diverged when the loss is no number.
    """
    deadline = time.monotonic() + 60 * max_minutes if max_minutes else float("inf")
    folder.mkdir(parents=True, exist_ok=True)
    _remember(config, folder)
    trainer = Trainer(config, folder, device)
    if trainer.resume():
        tqdm.write(f"resumed at step {trainer.step}")
    elif config.init is not None:
        trainer.begin_from(config.init)
        tqdm.write(f"begun with the weights of {config.init}")
    dims = trainer.model.dims
    clips = load_clips(config.data.clips, config.data.frame_step)
    people = len({clip.person for clip in clips})
    tqdm.write(
        f"{len(clips)} clips of {people} people, {sum(len(c.frames) for c in clips)} frames; "
        f"embedder {_millions(trainer.model.embedder)}, "
        f"generator {_millions(trainer.model.generator)}; run folder {folder}"
    )
    episodes = Episodes(clips, config.data, dims.size, dims.raster_style, config.seed, config.steps * config.batch)
    first = trainer.step * config.batch
    loader = DataLoader(
        episodes,
        config.batch,
        sampler=range(first, len(episodes)),
        num_workers=config.workers,
        drop_last=True,
        worker_init_fn=_leave_signals_to_parent,
        # Forked, a worker waits for ever for threads of torch's and OpenCV's that stay behind in this process.
        multiprocessing_context="spawn" if config.workers else None,
    )
    asked: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _frame: asked.append(number))
    try:
        trainer.run(iter(loader), lambda: bool(asked) or time.monotonic() > deadline)
    finally:
        signal.signal(signal.SIGTERM, before)
    if asked:
        raise Preempted(f"stopped by SIGTERM at step {trainer.step}; saved: run the same command to go on")
    return trainer.step


def _leave_signals_to_parent(_worker: int) -> None:
    """A scheduler's SIGTERM and a terminal's Ctrl-C reach the whole process group: the workers must outlive them, or
    the step in hand cannot be finished and saved. They end with their parent.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _millions(module: torch.nn.Module) -> str:
    return f"{sum(p.numel() for p in module.parameters()) / 1e6:.2f} M"


def _remember(config: TrainConfig, folder: Path) -> None:
    """Keep the config in the run folder; refuse to go on there with another model or other data."""
    path = folder / "config.json"
    now: dict[str, Any] = json.loads(config.model_dump_json())
    if path.is_file():
        try:
            then: dict[str, Any] = json.loads(path.read_text())
        except ValueError as error:
            raise UsageError(f"{path}: damaged, so what this run trained is not known; use another --run") from error
        for key in ("model", "data", "seed", "batch"):
            if then.get(key) != now.get(key):
                raise UsageError(f"{path}: this run was started with another '{key}'; use another --run folder")
    with partial_file(path, overwrite=True) as partial:
        partial.write_text(json.dumps(now, indent=2) + "\n")
