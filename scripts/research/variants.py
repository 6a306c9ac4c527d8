"""The ways of making a face that scripts/research/compare_variants.py compares: each a Way, from a batch of episodes
to faces.

All start from random weights and, but for `paper`, from the same warp. Every way's result is given in the face frame of
side S in which it is judged, whatever frame its networks work in.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from fewshot_reenact.geometry.affine import whole_frame
from fewshot_reenact.geometry.face_frame import face_frame
from fewshot_reenact.models.blocks import ResidualBlock, assign_style
from fewshot_reenact.models.dimensions import ModelDimensions
from fewshot_reenact.models.generator import Generator
from fewshot_reenact.models.reenactor import FaceInputs, Reenactor
from fewshot_reenact.rendering.flow import apply_affine, displace_flow, face_flow, picture_box, to_signed
from fewshot_reenact.rendering.warp import grid, sample
from fewshot_reenact.training.data.episodes import Episodes, HeadEpisodes

HEAD = 1.6  # the head's frame shows this many times the face frame's side
MOUTH, EYES = (0.25, 0.4375, 0.75, 0.9375), (0.125, 0.125, 0.875, 0.5)  # refined parts, shares of the face frame


@dataclass(frozen=True)
class Scene:
    """A batch as all ways see it. pictures: (B, 3, P, P) portraits in -1..1; driver, portrait: (B, 83, 2) points."""

    pictures: Tensor
    driver: Tensor
    portrait: Tensor

    def flow(self, frame: Tensor, size: int) -> Tensor:
        """The warp over a frame (B, 2, 3) of that side: (B, size, size, 2) portrait pixels."""
        box = picture_box(self.pictures, len(self.driver))
        return face_flow(self.driver, self.portrait, frame, box, size)


def scene(batch: dict[str, Tensor]) -> Scene:
    return Scene(to_signed(batch["portraits"][:, 0]), batch["driver_points"], batch["portrait_points"][:, 0])


def frames_of(points: Tensor, size: int, wide: float = 1.0) -> Tensor:
    """Face frames (B, 2, 3) of points (B, 83, 2), `wide` times as wide as the face's about the same middle."""
    frames = torch.from_numpy(np.stack([face_frame(p, size) for p in points.numpy()])).float()
    middle = (size - 1) / 2
    about = torch.tensor([[wide, 0, middle * (1 - wide)], [0, wide, middle * (1 - wide)]])
    return chain(frames, about.expand(len(frames), 2, 3))


def chain(second: Tensor, first: Tensor) -> Tensor:
    """(B, 2, 3) matrices: first, then second."""
    return torch.cat([second[:, :, :2] @ first[:, :, :2], apply_affine(second, first[:, None, :, 2]).mT], 2)


def invert(matrix: Tensor) -> Tensor:
    inner = torch.linalg.inv(matrix[:, :, :2])
    return torch.cat([inner, -inner @ matrix[:, :, 2:]], 2)


def cut(pictures: Tensor, frame: Tensor, size: int) -> Tensor:
    """What a frame (B, 2, 3) of that side shows of pictures (B, C, H, W)."""
    where = apply_affine(frame, grid(size, size)[None])
    return sample(pictures, where.view(-1, size, size, 2))


