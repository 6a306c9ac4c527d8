"""Packs of what the refiners of mouth and eyes learn from: the finished model's faces, cut about each part.

A refiner is small and what comes before it stands still: that is computed once, in chunks of episodes.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from fewshot_reenact.errors import InputError
from fewshot_reenact.files import partial_file
from fewshot_reenact.geometry.face_frame import PARTS, face_frame
from fewshot_reenact.geometry.shape import openness, take_out
from fewshot_reenact.models.reenactor import Reenactor
from fewshot_reenact.models.refiner import cut_part
from fewshot_reenact.rendering.flow import enlarge, see, to_signed
from fewshot_reenact.rendering.paste import cut_face
from fewshot_reenact.training.batch import make_inputs
from fewshot_reenact.training.config import DataConfig
from fewshot_reenact.training.data.clips import Clip, load_clips
from fewshot_reenact.training.data.episodes import Episodes
from fewshot_reenact.training.packed import is_packed, write_record

BATCH = 8
CANDIDATES = 6  # one more open mouth, one more blink: portrait and target should differ
POINT_NOISE, DENSE, RARE = 0.004, 0.8, 0.35  # as configs/meta.yaml
OPEN = 0.25  # gap of the lips over the mouth's width from which a mouth counts as open
MOST_DROPPED = 1.7


class LargeEpisodes(Episodes):
    """Episodes that also hold `large_target`, `large_source`: the faces at the side at which refiners work."""

    large: int

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        item = super().__getitem__(index)
        for name, picture, points in (
            ("large_target", self.pictures[0], self.labels[0]),
            ("large_source", self.pictures[1], self.labels[1]),
        ):
            item[name] = torch.from_numpy(cut_face(picture, face_frame(points, self.large), self.large)).permute(
                2, 0, 1
            )
        return item

    def _draw_frames(self, index: int) -> tuple[int, list[np.ndarray], list[np.ndarray]]:
        self.number, self.pictures, self.labels = super()._draw_frames(index)
        return self.number, self.pictures, self.labels


class OpenMouths(LargeEpisodes):
    """Episodes of mouths that open: rare in talk (one frame in thirty opens by 0.4 of the mouth's width), and what goes
    wrong most visibly. Half of the targets have everything below the upper lip stretched: jaws drop farther still.

    Raises InputError: no clip has an open mouth.
    """

    def __init__(self, *args: Any):
        super().__init__(*args)
        clips = [self.clips[number] for number in range(len(self.clips))]
        self.opened = {clip.name: openness(take_out(clip.points).shape)[:, 0] for clip in clips}
        wide = [number for number, clip in enumerate(clips) if self.opened[clip.name].max() > OPEN]
        self.by_person = [kept for one in self.by_person if len(kept := np.intersect1d(one, wide))]
        if not self.by_person:
            raise InputError(f"none of {len(clips)} clips shows a mouth that opens; add some, or say open_mouths: 0")

    def _choose(self, rng: np.random.Generator, clip: Clip) -> tuple[int, list[int]]:
        opened = self.opened[clip.name].clip(0)
        wide, shut = np.where(opened > OPEN, opened, 0) ** 2, np.exp(-opened / 0.1)
        target = int(rng.choice(len(opened), p=wide / wide.sum()))
        return target, [int(rng.choice(len(opened), p=shut / shut.sum()))]

    def _draw_frames(self, index: int) -> tuple[int, list[np.ndarray], list[np.ndarray]]:
        super()._draw_frames(index)
        rng = np.random.default_rng([self.seed, index, 1])
        if rng.random() < 0.5:
            self.pictures[0], self.labels[0] = drop_jaw(
                self.pictures[0], self.labels[0], rng.uniform(1.1, MOST_DROPPED)
            )
        return self.number, self.pictures, self.labels


def drop_jaw(picture: np.ndarray, points: np.ndarray, by: float) -> tuple[np.ndarray, np.ndarray]:
    """Everything below the upper lip's inner edge stretched downwards. picture (H, W, 3) uint8, points (83, 2)."""
    lip = points[[61, 62, 63], 1].mean()
    rows = np.arange(len(picture), dtype=np.float32)
    rows = np.where(rows > lip, lip + (rows - lip) / by, rows).astype(np.float32)
    columns = np.arange(picture.shape[1], dtype=np.float32)
    where = (
        np.broadcast_to(columns, (len(rows), len(columns))),
        np.broadcast_to(rows[:, None], (len(rows), len(columns))),
    )
    stretched = cv2.remap(picture, np.ascontiguousarray(where[0]), np.ascontiguousarray(where[1]), cv2.INTER_CUBIC)
    moved = points.copy()
    below = points[:, 1] > lip
    moved[below, 1] = lip + (points[below, 1] - lip) * by
    return stretched, moved


def pack(
    model: Reenactor,
    clips: Path,
    out: Path,
    count: int,
    *,
    frame_step: int,
    chunk: int,
    open_mouths: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Write `count` episodes as chunks, OUT/NUMBER.npz. Chunks that are there stay: an interrupted run goes on.

    open_mouths: targets whose mouth is open, portraits whose mouth is shut. stop: asked before each chunk. Returns
    False when it said so. Raises InputError: no clips; UsageError: OUT holds chunks of another model, clips or count.
    """
    record = {
        "model": faces_of(model),
        "clips": str(clips),
        "count": count,
        "frame_step": frame_step,
        "chunk": chunk,
        "open_mouths": open_mouths,
    }
    begun = is_packed(out, record, "*.npz")
    paths = [out / f"{number:05d}.npz" for number in range(-(-count // chunk))]
    missing = [number for number, path in enumerate(paths) if not path.is_file()]
    if not missing:
        return True
    episodes = _episodes(model, clips, count, frame_step, open_mouths)
    if not begun:
        out.mkdir(parents=True, exist_ok=True)
        write_record(out, record)
    for number in tqdm(missing, unit="chunk", disable=None):
        if stop():
            return False
        rows = [
            render_parts(model, [episodes[i] for i in range(at, at + BATCH)], episodes.large)
            for at in range(number * chunk, (number + 1) * chunk, BATCH)
        ]
        arrays: dict[str, Any] = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
        with partial_file(paths[number]) as partial, partial.open("wb") as file:
            np.savez(file, **arrays)
    return True


def faces_of(model: Reenactor) -> str:
    """SHA-256 of what decides the faces that a model makes before they are refined."""
    found = hashlib.sha256(str(model.dims.refined).encode())
    for name, tensor in sorted(model.state_dict().items()):
        if not name.startswith("refiners."):
            found.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def _episodes(model: Reenactor, clips: Path, count: int, frame_step: int, open_mouths: bool) -> LargeEpisodes:
    config = DataConfig(  # type: ignore[call-arg]
        clips=clips, point_noise=POINT_NOISE, candidates=CANDIDATES, dense=DENSE, rare=RARE
    )
    dims = model.dims
    kind = OpenMouths if open_mouths else LargeEpisodes
    episodes = kind(load_clips(clips, frame_step), config, dims.size, dims.raster_style, 0, count)
    episodes.large = dims.refined
    return episodes


@torch.inference_mode()
def render_parts(model: Reenactor, items: list[dict[str, Tensor]], side: int) -> dict[str, np.ndarray]:
    """What the refiners see and should make of a few episodes.

    Returns PART_NAME (B, h, w, 3) uint8, `embedding` (B, N) float16 and `clip` (B,).
    """
    batch = {name: torch.stack([item[name] for item in items]) for name in items[0]}
    x = make_inputs(batch, model.dims.size, torch.device("cpu"))
    assert x.pictures is not None and x.flow is not None
    embedding = model.embed(x.portraits, x.rasters)
    seen, colour = see(x.pictures, x.flow, model(x.faces, embedding), side)
    pictures = {
        "made": seen + colour,
        "source": to_signed(batch["large_source"]),
        "source_raster": enlarge(x.faces.source_raster, side),
        "driver_raster": enlarge(x.faces.driver_raster, side),
        "truth": to_signed(batch["large_target"]),
    }
    rows = {f"{part}_{name}": _bytes(cut_part(value, part)) for part in PARTS for name, value in pictures.items()}
    return rows | {"embedding": embedding.half().numpy(), "clip": batch["clip"].numpy()}


def _bytes(pictures: Tensor) -> np.ndarray:
    """(B, 3, h, w) in -1..1 -> (B, h, w, 3) uint8."""
    return pictures.add(1).mul(127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
