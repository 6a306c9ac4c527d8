"""Embedder and generator as one model: the textured renderer, in the face's own frame."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from fewshot_reenact.models.dimensions import ModelDimensions
from fewshot_reenact.models.embedder import Embedder
from fewshot_reenact.models.feather import feather
from fewshot_reenact.models.generator import Generator
from fewshot_reenact.models.refiner import Refiner, add_change, cut_part

REACH = 1 / 16  # the farthest that a place of the warp can be corrected, as a share of the side


@dataclass(frozen=True)
class FaceInputs:
    """What the textured model sees of one face a row, all (B, 3, S, S) in -1..1 and in face frames of side S.

    warped: the portrait warped to the driver's pose. source: the portrait's own face.
    source_raster, driver_raster: their landmark pictures. visible: (B, 1, S, S) in 0..1, how well the portrait shows
    each place; None where it is not known, as well as may be.
    """

    warped: Tensor
    source: Tensor
    source_raster: Tensor
    driver_raster: Tensor
    visible: Tensor | None = None


@dataclass(frozen=True)
class Correction:
    """What the networks do to the warped portrait, zero at the frame's edge.

    colour: (B, 3, S, S), the change to add, on the -1..1 scale. shift: (B, 2, S, S), x and y in frame pixels: what
    belongs at a place stands this far from it in the uncorrected warp; None for a model that corrects colours alone.
    """

    colour: Tensor
    shift: Tensor | None


class FaceNetworks(Protocol):
    """What renderers ask of a model: a Reenactor, or one in another runtime (onnx_runtime.OnnxReenactor)."""

    @property
    def dims(self) -> ModelDimensions:
        """Its dimensions."""
        ...

    def embed(self, portraits: Tensor, rasters: Tensor) -> Tensor:
        """See Reenactor."""
        ...

    def __call__(self, faces: FaceInputs, embedding: Tensor, psi: Tensor | None = None) -> Correction:
        """See Reenactor.forward."""
        ...

    def refine(self, faces: FaceInputs, embedding: Tensor) -> Tensor:
        """See Reenactor."""
        ...


class Reenactor(nn.Module):
    """E and G. `embed` once for each portrait, `forward` once for each frame."""

    feather: Tensor

    def __init__(self, dims: ModelDimensions):
        super().__init__()
        self.dims = dims
        self.embedder = Embedder(dims)
        self.generator = Generator(dims)
        self.refiners = nn.ModuleList(Refiner(dims, one) for one in dims.refiners)
        self.register_buffer("feather", feather(dims.size, dims.size), persistent=False)

    def embed(self, portraits: Tensor, rasters: Tensor) -> Tensor:
        """Mean embedding of K portraits. (B, K, 3, S, S) and (B, K, 3, S, S) in -1..1 -> (B, N)."""
        b, k = portraits.shape[:2]
        return self.embedder(portraits.flatten(0, 1), rasters.flatten(0, 1)).view(b, k, -1).mean(1)

    def forward(self, faces: FaceInputs, embedding: Tensor, psi: Tensor | None = None) -> Correction:
        """How `faces.warped` is to be corrected, see rendering.correct. embedding: (B, N); psi replaces P e."""
        seen = [faces.warped, faces.source, faces.source_raster, faces.driver_raster]
        if self.dims.visible:
            hidden = torch.zeros_like(faces.warped[:, :1]) if faces.visible is None else 1 - faces.visible
            seen.append(hidden)
        pictures = torch.cat(seen, 1)
        if not torch.is_grad_enabled():
            pictures = pictures.contiguous(memory_format=torch.channels_last)
        made = self.generator(pictures, embedding, psi).float()  # places need float32, whatever the networks ran in
        colour = made[:, :3] * self.feather
        if not self.dims.flow:
            return Correction(colour, None)
        return Correction(colour, torch.tanh(made[:, 3:]) * (REACH * self.dims.size) * self.feather)

    def refine(self, faces: FaceInputs, embedding: Tensor) -> Tensor:
        """The finished faces, (B, 3, L, L) with L = dims.shown. faces: as for `forward`, but of that side, and in
        place of the warped portrait what `forward` made of it.
        """
        finished = faces.warped
        for refiner in self.refiners:
            assert isinstance(refiner, Refiner)
            seen = (faces.warped, faces.source, faces.source_raster, faces.driver_raster)
            hidden = None if faces.visible is None else cut_part(1 - faces.visible, refiner.part)
            change = refiner(*(cut_part(pictures, refiner.part) for pictures in seen), embedding, hidden)
            finished = add_change(finished, refiner.part, change)
        return finished
