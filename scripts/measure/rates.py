#!/usr/bin/env python3
"""Short trials of learning rates and warm-ups for large batches, at small size: all from the same start, after equally
many episodes.

    scripts/measure/rates.py ../main/run/clips ../main/run/clips_val --network NET.safetensors

Clips are shrunk to 64 x 64, the face frame to 48, the networks to a fortieth. The rate rises, stays, and falls during
the last 30 %, as in a slot (training.slot.run). Prints a table: the loss of the averaged weights on held-out people.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
import torch.nn.functional as F

from fewshot_reenact.training.config import TrainConfig
from fewshot_reenact.training.data.clips import load_clips
from fewshot_reenact.training.resident import flow
from fewshot_reenact.training.resident.batches import ResidentEpisodes
from fewshot_reenact.training.resident.store import Store, build_store, store_of
from fewshot_reenact.training.schedule import slot_rate
from fewshot_reenact.training.slot.look import look
from fewshot_reenact.training.trainer import Trainer

SHRUNK = 4  # times
MODEL = {
    "kind": "textured", "size": 48, "embedding": 32, "embedder_channels": [16, 32], "down_channels": [16, 32],
    "up_channels": [32, 16], "residual_blocks": 2, "embedder_unshuffle": 2, "generator_unshuffle": 2, "stem": 8,
    "skips": True, "spectral_norm": False, "attention": False, "flow": True,
}  # fmt: skip


def small_store(folder: Path, step: int) -> Store:
    """The clips' frames, every step-th, a quarter as wide and high."""
    store = build_store(load_clips(folder, step), None)
    frames = torch.cat([F.avg_pool2d(some.float(), SHRUNK).round().byte() for some in store.frames.split(256)])
    points = (store.table.points + 0.5) / SHRUNK - 0.5
    return store_of(frames, points, store.count, store.people, store.videos, store.fingerprint)


def learn(
    shown: tuple[Store, Store],
    network: Path,
    batch: int,
    rate: float,
    warmup: int,
    episodes: int,
    looks: int,
    begin: dict[str, torch.Tensor] | None = None,
) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    """Figures on held-out people, and the weights."""
    steps = episodes // batch
    raw = {
        "model": MODEL,
        "data": {"clips": "-", "point_noise": 0.004, "dense": 0.8, "rare": 0.35},
        "loss": {"network": network, "mouth": 6.0, "eyes": 5.0, "perceptual": 0.25, "perceptual_mouth": 1.0},
        "optimiser": {"rate": rate, "warmup": warmup},
        **{"batch": batch, "steps": steps, "seed": 7 if begin else 6},
    }
    config = TrainConfig.model_validate(raw)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(config, Path(folder), torch.device("cpu"), registration=flow.register)
        if begin is not None:
            trainer.model.load_state_dict(begin)
            trainer.averaged.load_state_dict(begin)
        trainer.rate = lambda step: slot_rate(config.optimiser, step, 1 - step / steps)
        train, held = (ResidentEpisodes(one, config.data, config.dimensions(), config.seed) for one in shown)
        for some in train.batches(np.arange(step * batch, (step + 1) * batch) for step in range(steps)):
            trainer.advance(some)
            if trainer.step % 20 == 0:
                trainer.read()
        trainer.read()
        return look(trainer, held, looks), {
            name: value.clone() for name, value in trainer.averaged.state_dict().items()
        }


@click.command()
@click.argument("clips", type=click.Path(exists=True, path_type=Path))
@click.argument("held_out", type=click.Path(exists=True, path_type=Path))
@click.option("--network", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--batch", "batches", type=int, multiple=True, default=(64, 256), show_default=True)
@click.option("--rate", "rates", type=float, multiple=True, default=(4e-4, 8e-4, 1.6e-3, 3.2e-3), show_default=True)
@click.option("--warmup", default=10, show_default=True, help="Steps.")
@click.option(
    "--more-warmup",
    "warmups",
    type=int,
    multiple=True,
    help="With the last batch and the last rate but one.",
)
@click.option("--before", default=6400, show_default=True, help="Episodes that all trials have in common, batch 16.")
@click.option("--episodes", default=7680, show_default=True)
@click.option("--looks", default=512, show_default=True, help="Held-out episodes.")
@click.option("--frame-step", default=6, show_default=True)
def main(
    clips: Path,
    held_out: Path,
    network: Path,
    batches: tuple[int, ...],
    rates: tuple[float, ...],
    warmup: int,
    warmups: tuple[int, ...],
    before: int,
    episodes: int,
    looks: int,
    frame_step: int,
) -> None:
    torch.set_num_threads(1)
    began = time.monotonic()
    shown = small_store(clips, frame_step), small_store(held_out, frame_step)
    click.echo(f"{len(shown[0].frames)} and {len(shown[1].frames)} frames in {time.monotonic() - began:.0f} s")
    click.echo("| batch | rate | warm-up | steps | loss | L1 / warp's L1 | perceptual | seconds |\n|" + "---|" * 8)

    def row(batch: int, rate: float, warmup: int, episodes: int, begin: dict[str, torch.Tensor] | None) -> Any:
        began = time.monotonic()
        found, weights = learn(shown, network, batch, rate, warmup, episodes, looks, begin)
        click.echo(
            f"| {batch} | {rate:g} | {warmup} | {episodes // batch} | {found['loss']:.4f} | "
            f"{found['l1_over_warp']:.4f} | {found['perceptual']:.4f} | {time.monotonic() - began:.0f} |"
        )
        return weights

    begin = row(16, 1e-3, 100, before, None)
    for batch in batches:
        for rate in rates:
            row(batch, rate, warmup, episodes, begin)
    for more in warmups:
        row(batches[-1], rates[-2], more, episodes, begin)


if __name__ == "__main__":
    main()
