#!/usr/bin/env python3
"""Train a refiner of mouth or eyes (models.refiner) on packs made by training/refiner/data.py.

    python -m fewshot_reenact.training.refiner.train mouth --data run/parts --data run/parts_open \\
      --held-out run/parts_val --run run/mouth
    python -m fewshot_reenact.training.refiner.train join run/meta/model.safetensors run/mouth run/eyes -o \\
      model.safetensors

The discriminator's share is set by gradients: it pulls on the pictures with a fixed share of the force of all other
losses, as in Esser et al. 2021 (VQGAN), but measured at the pictures. Stopped, a run goes on from its last checkpoint.
"""

import dataclasses
import json
import math
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
import torch.nn.functional as F
import yaml
from torch import Tensor, nn

from fewshot_reenact.files import partial_file
from fewshot_reenact.geometry.face_frame import PARTS
from fewshot_reenact.models.checkpoint import load_model, save_model
from fewshot_reenact.models.dimensions import ModelDimensions, RefinerDimensions
from fewshot_reenact.models.losses import feature_matching, hinge_discriminator, hinge_generator
from fewshot_reenact.models.perceptual import FeatureNet, relative_l1
from fewshot_reenact.models.reenactor import Reenactor
from fewshot_reenact.models.refiner import Refiner
from fewshot_reenact.rendering.flow import to_signed

NAMES = ("made", "source", "source_raster", "driver_raster", "truth")
LOG_EVERY, SAVE_EVERY = 100, 500


class Packs:
    """The episodes of folders of chunks, of one part. rows(numbers) -> pictures by name and `embedding`."""

    def __init__(self, folders: tuple[Path, ...], part: str):
        parts: dict[str, list[np.ndarray]] = {}
        self.starts = [0]  # of each folder's episodes, and the end
        for folder in folders:
            for path in sorted(folder.glob("*.npz")):
                with np.load(path, allow_pickle=False) as chunk:
                    for name in NAMES:
                        parts.setdefault(name, []).append(chunk[f"{part}_{name}"])
                    parts.setdefault("embedding", []).append(chunk["embedding"])
            self.starts.append(sum(map(len, parts.get("embedding", []))))
            if self.starts[-1] == self.starts[-2]:
                raise click.UsageError(f"{folder}: no packs; training/refiner/data.py makes them")
        self.arrays = {}
        for name in list(parts):  # one at a time: they are large
            self.arrays[name] = np.concatenate(parts.pop(name))

    def __len__(self) -> int:
        return len(self.arrays["embedding"])

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Numbers of episodes, as many from each folder."""
        folder = np.arange(count) % (len(self.starts) - 1)
        return rng.integers(np.take(self.starts, folder), np.take(self.starts, folder + 1))

    def rows(self, numbers: np.ndarray) -> dict[str, Tensor]:
        order = np.sort(numbers)
        found = {name: to_signed(torch.from_numpy(self.arrays[name][order]).permute(0, 3, 1, 2)) for name in NAMES}
        return found | {"embedding": torch.from_numpy(self.arrays["embedding"][order]).float()}


class PatchCritic(nn.Module):
    """A discriminator of patches (Isola et al. 2017) that also sees the picture without its low frequencies: what a
    refiner is asked for is detail, and there it shows at once. With the paper's layout, without norms, hundreds of
    steps pass before blurred mouths are told from sharp ones.
    """

    def __init__(self, wide: int):
        super().__init__()
        a, b, c = wide, 2 * wide, 4 * wide
        self.blocks = nn.ModuleList(
            [
                nn.Conv2d(9, a, 4, 2, 1),
                nn.Sequential(nn.Conv2d(a, b, 4, 2, 1), nn.InstanceNorm2d(b, affine=True)),
                nn.Sequential(nn.Conv2d(b, c, 3, 1, 1), nn.InstanceNorm2d(c, affine=True)),
            ]
        )
        self.score = nn.Conv2d(c, 1, 3, 1, 1)

    def forward(self, pictures: Tensor, landmarks: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(B, 3, h, w) each, -1..1 -> scores (B, 1, h / 4, w / 4), larger for real, and the features on the way."""
        low = F.avg_pool2d(F.pad(pictures, (2,) * 4, "reflect"), 5, 1)
        x = torch.cat([pictures, 3 * (pictures - low), landmarks], 1)
        features = []
        for block in self.blocks:
            x = F.leaky_relu(block(x), 0.2)
            features.append(x)
        return self.score(x), features


