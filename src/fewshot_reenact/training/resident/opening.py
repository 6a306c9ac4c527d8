"""Whether a run has all its clips on the device, and how they get there."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from fewshot_reenact.errors import UsageError
from fewshot_reenact.training.data.clips import LoadedClips
from fewshot_reenact.training.data.dataset import open_clips
from fewshot_reenact.training.data.storage import is_url
from fewshot_reenact.training.distributed import World
from fewshot_reenact.training.resident.batches import fits
from fewshot_reenact.training.resident.store import Store, build_store, one_side, open_store, picture_bytes

if TYPE_CHECKING:
    from fewshot_reenact.models.dimensions import ModelDimensions
    from fewshot_reenact.training.config import DataConfig, TrainConfig
    from fewshot_reenact.training.data.clips import Clips

FOLDER = "resident"  # in a run's folder
_SHARE = 0.5  # of the memory that is free: the networks need some too


def open_data(
    config: TrainConfig, folder: Path, device: torch.device, world: World, tell: Callable[[str], None]
) -> Store | Clips:
    """A run's clips, see `open_resident`; with config.workers they are not on the device unless the config says so."""
    if config.workers and config.data.resident == "auto":
        return open_clips(config.data)
    return open_resident(config.data, config.dimensions(), folder / FOLDER, device, world, tell)


def open_resident(
    data: DataConfig,
    dims: ModelDimensions,
    folder: Path,
    device: torch.device,
    world: World,
    tell: Callable[[str], None],
) -> Store | Clips:
    """Clips on the device where the config says so or leaves it open and they fit, else as they are loaded. folder:
    where their frames are kept.

    Raises InputError: none, damaged; UsageError: what cannot be streamed, or cannot be on the device.
    """
    wanted = data.resident
    if wanted is False or (wanted == "auto" and (data.stream or device.type not in ("cpu", "cuda"))):
        return open_clips(data)
    key = _source_key(data)
    store = open_store(folder, key) if key else None
    if store is None:
        clips = open_clips(data)
        reason = _why_not(clips, dims, device, forced=wanted is True)
        if reason is not None:
            if wanted is True:
                raise UsageError(f"data.resident: {reason}; say data.resident: auto or false")
            tell(f"clips are not kept on the device: {reason}")
            return clips
        assert isinstance(clips, LoadedClips)
        store = _build(clips, folder, key, world)
    frames, side = len(store.frames), store.side
    size = picture_bytes(frames, side) / 1e9
    tell(f"all clips on {device}: {frames} frames of {side} x {side}, {size:.1f} GB")
    return store.to(device)


def _source_key(data: DataConfig) -> str:
    """What a local folder of clips, and the options that choose from it, look like from outside; "" of an address."""
    folder = Path(data.clips)
    if is_url(data.clips) or not folder.is_dir():
        return ""
    kinds = (".mp4", ".npz", ".tar", ".json", ".jsonl")
    files = sorted(path for path in folder.iterdir() if path.suffix in kinds)
    chosen = [str(data.frame_step), str(data.limit), *([str(data.least_frames)] if data.least_frames > 2 else [])]
    said = [f"{path.name} {(stat := path.stat()).st_size} {stat.st_mtime_ns}" for path in files]
    return hashlib.sha256("\n".join([*chosen, *said]).encode()).hexdigest()


def _why_not(clips: Clips, dims: ModelDimensions, device: torch.device, forced: bool) -> str | None:
    """What stands against having these clips on the device; None: nothing. forced: however little memory is free."""
    if not isinstance(clips, LoadedClips):
        return "data.stream reads clips as they are needed"
    side = one_side(clips)
    if side is None:
        return "their pictures are not squares of one side"
    if not fits(side, dims):
        return f"{side} pixels are not a multiple of the model's {dims.size}"
    needed, free = picture_bytes(clips.frames, side), _free_memory(device)
    if not forced and needed > _SHARE * free:
        return f"their frames need {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free on {device}"
    return None


def _free_memory(device: torch.device) -> float:
    """Bytes."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024 * float(next(line.split()[1] for line in lines if line.startswith("MemAvailable:")))
    except (OSError, StopIteration, ValueError):
        return float("inf")  # mapped from the disk, it needs no more than there is


def _build(clips: LoadedClips, folder: Path, key: str, world: World) -> Store:
    """Made by the process that leads, and kept in the run's folder where the disk has room for it."""
    side = one_side(clips)
    assert side is not None
    folder.parent.mkdir(parents=True, exist_ok=True)
    roomy = shutil.disk_usage(folder.parent).free > 1.2 * picture_bytes(clips.frames, side)
    if not (key and roomy):
        return build_store(clips, None)
    if world.leads:
        build_store(clips, folder, key)
    world.wait()
    store = open_store(folder, key)
    return build_store(clips, None) if store is None else store
