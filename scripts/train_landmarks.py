#!/usr/bin/env python3
"""Train the built-in landmark networks: the face detector and the 83-point network.

    scripts/train_landmarks.py points   --data ../shared/data --run run/landmarks --config configs/landmarks.yaml
    scripts/train_landmarks.py detector --data ../shared/data --run run/landmarks --config configs/landmarks.yaml

The first call packs the data. Each can be stopped and goes on from its last checkpoint. The averaged weights land in
the run folder; scripts/ship_landmarks.py puts them into the package.
"""

import json
import math
import time
from pathlib import Path

import click
import cv2
import numpy as np
import torch
import torch.nn.functional as F
import yaml
from torch import Tensor, nn

from fewshot_reenact.landmarks.align import CROP
from fewshot_reenact.landmarks.detector import SIZE_UNIT, STRIDE, DetectorNet, face_size
from fewshot_reenact.landmarks.network import PointNet, save_weights
from fewshot_reenact.landmarks.topology import LEFT_LIDS, LIP_PAIRS, RIGHT_LIDS
from landmark_data import Source, pack

GAPS = torch.tensor([*LIP_PAIRS, *LEFT_LIDS, *RIGHT_LIDS])


def to_tensor(pictures: list[np.ndarray]) -> Tensor:
    x = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return x.contiguous(memory_format=torch.channels_last)


# ---- points


def point_weights() -> Tensor:
    w = torch.ones(83)
    w[:17] = 0.5  # the teacher's jaw is loose
    w[36:48], w[48:68], w[81:83] = 2.0, 2.0, 2.0
    w[68:79] = 0.5
    return w / w.mean()


def wing(x: Tensor, width: float = 6.0, bend: float = 1.0) -> Tensor:
    """Wing loss (Feng et al. 2018): logarithmic for small errors, so that they keep mattering. x in crop pixels."""
    flat = width - width * float(np.log(1 + width / bend))
    return torch.where(x < width, width * torch.log1p(x / bend), x - flat)


def ballot(votes: Tensor, want: Tensor) -> Tensor:
    """Cross-entropy of the votes' weights against the four cells nearest to each point: so they gather soon.

    votes: (B, 83, cells), want: (B, 83, 2) in crop pixels -> (B, 83).
    """
    side = round(votes.shape[-1] ** 0.5)
    stride = CROP / side
    at = ((want - (stride - 1) / 2) / stride).clamp(0, side - 1.001)
    low = at.floor()
    part = at - low
    log = votes.log_softmax(-1)
    loss = torch.zeros(votes.shape[:2])
    for dy in (0, 1):
        for dx in (0, 1):
            share = (part[..., 0] if dx else 1 - part[..., 0]) * (part[..., 1] if dy else 1 - part[..., 1])
            cell = ((low[..., 1] + dy) * side + low[..., 0] + dx).long()
            loss = loss - share * log.gather(-1, cell[..., None])[..., 0]
    return loss


def points_batch(source: Source, size: int) -> dict[str, Tensor]:
    crops, points, real = zip(*(source.crop() for _ in range(size)), strict=True)
    return {"x": to_tensor(list(crops)), "points": torch.from_numpy(np.stack(points)), "real": torch.tensor(real)}


def points_loss(net: nn.Module, batch: dict[str, Tensor], weights: Tensor) -> tuple[Tensor, dict[str, float]]:
    got, sure, votes = net.look(batch["x"])  # type: ignore[operator]
    want, real = batch["points"], batch["real"].float()
    error = (got - want).norm(dim=-1)
    place = (wing(error) * weights).mean(1)
    gaps = (got[:, GAPS[:, 0]] - got[:, GAPS[:, 1]]) - (want[:, GAPS[:, 0]] - want[:, GAPS[:, 1]])
    shape = wing(gaps.norm(dim=-1)).mean(1)
    with torch.no_grad():
        nme = error.mean(1) / (want[:, 45] - want[:, 36]).norm(dim=-1)
        # Sure means: a face, with points nearer than an eighth of the eye distance in the mean.
        right = real * (nme < 0.12).float()
    doubt = F.binary_cross_entropy_with_logits(sure, right)
    n = real.sum().clamp(min=1)
    loss = ((place + 0.7 * shape + 1.5 * (ballot(votes, want) * weights).mean(1)) * real).sum() / n + 2.0 * doubt
    return loss, {"nme": float((nme * real).sum() / n), "doubt": float(doubt.detach())}


@torch.no_grad()
def points_score(net: nn.Module, source: Source) -> dict[str, float]:
    source.rng = np.random.default_rng(1)
    rows = []
    for _ in range(8):
        batch = points_batch(source, 64)
        got, sure = net(batch["x"])
        want, real = batch["points"], batch["real"]
        error = (got - want).norm(dim=-1) / (want[:, 45] - want[:, 36]).norm(dim=-1)[:, None]
        e = error[real]
        known = ((sure > 0) == real).float().mean()
        rows.append([e.mean(), e[:, 36:48].mean(), e[:, 48:68].mean(), e[:, 81:].mean(), known])
    return dict(zip(("all", "eyes", "mouth", "iris", "face_known"), np.mean(rows, 0).round(4).tolist(), strict=True))


# ---- detector

SCENE = 192


