"""Portraits and poses to pictures with a model of the paper's kind: it warps nothing and paints the whole square about
the head from landmarks (Zakharov et al. 2019, section 3.2), so that square is what comes out.
"""

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from typing import ClassVar

import cv2
import numpy as np
import torch
from torch import Tensor

from fewshot_reenact.errors import UsageError
from fewshot_reenact.geometry.affine import transform
from fewshot_reenact.geometry.head_crop import cut_square, square_about
from fewshot_reenact.geometry.raster import raster
from fewshot_reenact.inputs.portrait import Portrait
from fewshot_reenact.models.dimensions import ModelDimensions
from fewshot_reenact.models.reenactor import FaceNetworks, Reenactor
from fewshot_reenact.motion.heads import HeadMotion, points_of
from fewshot_reenact.rendering.faces import expect_numbers
from fewshot_reenact.rendering.flow import to_signed
from fewshot_reenact.rendering.layers import Layers
from fewshot_reenact.rendering.textured import BATCH


class PaperRenderer:
    """Paints a person in any pose, as squares of the network's own size, S.

    The square stands still, about the first portrait's head and where `motion` takes it, as the squares of training
    stand about a clip. psi: see textured.TexturedRenderer.
    """

    corrects_warp: ClassVar[bool] = False

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
        layers: Future[Layers] | None = None,  # noqa: ARG003
    ) -> "PaperRenderer":
        """See renderer.open_renderer. It paints the ground too: no layers."""
        if warp_only:
            raise UsageError(
                "a model of kind 'paper' warps nothing; leave out the warp, or take one of kind 'textured'"
            )
        assert isinstance(model, Reenactor)  # no other runtime has this kind
        return cls(model, portraits, points_of(motion), device=device, psi=psi)

    @staticmethod
    def notes(dims: ModelDimensions) -> list[str]:
        """What the user should know of pictures made with such a model."""
        return [f"a model of kind 'paper' paints a square about the head, {dims.size} pixels a side"]

    def __init__(
        self,
        model: Reenactor,
        portraits: list[Portrait],
        motion: np.ndarray,
        *,
        device: torch.device | str = "cpu",
        psi: Tensor | None = None,
    ):
        """motion: (T, 83, 2), all the poses that will be asked for, pixels of the first portrait."""
        self.model, self.device, self.psi = model, torch.device(device), psi
        self.picture = portraits[0].picture
        self.size, self.seconds = model.dims.size, {"networks": 0.0}
        places = [np.concatenate([portraits[0].points[None], motion]), *(p.points for p in portraits[1:])]
        cut = []
        for portrait, place in zip(portraits, places, strict=True):
            square = square_about(place, (portrait.picture.shape[1], portrait.picture.shape[0]))
            cut.append(cut_square(portrait.picture, square, self.size))
        self.matrix = cut[0][1]
        """(2, 3), pixels of the first portrait -> pixels of the square."""
        with torch.inference_mode():
            drawn = [self._draw(transform(m, p.points)) for p, (_, m) in zip(portraits, cut, strict=True)]
            pictures, rasters = self._signed([picture for picture, _ in cut]), self._signed(drawn)
            self.embedding = model.embed(pictures[None], rasters[None])

    def _signed(self, pictures: list[np.ndarray]) -> Tensor:
        """uint8 pictures -> (B, 3, S, S) in -1..1 on the device."""
        return to_signed(torch.from_numpy(np.stack(pictures)).to(self.device).permute(0, 3, 1, 2))

    def _draw(self, points: np.ndarray) -> np.ndarray:
        return raster(points, self.size, self.model.dims.raster_style)

    def render(
        self, motion: HeadMotion | np.ndarray, dense: Iterable[np.ndarray] | None = None
    ) -> Iterator[np.ndarray]:
        """A square for each pose. motion: T frames, or (T, 83, 2) pixels of the first portrait -> T pictures (S, S, 3)
        uint8 RGB. dense: must be None, it corrects a warp and there is none.
        """
        if dense is not None:
            raise ValueError("dense motion corrects a warp, and a model of kind 'paper' has none")
        points = points_of(motion)
        for at in range(0, len(points), BATCH):
            yield from self._paint(points[at : at + BATCH])

    @torch.inference_mode()
    def _paint(self, motion: np.ndarray) -> np.ndarray:
        began = time.perf_counter()
        drawn = self._signed([self._draw(transform(self.matrix, points)) for points in motion])
        psi = None if self.psi is None else self.psi.expand(len(motion), -1)
        made = expect_numbers(self.model.generator(drawn, self.embedding.expand(len(motion), -1), psi).float())
        pictures = ((made + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
        self.seconds["networks"] += time.perf_counter() - began
        return pictures

    def in_portrait(self, made: np.ndarray) -> np.ndarray:
        """A painted square where it belongs in the first portrait's picture, (H, W, 3) uint8: to be compared."""
        h, w = self.picture.shape[:2]
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(made, self.matrix, (w, h), self.picture.copy(), flags, cv2.BORDER_TRANSPARENT)
