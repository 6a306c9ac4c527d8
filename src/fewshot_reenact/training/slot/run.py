"""Training in a slot: unpack, time, train until the minutes are nearly over, look at held-out people, write.

Runs where only torch, OpenCV, NumPy and safetensors are: no av, no pydantic.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fewshot_reenact.training.faults import Diverged
from fewshot_reenact.training.log import Log
from fewshot_reenact.training.log import say as _say
from fewshot_reenact.training.resident.store import Store
from fewshot_reenact.training.schedule import slot_share
from fewshot_reenact.training.slot.films import unpack_films
from fewshot_reenact.training.slot.pieces import read_pieces, write_pieces
from fewshot_reenact.training.slot.settings import PlainConfig
from fewshot_reenact.training.slot.stages import Learner, SlotStage, batches_from, make_stage
from fewshot_reenact.training.slot.state import decode_state, encode_state

PIECE = 15 << 20  # bytes of a file that comes back
MOST = 58 << 20  # bytes of the state that comes back
_RESERVE = 0.08  # of the minutes, kept for looking and writing
_SAVE_EVERY = 180.0  # seconds
_CALMER = 3  # times that the rate is halved after numbers that are none


@dataclass
class _Slot:
    """blobs: what came. folder: for what is needed on the way."""

    stage: SlotStage
    train: Store
    folder: Path
    blobs: dict[str, bytes]

    def learner(self, compiled: bool | str) -> Learner:
        """With the packed state."""
        learner = self.stage.learner(compiled)
        learner.restore(decode_state(self.blobs["state"], self.stage.device))
        return learner


def run(
    parts: Sequence[Path], out: Path, *, minutes: float, device: torch.device, timed: int = 50, looks: int = 512
) -> None:
    """Train for so many minutes in all on what the parts hold, and write the state and report.json into OUT.

    timed: steps whose speed is reported. looks: held-out episodes for the figures. Raises InputError: parts.
    """
    began = time.monotonic()
    deadline = began + 60 * minutes * (1 - _RESERVE)
    with tempfile.TemporaryDirectory(prefix="reenact-") as folder:
        slot = _open(read_pieces(parts), Path(folder), device)
        stage = slot.stage
        _say(f"unpacked in {time.monotonic() - began:.1f} s: {len(slot.train.frames)} frames on {device}")
        learner, report = _start(slot, timed)
        report["held_out_before"] = stage.look(learner, looks)
        _say(f"held out before: {report['held_out_before']}")
        _train(slot, learner, deadline, lambda: _write(learner, slot, out, report))
        report["held_out_after"] = stage.look(learner, looks)
        _say(f"held out after {learner.step} steps: {report['held_out_after']}")
        report["seconds"] = round(time.monotonic() - began, 1)
        _write(learner, slot, out, report)
        _say(f"written to {out}; {report['seconds']} s in all")


def _open(blobs: dict[str, bytes], folder: Path, device: torch.device) -> _Slot:
    config: Any = PlainConfig.loads(blobs["config"].decode())
    config.tensorboard = False
    if device.type == "cpu":
        config.amp = False  # slower there
    for name in ("network", "vgg19_network", "vggface_network", "model"):
        if name in blobs:
            path = folder / f"{name}.safetensors"
            path.write_bytes(blobs[name])
            setattr(config.loss if hasattr(config, "loss") else config, name, path)
    stores = [
        unpack_films({name: blobs[f"{kind}.{name}"] for name in ("films", "points", "index")}).to(device)
        for kind in ("train", "held_out")
    ]
    return _Slot(make_stage(config, stores[0], stores[1], device, folder), stores[0], folder, blobs)


def _start(slot: _Slot, timed: int) -> tuple[Learner, dict[str, Any]]:
    """The learner in the fastest way that works here, and how fast it is."""
    stage, operations = slot.stage, json.loads(slot.blobs["about"])["flop"]
    wanted = stage.config.compile if stage.device.type != "cpu" else False
    for compiled in dict.fromkeys([wanted, bool(wanted), False]):
        try:
            learner = slot.learner(compiled)
            began = time.monotonic()
            _advance(learner, stage, 6)
            warm = time.monotonic() - began
            began = time.monotonic()
            _advance(learner, stage, timed)
            spent = time.monotonic() - began
            break
        except Diverged:
            raise
        except Exception as error:
            if not compiled:
                raise
            _say(f"compile: {compiled} does not work here ({type(error).__name__}: {str(error).splitlines()[0][:200]})")
    rate = timed * stage.config.batch / spent
    report = {
        "device": torch.cuda.get_device_name(stage.device) if stage.device.type == "cuda" else "cpu",
        "torch": torch.__version__,
        "trainer": stage.config.trainer,
        "compile": compiled,
        "warm_up_seconds": round(warm, 1),
        "episodes_a_second": round(rate, 2),
        "gflop_an_episode": round(operations / 1e9, 2),
        "share_of_matrix_rate": round(rate * operations / matrix_rate(stage.device), 4),
    }
    _say(f"speed: {report}")
    return learner, report


def _advance(learner: Learner, stage: SlotStage, steps: int) -> None:
    batches = batches_from(stage, learner.step)
    for _ in range(steps):
        learner.advance(next(batches))
    batches.close()
    learner.read()


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


def _train(slot: _Slot, learner: Learner, deadline: float, save: Callable[[], None]) -> None:
    """Until the deadline, one step at least; the rate rises from nothing and falls at the end, by the clock."""
    stage, first, began, calm = slot.stage, learner.step, time.monotonic(), 1.0
    length, log = max(deadline - began, 1e-3), Log(slot.folder, False)

    def rate(step: int) -> float:
        left = (deadline - time.monotonic()) / length
        return calm * stage.rate * slot_share(step - first, left, rise=stage.rise, final=stage.final)

    learner.rate = rate
    saved, calmer, batches = began, 0, batches_from(stage, learner.step)
    while learner.step == first or time.monotonic() < deadline:
        learner.advance(next(batches))
        if learner.step % stage.config.log_every:
            continue
        try:
            for numbers in learner.read():
                log.add(numbers)
        except Diverged as error:
            calm, calmer = calm / 2, calmer + 1
            _say(f"{error}\nthe rate is halved")
            if calmer > _CALMER:
                break
            batches.close()
            batches = batches_from(stage, learner.step)
            continue
        means = log.write(learner.step)
        _say(f"{time.monotonic() - began:6.0f} s, step {learner.step}: {means}")
        if time.monotonic() - saved > _SAVE_EVERY:
            saved = time.monotonic()
            save()
    batches.close()
    try:
        learner.read()
    except Diverged as error:
        _say(str(error))


def _write(learner: Learner, slot: _Slot, out: Path, report: dict[str, Any]) -> None:
    """State, config and log as pieces, the report beside them."""
    state, moments = encode_state(learner.state(), MOST)
    if not moments:
        _say("Adam's moments do not fit into what may come back: the next run warms up anew")
    metrics = slot.folder / "metrics.jsonl"
    written = {
        "state": state,
        "config": slot.blobs["config"],
        "about": slot.blobs["about"],
        "report": json.dumps({**report, "step": learner.step, "moments": moments}).encode(),
        "metrics": metrics.read_bytes() if metrics.is_file() else b"",
        "fingerprint": slot.train.fingerprint.encode(),
    }
    write_pieces(out, {"slot": _join(written)}, piece=PIECE)
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
