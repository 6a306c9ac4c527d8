"""Which item an engine tries next, when some fail: again after a pause, without what ended its worker, or no more."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from fewshot_reenact.errors import ReenactError

Item = TypeVar("Item")
TRIES = 3  # of an item as it is
FIRST_PAUSE = 1.0  # seconds, doubled at each further try of the same item
BUDGET, BUDGET_SHARE = 20, 0.05  # failed tries in all: so many, or this share of the items where that is more


class WorkerDied(ReenactError):
    """A worker process ended without a word: killed, out of memory, or a decoder that crashed."""


@dataclass
class Try(Generic[Item]):
    """An item that is to be tried. failures: of it as it is. due: time.monotonic() before which it waits."""

    item: Item
    failures: int = 0
    due: float = 0.0


class RetryQueue(Generic[Item]):
    """Items to do. It is true while any are left; those in hand are not its own.

    without: the item without what ended its worker, or None where that is not known.
    """

    def __init__(self, items: Sequence[Item], without: Callable[[Item], Item | None]) -> None:
        self._waiting = [Try(item) for item in reversed(items)]
        self._without = without
        self._total, self._failures = len(items), 0
        self._budget = max(BUDGET, int(BUDGET_SHARE * len(items)))
        self._given_up: list[tuple[Item, str]] = []

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def take(self) -> Try[Item] | None:
        """The next one that is due; None when all that are left wait."""
        now = time.monotonic()
        at = next((at for at in reversed(range(len(self._waiting))) if self._waiting[at].due <= now), None)
        return None if at is None else self._waiting.pop(at)

    def pause(self) -> float | None:
        """Seconds until one is due; None when none is left."""
        if not self._waiting:
            return None
        return max(0.01, min(one.due for one in self._waiting) - time.monotonic())

    def failed(self, one: Try[Item], reason: str, *, died: bool) -> None:
        """died: the worker, not only the task. Raises WorkerDied when the budget is spent."""
        reason = (reason.strip().splitlines() or ["no reason given"])[0][:200]
        one.failures += 1
        self._failures += 1
        if self._failures > self._budget:
            raise WorkerDied(
                f"{self._failures} tries failed, more than the {self._budget} that {self._total} shards may cost; "
                f"the last: {reason}. What is done is kept: look at the cluster, then run the same command again"
            )
        if one.failures < TRIES:
            one.due = time.monotonic() + FIRST_PAUSE * 2 ** (one.failures - 1)
            self._waiting.insert(0, one)
            return
        smaller = self._without(one.item) if died else None
        if smaller is None:
            self._given_up.append((one.item, reason))
        else:
            self._waiting.insert(0, Try(smaller))

    def tell_given_up(self) -> None:
        """Raises WorkerDied with a list of the items that were given up, if there are any."""
        if not self._given_up:
            return
        names = ", ".join(str(getattr(item, "number", item)) for item, _ in self._given_up[:20])
        more = f" and {len(self._given_up) - 20} more" if len(self._given_up) > 20 else ""
        raise WorkerDied(
            f"{len(self._given_up)} of {self._total} shards were given up after {TRIES} tries each: {names}{more}; the "
            f"last: {self._given_up[-1][1]}. The others are done and kept: run the same command again for these"
        )
