"""One run's networks and optimisers, and one step of it: E and G, and D when there is one."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fewshot_reenact.errors import ModelError
from fewshot_reenact.models.checkpoint import load_model, save_model, take_over
from fewshot_reenact.models.discriminator import DISCRIMINATOR, save_discriminator
from fewshot_reenact.models.losses import shift_loss
from fewshot_reenact.models.reenactor import Reenactor
from fewshot_reenact.rendering.registration import Registration, register
from fewshot_reenact.training.adversary import Adversary, DiscriminatorBatch
from fewshot_reenact.training.averaging import average
from fewshot_reenact.training.batch import make_faces, make_inputs
from fewshot_reenact.training.checkpoints import newest_checkpoint, random_state, restore_random_state, write_checkpoint
from fewshot_reenact.training.compiling import begin_step, compile_networks
from fewshot_reenact.training.content_loss import Content
from fewshot_reenact.training.distributed import World
from fewshot_reenact.training.examining import Examiner
from fewshot_reenact.training.faults import KINDS, LATE, Diverged, Faults, StepNumbers, load_optimiser, make_adam, move
from fewshot_reenact.training.log import Log

if TYPE_CHECKING:
    from fewshot_reenact.training.config import OptimiserConfig, TrainConfig


def learning_rate(step: int, total: int, config: OptimiserConfig) -> float:
    """Linear rise over `warmup` steps, then linear fall to `final` of the rate at the last step."""
    rise = min(1.0, (step + 1) / max(config.warmup, 1))
    left = max(0.0, 1 - step / total)
    return config.rate * rise * (config.final + (1 - config.final) * left)


class Trainer:
    """State of one run: networks, averaged networks, discriminator, optimisers, step. `run` trains; `save` and `resume`
    do what they say.

    rate: the learning rate of a step; may be replaced. videos: how many training videos there are, each a row of W.
    registration: who sees the flow that the model is to correct. examiner: who judges D; None: it always counts.
    """

    def __init__(
        self,
        config: TrainConfig,
        folder: Path,
        device: torch.device,
        videos: int = 0,
        world: World | None = None,
        registration: Registration = register,
    ):
        self.config, self.folder, self.device, self.world = config, folder, device, world or World()
        torch.manual_seed(config.seed)
        order = torch.channels_last if config.channels_last else torch.contiguous_format
        self.model = Reenactor(config.dimensions()).to(device).to(memory_format=order)  # type: ignore[call-overload]
        self.averaged = Reenactor(config.dimensions()).to(device).to(memory_format=order)  # type: ignore[call-overload]
        self.averaged.load_state_dict(self.model.state_dict())
        self.averaged.requires_grad_(False).eval()
        settings = config.optimiser
        self.optimiser = make_adam(self.model, settings.rate, settings.betas, settings.eps)
        self.registration = registration
        self.faults = Faults(device, self.world)
        self._numbers = StepNumbers()
        self.weights = config.weights()
        self.content = Content(config.loss, self.weights).to(device)
        self.adversary: Adversary | None = None
        if config.adversarial is not None:
            self.adversary = Adversary(config.adversarial, videos, order).to(device)
            self.adversary.make_optimisers()
        self.examiner: Examiner | None = None
        self.compile(config.compile)
        self.step = 0
        self.rate: Callable[[int], float] = lambda step: learning_rate(step, config.steps, settings)
        self.log = Log(folder, config.tensorboard and self.world.leads)

    def compile(self, how: bool | str) -> None:
        """Compile the networks as training.compiling says; may come late, between two steps."""
        self._compiled = how
        networks: list[Any] = [self.model.embedder, self.model.generator, self.content.relative]
        networks += [self.adversary and self.adversary.network, *self.content.networks.values()]
        compile_networks(networks, how, self.device)

    # ---- state ----------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write checkpoint, averaged weights and D atomically; only in the process that leads."""
        if not self.world.leads:
            return
        write_checkpoint(self.folder, self.state(), self.config.keep)
        save_model(self.averaged, self.folder / "model.safetensors", note=f"step {self.step}", losses=self.weights)
        if self.adversary is not None:
            save_discriminator(self.adversary.network, self.folder / DISCRIMINATOR)

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs."""
        return {
            "step": self.step,
            "dimensions": self.model.dims.to_json(),
            "model": self.model.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "adversary": self.adversary.state() if self.adversary else None,
            "told": self.examiner and self.examiner.told,
            "random": random_state(),
            "sums": self.log.sums,
        }

    def begin_from(self, path: Path) -> None:
        """Begin with a model's weights instead of random ones. Raises ModelError: missing, other dimensions.

        A model that corrects colours alone may begin one that corrects the flow too, and one that is not told what the
        portrait hides one that is: what is new starts at zero. Refiners are left out: they belong to what the networks
        made before.
        """
        given = load_model(path)
        dims = self.model.dims
        flow, visible = dims.flow or given.dims.flow, dims.visible or given.dims.visible
        if replace(given.dims, refiners=(), flow=flow, visible=visible) != dims:
            raise ModelError(f"{path}: has other model dimensions than the config's; take them over or leave out init")
        state = given.state_dict()
        for model in (self.model, self.averaged):
            take_over(model, state)

    def resume(self) -> bool:
        """Go on from the newest checkpoint that can be read. False when there is none at all. Raises ModelError."""
        state = newest_checkpoint(self.folder, self.device, self.model.dims.to_json())
        if state is not None:
            self.restore(state)
        if self.world.leads:
            self.log.trim(self.step)  # also where a run was killed before its first checkpoint
        return state is not None

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave."""
        self.model.load_state_dict(state["model"])
        self.averaged.load_state_dict(state["averaged"])
        load_optimiser(self.optimiser, state["optimiser"])
        if self.adversary is not None and state["adversary"] is not None:
            self.adversary.restore(state["adversary"])
        if "random" in state:
            restore_random_state(state["random"])
        if self.examiner is not None and state.get("told") is not None:
            self.examiner.told = float(state["told"])
        self.step = int(state["step"])
        self.log.sums = dict(state.get("sums", {}))

    # ---- one step -------------------------------------------------------------------------------------------------

    def train_step(self, batch: dict[str, Tensor]) -> dict[str, float]:
        """One update, see `advance`, and its numbers for the log: waits for the device. Raises Diverged."""
        self.advance(batch)
        return self.read()[-1]

    def advance(self, batch: dict[str, Tensor]) -> None:
        """One update of E and G and, while the adversary is on, one or more of D. Nothing is waited for; `read` tells
        how it went.
        """
        if self.examiner is not None and self.adversary is not None:
            self.examiner.attend(self.step, self.model, self.adversary, self.world)
        begin_step(self._compiled, self.device)
        adversary = self.adversary if self.adversary and self.step >= self.adversary.config.start else None
        x = make_inputs(batch, self.model.dims.size, self.device, self.registration)
        with self._autocast():
            b, k = x.portraits.shape[:2]
            each = self.model.embedder(x.portraits.flatten(0, 1), x.rasters.flatten(0, 1)).view(b, k, -1)
            face, correction = make_faces(self.model, x, each.mean(1))
            loss, parts = self.content(face, x.truth, x.points)
            if correction is not None and correction.shift is not None and self.config.loss.shift:
                seen = self.registration(x.faces.warped, x.truth)
                parts["shift"] = shift_loss(correction.shift, seen, x.points, self.weights)
                loss = loss + self.config.loss.shift * parts["shift"]
            if adversary is not None:
                given = DiscriminatorBatch(x.truth, face, x.faces.driver_raster, x.clip).of(adversary.config.region)
                if self.examiner is None or self.examiner.convinced:
                    more, said = adversary.generator_loss(given, each, self.weights)
                    loss, parts = loss + more, parts | said
        self.faults.note(self.step, 0, loss)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.world.average_gradients(self.model.parameters())
        parts["gradient"] = _clip(self.model, self.config.optimiser.clip or float("inf"))
        self.faults.note(self.step, 1, parts["gradient"])
        parts |= {"loss": loss.detach(), "floor": self.content.floor(x.faces.warped, x.truth, x.points)}
        rate = self.rate(self.step)
        for update in range(adversary.config.updates if adversary is not None else 0):
            assert adversary is not None
            kind = LATE if update else 2
            with self._autocast():
                parts["discriminator"] = adversary.learn(given)
            self.faults.note(self.step, kind, parts["discriminator"])
            adversary.share(self.world)
            self.faults.note(self.step, kind + 1, _clip(adversary.network, float("inf")))
            if update == 0:
                move(self.optimiser, rate, self.faults)  # only now, when both sides are known to be finite
            adversary.move(rate / self.config.optimiser.rate, self.faults)
        if adversary is None:
            move(self.optimiser, rate, self.faults)
        self.step += 1
        average(self.averaged, self.model, self.step, self.config.optimiser.ema, hold=self.faults.found)
        values = self.world.mean(torch.stack([value.detach().float() for value in parts.values()]))
        told = {} if self.examiner is None else {"told": self.examiner.told}
        self._numbers.add(list(parts), values, {"rate": rate, **told})

    def read(self) -> list[dict[str, float]]:
        """The numbers of the steps since the last call, for the log. Waits for the device.

        Raises Diverged when a loss or its gradient was not finite in one of them. Nothing changed from that step on,
        and `step` is set back to it.
        """
        rows, fault = self._numbers.take(), self.faults.read()
        if fault is not None:
            self.faults.clear()
            self.step = fault[0]
            raise Diverged(self._explain(*fault))
        for numbers in rows:
            numbers["l1_over_warp"] = numbers["l1"] / max(numbers.pop("floor"), 1e-9)
        return rows

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.amp)

    def _explain(self, step: int, kind: int, value: float) -> str:
        first, batch = step * self.config.batch, self.config.batch
        changed = "E and G had moved, D had not" if kind >= LATE else "it changed nothing"
        return (
            f"{KINDS[kind]} is {value} at step {step} (episodes {first} to {first + batch - 1} of seed "
            f"{self.config.seed}); {changed}. Lower optimiser.rate and go on from the last "
            f"checkpoint in {self.folder / 'checkpoints'}, or, had the weights grown before it was saved, from an "
            "earlier one"
        )

    # ---- the loop -------------------------------------------------------------------------------------------------

    def run(self, batches: Iterator[dict[str, Tensor]], stop: Callable[[], bool]) -> None:
        """Train until the config's steps are done or `stop` says so, logging and saving on the way."""
        leads, config = self.world.leads, self.config
        with _progress(config.steps, self.step, leads) as advanced:
            while self.step < config.steps and not self.world.any(stop(), self.device):
                batch = next(batches)
                self.advance(batch)
                due = [self.step % every == 0 for every in (config.log_every, config.picture_every, config.save_every)]
                if any(due):
                    self._log_numbers()
                means = self.log.write(self.step) if leads and due[0] else None
                advanced(means)
                if leads and due[1]:
                    self.write_pictures(batch)
                if due[2]:
                    self.save()
        self._log_numbers()
        self.save()
        self.log.close()

    def _log_numbers(self) -> None:
        for numbers in self.read():
            if self.world.leads:
                self.log.add(numbers)

    @torch.no_grad()
    def write_pictures(self, batch: dict[str, Tensor]) -> None:
        """A grid in pictures/: portrait, driver's landmarks, warp (for the paper's model nothing), output, truth."""
        x = make_inputs(batch, self.model.dims.size, self.device, self.registration)
        free = [x.faces.warped] if x.view is not None else []
        face, _ = make_faces(self.averaged, x)
        self.log.picture(self.step, [x.faces.source, x.faces.driver_raster, *free, face, x.truth])


def _clip(network: torch.nn.Module, limit: float) -> Tensor:
    """Scale the gradient down to the limit, if it is longer. Returns its norm before that."""
    return torch.nn.utils.clip_grad_norm_(network.parameters(), limit)


@contextlib.contextmanager
def _progress(steps: int, done: int, shown: bool) -> Iterator[Callable[[dict[str, float] | None], None]]:
    """A bar; call what this yields after each step, with the means where a line was logged."""
    from tqdm import tqdm

    off = None if shown and sys.stderr is not None else True  # None: tqdm asks whether it is a terminal
    with tqdm(total=steps, initial=done, unit="step", dynamic_ncols=True, mininterval=5, disable=off) as bar:

        def advanced(means: dict[str, float] | None) -> None:
            bar.update()
            if means is not None:
                bar.set_postfix(loss=means["loss"], over_warp=means["l1_over_warp"])

        yield advanced
