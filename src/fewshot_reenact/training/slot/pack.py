"""What a slot needs, from a config and a run folder: films of all clips, held-out ones, weights, Adam's moments."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.models.checkpoint import DEFAULT_MODEL
from fewshot_reenact.training.checkpoints import newest_checkpoint
from fewshot_reenact.training.config import TrainConfig
from fewshot_reenact.training.data.clips import LoadedClips
from fewshot_reenact.training.data.dataset import open_clips
from fewshot_reenact.training.refiner.config import RefinerConfig
from fewshot_reenact.training.refiner.train import check_refiner
from fewshot_reenact.training.resident.store import Store, build_store
from fewshot_reenact.training.slot.films import pack_films, unpack_films
from fewshot_reenact.training.slot.pieces import read_pieces, write_pieces
from fewshot_reenact.training.slot.stages import Learner, SlotStage, make_stage, model_file
from fewshot_reenact.training.slot.state import encode_state
from fewshot_reenact.training.trainer import Trainer

if TYPE_CHECKING:
    from fewshot_reenact.training.config import DataConfig

PIECE = 2 << 20  # bytes of a file: small ones fill parts better
HELD_OUT_STEP = 6  # every sixth frame of held-out clips: they are looked at, not learnt from
_CLIPS = ("train", "held_out")


def pack(
    config: TrainConfig | RefinerConfig,
    out: Path,
    *,
    held_out: Path,
    begin: Path | None = None,
    films: Path | None = None,
    second: bool = False,
    part: int = 40 << 20,
    crf: int = 21,
    tell: Callable[[str], None] = print,
) -> list[Path]:
    """Write parts of at most `part` bytes into OUT. begin: a run folder whose newest checkpoint is gone on from; None:
    what the config begins with, or random weights. films: an earlier pack of the same clips, whose films are taken as
    they are. second: the films stay in that pack, and a refiner's model does not travel: it is what the slot makes
    first. Returns the parts' folders.

    Weights that are the built-in model's do not travel: the checkout has them.

    Raises UsageError: OUT is there already, or `second` without films; InputError: no clips; ModelError: networks that
    are missing or do not fit.
    """
    if out.exists():
        raise UsageError(f"{out}: is there already; name another folder or remove it")
    if second and films is None:
        raise UsageError("second: needs --films, the pack of the slot's first stage")
    if isinstance(config, RefinerConfig):
        config = config.model_copy(update={"held_out": held_out})
        check_refiner(config)
    clips = _again(config.data, films) if films is not None else _films(config.data, held_out, crf, tell)
    train, held = (
        unpack_films({name: clips[f"{kind}.{name}"] for name in ("films", "points", "index")}) for kind in _CLIPS
    )
    stage = make_stage(config, train, held, torch.device("cpu"), out)
    learner = stage.learner(False)
    _begin(learner, config, begin, tell)
    at_hand = begin is None and isinstance(config, TrainConfig) and config.init is not None and _built_in(config.init)
    state = {} if at_hand else {"state": encode_state(learner.state())[0]}
    about = {"flop": count_operations(learner, stage), "tool": "reenact slot 2", "base": stage.base()}
    blobs = {
        "about": json.dumps(about).encode(),
        "config": config.model_dump_json().encode(),
        **state,
        **_networks(config),
        **clips,
    }
    for name in [name for name in blobs if second and (name == "model" or name.startswith(_CLIPS))]:
        blobs.pop(name)
    for kind, one in zip(_CLIPS, (train, held), strict=True):
        size = len(clips[f"{kind}.films"]) / 1e6
        tell(f"{kind}: {len(one.count)} clips, {len(one.frames)} frames, films {size:.1f} MB")
    tell(f"state {len(state['state']) / 1e6:.1f} MB" if state else "state: the built-in weights, in the checkout")
    folders = write_pieces(out, blobs, piece=min(PIECE, part), part=part)
    for folder in folders:
        tell(f"{folder}: {sum(path.stat().st_size for path in folder.iterdir()) / 1e6:.1f} MB")
    return folders


def _built_in(path: Path) -> bool:
    return path.resolve() == DEFAULT_MODEL.resolve()


def _begin(
    learner: Learner, config: TrainConfig | RefinerConfig, begin: Path | None, tell: Callable[[str], None]
) -> None:
    if begin is not None:
        state = newest_checkpoint(begin, torch.device("cpu"), learner.state()["dimensions"])
        if state is None:
            raise UsageError(f"{begin}: has no checkpoint to go on from; leave --run out to begin anew")
        learner.restore(state)
        tell(f"begun from step {learner.step} of {begin}")
    elif isinstance(learner, Trainer) and isinstance(config, TrainConfig) and config.init is not None:
        learner.begin_from(config.init)
        tell(f"begun with the weights of {config.init}")


def _networks(config: TrainConfig | RefinerConfig) -> dict[str, bytes]:
    """Files of the losses' networks, as far as they are weighed, and of the model that is refined. Raises UsageError:
    one that is no file.
    """
    if isinstance(config, RefinerConfig):
        files: dict[str, Path | None] = {"network": config.network, "model": model_file(config)}
    else:
        weights = config.weights()
        weighed = {"network": True, "vgg19_network": weights.vgg19, "vggface_network": weights.vggface}
        files = {name: getattr(config.loss, name) for name, share in weighed.items() if share}
    found = {}
    for name, file in files.items():
        if file is not None:
            path = Path(file)
            if not path.is_file():
                raise UsageError(f"{name}: {path} is no file that could travel; name one")
            found[name] = path.read_bytes()
    return found


def _films(data: DataConfig, held_out: Path, crf: int, tell: Callable[[str], None]) -> dict[str, bytes]:
    """Films, points and index of the clips that are learnt from, and of held-out ones."""
    found: dict[str, bytes] = {}
    held = data.model_copy(update={"clips": held_out, "frame_step": HELD_OUT_STEP})
    for kind, one in zip(_CLIPS, (data, held), strict=True):
        tell(f"{kind}: films of {one.clips}")
        found |= {f"{kind}.{name}": blob for name, blob in pack_films(_store(one), crf).items()}
    return found


def _again(data: DataConfig, films: Path) -> dict[str, bytes]:
    """The same, from an earlier pack. Raises UsageError: it is of other clips."""
    blobs = read_pieces([films])
    then, now = json.loads(blobs["config"])["data"], json.loads(data.model_dump_json())
    for name in ("clips", "frame_step", "limit", "least_frames"):
        if then.get(name, now[name]) != now[name]:
            raise UsageError(f"{films}: was packed with data.{name}: {then[name]}, not {now[name]}; leave --films out")
    return {name: blob for name, blob in blobs.items() if name.startswith(tuple(f"{kind}." for kind in _CLIPS))}


def _store(data: DataConfig) -> Store:
    clips = open_clips(data.model_copy(update={"stream": False}))
    if not isinstance(clips, LoadedClips):
        raise InputError(f"{data.clips}: cannot be loaded into memory")
    return build_store(clips, None)


def count_operations(learner: Learner, stage: SlotStage) -> float:
    """Floating-point operations that a step needs for one episode, forward and back: counted, not estimated.

    The learner is farther afterwards.
    """
    batch = next(stage.batches(iter([np.arange(2)])))
    stage.late(learner)
    learner.step += 1  # not one in which a discriminator is judged besides
    with _Operations() as counter:  # type: ignore[no-untyped-call]
        learner.advance(batch)
    return counter.total / 2


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts by torch's own table of operators. Its FlopCounterMode also asks which module an operator is called in,
    and cannot where gradients are taken of inputs.
    """

    total = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        made = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.total += count(*args, **(kwargs or {}), out_val=made)
        return made
