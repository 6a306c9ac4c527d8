"""Batches of episodes made on the device: numbers are planned on the host some steps ahead, pixels are tensor
operations.

A batch holds what training.data.episodes gives for the same (seed, indices), already on the device, with pictures in
-1..1. What differs is rounding: of strokes (resident.drawing) and of places in a picture (OpenCV has 1/32 pixel).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from fewshot_reenact.geometry.affine import invert_each, transform_each, whole_frame
from fewshot_reenact.geometry.face_frame import face_frame
from fewshot_reenact.training.data.plan import EpisodePlan, Planner
from fewshot_reenact.training.resident.drawing import draw, fixed_points, longest_line
from fewshot_reenact.training.resident.pictures import cut, show, shrink

if TYPE_CHECKING:
    from fewshot_reenact.models.dimensions import ModelDimensions
    from fewshot_reenact.training.config import DataConfig
    from fewshot_reenact.training.resident.store import Store

_AHEAD = 4  # steps that are planned before they are due


@dataclass(frozen=True)
class _Planned:
    """One batch's numbers. reach: see `draw`; a number of the host, as shapes follow from it."""

    tensors: dict[str, Tensor]
    reach: int


class ResidentEpisodes:
    """Episodes of a store, by the batch.

    Raises ValueError where the store's pictures do not fit the model's size, see `fits`.
    """

    def __init__(
        self, store: Store, config: DataConfig, dims: ModelDimensions, seed: int, planner: Planner | None = None
    ) -> None:
        if not fits(store.side, dims):
            raise ValueError(f"pictures of {store.side} pixels cannot be shrunk to {dims.size} by averaging")
        self.store, self.config, self.dims = store, config, dims
        self._planner = planner or Planner(config, seed, store.people)
        self.device = store.frames.device

    def batches(self, indices: Iterator[np.ndarray]) -> Generator[dict[str, Tensor], None, None]:
        """A batch for each array of episode numbers (B,)."""
        with ThreadPoolExecutor(1, "episodes") as pool:
            waiting: deque[Future[_Planned]] = deque()
            try:
                for numbers in indices:
                    waiting.append(pool.submit(self.plan, numbers))
                    if len(waiting) > _AHEAD:
                        yield self.make(waiting.popleft().result())
                while waiting:
                    yield self.make(waiting.popleft().result())
            finally:
                for one in waiting:
                    one.cancel()

    def __getitem__(self, indices: np.ndarray) -> dict[str, Tensor]:
        """The batch of these episodes."""
        return self.make(self.plan(indices))

    def plan(self, indices: np.ndarray) -> _Planned:
        """All that is to be known of the episodes before pixels are touched: on the host, where float64 is free."""
        store, size = self.store, self.dims.size
        draws, clips = self._planner.draw(np.asarray(indices))
        first = store.first[clips]
        plan = self._planner.plan(draws, clips, store.table, first, store.count[clips], store.side)
        labels = plan.labels[:, : 1 + self.config.portraits]
        if self.dims.corrects_warp:
            frames = face_frame(labels, size)
        else:
            frames = np.broadcast_to(whole_frame(store.side, size), (*labels.shape[:2], 2, 3))
        seen = transform_each(invert_each(frames), labels)
        drawn = fixed_points(seen, size)
        numbers = {
            "rows": first[:, None] + plan.frames,
            "flip": plan.flip,
            "tint": plan.tint,
            "labels": plan.labels,
            "frames": frames.astype(np.float32),
            "drawn": drawn,
            "face_points": seen[:, 0].astype(np.float32),
            "dense": plan.dense.astype(np.float32),
            "clip": store.videos[clips].astype(np.int64),
            **self._more_numbers(plan),
        }
        tensors = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in numbers.items()}
        if self.device.type == "cuda":
            tensors = {name: tensor.pin_memory() for name, tensor in tensors.items()}
        return _Planned(tensors, longest_line(drawn, size, self.dims.raster_style))

    def _more_numbers(self, plan: EpisodePlan) -> dict[str, np.ndarray]:
        """What other kinds of episodes need besides."""
        del plan
        return {}

    def _change(self, pictures: Tensor, on: dict[str, Tensor]) -> Tensor:
        """What other kinds of episodes do to the frames (B, F, 3, P, P) before they are cut. on: the numbers."""
        del on
        return pictures

    def _more(self, pictures: Tensor, on: dict[str, Tensor]) -> dict[str, Tensor]:
        """What other kinds of episodes hold besides."""
        del pictures, on
        return {}

    @torch.no_grad()
    def make(self, planned: _Planned) -> dict[str, Tensor]:
        """The batch of what was planned, see the module."""
        on = {name: tensor.to(self.device, non_blocking=True) for name, tensor in planned.tensors.items()}
        size, (b, f) = self.dims.size, on["rows"].shape
        own = 1 + self.config.portraits  # a reference comes after these
        frames = self.store.frames.index_select(0, on["rows"].flatten())
        pictures = self._change(show(frames.view(b, f, *frames.shape[1:]), on["flip"], on["tint"]), on)
        faces = pictures[:, :own].flatten(0, 1)
        if self.dims.corrects_warp:
            faces = cut(faces, on["frames"].flatten(0, 1), size)
        elif self.store.side != size:
            faces = shrink(faces, size)
        drawn = draw(on["drawn"].flatten(0, 1), size, self.dims.raster_style, planned.reach) / 127.5 - 1
        faces, drawn = (part.reshape(b, own, *part.shape[1:]) for part in (faces, drawn))
        batch = {
            "sources": faces[:, 1:],
            "source_rasters": drawn[:, 1:],
            "driver_raster": drawn[:, 0],
            "target": faces[:, 0],
            "driver_face_points": on["face_points"],
            "clip": on["clip"],
            **self._more(pictures, on),
        }
        if not self.dims.corrects_warp:
            return batch
        labels = on["labels"]
        batch |= {
            "portraits": pictures[:, 1:own],
            "portrait_points": labels[:, 1:own],
            "driver_points": labels[:, 0],
            "driver_frame": on["frames"][:, 0],
        }
        if self.config.dense:
            batch |= {"reference": pictures[:, own], "reference_points": labels[:, own], "dense": on["dense"]}
        return batch


def fits(side: int, dims: ModelDimensions) -> bool:
    """Whether pictures of that side can be shown to the model: cut in face frames always, whole by averaging."""
    return dims.corrects_warp or side % dims.size == 0
