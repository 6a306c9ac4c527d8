"""What makes pictures out of poses. Each kind of model has its renderer, and it is chosen here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from typing import ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from fewshot_reenact.inputs.portrait import Portrait
from fewshot_reenact.models.dimensions import ModelDimensions
from fewshot_reenact.models.reenactor import FaceNetworks
from fewshot_reenact.motion.heads import HeadMotion
from fewshot_reenact.rendering.layers import Layers
from fewshot_reenact.rendering.paper import PaperRenderer
from fewshot_reenact.rendering.textured import TexturedRenderer


class Renderer(Protocol):
    """A person, ready to be shown in any pose.

    corrects_warp: whether the portrait's own picture is warped, so that dense motion and a crop of it make sense.
    seconds: spent so far, by stage.
    """

    corrects_warp: ClassVar[bool]
    seconds: dict[str, float]

    @classmethod
    def open(
        cls,
        model: FaceNetworks,
        portraits: list[Portrait],
        motion: HeadMotion | np.ndarray,
        *,
        device: torch.device | str = "cpu",
        warp_only: bool = False,
        psi: Tensor | None = None,
        layers: Future[Layers] | None = None,
    ) -> Renderer:
        """See `open_renderer`."""
        ...

    @staticmethod
    def notes(dims: ModelDimensions) -> list[str]:
        """What the user should know of pictures made with such a model."""
        ...

    def render(
        self, motion: HeadMotion | np.ndarray, dense: Iterable[np.ndarray] | None = None
    ) -> Iterator[np.ndarray]:
        """A picture (H, W, 3) uint8 RGB a pose. motion: T frames of the first portrait's head, or its points alone, (T,
        83, 2) pixels. dense: T shifts (2, S, S) of frame pixels, what the points miss of the motion; None without.
        """
        ...

    def in_portrait(self, made: np.ndarray) -> np.ndarray:
        """What `render` made, where it belongs in the first portrait's picture, (H, W, 3) uint8: to be compared."""
        ...


_RENDERERS: dict[str, type[Renderer]] = {"textured": TexturedRenderer, "paper": PaperRenderer}


def renderer_class(model: FaceNetworks) -> type[Renderer]:
    """The renderer that this kind of model wants."""
    return _RENDERERS[model.dims.kind]


def open_renderer(
    model: FaceNetworks,
    portraits: list[Portrait],
    motion: HeadMotion | np.ndarray,
    *,
    device: torch.device | str = "cpu",
    warp_only: bool = False,
    psi: Tensor | None = None,
    layers: Future[Layers] | None = None,
) -> Renderer:
    """A renderer for poses `motion`, all that will be asked for: T frames of the first portrait's head, or its points
    alone, (T, 83, 2) pixels.

    warp_only: leave the networks out. psi: a fine-tuned person's AdaIN scales and shifts, (1, style_length). layers:
    the first portrait's, where its matte was looked for already (layers.begin_layers).
    Raises UsageError for the warp of a model that has none.
    """
    return renderer_class(model).open(
        model, portraits, motion, device=device, warp_only=warp_only, psi=psi, layers=layers
    )
