"""Episodes of mouths that open: rare in talk (one frame in thirty opens by 0.4 of the mouth's width), and what goes
wrong most visibly. Numbers only, as in training.data.plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fewshot_reenact.errors import InputError
from fewshot_reenact.training.data.draws import Draws
from fewshot_reenact.training.data.plan import EpisodePlan, FrameTable, Planner

if TYPE_CHECKING:
    from fewshot_reenact.training.config import DataConfig

OPEN = 0.25  # gap of the lips over the mouth's width from which a mouth counts as open
_SHUT = 0.1  # the portrait's gap over which a frame is e times less likely to be the portrait
_LEAST_DROPPED, MOST_DROPPED, _OFTEN = 1.1, 1.7, 0.5
_UPPER_LIP = [61, 62, 63]  # its inner edge


class OpenMouths(Planner):
    """Targets whose mouth is open, the likelier the wider, and portraits whose mouth is shut. Half of the targets have
    everything below the upper lip stretched: jaws drop farther still.

    widest: how far each clip's mouth opens at most; only clips where it opens are drawn from. Raises InputError when it
    does in none.
    """

    def __init__(self, config: DataConfig, seed: int, people: Sequence[str], widest: Sequence[float]) -> None:
        among = np.flatnonzero(np.asarray(widest) > OPEN)
        if not len(among):
            raise InputError(f"none of {len(people)} clips shows a mouth that opens; add some, or say open_mouths: 0")
        super().__init__(config, seed, people, among)

    def plan(
        self, draws: Draws, clips: np.ndarray, table: FrameTable, first: np.ndarray, count: np.ndarray, side: int
    ) -> EpisodePlan:
        """See Planner. Two numbers that are drawn for rare targets say here whether a jaw is dropped, and how far."""
        plan = super().plan(draws, clips, table, first, count, side)
        far = _LEAST_DROPPED + (MOST_DROPPED - _LEAST_DROPPED) * draws["shut"]
        by = np.where(draws["rare"] < _OFTEN, far, 1.0)
        labels = plan.labels.copy()
        lip = labels[:, 0, _UPPER_LIP, 1].mean(1)
        labels[:, 0, :, 1] = lower(labels[:, 0, :, 1], lip[:, None], by[:, None])
        return replace(plan, labels=labels, drop=np.stack([lip, by], 1))

    def _portrait(self, draws: Draws, table: FrameTable, first: np.ndarray, count: np.ndarray) -> np.ndarray:
        shut = np.exp(-table.openness[:, 0].clip(0).astype(np.float64) / _SHUT)
        return _weighed(draws["portrait"], shut, first, count)

    def _target(
        self, draws: Draws, table: FrameTable, first: np.ndarray, count: np.ndarray, portrait: np.ndarray
    ) -> np.ndarray:
        del portrait
        opened = table.openness[:, 0].astype(np.float64)
        return _weighed(draws["target"], np.where(opened > OPEN, opened, 0) ** 2, first, count)


def widest_of(table: FrameTable, first: np.ndarray) -> np.ndarray:
    """How far the mouth opens at most in each clip, (C,). first: (C,), where each stands in the table."""
    return np.maximum.reduceat(table.openness[:, 0], first)


def lower(y: np.ndarray, lip: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Heights once everything below the lip is stretched downwards `by` times."""
    return np.where(y > lip, lip + (y - lip) * by, y)


def _weighed(uniform: np.ndarray, weights: np.ndarray, first: np.ndarray, count: np.ndarray) -> np.ndarray:
    """A frame of each episode's clip, (E,), as likely as it weighs. weights: of all frames."""
    sums = np.concatenate([[0.0], np.cumsum(weights)])
    begin, end = sums[first], sums[first + count]
    # The first frame whose own weight reaches the point that was drawn: frames that weigh nothing never do.
    at = np.searchsorted(sums, begin + uniform * (end - begin), side="right") - 1
    return np.minimum(at - first, count - 1)