class Training:
    """A refiner, its averaged weights and its discriminator, with their optimisers."""

    def __init__(self, part: str, dims: ModelDimensions, settings: dict[str, Any]):
        self.settings = settings
        own = RefinerDimensions(part, tuple(settings["down_channels"]), tuple(settings["up_channels"]))
        self.dims = dataclasses.asdict(own)
        order = torch.channels_last
        self.refiner, self.averaged = (Refiner(dims, own).to(memory_format=order) for _ in range(2))  # type: ignore[call-overload]
        self.averaged.load_state_dict(self.refiner.state_dict())
        game = settings["adversarial"]
        self.judge = PatchCritic(game["wide"]).to(memory_format=order)  # type: ignore[call-overload]
        self.net = FeatureNet(settings["network"], settings["skip_heads"])
        self.optimiser = torch.optim.Adam(self.refiner.parameters(), settings["rate"], (0.5, 0.99))
        self.judge_optimiser = torch.optim.Adam(self.judge.parameters(), game["rate"], (0.0, 0.99))
        self.step, self.spent = 0, 0.0

    def begin_with(self, model: Reenactor) -> None:
        """The model's own refiner of this part in place of random weights. Raises click.UsageError: it has none."""
        for refiner in model.refiners:
            if isinstance(refiner, Refiner) and refiner.part == self.refiner.part:
                self.refiner.load_state_dict(refiner.state_dict())
                self.averaged.load_state_dict(refiner.state_dict())
                return
        raise click.UsageError(f"--go-on: the model has no refiner of the {self.refiner.part}")

    def rate(self, minutes: float) -> None:
        """The rate falls over the steps or over the time allowed, whichever runs out first."""
        done = min(1.0, max(self.step / self.settings["steps"], self.spent / (60 * minutes)))
        share = min(1.0, (self.step + 1) / 100) * max(0.5 + 0.5 * math.cos(math.pi * done), 0.02)
        for group in self.optimiser.param_groups:
            group["lr"] = self.settings["rate"] * share

    def learn(self, x: dict[str, Tensor]) -> dict[str, float]:
        """One step on a batch: the refiner's, and once it counts the discriminator's."""
        made = make(self.refiner, x)
        shown = made.detach().requires_grad_()
        parts = {"l1": (shown - x["truth"]).abs().mean() / 2}
        parts["perceptual"] = relative_l1(self.net, shown / 2 + 0.5, x["truth"] / 2 + 0.5)
        wish = self.settings["l1"] * parts["l1"] + self.settings["perceptual"] * parts["perceptual"]
        (pull,) = torch.autograd.grad(wish, shown)
        game = self.settings["adversarial"]
        if self.step >= game["start"]:
            parts["judge"] = self._judge(x, made.detach())
        if self.step >= game["start"] + game["alone"]:
            self.judge.requires_grad_(False)
            scores, seen = self.judge(shown, x["driver_raster"])
            with torch.no_grad():
                _, real = self.judge(x["truth"], x["driver_raster"])
            parts["fooled"] = hinge_generator(scores)
            against = parts["fooled"] + game["feature_matching"] * feature_matching(seen, real)
            (push,) = torch.autograd.grad(against, shown)
            self.judge.requires_grad_(True)
            pull = pull + push * (game["share"] * pull.norm() / push.norm().clamp(min=1e-12))
        self.optimiser.zero_grad(set_to_none=True)
        made.backward(pull)
        torch.nn.utils.clip_grad_norm_(self.refiner.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        decay = min(0.998, self.step / (self.step + 10))
        with torch.no_grad():
            for a, b in zip(self.averaged.parameters(), self.refiner.parameters(), strict=True):
                a.lerp_(b, 1 - decay)
        return {name: float(value.detach()) for name, value in parts.items()}

    def _judge(self, x: dict[str, Tensor], made: Tensor) -> Tensor:
        scores, _ = self.judge(torch.cat([x["truth"], made]), x["driver_raster"].repeat(2, 1, 1, 1))
        loss = hinge_discriminator(*scores.chunk(2))
        self.judge_optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.judge_optimiser.step()
        return loss

    @torch.inference_mode()
    def score(self, held: Packs) -> dict[str, float]:
        """Of the averaged weights, against what they were given: change in percent of L1, perceptual distance, and of
        edge strength against the truth's (-100: no edges, 0: as sharp).
        """
        sums = np.zeros((2, 3))
        truths = 0.0
        for at in range(0, len(held), 20):
            x = held.rows(np.arange(at, min(at + 20, len(held))))
            truth = x["truth"]
            truths += _edges(truth)
            for row, face in enumerate((x["made"], make(self.averaged, x).clamp(-1, 1))):
                distance = relative_l1(self.net, face / 2 + 0.5, truth / 2 + 0.5)
                sums[row] += [float((face - truth).abs().mean()), float(distance), _edges(face)]
        change = 100 * (sums[1] / sums[0] - 1)
        return {
            "l1": round(change[0], 2),
            "perceptual": round(change[1], 2),
            "edges_before": round(100 * (sums[0, 2] / truths - 1), 1),
            "edges": round(100 * (sums[1, 2] / truths - 1), 1),
        }

    def state(self) -> dict[str, Any]:
        kept = ("refiner", "averaged", "judge", "optimiser", "judge_optimiser")
        return {name: getattr(self, name).state_dict() for name in kept} | {
            "dims": self.dims,
            "step": self.step,
            "spent": self.spent,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.dims, self.step, self.spent = (state.pop(name) for name in ("dims", "step", "spent"))
        for name, tensors in state.items():
            getattr(self, name).load_state_dict(tensors)


def make(refiner: Refiner, x: dict[str, Tensor]) -> Tensor:
    """The refined part, (B, 3, h, w)."""
    return x["made"] + refiner(x["made"], x["source"], x["source_raster"], x["driver_raster"], x["embedding"])


def _edges(pictures: Tensor) -> float:
    return float((pictures[..., 1:] - pictures[..., :-1]).square().mean().sqrt())


@click.group()
def main() -> None:
    pass


def _command(part: str) -> click.Command:
    @click.command(part, help=f"Train the refiner of the {part}.")
    @click.option("--data", type=click.Path(exists=True, path_type=Path), required=True, multiple=True)
    @click.option("--held-out", type=click.Path(exists=True, path_type=Path), required=True)
    @click.option("--run", type=click.Path(path_type=Path), required=True)
    @click.option("--config", type=click.Path(exists=True, path_type=Path), default=Path("configs/parts.yaml"))
    @click.option("--model", type=click.Path(exists=True, path_type=Path), help="Default: the built-in one.")
    @click.option("--go-on", is_flag=True, help="Begin with the refiner that the model has.")
    @click.option("--minutes", type=float, default=600.0, help="Training time in all, over all calls.")
    @click.option("--threads", type=int, default=1, show_default=True)
    def train(
        data: tuple[Path, ...],
        held_out: Path,
        run: Path,
        config: Path,
        model: Path | None,
        go_on: bool,
        minutes: float,
        threads: int,
    ) -> None:
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        settings = yaml.safe_load(config.read_text())[part]
        networks = load_model(model)
        training = Training(part, networks.dims, settings)
        if go_on:
            training.begin_with(networks)
        packs, held = Packs(data, part), Packs((held_out,), part)
        run.mkdir(parents=True, exist_ok=True)
        checkpoint = run / "state.pt"
        if checkpoint.exists():
            training.restore(torch.load(checkpoint, weights_only=True))
        click.echo(f"{len(packs)} episodes, {len(held)} held out; step {training.step}")
        sums: dict[str, list[float]] = {}
        while training.step < settings["steps"] and training.spent < 60 * minutes:
            began = time.monotonic()
            rng = np.random.default_rng([0, training.step])
            training.rate(minutes)
            for name, value in training.learn(packs.rows(packs.draw(rng, settings["batch"]))).items():
                sums.setdefault(name, []).append(value)
            training.spent += time.monotonic() - began
            row: dict[str, Any] = {}
            if training.step % LOG_EVERY == 0:
                row = {name: round(float(np.mean(values)), 4) for name, values in sums.items()}
                sums = {}
            last = training.step == settings["steps"] or training.spent >= 60 * minutes
            if training.step % SAVE_EVERY == 0 or last:
                row["held_out"] = training.score(held)
                with partial_file(checkpoint, overwrite=True) as partial:
                    torch.save(training.state(), partial)
            if row:
                row = {"step": training.step, "minutes": round(training.spent / 60, 1), **row}
                with (run / "metrics.jsonl").open("a") as log:
                    log.write(json.dumps(row) + "\n")

    return train


for _part in PARTS:
    main.add_command(_command(_part))


def joined(base: Reenactor, runs: tuple[Path, ...], strength: float) -> tuple[Reenactor, str]:
    """A model with the refiners of these runs in place of any that it had, and a word on how long each learnt."""
    states = [torch.load(run / "state.pt", weights_only=True) for run in runs]
    refiners = tuple(RefinerDimensions(**state["dims"] | {"strength": strength}) for state in states)
    model = Reenactor(dataclasses.replace(base.dims, refiners=refiners))
    tensors = {name: value for name, value in base.state_dict().items() if not name.startswith("refiners.")}
    for at, state in enumerate(states):
        tensors |= {f"refiners.{at}.{name}": value for name, value in state["averaged"].items()}
    model.load_state_dict(tensors)
    return model, ", ".join(f"{own.part} {state['step']} steps" for own, state in zip(refiners, states, strict=True))


@main.command()
@click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("runs", type=click.Path(exists=True, file_okay=False, path_type=Path), nargs=-1, required=True)
@click.option("-o", "output", type=click.Path(path_type=Path), required=True)
@click.option("--strength", type=click.FloatRange(0, 1), default=1.0, help="How much of their change counts.")
def join(model: Path, runs: tuple[Path, ...], output: Path, strength: float) -> None:
    """MODEL with the refiners of these runs, in place of any that it had."""
    networks, note = joined(load_model(model), runs, strength)
    save_model(networks, output, note=f"{model.name}, refined: {note}")
    click.echo(f"{output}: {note}")


if __name__ == "__main__":
    main()
