"""The adversary: D and the rows of W, what they learn from, and what they add to the generator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fewshot_reenact.models.discriminator import Discriminator, Rows
from fewshot_reenact.models.losses import (
    LossWeights,
    feature_matching,
    hinge_discriminator,
    hinge_generator,
    match_loss,
    mouth_of,
)
from fewshot_reenact.training.distributed import World
from fewshot_reenact.training.faults import Faults, load_optimiser, make_adam, move

if TYPE_CHECKING:
    from fewshot_reenact.training.config import AdversarialConfig


@dataclass(frozen=True)
class DiscriminatorBatch:
    """What D judges: real and made (B, 3, S, S), landmark pictures of the poses (B, 3, S, S), numbers (B,) of the
    videos.
    """

    real: Tensor
    made: Tensor
    pose: Tensor
    clip: Tensor | None

    def of(self, region: str) -> DiscriminatorBatch:
        """What D is to look at: the face as it is, or its mouth at the same size."""
        if region == "face":
            return self
        real, made, pose = (shown(pictures, region) for pictures in (self.real, self.made, self.pose))
        return DiscriminatorBatch(real, made, pose, self.clip)


def shown(pictures: Tensor, region: str) -> Tensor:
    """Pictures (B, 3, S, S) as a discriminator of that region sees them, the same size."""
    return pictures if region == "face" else mouth_of(pictures, 2.0)


class Adversary(nn.Module):
    """D, W and their optimisers."""

    def __init__(self, config: AdversarialConfig, videos: int, order: torch.memory_format):
        super().__init__()
        self.config = config
        self.network = Discriminator(config.dimensions(), config.region).to(memory_format=order)  # type: ignore[call-overload]
        self.rows = Rows(videos, self.network.dims.embedding) if config.rows else None

    def make_optimisers(self) -> None:
        """After the move to a device, which makes new parameters of a sparse embedding on some."""
        rate, betas, eps = self.config.rate, self.config.betas, self.config.eps
        self.optimiser = make_adam(self.network, rate, betas, eps)
        # W as its own: moments of the rows of a batch only, see Rows.
        self.row_optimiser = (
            torch.optim.SparseAdam(self.rows.parameters(), lr=rate, betas=betas, eps=eps) if self.rows else None
        )

    def scores(self, pictures: Tensor, pose: Tensor, clip: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """Scores and features of pictures (B, 3, S, S) with their pose and, where there are rows, their video."""
        rows = self.rows(clip) if self.rows is not None and clip is not None else None
        return self.network(pictures, pose, rows)

    def generator_loss(
        self, given: DiscriminatorBatch, embeddings: Tensor, weights: LossWeights
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The generator's adversarial loss: the sum to minimise, and its parts. D itself is not moved by it.

        embeddings: (B, K, N) of the portraits; their mean is held to the video's row (equation 6).
        """
        self.requires_grad_(False)
        scores, made = self.scores(given.made, given.pose, given.clip)
        with torch.no_grad():
            _, real = self.scores(given.real, given.pose, given.clip)
        self.requires_grad_(True)
        parts = {"adversarial": hinge_generator(scores), "feature_matching": feature_matching(made, real)}
        total = weights.adversarial * parts["adversarial"] + weights.feature_matching * parts["feature_matching"]
        if weights.match and self.rows is not None and given.clip is not None:
            parts["match"] = match_loss(embeddings.mean(1), self.rows.weight[given.clip])
            total = total + weights.match * parts["match"]
        return total, {name: value.detach() for name, value in parts.items()}

    def learn(self, given: DiscriminatorBatch) -> Tensor:
        """D's hinge loss, its gradients put in place. real and made are one batch: once through the networks."""
        self.optimiser.zero_grad(set_to_none=True)
        if self.row_optimiser is not None:
            self.row_optimiser.zero_grad(set_to_none=True)
        both = torch.cat([given.real, given.made.detach()])
        rows = self.rows(given.clip) if self.rows is not None and given.clip is not None else None
        scores, _ = self.network(both, given.pose.repeat(2, 1, 1, 1), rows if rows is None else rows.repeat(2, 1))
        real, made = scores.float().chunk(2)
        loss = hinge_discriminator(real, made)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def share(self, world: World) -> None:
        """Average the gradients over the processes."""
        world.average_gradients(self.network.parameters())
        if self.rows is not None:
            world.average_rows(self.rows.weight)

    def move(self, share_of_rate: float, faults: Faults) -> None:
        """One update, at this share of the configured rate, or none once there is a fault."""
        for optimiser in filter(None, (self.optimiser, self.row_optimiser)):
            move(optimiser, self.config.rate * share_of_rate, faults)

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs; W's optimiser too."""
        rows = self.row_optimiser.state_dict() if self.row_optimiser else None
        return {"networks": self.state_dict(), "optimiser": self.optimiser.state_dict(), "row_optimiser": rows}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave."""
        self.load_state_dict(state["networks"])
        load_optimiser(self.optimiser, state["optimiser"])
        if self.row_optimiser is not None:
            self.row_optimiser.load_state_dict(state["row_optimiser"])
