"""Training of a refiner of mouth or eyes (models.refiner): what `reenact train --config configs/refiner.yaml` does.

The discriminator's share is set by gradients: it pulls on the pictures with a fixed share of the force of all other
losses, as in Esser et al. 2021 (VQGAN), but measured at the pictures.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fewshot_reenact.errors import InputError, ModelError, UsageError
from fewshot_reenact.files import partial_file
from fewshot_reenact.models.checkpoint import load_model
from fewshot_reenact.models.dimensions import ModelDimensions, RefinerDimensions
from fewshot_reenact.models.losses import feature_matching, hinge_discriminator, hinge_generator
from fewshot_reenact.models.perceptual import FeatureNet, relative_l1
from fewshot_reenact.models.reenactor import Reenactor
from fewshot_reenact.models.refiner import Refiner
from fewshot_reenact.rendering.flow import to_signed
from fewshot_reenact.training.averaging import average
from fewshot_reenact.training.checkpoints import newest_checkpoint
from fewshot_reenact.training.refiner.config import RefinerConfig
from fewshot_reenact.training.refiner.critic import PatchCritic
from fewshot_reenact.training.refiner.data import pack
from fewshot_reenact.training.stage import Stop, learning_rate, run_stage

NAMES = ("made", "source", "source_raster", "driver_raster", "truth")
_FIXED = (
    *("part", "clips", "held_out", "model", "go_on", "frame_step", "faces", "open_mouths", "judged", "chunk", "seed"),
    *("batch", "down_channels", "up_channels", "network", "skip_heads"),
)
_RISE, _LEAST = 100, 0.02  # steps in which the rate rises; the share of it that is left at the end


def train_refiner(config: RefinerConfig, folder: Path, max_minutes: float | None = None) -> int:
    """Pack what is to be learnt from, then train, or go on training, in `folder`. Returns the step reached.

    Raises what check_refiner does; UsageError, ModelError, Preempted as run_stage does.
    """
    model, packs = check_refiner(config), folder / "packs"
    return run_stage(
        lambda stop: _prepare(config, model, packs, stop),
        lambda: RefinerStage(config, model, packs),
        config,
        _FIXED,
        folder,
        max_minutes,
    )


def check_refiner(config: RefinerConfig) -> Reenactor:
    """Look for what training needs before anything that takes long. Returns the model whose faces are refined.

    Raises InputError: no clips; ModelError: a network is missing, or the model cannot be refined; UsageError: go_on,
    and the model has no refiner of this part.
    """
    for clips in (config.clips, config.held_out):
        if not clips.is_dir():
            raise InputError(f"{clips}: there is no such folder of clips")
    model = load_model(config.model)
    name = config.model or "the built-in model"
    FeatureNet(config.network, config.skip_heads)
    own = RefinerDimensions(config.part, tuple(config.down_channels), tuple(config.up_channels))
    try:
        refiner = Refiner(dataclasses.replace(model.dims, refiners=(own,)), own)
    except ValueError as error:
        raise ModelError(f"{name}: cannot have this refiner ({error})") from error
    if config.go_on:
        begin_with(refiner, model)
    return model


def begin_with(refiner: Refiner, model: Reenactor) -> None:
    """Give it the weights of the model's own refiner of this part. Raises UsageError: it has none; ModelError: that has
    other dimensions.
    """
    for known in model.refiners:
        if isinstance(known, Refiner) and known.part == refiner.part:
            try:
                refiner.load_state_dict(known.state_dict())
            except RuntimeError as error:
                raise ModelError(
                    f"go_on: the model's refiner of the {refiner.part} has other channels than the config's"
                ) from error
            return
    raise UsageError(f"go_on: the model has no refiner of the {refiner.part}; say go_on: false")


def _prepare(config: RefinerConfig, model: Reenactor, packs: Path, stop: Stop) -> bool:
    """Pack what is learnt from, and what is held out. False when it was stopped before."""
    how: dict[str, Any] = {"frame_step": config.frame_step, "chunk": config.chunk, "stop": stop}
    return (
        pack(model, config.clips, packs / "faces", config.faces, **how)
        and (
            not config.open_mouths
            or pack(model, config.clips, packs / "open", config.open_mouths, open_mouths=True, **how)
        )
        and pack(model, config.held_out, packs / "held_out", config.judged, open_mouths=True, **how)
    )


class Packs:
    """The episodes of folders of chunks, of one part. rows(numbers) -> pictures by name and `embedding`."""

    def __init__(self, folders: list[Path], part: str):
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
                raise InputError(f"{folder}: holds no packs; delete the folder, and they are made again")
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
        """Pictures (B, 3, h, w) in -1..1 by name, and `embedding` (B, N), of these episodes."""
        order = np.sort(numbers)
        found = {name: to_signed(torch.from_numpy(self.arrays[name][order]).permute(0, 3, 1, 2)) for name in NAMES}
        return found | {"embedding": torch.from_numpy(self.arrays["embedding"][order]).float()}


class RefinerStage:
    """A refiner, its averaged weights and its discriminator, with their optimisers; see training.stage.Stage."""

    def __init__(self, config: RefinerConfig, model: Reenactor, packs: Path):
        torch.manual_seed(config.seed)
        self.config, self.step, self.spent = config, 0, 0.0
        dims: ModelDimensions = model.dims
        self.own = RefinerDimensions(config.part, tuple(config.down_channels), tuple(config.up_channels))
        order = torch.channels_last
        self.refiner, self.averaged = (Refiner(dims, self.own).to(memory_format=order) for _ in range(2))  # type: ignore[call-overload]
        if config.go_on:
            begin_with(self.refiner, model)
        self.averaged.load_state_dict(self.refiner.state_dict())
        self.critic = PatchCritic(config.adversarial.wide).to(memory_format=order)  # type: ignore[call-overload]
        self.features = FeatureNet(config.network, config.skip_heads)
        self.optimiser = torch.optim.Adam(self.refiner.parameters(), config.rate, (0.5, 0.99))
        self.critic_optimiser = torch.optim.Adam(self.critic.parameters(), config.adversarial.rate, (0.0, 0.99))
        learnt = ["faces", "open"] if config.open_mouths else ["faces"]
        self.packs = Packs([packs / name for name in learnt], config.part)
        self.held = Packs([packs / "held_out"], config.part)

    @property
    def signature(self) -> str:
        """The refiner's dimensions."""
        return json.dumps(dataclasses.asdict(self.own))

    def learn(self) -> dict[str, float]:
        """One step: the refiner's, and once it counts the discriminator's."""
        config, adversarial = self.config, self.config.adversarial
        rng = np.random.default_rng([config.seed, self.step])
        x = self.packs.rows(self.packs.draw(rng, config.batch))
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(config, self.step, self.spent, rise=_RISE, least=_LEAST)
        made = refined(self.refiner, x)
        shown = made.detach().requires_grad_()
        parts = {"l1": (shown - x["truth"]).abs().mean() / 2}
        parts["perceptual"] = relative_l1(self.features, shown / 2 + 0.5, x["truth"] / 2 + 0.5)
        wish = config.l1 * parts["l1"] + config.perceptual * parts["perceptual"]
        (pull,) = torch.autograd.grad(wish, shown)
        if self.step >= adversarial.start:
            parts["discriminator"] = self._learn_to_tell(x, made.detach())
        if self.step >= adversarial.start + adversarial.alone:
            self.critic.requires_grad_(False)
            scores, seen = self.critic(shown, x["driver_raster"])
            with torch.no_grad():
                _, real = self.critic(x["truth"], x["driver_raster"])
            parts["adversarial"] = hinge_generator(scores)
            against = parts["adversarial"] + adversarial.feature_matching * feature_matching(seen, real)
            (push,) = torch.autograd.grad(against, shown)
            self.critic.requires_grad_(True)
            pull = pull + push * (adversarial.share * pull.norm() / push.norm().clamp(min=1e-12))
        self.optimiser.zero_grad(set_to_none=True)
        made.backward(pull)  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.refiner.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        average(self.averaged, self.refiner, self.step, config.ema)
        return {name: float(value.detach()) for name, value in parts.items()}

    def _learn_to_tell(self, x: dict[str, Tensor], made: Tensor) -> Tensor:
        scores, _ = self.critic(torch.cat([x["truth"], made]), x["driver_raster"].repeat(2, 1, 1, 1))
        loss = hinge_discriminator(*scores.chunk(2))
        self.critic_optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.critic_optimiser.step()
        return loss

    @torch.inference_mode()
    def score(self) -> dict[str, float]:
        """Of the averaged weights, against what they were given: change in percent of L1, perceptual distance, and of
        edge strength against the truth's (-100: no edges, 0: as sharp).
        """
        held, sums = self.held, np.zeros((2, 3))
        truths = 0.0
        for at in range(0, len(held), 20):
            x = held.rows(np.arange(at, min(at + 20, len(held))))
            truth = x["truth"]
            truths += _edges(truth)
            for row, face in enumerate((x["made"], refined(self.averaged, x).clamp(-1, 1))):
                distance = relative_l1(self.features, face / 2 + 0.5, truth / 2 + 0.5)
                sums[row] += [float((face - truth).abs().mean()), float(distance), _edges(face)]
        change = 100 * (sums[1] / sums[0] - 1)
        return {
            "l1": round(change[0], 2),
            "perceptual": round(change[1], 2),
            "edges_before": round(100 * (sums[0, 2] / truths - 1), 1),
            "edges": round(100 * (sums[1, 2] / truths - 1), 1),
        }

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {name: getattr(self, name).state_dict() for name in _KEPT}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over a checkpoint."""
        for name in _KEPT:
            getattr(self, name).load_state_dict(state[name])
        self.step, self.spent = int(state["step"]), float(state["spent"])

    def export(self, folder: Path, figures: dict[str, float]) -> None:
        """Nothing but the figures: `join` takes the averaged weights from the checkpoint."""
        with partial_file(folder / "held_out.json", overwrite=True) as partial:
            partial.write_text(json.dumps({"step": self.step, **figures}) + "\n")


_KEPT = ("refiner", "averaged", "critic", "optimiser", "critic_optimiser")


def refined(refiner: Refiner, x: dict[str, Tensor]) -> Tensor:
    """The refined part, (B, 3, h, w)."""
    return x["made"] + refiner(x["made"], x["source"], x["source_raster"], x["driver_raster"], x["embedding"])


def _edges(pictures: Tensor) -> float:
    return float((pictures[..., 1:] - pictures[..., :-1]).square().mean().sqrt())


def join(base: Reenactor, runs: list[Path], strength: float = 1.0) -> tuple[Reenactor, str]:
    """A model with the refiners of these runs in place of any that it had, and a word on how long each learnt.

    strength: how much of their change counts, 0..1. Raises ModelError: a run without a checkpoint.
    """
    states = [_finished(run) for run in runs]
    refiners = tuple(_dimensions(state, strength) for state in states)
    model = Reenactor(dataclasses.replace(base.dims, refiners=refiners))
    tensors = {name: value for name, value in base.state_dict().items() if not name.startswith("refiners.")}
    for at, state in enumerate(states):
        tensors |= {f"refiners.{at}.{name}": value for name, value in state["averaged"].items()}
    model.load_state_dict(tensors)
    return model, ", ".join(f"{own.part} {state['step']} steps" for own, state in zip(refiners, states, strict=True))


def _finished(run: Path) -> dict[str, Any]:
    state = newest_checkpoint(run, torch.device("cpu"), None)
    if state is None:
        raise ModelError(f"{run}: there is no checkpoint of a refiner in this folder")
    return state


def _dimensions(state: dict[str, Any], strength: float) -> RefinerDimensions:
    own = json.loads(state["dimensions"])
    return RefinerDimensions(own["part"], tuple(own["down_channels"]), tuple(own["up_channels"]), strength=strength)
