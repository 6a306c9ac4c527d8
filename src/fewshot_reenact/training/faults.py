"""Losses and gradients that are no numbers, noticed without waiting for the device.

A flag on the device holds the first fault. Optimisers and averages heed it there: from the faulty step on they change
nothing, so whoever reads the flag some steps later finds everything as it was before that step.
"""

from typing import Any

import torch
from torch import Tensor, nn

from fewshot_reenact.errors import ReenactError
from fewshot_reenact.training.distributed import World

KINDS = (
    "loss",
    "norm of the gradient",
    "loss of the discriminator",
    "norm of the discriminator's gradient",
    "loss of the discriminator's second update",
    "norm of the gradient of the discriminator's second update",
)
LATE = 4  # from here on E and G have moved in the step already


class Diverged(ReenactError):
    """The loss is no longer a number."""

    exit_code = 4


class Faults:
    """The first fault of a run. found: 1.0 once there is one, else 0.0, on the device."""

    def __init__(self, device: torch.device, world: World) -> None:
        self.world = world
        self._first = torch.full((), -1, dtype=torch.int64, device=device)
        self._value = torch.zeros((), device=device)
        self.found = torch.zeros((), device=device)

    def note(self, step: int, kind: int, value: Tensor) -> None:
        """Look at a value of this step, in all processes at once."""
        value = value.detach().float()
        wrong = (~torch.isfinite(value)).float()
        if self.world.size > 1:
            wrong = self.world.mean(wrong)
        fresh = (wrong > 0) & (self.found == 0)
        self._first = torch.where(fresh, step * len(KINDS) + kind, self._first)
        self._value = torch.where(fresh, value, self._value)
        self.found = torch.where(fresh, 1.0, self.found)

    def read(self) -> tuple[int, int, float] | None:
        """Step, kind and value of the first fault; waits for the device."""
        first = int(self._first)
        return None if first < 0 else (*divmod(first, len(KINDS)), float(self._value))

    def clear(self) -> None:
        """Once it was read and told."""
        self._first.fill_(-1)
        self.found.zero_()


def make_adam(network: nn.Module, rate: float, betas: tuple[float, float], eps: float = 1e-8) -> torch.optim.Adam:
    """Adam that heeds a flag without reading it: fused, where the device has that."""
    parameters = list(network.parameters())
    fused = {p.device.type for p in parameters} <= {"cpu", "cuda"}
    return torch.optim.Adam(parameters, lr=rate, betas=tuple(betas), eps=eps, fused=fused or None)  # type: ignore[arg-type]


def move(optimiser: torch.optim.Optimizer, rate: float, faults: Faults) -> None:
    """One update at this rate, or none once there is a fault."""
    for group in optimiser.param_groups:
        group["lr"] = rate
    if optimiser.defaults.get("fused"):
        optimiser.grad_scale, optimiser.found_inf = None, faults.found  # type: ignore[attr-defined]
        optimiser.step()
    elif not bool(faults.found):
        optimiser.step()


def load_optimiser(optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Take over a state, from whatever device and kind of Adam it came."""
    kinds = ("fused", "foreach")
    groups = [
        {**given, **{name: own[name] for name in kinds if name in own}}
        for given, own in zip(state["param_groups"], optimiser.param_groups, strict=True)
    ]
    optimiser.load_state_dict({**state, "param_groups": groups})
    for parameter, kept in optimiser.state.items():
        for name, value in kept.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                kept[name] = torch.empty_like(parameter).copy_(value)  # in the same order in memory


class StepNumbers:
    """StepNumbers of steps that nobody has asked the device for yet."""

    def __init__(self) -> None:
        self._unread: list[tuple[list[str], Tensor, dict[str, float]]] = []

    def add(self, names: list[str], values: Tensor, known: dict[str, float]) -> None:
        """Of one step: what the device has, (len(names),), and what is known here."""
        self._unread.append((names, values, known))

    def take(self) -> list[dict[str, float]]:
        """Those of the steps since the last call, in one copy: waits for the device."""
        unread, self._unread = self._unread, []
        every = torch.cat([values for _, values, _ in unread]).tolist() if unread else []
        rows = []
        for names, _, known in unread:
            rows.append(dict(zip(names, every, strict=False)) | known)
            every = every[len(names) :]
        return rows
