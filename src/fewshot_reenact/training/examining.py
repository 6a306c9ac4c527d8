"""Whether a discriminator may count: how well it tells filmed faces from made ones of people it does not learn from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from fewshot_reenact.rendering.registration import Registration, register
from fewshot_reenact.training.adversary import Adversary, DiscriminatorBatch
from fewshot_reenact.training.batch import make_faces, make_inputs
from fewshot_reenact.training.compiling import uncompiled
from fewshot_reenact.training.data.damage import Ledger, Skipping
from fewshot_reenact.training.resident.batches import ResidentEpisodes
from fewshot_reenact.training.resident.store import Store

if TYPE_CHECKING:
    from fewshot_reenact.models.reenactor import Reenactor
    from fewshot_reenact.training.config import TrainConfig
    from fewshot_reenact.training.data.clips import Clips
    from fewshot_reenact.training.data.episodes import Episodes
    from fewshot_reenact.training.distributed import World

EPISODES = 64  # an error of six points in a hundred where D tells three in four
_BATCH = 8


class Examiner:
    """Episodes of people kept out, always the same ones.

    A new person has no row in W, so D judges with the embedding in its place, as it does when it is fine-tuned (paper,
    section 3.4). One episode's two faces have the same pose, so what D compares is nothing but how they look.

    least: the share that D must tell to count for E and G; one that guesses would push them at random. every: steps
    from one judgement to the next. told: the share of the last one.
    """

    def __init__(
        self, batches: list[dict[str, Tensor]], least: float, every: int, registration: Registration = register
    ):
        self.batches, self.least, self.every, self.registration = batches, least, every, registration
        self.told = 0.5

    @property
    def convinced(self) -> bool:
        """Whether D is to be heeded until the next judgement."""
        return self.told >= self.least

    def attend(self, step: int, model: Reenactor, adversary: Adversary, world: World) -> None:
        """Examiner D where the step is due for it; all processes come to the same answer."""
        if step >= adversary.config.start and step % self.every == 0:
            share = torch.tensor([self.share(model, adversary)], device=model.feather.device)
            self.told = float(world.mean(share))

    @torch.no_grad()
    def share(self, model: Reenactor, adversary: Adversary) -> float:
        """The share of episodes, 0..1, in which D scores the filmed face above the one that `model` makes; 0.5: it
        guesses. The mode of both networks, training or not, is left as it was.
        """
        modes = [(network, network.training) for network in (model, adversary.network)]
        for network, _ in modes:
            network.eval()
        with uncompiled():
            told = torch.cat([self._told(batch, model, adversary) for batch in self.batches])
        for network, mode in modes:
            network.train(mode)
        return float(told.float().mean())

    def _told(self, batch: dict[str, Tensor], model: Reenactor, adversary: Adversary) -> Tensor:
        """Of each episode whether D tells, (B,) bool."""
        x = make_inputs(batch, model.dims.size, model.feather.device, self.registration)
        embedding = model.embed(x.portraits, x.rasters)
        face, _ = make_faces(model, x, embedding)
        given = DiscriminatorBatch(x.truth, face, x.faces.driver_raster, None).of(adversary.config.region)
        row = embedding if adversary.rows is not None else None
        real, made = (adversary.network(seen, given.pose, row)[0].mean(1) for seen in (given.real, given.made))
        return real > made


def resident_batches(store: Store, config: TrainConfig) -> list[dict[str, Tensor]]:
    """The examiner's episodes of clips that are on the device."""
    episodes = ResidentEpisodes(store, config.data, config.dimensions(), config.seed)
    return [episodes[np.arange(begin, begin + _BATCH)] for begin in range(0, EPISODES, _BATCH)]


def streamed_batches(
    clips: Clips, make: type[Episodes], config: TrainConfig, ledger: Ledger | None = None
) -> list[dict[str, Tensor]]:
    """The same of clips that are not. ledger: of damaged clips, which are then skipped as in training; None: the first
    one raises DamagedClip.
    """
    dims = config.dimensions()
    episodes: Dataset[dict[str, Any]] = make(clips, config.data, dims.size, dims.raster_style, config.seed, EPISODES)
    if ledger is None:
        return list(DataLoader(episodes, _BATCH, generator=torch.Generator()))
    batches = list(DataLoader(Skipping(episodes), _BATCH, generator=torch.Generator()))
    for batch in batches:
        ledger.heed(batch)
    return batches
