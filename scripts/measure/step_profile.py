#!/usr/bin/env python3
"""What a training step does on the processor where all clips are on the device: calls by module, and whether any of it
grows with the batch.

    scripts/measure/step_profile.py --clips run/clips_val --network NET.safetensors

Planning of the episodes, which a thread does meanwhile, is in it. Prints calls into OpenCV, all calls of Python at two
sizes of the batch (as many, if no sample is treated alone), and the dearest functions.
"""

import cProfile
import pstats
import tempfile
from pathlib import Path

import click
import numpy as np
import torch

from fewshot_reenact.training.config import TrainConfig
from fewshot_reenact.training.data.clips import load_clips
from fewshot_reenact.training.resident import flow
from fewshot_reenact.training.resident.batches import ResidentEpisodes
from fewshot_reenact.training.resident.store import build_store
from fewshot_reenact.training.trainer import Trainer


def profiled(trainer: Trainer, episodes: ResidentEpisodes, batch: int, steps: int) -> pstats.Stats:
    """Steps of this batch, after one that fills caches."""
    trainer.advance(episodes[np.arange(batch)])
    trainer.read()
    profile = cProfile.Profile()
    profile.enable()
    for step in range(1, steps + 1):
        trainer.advance(episodes[np.arange(step * batch, (step + 1) * batch) % 256])  # of one block of random numbers
    profile.disable()
    return pstats.Stats(profile)


@click.command()
@click.option("--clips", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--network", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--batch", "batches", type=int, multiple=True, default=(4, 16), show_default=True)
@click.option("--steps", default=2, show_default=True)
@click.option("--limit", default=4, show_default=True, help="Clips.")
def main(clips: Path, network: Path, batches: tuple[int, ...], steps: int, limit: int) -> None:
    raw = {
        "model": "textured",
        "data": {"clips": clips, "point_noise": 0.004, "dense": 0.8, "rare": 0.35},
        "loss": {"network": network, "mouth": 6.0, "eyes": 5.0, "perceptual": 0.25, "perceptual_mouth": 1.0},
        **{"batch": batches[-1], "steps": 100},
    }
    config = TrainConfig.model_validate(raw)
    store = build_store(load_clips(clips, 2, limit), None)
    episodes = ResidentEpisodes(store, config.data, config.dimensions(), config.seed)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(config, Path(folder), torch.device("cpu"), registration=flow.register)
        print("| batch | calls of Python a step | of these into OpenCV |\n|---|---|---|")
        for batch in batches:
            stats = profiled(trainer, episodes, batch, steps)
            rows = stats.stats  # type: ignore[attr-defined]
            opencv = sum(row[1] for where, row in rows.items() if "cv2" in " ".join(map(str, where)))
            print(f"| {batch} | {stats.total_calls / steps:.0f} | {opencv / steps:.0f} |")  # type: ignore[attr-defined]
    print(f"\n| dearest functions, batch {batches[-1]} | calls a step | ms a step |\n|---|---|---|")
    for where, row in sorted(rows.items(), key=lambda item: -item[1][2])[:12]:
        name = where[2] if where[0] == "~" else f"{Path(where[0]).name}: {where[2]}"
        print(f"| {name} | {row[1] / steps:g} | {1000 * row[2] / steps:.1f} |")


if __name__ == "__main__":
    main()
