"""What `reenact evaluate` compares: ways of making pictures of a person out of T portraits and the poses wanted.

This is the place for further ones: the command line, the table and the sheet take the names from METHODS.
"""

from collections.abc import Callable, Iterable
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from fewshot_reenact.evaluation.protocol import EvaluationTask, Method
from fewshot_reenact.inputs.portrait import Portrait
from fewshot_reenact.models.reenactor import Reenactor
from fewshot_reenact.models.teachers import Teachers
from fewshot_reenact.motion.retarget import find_reference
from fewshot_reenact.pipelines.finetune import fit
from fewshot_reenact.rendering.renderer import open_renderer
from fewshot_reenact.training.tuner import Settings, usual_steps


def copy(task: EvaluationTask) -> Iterable[np.ndarray]:
    """The portrait itself, unmoved; of several the one nearest in pose and expression."""
    own = np.stack([portrait.points for portrait in task.portraits])
    return (task.portraits[find_reference(own, wanted)].picture for wanted in task.moves)


def _rendered(model: Reenactor, device: torch.device, *, warp_only: bool = False, dense: bool = True) -> Method:
    """The renderer without networks (warp_only), without the driver's dense motion, or with both."""

    def render(task: EvaluationTask) -> Iterable[np.ndarray]:
        shifts = task.dense if dense else None
        return _pictures(model, list(task.portraits), task.moves, device, dense=shifts, warp_only=warp_only)

    return render


def _finetuned(model: Reenactor, device: torch.device, teachers: Teachers) -> Method:
    """The networks fitted to each person by what `reenact finetune` does with the task's portraits."""

    def render(task: EvaluationTask) -> Iterable[np.ndarray]:
        steps = usual_steps(len(task.portraits), model.dims)
        person, _ = fit(model, task.portraits, Settings(steps), teachers=teachers)
        return _pictures(person.model, person.portraits, task.moves, device, dense=task.dense, psi=person.psi)

    return render


def _pictures(
    model: Reenactor,
    portraits: list[Portrait],
    moves: np.ndarray,
    device: torch.device,
    *,
    dense: np.ndarray | None = None,
    warp_only: bool = False,
    psi: Tensor | None = None,
) -> Iterable[np.ndarray]:
    """Pictures of the first portrait's size, whatever the model makes."""
    renderer = open_renderer(model, portraits, moves, device=device, warp_only=warp_only, psi=psi)
    return map(renderer.in_portrait, renderer.render(moves, dense))


Maker = Callable[[Reenactor, torch.device, Teachers], Method]
"""Makes a method out of the networks, the device and the teachers of a person's learning."""

MethodName: TypeAlias = Literal["copy", "warp", "dense", "points", "model", "finetuned"]
"""The names in METHODS, for type checkers."""

METHODS: dict[str, Maker] = {
    "copy": lambda model, device, teachers: copy,
    "warp": lambda model, device, teachers: _rendered(model, device, warp_only=True, dense=False),
    "dense": lambda model, device, teachers: _rendered(model, device, warp_only=True),
    "points": lambda model, device, teachers: _rendered(model, device, dense=False),
    "model": lambda model, device, teachers: _rendered(model, device),
    "finetuned": _finetuned,
}
# What is compared where nothing else is asked for: learning takes minutes a clip.
QUICK: tuple[MethodName, ...] = ("copy", "warp", "dense", "points", "model")
# Those that are given the driver's dense motion, which in self-reenactment is seen in the very frame that is the truth.
_DENSE = {"dense", "model", "finetuned"}


def motion_of(method: str, warps: bool, cross: bool) -> str:
    """What a method knows of the motion, for the table. warps: whether the model corrects a warp."""
    if method == "copy":
        return "none"
    seen = "driver's frame" if cross else "true frame"
    return f"points, {seen}" if warps and method in _DENSE else "points"
