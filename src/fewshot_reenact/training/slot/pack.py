"""What a slot needs, from a config and a run folder: films of all clips, held-out ones, weights, Adam's moments."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.training.checkpoints import newest_checkpoint
from fewshot_reenact.training.config import TrainConfig
from fewshot_reenact.training.data.clips import LoadedClips
from fewshot_reenact.training.data.dataset import open_clips
from fewshot_reenact.training.resident import flow
from fewshot_reenact.training.resident.batches import ResidentEpisodes
from fewshot_reenact.training.resident.store import Store, build_store
from fewshot_reenact.training.slot.films import pack_films
from fewshot_reenact.training.slot.pieces import write_pieces
from fewshot_reenact.training.slot.state import encode_state
from fewshot_reenact.training.trainer import Trainer

PIECE = 8 << 20  # bytes of a file
HELD_OUT_STEP = 6  # every sixth frame of held-out clips: they are looked at, not learnt from


def pack(
    config: TrainConfig,
    out: Path,
    *,
    held_out: Path,
    begin: Path | None = None,
    part: int = 40 << 20,
    crf: int = 24,
    tell: Callable[[str], None] = print,
) -> list[Path]:
    """Write parts of at most `part` bytes into OUT. begin: a run folder whose newest checkpoint is gone on from; None:
    the config's `init`, or random weights. Returns the parts' folders.

    Raises UsageError: OUT is there already; InputError: no clips; ModelError: networks that are missing or do not fit.
    """
    if out.exists():
        raise UsageError(f"{out}: is there already; name another folder or remove it")
    store, held = _store(config), _store(config, held_out)
    trainer = Trainer(config, out, torch.device("cpu"), 1 + int(store.videos.max()), registration=flow.register)
    if begin is not None:
        state = newest_checkpoint(begin, torch.device("cpu"), trainer.model.dims.to_json())
        if state is None:
            raise UsageError(f"{begin}: has no checkpoint to go on from; leave --run out to begin anew")
        trainer.restore(state)
        tell(f"begun from step {trainer.step} of {begin}")
    elif config.init is not None:
        trainer.begin_from(config.init)
        tell(f"begun with the weights of {config.init}")
    state_blob, _ = encode_state(trainer.state())
    blobs = {
        "about": json.dumps({"flop": count_operations(trainer, store), "tool": "reenact slot 1"}).encode(),
        "config": config.model_dump_json().encode(),
        "state": state_blob,
    }
    blobs |= _networks(config)
    for name, one in (("train", store), ("held_out", held)):
        films = pack_films(one, crf)
        blobs |= {f"{name}.{kind}": blob for kind, blob in films.items()}
        tell(f"{name}: {len(one.count)} clips, {len(one.frames)} frames, films {len(films['films']) / 1e6:.1f} MB")
    folders = write_pieces(out, blobs, piece=min(PIECE, part), part=part)
    for folder in folders:
        tell(f"{folder}: {sum(path.stat().st_size for path in folder.iterdir()) / 1e6:.1f} MB")
    return folders


def _networks(config: TrainConfig) -> dict[str, bytes]:
    """Files of the losses' networks, as far as they are weighed. Raises UsageError: one that is no file."""
    weights, found = config.weights(), {}
    weighed = {"network": True, "vgg19_network": weights.vgg19, "vggface_network": weights.vggface}
    for name in [name for name, share in weighed.items() if share and getattr(config.loss, name) is not None]:
        path = Path(getattr(config.loss, name))
        if not path.is_file():
            raise UsageError(f"loss.{name}: {path} is no file that could travel; name one")
        found[name] = path.read_bytes()
    return found


def _store(config: TrainConfig, held_out: Path | None = None) -> Store:
    data = config.data.model_copy(update={"stream": False})
    if held_out is not None:
        data = data.model_copy(update={"clips": held_out, "frame_step": HELD_OUT_STEP})
    clips = open_clips(data)
    if not isinstance(clips, LoadedClips):
        raise InputError(f"{data.clips}: cannot be loaded into memory")
    return build_store(clips, None)


def count_operations(trainer: Trainer, store: Store) -> float:
    """Floating-point operations that a step needs for one episode, forward and back: counted, not estimated.

    The trainer is a step farther afterwards.
    """
    from torch.utils.flop_counter import FlopCounterMode

    config = trainer.config
    episodes = ResidentEpisodes(store, config.data, config.dimensions(), config.seed)
    with FlopCounterMode(display=False) as counter:
        trainer.advance(episodes[np.arange(2)])
    return counter.get_total_flops() / 2