class Way(nn.Module):
    """forward: a batch of episodes and the side at which to show it -> faces (B, 3, size, size) in -1..1."""

    episodes: type[Episodes] = Episodes

    def __init__(self, dims: ModelDimensions, wide: float = 1.0):
        super().__init__()
        self.dims, self.wide = dims, wide
        self.model = Reenactor(dims)

    def forward(self, batch: dict[str, Tensor], size: int) -> Tensor:
        """The default model's way, in a frame of any width: a change of colour, and of the flow if dims.flow."""
        x, own = scene(batch), self.dims.size
        frame = frames_of(x.driver, own, self.wide)
        shown = frames_of(x.driver, size)
        inputs, flow = self.inputs(batch, x, frame)
        embedding = self.model.embed(inputs.source[:, None], inputs.source_raster[:, None])
        colour, shift = self.change(inputs, embedding, flow, x)
        onto = chain(invert(frame), shown)  # a place of the frame shown -> that of the networks' frame
        fine = x.flow(shown, size)
        if shift is not None:
            turned = cut(shift, onto, size)  # both frames stand upright alike: only the scale differs
            fine = displace_flow(fine, turned / onto[:, 0, 0].view(-1, 1, 1, 1))
        return sample(x.pictures, fine) + cut(colour, onto, size)

    def inputs(self, batch: dict[str, Tensor], x: Scene, frame: Tensor) -> tuple[FaceInputs, Tensor]:
        flow = x.flow(frame, self.dims.size)
        parts = (to_signed(batch["sources"][:, 0]), to_signed(batch["source_rasters"][:, 0]))
        return FaceInputs(sample(x.pictures, flow), *parts, to_signed(batch["driver_raster"])), flow

    def change(self, inputs: FaceInputs, embedding: Tensor, flow: Tensor, x: Scene) -> tuple[Tensor, Tensor | None]:
        made = self.model(inputs, embedding)
        return made.colour, made.shift


class HeadFrames(Episodes):
    """Episodes cut in the head's frame."""

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        item = super().__getitem__(index)
        _, pictures, told = self._draw_frames(index)
        frames = frames_of(torch.from_numpy(np.stack(told)), self.size, HEAD).numpy().astype(np.float64)
        item["sources"] = _stack([self._cut(pictures[1], frames[1])])
        item["source_rasters"] = _stack([self._draw(told[1], frames[1])])
        item["driver_raster"] = _stack([self._draw(told[0], frames[0])])[0]
        return item


class Head(Way):
    episodes = HeadFrames

    def __init__(self, dims: ModelDimensions):
        super().__init__(dims, HEAD)


class FeatureWarp(Way):
    """Besides the picture, the portrait's features are warped: an encoder of the portrait's own face, a quarter of the
    size, looked up through the same flow, added to the generator's way down.
    """

    def __init__(self, dims: ModelDimensions):
        super().__init__(dims)
        wide = dims.down_channels[0]
        self.encode = nn.Sequential(
            nn.Conv2d(6 * 4, dims.stem, 3, padding=1),
            ResidualBlock(dims.stem, wide, norm="instance", resample="down"),
            ResidualBlock(wide, wide, norm="instance"),
        )

    def change(self, inputs: FaceInputs, embedding: Tensor, flow: Tensor, x: Scene) -> tuple[Tensor, Tensor | None]:
        own = self.encode(F.pixel_unshuffle(torch.cat([inputs.source, inputs.source_raster], 1), 2))
        size, step = self.dims.size, self.dims.size // own.shape[-1]
        back = invert(frames_of(x.portrait, size))  # picture -> the portrait's face frame
        where = apply_affine(back, flow.flatten(1, 2)).view_as(flow)
        where = F.avg_pool2d(where.permute(0, 3, 1, 2), step).permute(0, 2, 3, 1)
        features = sample(own, (where + 0.5) / step - 0.5)
        made = _generate(self.model.generator, inputs, embedding, features) * self.model.feather
        return made[:, :3], None


def _generate(net: Generator, inputs: FaceInputs, embedding: Tensor, features: Tensor) -> Tensor:
    """Generator.forward, with features (B, C, S/4, S/4) added after the first block down."""
    assign_style(net, net.style(embedding))
    pictures = torch.cat([inputs.warped, inputs.source, inputs.source_raster, inputs.driver_raster], 1)
    x = net.stem(F.pixel_unshuffle(pictures, net.dims.generator_unshuffle))
    skips = [x]
    for number, block in enumerate(net.down):
        x = block(x)
        x = x + features if number == 0 else x
        skips.append(x)
    x = net.middle(x)
    for block in net.up:
        x = block(torch.cat([x, skips.pop()], 1))
    x = net.last(torch.cat([x, skips.pop()], 1))
    return F.pixel_shuffle(net.out(F.relu(net.out_norm(x))), net.dims.generator_unshuffle)