def detector_batch(source: Source, size: int) -> dict[str, Tensor]:
    scenes, faces = zip(*(source.scene(SCENE) for _ in range(size)), strict=True)
    cells = SCENE // STRIDE
    heat, values, owned = (
        np.zeros((size, cells, cells), np.float32),
        np.zeros((size, 7, cells, cells), np.float32),
        np.zeros((size, cells, cells), np.float32),
    )
    grid = np.stack(np.meshgrid(np.arange(cells), np.arange(cells)), -1) * STRIDE + (STRIDE - 1) / 2
    for b, threes in enumerate(faces):
        for three in threes:
            s, centre = float(face_size(three)), three.mean(0)
            if s < 7 or not (0 <= centre[0] < SCENE and 0 <= centre[1] < SCENE):
                continue
            spread = max(4.0, 0.12 * s)
            near = np.exp(-((grid - centre) ** 2).sum(-1) / (2 * spread**2)).astype(np.float32)
            y, x = np.unravel_index(np.argmax(near), near.shape)
            near /= near[y, x]
            heat[b] = np.maximum(heat[b], near)
            inside = near > 0.6
            owned[b][inside] = 1
            values[b, 0][inside] = np.log(s / SIZE_UNIT)
            for k in range(3):
                offset = (three[k] - grid[inside]) / s
                values[b, 1 + 2 * k][inside], values[b, 2 + 2 * k][inside] = offset[:, 0], offset[:, 1]
    return {
        "x": to_tensor(list(scenes)),
        "heat": torch.from_numpy(heat),
        "values": torch.from_numpy(values),
        "owned": torch.from_numpy(owned),
    }


def detector_loss(net: nn.Module, batch: dict[str, Tensor], _: Tensor) -> tuple[Tensor, dict[str, float]]:
    out = net(batch["x"])
    heat, owned = batch["heat"], batch["owned"]
    p = out[:, 0].sigmoid().clamp(1e-5, 1 - 1e-5)
    peak = heat > 0.999
    # CenterNet's focal loss: cells near a centre count less as negatives.
    focal = torch.where(peak, -((1 - p) ** 2) * p.log(), -((1 - heat) ** 4) * p**2 * (1 - p).log())
    n = peak.sum().clamp(min=1)
    m = owned.sum().clamp(min=1)
    size = ((out[:, 1] - batch["values"][:, 0]).abs() * owned).sum() / m
    where = ((out[:, 2:] - batch["values"][:, 1:]).abs().sum(1) * owned).sum() / m
    loss = focal.sum() / n + 0.5 * size + 2.0 * where
    hit = ((out[:, 0] > 0) & peak).sum() / n
    false = ((out[:, 0] > 0) & (heat < 0.1)).sum() / len(heat)
    return loss, {
        "focal": float((focal.sum() / n).detach()),
        "where": float(where.detach()),
        "hit": float(hit),
        "false": float(false),
    }


@torch.no_grad()
def detector_score(net: nn.Module, source: Source) -> dict[str, float]:
    source.rng = np.random.default_rng(1)
    rows = [detector_loss(net, detector_batch(source, 32), torch.empty(0))[1] for _ in range(6)]
    return {k: round(float(np.mean([r[k] for r in rows])), 4) for k in rows[0]}


# ---- the loop

PARTS = {
    "points": (PointNet, points_batch, points_loss, points_score),
    "detector": (DetectorNet, detector_batch, detector_loss, detector_score),
}


@click.command()
@click.argument("part", type=click.Choice(list(PARTS)))
@click.option("--data", type=click.Path(path_type=Path), default=Path("../shared/data"), show_default=True)
@click.option("--run", type=click.Path(path_type=Path), default=Path("run/landmarks"), show_default=True)
@click.option("--config", type=click.Path(path_type=Path), default=Path("configs/landmarks.yaml"), show_default=True)
@click.option("--minutes", type=float, default=600.0, show_default=True, help="Training time in all, over all calls.")
@click.option("--threads", type=int, default=1, show_default=True)
def main(part: str, data: Path, run: Path, config: Path, minutes: float, threads: int) -> None:
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    torch.manual_seed(0)
    settings = yaml.safe_load(config.read_text())[part]
    make, draw, loss_of, score = PARTS[part]
    pack(data, run / "packed")
    source, held = Source(run / "packed", True, int(time.time())), Source(run / "packed", False, 1)
    net, mean = make(), make()
    mean.load_state_dict(net.state_dict())
    for each in (net, mean):
        each.to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(net.parameters(), lr=settings["rate"], weight_decay=1e-4)
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
    weights, sums, began = point_weights(), {}, time.monotonic()
    log = (run / f"{part}.jsonl").open("a")
    while step < steps and spent + time.monotonic() - began < 60 * minutes:
        # The rate falls over the steps or over the time allowed, whichever runs out first.
        done = max(step / steps, (spent + time.monotonic() - began) / (60 * minutes))
        rise, fall = min(1.0, (step + 1) / 200), 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
        for group in optimiser.param_groups:
            group["lr"] = settings["rate"] * rise * max(fall, 0.005)
        net.train()
        loss, numbers = loss_of(net, draw(source, settings["batch"]), weights)
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
            figures = score(mean.eval(), held)
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
            save_weights(
                mean, run / f"{part}.safetensors", mean.dims, f"step {step} of {steps}; held out: {json.dumps(figures)}"
            )
    click.echo(f"{part}: step {step} of {steps}, crop {CROP}")


if __name__ == "__main__":
    main()
