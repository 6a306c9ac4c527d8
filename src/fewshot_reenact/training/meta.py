"""Meta-learning: the loop behind `reenact train`.

Reads as edm's training loop: set up, resume, then step after step until the steps, the minutes or the patience (a
signal) run out. Everything that a step needs is in the checkpoint or a function of (seed, step), so a run that was
killed and resumed equals one that was not.
"""

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from fewshot_reenact.errors import ModelError, ReenactError, UsageError
from fewshot_reenact.models.checkpoint import save_model
from fewshot_reenact.models.losses import LossWeights, textured_loss
from fewshot_reenact.models.perceptual import FeatureNet
from fewshot_reenact.models.reenactor import FaceInputs, Reenactor
from fewshot_reenact.models.rendering import to_signed, warp_faces
from fewshot_reenact.training.config import OptimiserConfig, TrainConfig
from fewshot_reenact.training.episodes import Episodes, load_clips
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


def make_inputs(batch: dict[str, Tensor], size: int, device: torch.device) -> tuple[FaceInputs, Tensor, Tensor]:
    """The networks' inputs from a batch of episodes: warp done on the device. Returns inputs, target in -1..1, frame
    points.

    With K > 1 the first portrait is warped; all of them are embedded.
    """
    on = {name: value.to(device, non_blocking=True) for name, value in batch.items()}
    warped = warp_faces(
        to_signed(on["portraits"][:, 0]), on["driver_points"], on["portrait_points"][:, 0], on["driver_frame"], size
    )
    faces = FaceInputs(
        warped=warped,
        source=to_signed(on["sources"][:, 0]),
        source_raster=to_signed(on["source_rasters"][:, 0]),
        driver_raster=to_signed(on["driver_raster"]),
    )
    return faces, to_signed(on["target"]), on["driver_face_points"]


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
        }
        with partial_file(path, overwrite=True) as partial:
            torch.save(state, partial)
        save_model(self.averaged, self.folder / "model.safetensors", note=f"step {self.step}")
        for old in sorted(path.parent.glob("step_*.pt"))[: -self.config.keep]:
            old.unlink()
        return path

    def resume(self) -> bool:
        """Go on from the newest checkpoint that can be read. False when there is none."""
        for path in sorted((self.folder / "checkpoints").glob("step_*.pt"), reverse=True):
            try:
                state = torch.load(path, map_location=self.device, weights_only=True)
            except (OSError, RuntimeError, EOFError, ValueError):
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
            return True
        return False

    # ---- one step -------------------------------------------------------------------------------------------------

    def train_step(self, batch: dict[str, Tensor]) -> dict[str, float]:
        """One update. Returns the numbers for the log. Raises Diverged, with nothing changed, when the loss is not
        finite.
        """
        config = self.config.optimiser
        faces, truth, points = make_inputs(batch, self.model.dims.size, self.device)
        embedding = self.model.embed(faces.source[:, None], faces.source_raster[:, None])
        face = faces.warped + self.model(faces, embedding)
        loss, parts = textured_loss(face, truth, points, self.net, self.weights)
        if not torch.isfinite(loss):
            raise Diverged(
                f"loss is {loss.item()} at step {self.step}; the last checkpoint in "
                f"{self.folder / 'checkpoints'} is good: lower optimiser.rate and resume"
            )
        with torch.no_grad():  # the floor: what the warp alone would get on this very batch
            floor, _ = textured_loss(faces.warped, truth, points, None, self.weights)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.clip)
        rate = learning_rate(self.step, self.config.steps, config)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.step()
        self.step += 1
        self._average(min(config.ema, self.step / (self.step + 10)))
        numbers = {"loss": loss, **parts, "l1_over_warp": parts["l1"] * self.weights.l1 / floor, "gradient": norm}
        return {name: float(value.detach()) for name, value in numbers.items()} | {"rate": rate}

    @torch.no_grad()
    def _average(self, decay: float) -> None:
        mine, theirs = list(self.averaged.parameters()), list(self.model.parameters())
        torch._foreach_lerp_(mine, theirs, 1 - decay)

    # ---- the loop -------------------------------------------------------------------------------------------------

    def run(self, batches: Iterator[dict[str, Tensor]], stop: Callable[[], bool]) -> None:
        """Train until the config's steps are done or `stop` says so, logging and saving on the way."""
        log = (self.folder / "metrics.jsonl").open("a")
        sums: dict[str, list[float]] = {}
        bar = tqdm(total=self.config.steps, initial=self.step, unit="step", dynamic_ncols=True, mininterval=5)
        with log, bar:
            while self.step < self.config.steps and not stop():
                batch = next(batches)
                numbers = self.train_step(batch)
                for name, value in numbers.items():
                    sums.setdefault(name, []).append(value)
                bar.update()
                if self.step % self.config.log_every == 0:
                    means = {name: round(float(np.mean(values)), 6) for name, values in sums.items()}
                    sums.clear()
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
        faces, truth, _ = make_inputs(batch, self.model.dims.size, self.device)
        embedding = self.averaged.embed(faces.source[:, None], faces.source_raster[:, None])
        face = faces.warped + self.averaged(faces, embedding)
        rows = torch.cat([faces.source, faces.driver_raster, faces.warped, face, truth], 3)
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
        persistent_workers=config.workers > 0,
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


def _millions(module: torch.nn.Module) -> str:
    return f"{sum(p.numel() for p in module.parameters()) / 1e6:.2f} M"


def _remember(config: TrainConfig, folder: Path) -> None:
    """Keep the config in the run folder; refuse to go on there with another model or other data."""
    path = folder / "config.json"
    now: dict[str, Any] = json.loads(config.model_dump_json())
    if path.is_file():
        then = json.loads(path.read_text())
        for key in ("model", "data", "seed", "batch"):
            if then.get(key) != now.get(key):
                raise UsageError(f"{path}: this run was started with another '{key}'; use another --run folder")
    path.write_text(json.dumps(now, indent=2) + "\n")


__all__ = ["EXIT_PREEMPTED", "Diverged", "Preempted", "Trainer", "learning_rate", "make_inputs", "train"]
