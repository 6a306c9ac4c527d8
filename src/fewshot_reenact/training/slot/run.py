"""Training in a slot: unpack, time, train until the minutes are nearly over, look at held-out people, write.

Runs where only torch, OpenCV, NumPy and safetensors are: no av, no pydantic.
"""

from __future__ import annotations

import itertools
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fewshot_reenact.training.log import say as _say
from fewshot_reenact.training.resident import flow
from fewshot_reenact.training.resident.batches import ResidentEpisodes
from fewshot_reenact.training.resident.store import Store
from fewshot_reenact.training.slot.films import unpack_films
from fewshot_reenact.training.slot.look import look
from fewshot_reenact.training.slot.pieces import read_pieces, write_pieces
from fewshot_reenact.training.slot.settings import PlainConfig
from fewshot_reenact.training.slot.state import decode_state, encode_state
from fewshot_reenact.training.faults import Diverged
from fewshot_reenact.training.trainer import Trainer

PIECE = 15 << 20  # bytes of a file that comes back
MOST = 58 << 20  # bytes of the state that comes back
_RESERVE = 0.08  # of the minutes, kept for looking and writing
_ANNEAL = 0.3  # of the training time, in which the rate falls
_SAVE_EVERY = 180.0  # seconds
_CALMER = 3  # times that the rate is halved after numbers that are none


@dataclass
class _Slot:
    config: Any
    train: ResidentEpisodes
    held: ResidentEpisodes
    device: torch.device
    folder: Path
    networks: dict[str, bytes]
    state: bytes
    videos: int

    def trainer(self, compiled: bool | str) -> Trainer:
        """With the packed state."""
        self.config.compile = compiled
        trainer = Trainer(self.config, self.folder, self.device, self.videos, registration=flow.register)
        trainer.restore(decode_state(self.state, self.device))
        return trainer


def run(
    parts: Sequence[Path], out: Path, *, minutes: float, device: torch.device, timed: int = 50, looks: int = 512
) -> None:
    """Train for so many minutes in all on what the parts hold, and write the state and report.json into OUT.

    timed: steps whose speed is reported. looks: held-out episodes for the figures. Raises InputError: parts.
    """
    began = time.monotonic()
    deadline = began + 60 * minutes * (1 - _RESERVE)
    with tempfile.TemporaryDirectory(prefix="reenact-") as folder:
        blobs = read_pieces(parts)
        slot = _open(blobs, Path(folder), device)
        _say(f"unpacked in {time.monotonic() - began:.1f} s: {len(slot.train.store.frames)} frames on {device}")
        trainer, report = _start(slot, json.loads(blobs["about"])["flop"], timed)
        report["held_out_before"] = look(trainer, slot.held, looks)
        _say(f"held out before: {report['held_out_before']}")
        _train(slot, trainer, deadline, lambda: _write(trainer, slot, out, blobs, report))
        report["held_out_after"] = look(trainer, slot.held, looks)
        _say(f"held out after {trainer.step} steps: {report['held_out_after']}")
        report["seconds"] = round(time.monotonic() - began, 1)
        _write(trainer, slot, out, blobs, report)
        _say(f"written to {out}; {report['seconds']} s in all")


def _open(blobs: dict[str, bytes], folder: Path, device: torch.device) -> _Slot:
    config = PlainConfig.loads(blobs["config"].decode())
    config.tensorboard = False  # type: ignore[attr-defined]
    if device.type == "cpu":
        config.amp = False  # type: ignore[attr-defined]  # slower there
    for name in ("network", "vgg19_network", "vggface_network"):
        if name in blobs:
            path = folder / f"{name}.safetensors"
            path.write_bytes(blobs[name])
            setattr(config.loss, name, path)
    made: dict[str, Store] = {}
    for kind in ("train", "held_out"):
        store = unpack_films({name: blobs[f"{kind}.{name}"] for name in ("films", "points", "index")})
        made[kind] = store.to(device)
    dims, seed = config.dimensions(), config.seed  # type: ignore[attr-defined]
    episodes = [ResidentEpisodes(store, config.data, dims, seed) for store in made.values()]  # type: ignore[attr-defined]
    videos = 1 + int(made["train"].videos.max())
    return _Slot(config, episodes[0], episodes[1], device, folder, blobs, blobs["state"], videos)


