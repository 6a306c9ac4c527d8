"""One run's networks and optimisers, and one step of it: E and G, and D when there is one."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from fewshot_reenact.errors import ModelError, ReenactError
from fewshot_reenact.models.checkpoint import load_model, save_model
from fewshot_reenact.models.discriminator import save_discriminator
from fewshot_reenact.models.losses import shift_loss
from fewshot_reenact.models.reenactor import Reenactor
from fewshot_reenact.rendering.registration import register
from fewshot_reenact.training.adversary import Adversary, DiscriminatorBatch
from fewshot_reenact.training.averaging import average
from fewshot_reenact.training.batch import make_faces, make_inputs
from fewshot_reenact.training.checkpoints import newest_checkpoint, random_state, restore_random_state, write_checkpoint
from fewshot_reenact.training.config import OptimiserConfig, TrainConfig
from fewshot_reenact.training.content_loss import Content
from fewshot_reenact.training.distributed import World
from fewshot_reenact.training.log import Log


class Diverged(ReenactError):
    """The loss is no longer a number."""


def learning_rate(step: int, total: int, config: OptimiserConfig) -> float:
    """Linear rise over `warmup` steps, then linear fall to `final` of the rate at the last step."""
    rise = min(1.0, (step + 1) / max(config.warmup, 1))
    left = max(0.0, 1 - step / total)
    return config.rate * rise * (config.final + (1 - config.final) * left)


class Trainer:
    """State of one run: networks, averaged networks, discriminator, optimisers, step. `run` trains; `save` and `resume`
    do what they say.

    videos: how many training videos there are, each a row of W.
    """

    def __init__(
        self, config: TrainConfig, folder: Path, device: torch.device, videos: int = 0, world: World | None = None
    ):
        self.config, self.folder, self.device, self.world = config, folder, device, world or World()
        torch.manual_seed(config.seed)
        order = torch.channels_last if config.channels_last else torch.contiguous_format
        self.model = Reenactor(config.dimensions()).to(device).to(memory_format=order)  # type: ignore[call-overload]
        self.averaged = Reenactor(config.dimensions()).to(device).to(memory_format=order)  # type: ignore[call-overload]
        self.averaged.load_state_dict(self.model.state_dict())
        self.averaged.requires_grad_(False).eval()
        settings = config.optimiser
        self.optimiser = torch.optim.Adam(
            self.model.parameters(), lr=settings.rate, betas=settings.betas, eps=settings.eps
        )
        self.weights = config.weights()
        self.content = Content(config.loss, self.weights).to(device)
        self.adversary: Adversary | None = None
        if config.adversarial is not None:
            self.adversary = Adversary(config.adversarial, videos, order).to(device)
            self.adversary.make_optimisers()
        if config.compile:
            for network in (self.model.embedder, self.model.generator, self.adversary and self.adversary.network):
                if network is not None:
                    network.compile()
        self.step = 0
        self.log = Log(folder, config.tensorboard and self.world.leads)

    # ---- state ----------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write checkpoint, averaged weights and D atomically; only in the process that leads."""
        if not self.world.leads:
            return
        state = {
            "step": self.step,
            "dimensions": self.model.dims.to_json(),
            "model": self.model.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "adversary": self.adversary.state() if self.adversary else None,
            "random": random_state(),
            "sums": self.log.sums,
        }
        write_checkpoint(self.folder, state, self.config.keep)
        save_model(self.averaged, self.folder / "model.safetensors", note=f"step {self.step}")
        if self.adversary is not None:
            save_discriminator(self.adversary.network, self.folder / "discriminator.safetensors")

    def begin_from(self, path: Path) -> None:
        """Begin with a model's weights instead of random ones. Raises ModelError: missing, other dimensions.

        A model that corrects colours alone may begin one that corrects the flow too: the shift starts at zero. Refiners
        are left out: they belong to what the networks made before.
        """
        given = load_model(path)
        if replace(given.dims, flow=self.model.dims.flow, refiners=()) != self.model.dims or (
            given.dims.flow and not self.model.dims.flow
        ):
            raise ModelError(f"{path}: has other model dimensions than the config's; take them over or leave out init")
        state = given.state_dict()
        for model in (self.model, self.averaged):
            for name, own in model.state_dict().items():
                own.zero_()[: len(state[name])].copy_(state[name]) if own.ndim else own.copy_(state[name])

    def resume(self) -> bool:
        """Go on from the newest checkpoint that can be read. False when there is none at all. Raises ModelError."""
        state = newest_checkpoint(self.folder, self.device, self.model.dims.to_json())
        if state is None:
            return False
        self.model.load_state_dict(state["model"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.adversary is not None:
            self.adversary.restore(state["adversary"])
        if "random" in state:
            restore_random_state(state["random"])
        self.step = int(state["step"])
        self.log.sums = dict(state.get("sums", {}))
        if self.world.leads:
            self.log.trim(self.step)
        return True

    # ---- one step -------------------------------------------------------------------------------------------------

    def train_step(self, batch: dict[str, Tensor]) -> dict[str, float]:
        """One update of E and G and, while the adversary is on, one or more of D. Returns the numbers for the log.

        Raises Diverged, with nothing changed, when a loss or its gradient is not finite.
        """
        adversary = self.adversary if self.adversary and self.step >= self.adversary.config.start else None
        x = make_inputs(batch, self.model.dims.size, self.device)
        with self._autocast():
            b, k = x.portraits.shape[:2]
            each = self.model.embedder(x.portraits.flatten(0, 1), x.rasters.flatten(0, 1)).view(b, k, -1)
            face, correction = make_faces(self.model, x, each.mean(1))
            loss, parts = self.content(face, x.truth, x.points)
            if correction is not None and correction.shift is not None and self.config.loss.shift:
                seen = register(x.faces.warped, x.truth)
                parts["shift"] = shift_loss(correction.shift, seen, x.points, self.weights)
                loss = loss + self.config.loss.shift * parts["shift"]
            if adversary is not None:
                given = DiscriminatorBatch(x.truth, face, x.faces.driver_raster, x.clip).of(adversary.config.region)
                more, said = adversary.generator_loss(given, each, self.weights)
                loss, parts = loss + more, parts | said
        loss = self._finite("loss", loss)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.world.average_gradients(self.model.parameters())
        limit = self.config.optimiser.clip or float("inf")
        parts["gradient"] = self._finite("norm of the gradient", _clip(self.model, limit))
        floor = self.content.floor(x.faces.warped, x.truth, x.points)
        parts |= {"loss": loss.detach(), "floor": floor}
        rate = learning_rate(self.step, self.config.steps, self.config.optimiser)
        for update in range(adversary.config.updates if adversary is not None else 0):
            assert adversary is not None
            with self._autocast():
                parts["discriminator"] = self._finite("loss of the discriminator", adversary.learn(given))
            adversary.share(self.world)
            self._finite("norm of the discriminator's gradient", _clip(adversary.network, float("inf")))
            if update == 0:
                self._move(rate)  # only now, when both sides are known to be finite
            adversary.move(rate / self.config.optimiser.rate)
        if adversary is None:
            self._move(rate)
        self.step += 1
        average(self.averaged, self.model, self.step, self.config.optimiser.ema)
        means = self.world.mean(torch.stack([value.detach().float() for value in parts.values()])).tolist()
        numbers = dict(zip(parts, means, strict=True)) | {"rate": rate}
        numbers["l1_over_warp"] = numbers["l1"] / max(numbers.pop("floor"), 1e-9)
        return numbers

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.amp)

    def _move(self, rate: float) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.step()

    def _finite(self, what: str, value: Tensor) -> Tensor:
        """The value; Diverged in all processes if it is not finite in one."""
        if self.world.any(not bool(torch.isfinite(value)), self.device):
            first, batch = self.step * self.config.batch, self.config.batch
            raise Diverged(
                f"{what} is {value.item()} at step {self.step} (episodes {first} to {first + batch - 1} of seed "
                f"{self.config.seed}); it changed nothing. Lower optimiser.rate and go on from the last "
                f"checkpoint in {self.folder / 'checkpoints'}, or, had the weights grown before it was saved, from an "
                "earlier one"
            )
        return value

    # ---- the loop -------------------------------------------------------------------------------------------------

    def run(self, batches: Iterator[dict[str, Tensor]], stop: Callable[[], bool]) -> None:
        """Train until the config's steps are done or `stop` says so, logging and saving on the way."""
        leads, config = self.world.leads, self.config
        bar = tqdm(
            total=config.steps, initial=self.step, unit="step", dynamic_ncols=True, mininterval=5, disable=not leads
        )
        with bar:
            while self.step < config.steps and not self.world.any(stop(), self.device):
                batch = next(batches)
                numbers = self.train_step(batch)
                bar.update()
                if leads:
                    self.log.add(numbers)
                if leads and self.step % config.log_every == 0:
                    means = self.log.write(self.step)
                    bar.set_postfix(loss=means["loss"], over_warp=means["l1_over_warp"])
                if leads and self.step % config.picture_every == 0:
                    self.write_pictures(batch)
                if self.step % config.save_every == 0:
                    self.save()
        self.save()
        self.log.close()

    @torch.no_grad()
    def write_pictures(self, batch: dict[str, Tensor]) -> None:
        """A grid in pictures/: portrait, driver's landmarks, warp (for the paper's model nothing), output, truth."""
        x = make_inputs(batch, self.model.dims.size, self.device)
        free = [x.faces.warped] if x.flow is not None else []
        face, _ = make_faces(self.averaged, x)
        self.log.picture(self.step, [x.faces.source, x.faces.driver_raster, *free, face, x.truth])


def _clip(network: torch.nn.Module, limit: float) -> Tensor:
    """Scale the gradient down to the limit, if it is longer. Returns its norm before that."""
    return torch.nn.utils.clip_grad_norm_(network.parameters(), limit)
