"""Learning rates over the steps. Apart from the loops, because a run on a machine with few packages needs these too."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fewshot_reenact.training.config import OptimiserConfig, StageConfig

_ANNEAL = 0.3  # share of a slot in which the rate falls


def learning_rate(config: StageConfig, step: int, spent: float, *, rise: int, least: float) -> float:
    """The rate rises over `rise` steps and falls by a cosine, to the share `least`, over the steps or over the minutes
    allowed, whichever runs out first. spent: seconds of training so far.
    """
    done = step / config.steps
    if config.minutes is not None:
        done = max(done, spent / (60 * config.minutes))
    fall = 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
    return config.rate * min(1.0, (step + 1) / rise) * max(fall, least)


def slot_share(step: int, left: float, *, rise: int, final: float) -> float:
    """The share of the rate in a slot: it rises over the first `rise` steps, stays, and falls to `final` during the
    last 30 %. step: since the slot began. left: share of the slot that is to come, 0..1.
    """
    fall = min(1.0, max(0.0, left) / _ANNEAL)
    return min(1.0, (step + 1) / max(rise, 1)) * (final + (1 - final) * fall)


def slot_rate(optimiser: OptimiserConfig, step: int, left: float) -> float:
    """The rate that `slot_share` gives with these settings."""
    return optimiser.rate * slot_share(step, left, rise=optimiser.warmup, final=optimiser.final)