def _start(slot: _Slot, operations: float, timed: int) -> tuple[Trainer, dict[str, Any]]:
    """The trainer in the fastest way that works here, and how fast it is."""
    wanted = slot.config.compile if slot.device.type != "cpu" else False
    for compiled in dict.fromkeys([wanted, bool(wanted), False]):
        try:
            trainer = slot.trainer(compiled)
            began = time.monotonic()
            _advance(trainer, slot, 6)
            warm = time.monotonic() - began
            began = time.monotonic()
            _advance(trainer, slot, timed)
            spent = time.monotonic() - began
            break
        except Diverged:
            raise
        except Exception as error:
            if not compiled:
                raise
            _say(f"compile: {compiled} does not work here ({type(error).__name__}: {str(error).splitlines()[0][:200]})")
    rate = timed * slot.config.batch / spent
    peak = matrix_rate(slot.device)
    report = {
        "device": torch.cuda.get_device_name(slot.device) if slot.device.type == "cuda" else "cpu",
        "torch": torch.__version__,
        "compile": compiled,
        "warm_up_seconds": round(warm, 1),
        "episodes_a_second": round(rate, 2),
        "gflop_an_episode": round(operations / 1e9, 2),
        "share_of_matrix_rate": round(rate * operations / peak, 4),
    }
    _say(f"speed: {report}")
    return trainer, report


def _advance(trainer: Trainer, slot: _Slot, steps: int) -> None:
    batches = _batches(trainer, slot)
    for _ in range(steps):
        trainer.advance(next(batches))
    batches.close()
    trainer.read()


def _batches(trainer: Trainer, slot: _Slot) -> Any:
    batch = slot.config.batch
    return slot.train.batches(np.arange(step * batch, (step + 1) * batch) for step in itertools.count(trainer.step))


def matrix_rate(device: torch.device) -> float:
    """Floating-point operations a second of a large matrix product here: what a share is taken of."""
    size, kind = (8192, torch.bfloat16) if device.type == "cuda" else (1024, torch.float32)
    a = torch.randn(size, size, device=device, dtype=kind)
    best = float("inf")
    for _ in range(5):
        began = time.monotonic()
        float((a @ a)[0, 0])
        best = min(best, time.monotonic() - began)
    return 2 * size**3 / best


def _train(slot: _Slot, trainer: Trainer, deadline: float, save: Callable[[], None]) -> None:
    """Until the deadline; the rate rises from nothing and falls at the end, by the clock."""
    config, first, began, calm = slot.config, trainer.step, time.monotonic(), 1.0
    length = max(deadline - began, 1e-3)

    def rate(step: int) -> float:
        left = min(1.0, max(0.0, deadline - time.monotonic()) / (_ANNEAL * length))
        rise = min(1.0, (step - first + 1) / max(config.optimiser.warmup, 1))
        return float(
            calm * config.optimiser.rate * rise * (config.optimiser.final + (1 - config.optimiser.final) * left)
        )

    trainer.rate = rate
    saved, calmer, batches = began, 0, _batches(trainer, slot)
    while time.monotonic() < deadline:
        trainer.advance(next(batches))
        if trainer.step % config.log_every:
            continue
        try:
            for numbers in trainer.read():
                trainer.log.add(numbers)
        except Diverged as error:
            calm, calmer = calm / 2, calmer + 1
            _say(f"{error}\nthe rate is halved")
            if calmer > _CALMER:
                break
            batches.close()
            batches = _batches(trainer, slot)
            continue
        means = trainer.log.write(trainer.step)
        _say(f"{time.monotonic() - began:6.0f} s, step {trainer.step}: {means}")
        if time.monotonic() - saved > _SAVE_EVERY:
            saved = time.monotonic()
            save()
    batches.close()
    try:
        for numbers in trainer.read():
            trainer.log.add(numbers)
    except Diverged as error:
        _say(str(error))


def _write(trainer: Trainer, slot: _Slot, out: Path, blobs: dict[str, bytes], report: dict[str, Any]) -> None:
    """State, config and log as pieces, the report beside them."""
    state, moments = encode_state(trainer.state(), MOST)
    if not moments:
        _say("Adam's moments do not fit into what may come back: the next run warms up anew")
    metrics = slot.folder / "metrics.jsonl"
    written = {
        "state": state,
        "config": blobs["config"],
        "report": json.dumps({**report, "step": trainer.step, "moments": moments}).encode(),
        "metrics": metrics.read_bytes() if metrics.is_file() else b"",
    }
    written["fingerprint"] = slot.train.store.fingerprint.encode()
    joined = {"slot": _join(written)}
    write_pieces(out, joined, piece=PIECE)
    (out / "report.json").write_bytes(written["report"])


def _join(blobs: dict[str, bytes]) -> bytes:
    """Several blobs as one: few files may come back."""
    head = json.dumps({name: len(blob) for name, blob in blobs.items()}).encode()
    return len(head).to_bytes(8, "little") + head + b"".join(blobs.values())


def split(blob: bytes) -> dict[str, bytes]:
    """What `_join` put together."""
    length = int.from_bytes(blob[:8], "little")
    found, at = {}, 8 + length
    for name, size in json.loads(blob[8:at]).items():
        found[name] = blob[at : at + size]
        at += size
    return found
