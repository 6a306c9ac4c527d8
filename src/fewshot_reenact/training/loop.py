"""Meta-learning: what is behind `reenact train`.

    torchrun --nproc-per-node 8 --no-python -- reenact train --config paper    # eight GPUs of one machine

Reads as edm's training loop: set up, resume, then step after step (training.trainer) until the steps, the minutes or
the patience (a signal) run out. Everything that a step needs is in the checkpoint or a function of (seed, step), so a
run that was killed and resumed equals one that was not.
"""

import contextlib
import signal
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from fewshot_reenact.models.discriminator import DISCRIMINATOR
from fewshot_reenact.rendering.registration import register
from fewshot_reenact.training.checkpoints import refuse_foreign, remember_clips, remember_code, remember_config
from fewshot_reenact.training.config import TrainConfig
from fewshot_reenact.training.content_loss import Content
from fewshot_reenact.training.data.cache import ReadAhead
from fewshot_reenact.training.data.clips import Clips
from fewshot_reenact.training.data.damage import Ledger, Skipping
from fewshot_reenact.training.data.dataset import ShardClips
from fewshot_reenact.training.data.episodes import PlannedEpisodes, PlannedHeadEpisodes
from fewshot_reenact.training.data.order import ShardOrder
from fewshot_reenact.training.data.plan import Planner
from fewshot_reenact.training.distributed import World, join
from fewshot_reenact.training.examining import Examiner, resident_batches, streamed_batches
from fewshot_reenact.training.resident import flow
from fewshot_reenact.training.resident.batches import ResidentEpisodes
from fewshot_reenact.training.resident.opening import open_data, open_resident
from fewshot_reenact.training.resident.store import Store
from fewshot_reenact.training.stopping import Preempted, heeding_sigterm
from fewshot_reenact.training.trainer import Trainer

JUDGES = "held_out"  # in a run's folder, as resident.opening.FOLDER
FIXED = ("model", "data", "seed", "batch")  # keys that are the same from a run's first step to its last


def train(config: TrainConfig, folder: Path, *, device: torch.device, max_minutes: float | None = None) -> int:
    """Train, or go on training, in `folder`; under torchrun as one of many processes. Returns the step reached.

    max_minutes: stop cleanly, saved, inside a time slice. Raises Preempted after SIGTERM (saved too), UsageError when
    the folder belongs to another config, Diverged when the loss is no number.
    """
    # From here on: loading clips takes minutes, and a job that is stopped then is to be queued again too.
    with heeding_sigterm() as asked, join(device) as (world, where):
        return _train(config, folder, where, world, max_minutes, asked)


def _train(
    config: TrainConfig,
    folder: Path,
    device: torch.device,
    world: World,
    max_minutes: float | None,
    asked: list[int],
) -> int:
    """asked: gets the number of a signal to stop."""
    deadline = time.monotonic() + 60 * max_minutes if max_minutes else float("inf")
    share = world.share(config.batch)
    check_networks(config)
    tell = tqdm.write if world.leads else lambda _line: None
    if world.leads:
        refuse_foreign(folder, "model.safetensors", DISCRIMINATOR)
        remember_config(config, folder, FIXED, write=False)
    clips = open_data(config, folder, device, world, tell)
    if world.leads:
        folder.mkdir(parents=True, exist_ok=True)
        remember_config(config, folder, FIXED)
        remember_clips(clips.fingerprint, folder)
        remember_code(folder)
    world.wait()
    registration = flow.register if isinstance(clips, Store) else register
    trainer = Trainer(config, folder, device, 1 + int(max(clips.videos)), world, registration)
    trainer.examiner = _examiner(config, folder, device, world, tell)
    if trainer.resume():
        tell(f"resumed at step {trainer.step}")
    elif config.init is not None:
        trainer.begin_from(config.init)
        tell(f"begun with the weights of {config.init}")
    tell(_summary(trainer, clips))
    with contextlib.closing(_batches(config, clips, trainer, share, tell)) as batches:
        trainer.run(batches, lambda: bool(asked) or time.monotonic() > deadline)
    if world.any(bool(asked), device):
        raise Preempted(trainer.step)
    return trainer.step


