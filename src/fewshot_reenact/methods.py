"""What `reenact evaluate` compares: ways of making pictures of a person out of T portraits and the poses wanted.

This is the place for further ones. A method that first learns the person, as fine-tuning does, is one more entry in
METHODS: its `Method` trains on `task.portraits`, all that it may know of the person, on a copy of the networks, and
then renders `task.moves`. The command line, the table and the sheet take the name from here.
"""

from collections.abc import Callable, Iterable

import numpy as np
import torch

from fewshot_reenact.evaluation.protocol import Method, Task
from fewshot_reenact.faces.crop import head_box
from fewshot_reenact.landmarks.retarget import find_reference
from fewshot_reenact.models.reenactor import Reenactor
from fewshot_reenact.renderer import Renderer


def copy(task: Task) -> Iterable[np.ndarray]:
    """The portrait itself, unmoved; of several the one nearest in pose and expression."""
    own = np.stack([portrait.points for portrait in task.portraits])
    return (task.portraits[find_reference(own, wanted)].picture for wanted in task.moves)


def _rendered(model: Reenactor, device: torch.device, warp_only: bool) -> Method:
    def render(task: Task) -> Iterable[np.ndarray]:
        first = task.portraits[0]
        size = (first.picture.shape[1], first.picture.shape[0])
        box = head_box(np.concatenate([first.points[None], task.moves]), size)
        return Renderer(model, list(task.portraits), box, device=device, warp_only=warp_only).render(task.moves)

    return render


# name -> what makes the method out of the networks and the device.
METHODS: dict[str, Callable[[Reenactor, torch.device], Method]] = {
    "copy": lambda model, device: copy,
    "warp": lambda model, device: _rendered(model, device, warp_only=True),
    "model": lambda model, device: _rendered(model, device, warp_only=False),
}
