"""A refiner and the discriminator that it learns against: one run's networks and optimisers, and one step of it.

The discriminator's share is set by gradients: it pulls on the pictures with a fixed share of the force of all other
losses, as in Esser et al. 2021 (VQGAN), but measured at the pictures.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fewshot_reenact.errors import ModelError, UsageError
from fewshot_reenact.models.checkpoint import take_over
from fewshot_reenact.models.dimensions import RefinerDimensions
from fewshot_reenact.models.losses import feature_matching, hinge_discriminator, hinge_generator
from fewshot_reenact.models.perceptual import FeatureNet, relative_l1
from fewshot_reenact.models.refiner import Refiner
from fewshot_reenact.rendering.registration import Registration
from fewshot_reenact.training.averaging import average
from fewshot_reenact.training.compiling import begin_step, compile_networks
from fewshot_reenact.training.distributed import World
from fewshot_reenact.training.faults import KINDS, Diverged, Faults, StepNumbers, load_optimiser, make_adam, move
from fewshot_reenact.training.presets import refiner_dimensions
from fewshot_reenact.training.refiner.critic import PatchCritic
from fewshot_reenact.training.refiner.episodes import part_rows
from fewshot_reenact.training.resident import flow
from fewshot_reenact.training.schedule import learning_rate

if TYPE_CHECKING:
    from fewshot_reenact.models.reenactor import Reenactor
    from fewshot_reenact.training.refiner.config import RefinerConfig

RISE, LEAST = 100, 0.02  # steps in which the rate rises; the share of it that is left at the end
_KEPT = ("refiner", "averaged", "critic")
_OPTIMISERS = ("optimiser", "critic_optimiser")


class RefinerLearner:
    """step: updates done. spent: seconds of training in all calls. rate: the learning rate of a step; may be replaced.
    register: who measures dense motion where faces are made on the fly.

    model: whose faces are refined; it stands still. Raises ModelError, UsageError: see `begin_with`.
    """

    def __init__(
        self, config: RefinerConfig, model: Reenactor, device: torch.device, register: Registration = flow.register
    ) -> None:
        torch.manual_seed(config.seed)
        self.config, self.device, self.step, self.spent = config, device, 0, 0.0
        self.own = refiner_dimensions(config)
        order: Any = {"memory_format": torch.channels_last}
        self.refiner, self.averaged = (Refiner(model.dims, self.own).to(device).to(**order) for _ in range(2))
        if config.go_on:
            begin_with(self.refiner, self.own, model)
        self.averaged.load_state_dict(self.refiner.state_dict())
        self.averaged.requires_grad_(False).eval()
        self.critic = PatchCritic(config.adversarial.wide).to(device).to(**order)
        self.features = FeatureNet(config.network, config.skip_heads).to(device)
        self.model, self.register = model.to(device), register
        self.optimiser = make_adam(self.refiner, config.rate, (0.5, 0.99))
        self.critic_optimiser = make_adam(self.critic, config.adversarial.rate, (0.0, 0.99))
        self.compile(config.compile)
        self.faults, self._numbers = Faults(device, World()), StepNumbers()
        self.rate: Callable[[int], float] = lambda step: learning_rate(config, step, self.spent, rise=RISE, least=LEAST)

    def compile(self, how: bool | str) -> None:
        """Compile the networks as training.compiling says; may come late, between two steps."""
        self._compiled = how
        networks = (self.model.embedder, self.model.generator, self.refiner.generator, self.critic, self.features)
        compile_networks(networks, how, self.device)

    @property
    def signature(self) -> str:
        """The refiner's dimensions: what must be the same for a checkpoint to fit."""
        return json.dumps(dataclasses.asdict(self.own))

    def rows(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """What is learnt from of a batch: packed rows as they are; of episodes the model's faces, made now."""
        if "made" in batch:
            return {name: value.to(self.device) for name, value in batch.items()}
        return part_rows(self.model, batch, self.own.part, self.register, self.config.amp)

    def advance(self, batch: dict[str, Tensor]) -> None:
        """One step: the refiner's, and once it counts the discriminator's. Nothing is waited for; `read` tells how it
        went. batch: see `rows`.
        """
        config, adversarial = self.config, self.config.adversarial
        begin_step(self._compiled, self.device)
        x = self.rows(batch)
        with self._autocast():
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
            with self._autocast():
                scores, seen = self.critic(shown, x["driver_raster"])
                with torch.no_grad():
                    _, real = self.critic(x["truth"], x["driver_raster"])
                parts["adversarial"] = hinge_generator(scores.float())
                against = parts["adversarial"] + adversarial.feature_matching * feature_matching(seen, real)
            (push,) = torch.autograd.grad(against, shown)
            self.critic.requires_grad_(True)
            pull = pull + push * (adversarial.share * pull.norm() / push.norm().clamp(min=1e-12))
        self.optimiser.zero_grad(set_to_none=True)
        made.backward(pull)  # type: ignore[no-untyped-call]
        self.faults.note(self.step, 0, wish)
        self.faults.note(self.step, 1, torch.nn.utils.clip_grad_norm_(self.refiner.parameters(), 1.0))
        rate = self.rate(self.step)
        move(self.optimiser, rate, self.faults)
        self.step += 1
        average(self.averaged, self.refiner, self.step, config.ema, hold=self.faults.found)
        self._numbers.add(list(parts), torch.stack([value.detach().float() for value in parts.values()]), {})

    def _learn_to_tell(self, x: dict[str, Tensor], made: Tensor) -> Tensor:
        with self._autocast():
            scores, _ = self.critic(torch.cat([x["truth"], made]), x["driver_raster"].repeat(2, 1, 1, 1))
            loss = hinge_discriminator(*scores.float().chunk(2))
        self.critic_optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.faults.note(self.step, 2, loss)
        norm = torch.nn.utils.clip_grad_norm_(self.critic.parameters(), float("inf"))
        self.faults.note(self.step, 3, norm)
        move(self.critic_optimiser, self.config.adversarial.rate, self.faults)
        return loss

    def read(self) -> list[dict[str, float]]:
        """The numbers of the steps since the last call, for the log. Waits for the device.

        Raises Diverged when a loss or its gradient was not finite in one of them. The refiner did not change from that
        step on, and `step` is set back to it.
        """
        rows, fault = self._numbers.take(), self.faults.read()
        if fault is not None:
            self.faults.clear()
            self.step, kind, value = fault
            raise Diverged(
                f"{KINDS[kind]} is {value} at step {self.step} (batches of {self.config.batch}, seed "
                f"{self.config.seed}); the refiner has not changed since. Lower rate and go on from the last checkpoint"
            )
        return rows

    @torch.no_grad()
    def score(self, held: Iterable[dict[str, Tensor]]) -> dict[str, float]:
        """Of the averaged weights, against what they were given: change in percent of L1, perceptual distance, and of
        edge strength against the truth's (-100: no edges, 0: as sharp). held: batches of people not learnt from.
        """
        sums = torch.zeros(2, 3, device=self.device)
        truths = torch.zeros((), device=self.device)
        for batch in held:
            x = self.rows(batch)
            truth = x["truth"]
            truths += _edges(truth)
            for row, face in enumerate((x["made"], refined(self.averaged, x).clamp(-1, 1))):
                distance = relative_l1(self.features, face / 2 + 0.5, truth / 2 + 0.5)
                sums[row] += torch.stack([(face - truth).abs().mean(), distance, _edges(face)])
        found, all_edges = sums.double().cpu(), float(truths)
        change = 100 * (found[1] / found[0] - 1)
        return {
            "l1": round(float(change[0]), 2),
            "perceptual": round(float(change[1]), 2),
            "edges_before": round(100 * (float(found[0, 2]) / all_edges - 1), 1),
            "edges": round(100 * (float(found[1, 2]) / all_edges - 1), 1),
        }

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs."""
        kept = {name: getattr(self, name).state_dict() for name in (*_KEPT, *_OPTIMISERS)}
        return {**kept, "step": self.step, "spent": self.spent, "dimensions": self.signature}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave."""
        for name in _KEPT:
            getattr(self, name).load_state_dict(state[name])
        for name in _OPTIMISERS:
            load_optimiser(getattr(self, name), state[name])
        self.step, self.spent = int(state["step"]), float(state["spent"])

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.amp)


def refined(refiner: Refiner, x: dict[str, Tensor]) -> Tensor:
    """The refined part, (B, 3, h, w)."""
    seen = (x["made"], x["source"], x["source_raster"], x["driver_raster"], x["embedding"])
    return x["made"] + refiner(*seen, x["hidden"] / 2 + 0.5)


def _edges(pictures: Tensor) -> Tensor:
    return (pictures[..., 1:] - pictures[..., :-1]).square().mean().sqrt()


def begin_with(refiner: Refiner, own: RefinerDimensions, model: Reenactor) -> None:
    """Give a refiner of these dimensions the weights of the model's own of this part; where that is not told what the
    portrait hides and this one is, what is new starts at zero. Raises UsageError: it has none; ModelError: that has
    other dimensions.
    """
    for known, dims in zip(model.refiners, model.dims.refiners, strict=True):
        if dims.part == refiner.part:
            if dataclasses.replace(dims, visible=own.visible or dims.visible, strength=own.strength) != own:
                raise ModelError(
                    f"go_on: the model's refiner of the {refiner.part} has other channels than the config's"
                )
            take_over(refiner, known.state_dict())
            return
    raise UsageError(f"go_on: the model has no refiner of the {refiner.part}; say go_on: false")