def _batches(
    config: TrainConfig, clips: Store | Clips, trainer: Trainer, share: int, tell: Callable[[str], None]
) -> Generator[dict[str, Tensor], None, None]:
    """The batches of the steps to come: made on the device, or one by one where the clips are not there."""
    world = trainer.world
    if isinstance(clips, Store):
        resident = ResidentEpisodes(clips, config.data, config.dimensions(), config.seed)
        begins = (step * config.batch + world.rank * share for step in range(trainer.step, config.steps))
        yield from resident.batches(np.arange(begin, begin + share) for begin in begins)
        return
    episodes = make_episodes(config, clips)
    made: Dataset[dict[str, Any]] = episodes
    ledger = None
    if isinstance(clips, ShardClips):
        if clips.cache is not None and episodes.order is not None:
            made = ReadAhead(episodes, episodes.order, clips.cache, clips.names)
        made = Skipping(made)
        ledger = Ledger(trainer.folder, config.data.damaged, len(clips), tell)
    loader: DataLoader[dict[str, Any]] = DataLoader(
        made,
        share,
        sampler=world.indices(trainer.step, config.steps, config.batch),
        num_workers=config.workers,
        drop_last=True,
        pin_memory=trainer.device.type == "cuda",
        generator=torch.Generator(),  # of its own: it draws a seed for its workers each time a run is begun or resumed
        worker_init_fn=_leave_signals_to_parent,
        # Forked, a worker waits for ever for threads of torch's and OpenCV's that stay behind in this process.
        multiprocessing_context="spawn" if config.workers else None,
    )
    for batch in loader:
        if ledger is not None:
            ledger.heed(batch)
        yield batch


def _examiner(
    config: TrainConfig, folder: Path, device: torch.device, world: World, tell: Callable[[str], None]
) -> Examiner | None:
    """The people on whom D is judged, if the config names some. Raises InputError: no such clips."""
    game = config.adversarial
    if game is None or game.held_out is None:
        return None
    unordered = {"limit": None, "shuffle_shards": None, "cache": None}  # each clip is read once
    data = config.data.model_copy(update={"clips": game.held_out, **unordered})
    clips = open_resident(data, config.dimensions(), folder / JUDGES, device, world, tell)
    if isinstance(clips, Store):
        return Examiner(resident_batches(clips, config), game.judges, game.judge_every, flow.register)
    ledger = None
    if isinstance(clips, ShardClips):
        (folder / JUDGES).mkdir(exist_ok=True)
        ledger = Ledger(folder / JUDGES, data.damaged, len(clips), tell)
    return Examiner(streamed_batches(clips, _kind(config), config, ledger), game.judges, game.judge_every)


def check_networks(config: TrainConfig) -> None:
    """Look for the networks of the losses before anything that takes long. Raises ModelError naming what is missing."""
    Content(config.loss, config.weights())


def make_episodes(config: TrainConfig, clips: Clips) -> PlannedEpisodes:
    """The episodes of a whole run, as the model sees them."""
    dims, length = config.dimensions(), config.steps * config.batch
    order = None
    if isinstance(clips, ShardClips) and config.data.shuffle_shards is not None:
        order = ShardOrder(clips.shards, config.seed, config.batch, config.data.shuffle_shards)
    planner = Planner(config.data, config.seed, clips.people, order=order)
    return _kind(config)(clips, config.data, dims.size, dims.raster_style, config.seed, length, planner)


def _kind(config: TrainConfig) -> type[PlannedEpisodes]:
    return PlannedEpisodes if config.dimensions().corrects_warp else PlannedHeadEpisodes


def _leave_signals_to_parent(_worker: int) -> None:
    """A scheduler's SIGTERM and a terminal's Ctrl-C reach the whole process group: the workers must outlive them, or
    the step in hand cannot be finished and saved. They end with their parent.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _millions(module: torch.nn.Module) -> str:
    return f"{sum(p.numel() for p in module.parameters()) / 1e6:.2f} M"


def _summary(trainer: Trainer, clips: Store | Clips) -> str:
    networks: dict[str, Any] = {"embedder": trainer.model.embedder, "generator": trainer.model.generator}
    if trainer.adversary is not None:
        networks["discriminator"] = trainer.adversary.network
        networks["rows"] = trainer.adversary.rows
    sizes = ", ".join(f"{name} {_millions(network)}" for name, network in networks.items() if network is not None)
    people, frames = len(set(clips.people)), len(clips.frames) if isinstance(clips, Store) else clips.frames
    return f"{len(clips.videos)} clips of {people} people, {frames} frames; {sizes}; run folder {trainer.folder}"
