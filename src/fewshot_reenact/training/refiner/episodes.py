"""What the refiners of mouth and eyes learn from, made on the device by the batch: episodes with larger cuts, and the
finished model's faces.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from fewshot_reenact.geometry.face_frame import face_frame
from fewshot_reenact.models.refiner import cut_part
from fewshot_reenact.rendering.flow import enlarge
from fewshot_reenact.rendering.registration import Registration
from fewshot_reenact.training.batch import Inputs, make_inputs, signed
from fewshot_reenact.training.refiner.plan import OpenMouths, widest_of
from fewshot_reenact.training.resident.batches import ResidentEpisodes
from fewshot_reenact.training.resident.pictures import cut, whole_levels

if TYPE_CHECKING:
    from fewshot_reenact.models.dimensions import ModelDimensions
    from fewshot_reenact.models.reenactor import Reenactor
    from fewshot_reenact.training.config import DataConfig
    from fewshot_reenact.training.data.plan import EpisodePlan
    from fewshot_reenact.training.resident.store import Store

_CUBIC = -0.75  # OpenCV's


class LargeEpisodes(ResidentEpisodes):
    """Episodes that also hold `large_target`, `large_source` (B, 3, L, L), the faces at the side at which refiners
    work. open_mouths: of mouths that open, see training.refiner.plan.
    """

    def __init__(
        self, store: Store, config: DataConfig, dims: ModelDimensions, seed: int, open_mouths: bool = False
    ) -> None:
        widest = widest_of(store.table, store.first)
        planner = OpenMouths(config, seed, store.people, widest.tolist()) if open_mouths else None
        super().__init__(store, config, dims, seed, planner)

    def _more_numbers(self, plan: EpisodePlan) -> dict[str, np.ndarray]:
        more = {"large_frames": face_frame(plan.labels[:, :2], self.dims.refined).astype(np.float32)}
        if plan.drop is not None:
            more["drop"] = plan.drop.astype(np.float32)
        return more

    def _change(self, pictures: Tensor, on: dict[str, Tensor]) -> Tensor:
        if "drop" in on:
            pictures[:, 0] = stretch(pictures[:, 0], on["drop"])
        return pictures

    def _more(self, pictures: Tensor, on: dict[str, Tensor]) -> dict[str, Tensor]:
        faces = cut(pictures[:, :2].flatten(0, 1), on["large_frames"].flatten(0, 1), self.dims.refined)
        faces = faces.view(-1, 2, *faces.shape[1:])
        return {"large_target": faces[:, 0], "large_source": faces[:, 1]}


def stretch(pictures: Tensor, drop: Tensor) -> Tensor:
    """Everything below a row stretched downwards. pictures: (B, 3, P, P) in -1..1. drop: (B, 2), that row and how much;
    1: not at all. At whole levels.
    """
    row = torch.arange(pictures.shape[-2], device=pictures.device, dtype=pictures.dtype)
    lip, by = drop[:, :1], drop[:, 1:]
    where = torch.where(row > lip, lip + (row - lip) / by, row)  # (B, P)
    weights = _cubic((where[:, :, None] - row).abs())
    weights = weights / weights.sum(-1, keepdim=True)  # at the picture's edge some are beyond it
    return whole_levels((weights[:, None] @ pictures).clamp(-1, 1))


def _cubic(away: Tensor) -> Tensor:
    """Weights of bicubic interpolation at these distances (Keys 1981)."""
    a = _CUBIC
    near = ((a + 2) * away - (a + 3)) * away * away + 1
    far = ((a * away - 5 * a) * away + 8 * a) * away - 4 * a
    return torch.where(away <= 1, near, torch.where(away < 2, far, 0.0))


class LargeBatches:
    """Batches for a refiner: by turns an episode of any kind and, with open_mouths, one of a mouth that opens. Episode
    n is the n / 2th of its kind, so every episode is a function of (seed, n).
    """

    def __init__(
        self, store: Store, config: DataConfig, dims: ModelDimensions, seed: int, open_mouths: bool = True
    ) -> None:
        kinds = [False, True] if open_mouths else [False]
        self.store = store
        self._kinds = [LargeEpisodes(store, config, dims, seed, opened) for opened in kinds]

    def batches(self, indices: Iterator[np.ndarray]) -> Generator[dict[str, Tensor], None, None]:
        """A batch for each array of episode numbers (B,); those of open mouths come last in it."""
        count = len(self._kinds)

        def numbers(stream: Iterator[np.ndarray], kind: int) -> Iterator[np.ndarray]:
            return (split_kinds(some, count)[kind] for some in stream)

        streams = itertools.tee(indices, count)
        with contextlib.ExitStack() as stack:
            made = [
                stack.enter_context(contextlib.closing(one.batches(numbers(stream, kind))))
                for kind, (one, stream) in enumerate(zip(self._kinds, streams, strict=True))
            ]
            for batches in zip(*made, strict=True):
                yield _joined(list(batches))

    def __getitem__(self, indices: np.ndarray) -> dict[str, Tensor]:
        """The batch of these episodes."""
        numbers = split_kinds(indices, len(self._kinds))
        return _joined([one[some] for one, some in zip(self._kinds, numbers, strict=True)])


def split_kinds(indices: np.ndarray, kinds: int) -> list[np.ndarray]:
    """Episode numbers of each kind, from numbers that go by turns."""
    return [indices[indices % kinds == kind] // kinds for kind in range(kinds)]


def _joined(batches: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    if len(batches) == 1:
        return batches[0]
    return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}


@torch.no_grad()
def make_parts(
    model: Reenactor, batch: dict[str, Tensor], register: Registration, amp: bool = False
) -> tuple[dict[str, Tensor], Tensor]:
    """What refiners see and should make of a batch of large episodes, on the model's device.

    Returns the whole faces by name, (B, 3, L, L) about -1..1, and the portraits' embeddings (B, N). `cut_part` takes a
    part of them. amp: the networks in bfloat16. made: what the model makes, unrefined. truth: what there is to be seen.
    hidden: (B, 1, L, L), -1 where the portrait shows a place, 1 where it does not.
    """
    side, device = model.dims.refined, model.feather.device
    x = make_inputs(batch, model.dims.size, device, register)
    assert x.pictures is not None and x.view is not None
    with torch.autocast(device.type, torch.bfloat16, enabled=amp):  # the networks alone: places need float32
        embedding = model.embed(x.portraits, x.rasters).float()
        correction = model(x.faces, embedding)
    seen, colour = x.view.finished(x.pictures, correction, side)
    pictures = {
        "made": seen + colour,
        "source": signed(batch["large_source"]).to(device),
        "source_raster": enlarge(x.faces.source_raster, side),
        "driver_raster": enlarge(x.faces.driver_raster, side),
        "truth": signed(batch["large_target"]).to(device),
        "hidden": _hidden(x, side),
    }
    return pictures, embedding


def _hidden(x: Inputs, side: int) -> Tensor:
    visible = x.faces.visible if x.faces.visible is not None else torch.ones_like(x.faces.warped[:, :1])
    return 1 - 2 * enlarge(visible, side)


def part_rows(
    model: Reenactor, batch: dict[str, Tensor], part: str, register: Registration, amp: bool
) -> dict[str, Tensor]:
    """The same of one part, (B, 3, h, w), with `embedding` among them: what a refiner learns from."""
    pictures, embedding = make_parts(model, batch, register, amp)
    return {name: cut_part(value, part) for name, value in pictures.items()} | {"embedding": embedding}


def faces_of(model: Reenactor) -> str:
    """SHA-256 of what decides the faces that a model makes before they are refined."""
    found = hashlib.sha256(str(model.dims.refined).encode())
    for name, tensor in sorted(model.state_dict().items()):
        if not name.startswith("refiners."):
            found.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()
