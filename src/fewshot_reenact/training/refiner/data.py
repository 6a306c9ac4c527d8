"""Packs of what the refiners of mouth and eyes learn from, for clips that do not fit onto the training device: the
finished model's faces, cut about each part, computed once, in chunks of episodes. training.refiner.episodes makes the
same episodes as they are needed.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from fewshot_reenact.files import partial_file
from fewshot_reenact.geometry.face_frame import PARTS, face_frame
from fewshot_reenact.models.reenactor import Reenactor
from fewshot_reenact.models.refiner import cut_part
from fewshot_reenact.rendering.paste import cut_face
from fewshot_reenact.rendering.registration import Registration
from fewshot_reenact.rendering.registration import register as opencv_register
from fewshot_reenact.training.config import DataConfig
from fewshot_reenact.training.data.clips import Clips
from fewshot_reenact.training.data.dataset import open_clips
from fewshot_reenact.training.data.episodes import PlannedEpisodes
from fewshot_reenact.training.data.plan import EpisodePlan, FrameTable
from fewshot_reenact.training.packed import is_packed, write_record
from fewshot_reenact.training.refiner.episodes import faces_of, make_parts
from fewshot_reenact.training.refiner.plan import OpenMouths

BATCH = 8


class LargeItems(PlannedEpisodes):
    """The episodes of training.refiner.episodes one by one: with `large_target`, `large_source` (3, L, L) uint8."""

    large: int

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        item = super().__getitem__(index)
        for name, picture, points in (
            ("large_target", self.pictures[0], self.labels[0]),
            ("large_source", self.pictures[1], self.labels[1]),
        ):
            face = cut_face(picture, face_frame(points, self.large), self.large, averaged=False)
            item[name] = torch.from_numpy(face).permute(2, 0, 1)
        return item

    def _draw_frames(self, index: int) -> tuple[int, list[np.ndarray], list[np.ndarray]]:
        number, self.pictures, self.labels = super()._draw_frames(index)
        return number, self.pictures, self.labels

    def _plan(self, index: int) -> tuple[int, EpisodePlan]:
        number, self.drawn = super()._plan(index)
        return number, self.drawn


class OpenItems(LargeItems):
    """Those of mouths that open. Raises InputError: no clip has an open mouth."""

    def __init__(self, clips: Clips, config: DataConfig, size: int, style: str, seed: int, length: int):
        tables = [FrameTable.of(clips[number].points) for number in range(len(clips))]
        planner = OpenMouths(config, seed, clips.people, [table.openness[:, 0].max() for table in tables])
        super().__init__(clips, config, size, style, seed, length, planner)

    def _draw_frames(self, index: int) -> tuple[int, list[np.ndarray], list[np.ndarray]]:
        super()._draw_frames(index)
        assert self.drawn.drop is not None
        lip, by = self.drawn.drop[0]
        if by > 1:
            self.pictures[0] = drop_jaw(self.pictures[0], float(lip), float(by))
        return int(self.drawn.clips[0]), self.pictures, self.labels


def drop_jaw(picture: np.ndarray, lip: float, by: float) -> np.ndarray:
    """Everything below the lip's row stretched downwards. (H, W, 3) uint8."""
    rows = np.arange(len(picture), dtype=np.float32)
    rows = np.where(rows > lip, lip + (rows - lip) / by, rows).astype(np.float32)
    columns = np.arange(picture.shape[1], dtype=np.float32)
    x, y = np.meshgrid(columns, rows)
    return cv2.remap(picture, x, y, cv2.INTER_CUBIC)


def pack(
    model: Reenactor,
    data: DataConfig,
    out: Path,
    count: int,
    *,
    chunk: int,
    seed: int = 0,
    open_mouths: bool = False,
    stop: Callable[[], bool] = lambda: False,
    register: Registration = opencv_register,
) -> bool:
    """Write `count` episodes as chunks, OUT/NUMBER.npz. Chunks that are there stay: an interrupted run goes on.

    open_mouths: see training.refiner.plan. stop: asked before each chunk. register: who measures dense motion. Returns
    False when it was told to stop. Raises InputError: no clips; UsageError: OUT holds chunks of another model, data,
    seed or count.
    """
    record = {
        "model": faces_of(model),
        "data": data.model_dump(mode="json", exclude={"resident", "shuffle_shards", "cache", "cache_gb"}),
        "seed": seed,
        "count": count,
        "chunk": chunk,
        "open_mouths": open_mouths,
    }
    begun = is_packed(out, record, "*.npz")
    paths = [out / f"{number:05d}.npz" for number in range(-(-count // chunk))]
    missing = [number for number, path in enumerate(paths) if not path.is_file()]
    if not missing:
        return True
    kind, dims = OpenItems if open_mouths else LargeItems, model.dims
    episodes = kind(open_clips(data), data, dims.size, dims.raster_style, seed, count)
    episodes.large = dims.refined
    if not begun:
        out.mkdir(parents=True, exist_ok=True)
        write_record(out, record)
    for number in tqdm(missing, unit="chunk", disable=None):
        if stop():
            return False
        rows = [
            render_parts(model, [episodes[i] for i in range(at, at + BATCH)], register)
            for at in range(number * chunk, (number + 1) * chunk, BATCH)
        ]
        arrays: dict[str, Any] = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
        with partial_file(paths[number]) as partial, partial.open("wb") as file:
            np.savez(file, **arrays)
    return True


def render_parts(
    model: Reenactor, items: list[dict[str, Tensor]], register: Registration = opencv_register
) -> dict[str, np.ndarray]:
    """What the refiners see and should make of a few episodes.

    Returns PART_NAME (B, h, w, 3) uint8, with one channel of `hidden`, `embedding` (B, N) float16 and `clip` (B,).
    """
    batch = {name: torch.stack([item[name] for item in items]) for name in items[0]}
    pictures, embedding = make_parts(model, batch, register)
    rows = {f"{part}_{name}": _bytes(cut_part(value, part)) for part in PARTS for name, value in pictures.items()}
    return rows | {"embedding": embedding.half().numpy(), "clip": batch["clip"].numpy()}


def _bytes(pictures: Tensor) -> np.ndarray:
    """(B, C, h, w) in -1..1 -> (B, h, w, C) uint8."""
    return pictures.add(1).mul(127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