class Refined(Way):
    """A smaller generator for the whole face, then one small network each for the mouth and for the eyes."""

    def __init__(self, dims: ModelDimensions):
        super().__init__(dims)
        self.refiners = nn.ModuleList(_refiner() for _ in (MOUTH, EYES))

    def change(self, inputs: FaceInputs, embedding: Tensor, flow: Tensor, x: Scene) -> tuple[Tensor, Tensor | None]:
        colour = self.model(inputs, embedding).colour
        size = self.dims.size
        seen = torch.cat([inputs.warped + colour, inputs.warped, inputs.source, inputs.driver_raster], 1)
        for part, refine in zip((MOUTH, EYES), self.refiners, strict=True):
            x0, y0, x1, y1 = (round(v * size) for v in part)
            more = torch.zeros_like(colour)
            more[..., y0:y1, x0:x1] = refine(seen[..., y0:y1, x0:x1])
            colour = colour + more
        return colour, None


def _refiner() -> nn.Module:
    out = nn.Conv2d(48, 12, 3, padding=1)
    nn.init.zeros_(out.weight)
    nn.init.zeros_(out.bias)  # type: ignore[arg-type]
    blocks = [ResidualBlock(48, 48, norm="instance") for _ in range(3)]
    return nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(48, 48, 3, padding=1), *blocks, out, nn.PixelShuffle(2))


class Paper(Way):
    """Without the warp: landmarks in, the whole square out, steered by the embedding alone."""

    episodes = HeadEpisodes

    def forward(self, batch: dict[str, Tensor], size: int) -> Tensor:
        sources, rasters = to_signed(batch["sources"]), to_signed(batch["source_rasters"])
        made = self.model.generator(to_signed(batch["driver_raster"]), self.model.embed(sources, rasters))
        squares = torch.from_numpy(whole_frame(batch["whole"].shape[-1], self.dims.size)).float()
        onto = chain(invert(squares[None]), frames_of(batch["whole_points"], size))
        return cut(made, onto, size)


class Judged(Dataset):
    """Episodes, and the target whole, with its points: `whole` (3, P, P) uint8, `whole_points` (83, 2)."""

    def __init__(self, episodes: Episodes):
        self.episodes = episodes

    def __len__(self) -> int:
        return len(self.episodes)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        _, pictures, told = self.episodes._draw_frames(index)
        more = {"whole": _stack(pictures[:1])[0], "whole_points": torch.from_numpy(told[0])}
        return self.episodes[index] | more


def truth_of(batch: dict[str, Tensor], size: int) -> tuple[Tensor, Tensor]:
    """The target in its face frame, (B, 3, size, size) in -1..1, and its points there, (B, 83, 2)."""
    frame = frames_of(batch["whole_points"], size)
    return cut(to_signed(batch["whole"]), frame, size), apply_affine(invert(frame), batch["whole_points"])


def _stack(pictures: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()


def _colours(size: int) -> ModelDimensions:
    return replace(ModelDimensions.textured(), size=size, flow=False, visible=False)


_SMALL = replace(_colours(128), down_channels=(40, 80, 160), up_channels=(96, 48, 32))
_PAPER = replace(_colours(128), kind="paper")

WAYS: dict[str, tuple[str, Callable[[], Way]]] = {
    "face 128": ("colours in the face frame of 128 pixels", lambda: Way(_colours(128))),
    "face 192": ("the same at 192 pixels", lambda: Way(_colours(192))),
    "face 256": ("the same at 256 pixels", lambda: Way(_colours(256))),
    "head 128": (f"a frame {HEAD} times as wide, 128 pixels", lambda: Head(_colours(128))),
    "features": ("the portrait's features warped inside the generator", lambda: FeatureWarp(_colours(128))),
    "flow": ("colours and a correction of the flow: the default model", lambda: Way(ModelDimensions.textured())),
    "refiners": ("a smaller generator, refiners for mouth and eyes", lambda: Refined(_SMALL)),
    "paper": ("no warp: landmarks in, picture out", lambda: Paper(_PAPER)),
}
