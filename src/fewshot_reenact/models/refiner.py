"""Refiners: second, small generators for mouth and eyes, where faces are looked at and where a warp helps least.

Each sees what the first generator made of its part, at the size at which clips of 256 pixels show it, beside the
portrait's own, adds a change, and takes detail away. Few pixels make it cheap to train for long, and with a
discriminator. A part needs no search: it always stands at the same place of the face frame (geometry.face_frame).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewshot_reenact.geometry.face_frame import PARTS, part_box
from fewshot_reenact.models.dimensions import ModelDimensions, RefinerDimensions
from fewshot_reenact.models.feather import feather
from fewshot_reenact.models.generator import Generator


def cut_part(faces: Tensor, part: str) -> Tensor:
    """(B, C, S, S) -> the part's (B, C, h, w)."""
    x0, y0, x1, y1 = part_box(part, int(faces.shape[-1]))  # int: while it is traced, a size is a tensor
    return faces[..., y0:y1, x0:x1]


class Refiner(nn.Module):
    """forward: made, source, source_raster, driver_raster, each (B, 3, h, w) in -1..1, embedding (B, N) and, with
    `dims.visible`, hidden (B, 1, h, w) in 0..1 -> the change to add to `made`, (B, 3, h, w), zero at the edge and,
    before training, everywhere.

    made: the part of the face that the first generator made. source: the portrait's own. hidden:
    how little the portrait shows each place; None: it shows all. Raises ValueError for an unknown part, a strength
    outside 0..1, and dimensions that its sides cannot be divided by.
    """

    feather: Tensor
    part: str

    def __init__(self, model: ModelDimensions, dims: RefinerDimensions):
        super().__init__()
        if dims.part not in PARTS:
            raise ValueError(f"refiners are for {', '.join(PARTS)}, not {dims.part!r}")
        if not isinstance(dims.strength, (int, float)) or not 0 <= dims.strength <= 1:
            raise ValueError(f"a refiner's strength is between 0 and 1, not {dims.strength!r}")
        self.part, self.strength, self.visible = dims.part, dims.strength, dims.visible
        x0, y0, x1, y1 = part_box(dims.part, model.refined)
        _, theirs = dims.generator(model, x1 - x0), dims.generator(model, y1 - y0)  # both sides are checked
        self.generator = Generator(theirs, maps=1)
        self.register_buffer("feather", feather(x1 - x0, y1 - y0), persistent=False)

    def forward(
        self,
        made: Tensor,
        source: Tensor,
        source_raster: Tensor,
        driver_raster: Tensor,
        embedding: Tensor,
        hidden: Tensor | None = None,
    ) -> Tensor:
        """See the class."""
        seen = [made, source, source_raster, driver_raster]
        if self.visible:
            seen.append(torch.zeros_like(made[:, :1]) if hidden is None else hidden)
        out = self.generator(torch.cat(seen, 1), embedding).float()
        # A change that is added can hardly undo what it cannot foretell, as lips drawn out over an open mouth: there
        # detail is taken away as a whole. Below zero the same number sharpens.
        away = torch.tanh(out[:, 3:]) * (made - coarse(made))
        return (out[:, :3] - away) * (self.strength * self.feather)


def coarse(pictures: Tensor) -> Tensor:
    """Pictures (B, C, h, w) without what is finer than some sixteen pixels."""
    h, w = map(int, pictures.shape[-2:])
    return F.interpolate(F.adaptive_avg_pool2d(pictures, (h // 8, w // 8)), size=(h, w), mode="bilinear")


def add_change(faces: Tensor, part: str, change: Tensor) -> Tensor:
    """Faces (B, 3, S, S) with the part's change (B, 3, h, w) added."""
    side = int(faces.shape[-1])
    x0, y0, x1, y1 = part_box(part, side)
    return faces + F.pad(change, (x0, side - x1, y0, side - y1))
