#!/usr/bin/env python3
"""Train the built-in landmark networks: the face detector and the 83-point network.

    python -m fewshot_reenact.training.landmarks.train points   --data ../shared/data --run run/landmarks \\
      --config configs/landmarks.yaml
    python -m fewshot_reenact.training.landmarks.train detector --data ../shared/data --run run/landmarks \\
      --config configs/landmarks.yaml
    python -m fewshot_reenact.training.landmarks.train points ... --config configs/landmarks_agree.yaml \\
      --start run/landmarks/points.safetensors

The first call packs the data. Each can be stopped and goes on from its last checkpoint. The averaged weights land in
the run folder; scripts/build/ship_landmarks.py puts them into the package.
"""

import json
import math
import time
from pathlib import Path

import click
import cv2
import numpy as np
import torch
import yaml

from fewshot_reenact.geometry.topology import N_POINTS
from fewshot_reenact.landmarks.network import PointNet, read_weights, save_network
from fewshot_reenact.training.landmarks.data import pack, read_names
from fewshot_reenact.training.landmarks.pairs import pack_pairs
from fewshot_reenact.training.landmarks.points import PointTask
from fewshot_reenact.training.landmarks.scenes import DetectorTask

TASKS = {"points": PointTask, "detector": DetectorTask}


def keep_all_but(net: PointNet, first: int, end: int) -> None:
    """Let training change nothing but how the cells vote for the points first..end: all others stay where they are."""
    net.requires_grad_(False)
    rows = torch.zeros(3, N_POINTS)
    rows[:, first:end] = 1
    for p, mask in ((net.votes.weight, rows.flatten()[:, None, None, None]), (net.votes.bias, rows.flatten())):
        p.requires_grad_(True).register_hook(lambda grad, mask=mask: grad * mask)


@click.command()
@click.argument("part", type=click.Choice(list(TASKS)))
@click.option("--data", type=click.Path(path_type=Path), default=Path("../shared/data"), show_default=True)
@click.option("--run", type=click.Path(path_type=Path), default=Path("run/landmarks"), show_default=True)
@click.option("--config", type=click.Path(path_type=Path), default=Path("configs/landmarks.yaml"), show_default=True)
@click.option("--minutes", type=float, default=600.0, show_default=True, help="Training time in all, over all calls.")
@click.option("--start", type=click.Path(exists=True, path_type=Path), help="Weights to begin with.")
@click.option("--threads", type=int, default=1, show_default=True)
def main(part: str, data: Path, run: Path, config: Path, minutes: float, start: Path | None, threads: int) -> None:
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    torch.manual_seed(0)
    settings = yaml.safe_load(config.read_text())[part]
    packed = run / "packed"
    pack(data, packed, read_names(config.parent / settings["held_out"]))
    if settings.get("pairs"):
        pack_pairs(packed, settings["pairs_packed"])
    task, held = (TASKS[part](packed, *way, settings) for way in ((True, int(time.time())), (False, 1)))
    net, mean = task.network(), task.network()
    if start:
        dims, tensors = read_weights(start)
        net, mean = task.network(**dims), task.network(**dims)
        net.load_state_dict(tensors)
    mean.load_state_dict(net.state_dict())
    for each in (net, mean):
        each.to(memory_format=torch.channels_last)
    if only := settings.get("only"):
        keep_all_but(net, *only)
    learnt = [p for p in net.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(learnt, lr=settings["rate"], weight_decay=0.0 if only else 1e-4)
    step, steps, spent = 0, settings["steps"], 0.0
    checkpoint = run / f"{part}.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        (
            net.load_state_dict(state["net"]),
            mean.load_state_dict(state["mean"]),
            optimiser.load_state_dict(state["optimiser"]),
        )
        step, spent = state["step"], state["spent"]
    sums: dict[str, list[float]] = {}
    began = time.monotonic()
    log = (run / f"{part}.jsonl").open("a")
    while step < steps and spent + time.monotonic() - began < 60 * minutes:
        # The rate falls over the steps or over the time allowed, whichever runs out first.
        done = max(step / steps, (spent + time.monotonic() - began) / (60 * minutes))
        rise, fall = min(1.0, (step + 1) / 200), 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
        for group in optimiser.param_groups:
            group["lr"] = settings["rate"] * rise * max(fall, 0.005)
        net.train(not only)
        loss, numbers = task.loss(net, task.batch())
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
        step += 1
        decay = min(0.998, step / (step + 10))
        with torch.no_grad():
            for a, b in zip(mean.state_dict().values(), net.state_dict().values(), strict=True):
                a.lerp_(b, 1 - decay) if a.is_floating_point() else a.copy_(b)
        for k, v in {"loss": float(loss.detach()), **numbers}.items():
            sums.setdefault(k, []).append(v)
        if step % 50 == 0:
            log.write(
                json.dumps(
                    {
                        "step": step,
                        **{k: round(float(np.mean(v)), 5) for k, v in sums.items()},
                        "minutes": round((time.monotonic() - began) / 60, 2),
                    }
                )
                + "\n"
            )
            log.flush()
            sums = {}
        if step % settings["save_every"] == 0 or step == steps or spent + time.monotonic() - began >= 60 * minutes:
            figures = held.score(mean.eval())
            log.write(json.dumps({"step": step, "held_out": figures}) + "\n")
            log.flush()
            partial = checkpoint.with_suffix(".partial")
            torch.save(
                {
                    "net": net.state_dict(),
                    "mean": mean.state_dict(),
                    "optimiser": optimiser.state_dict(),
                    "step": step,
                    "spent": spent + time.monotonic() - began,
                },
                partial,
            )
            partial.replace(checkpoint)
            save_network(
                mean, run / f"{part}.safetensors", mean.dims, f"step {step} of {steps}; held out: {json.dumps(figures)}"
            )
    click.echo(f"{part}: step {step} of {steps}")


if __name__ == "__main__":
    main()
