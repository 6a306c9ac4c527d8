"""Training in a slot: unpack, time, train until the minutes are nearly over, look at held-out people, write.

Runs where only torch, OpenCV, NumPy and safetensors are: no av, no pydantic.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fewshot_reenact.files import partial_file
from fewshot_reenact.models.checkpoint import save_model
from fewshot_reenact.training.curves import METRICS
from fewshot_reenact.training.faults import Diverged
from fewshot_reenact.training.log import Log
from fewshot_reenact.training.log import say as _say
from fewshot_reenact.training.schedule import slot_share
from fewshot_reenact.training.slot.ahead import STEPS as WARM
from fewshot_reenact.training.slot.ahead import Ahead, mean_l1, try_out
from fewshot_reenact.training.slot.opening import Packed, Slot, open_slot
from fewshot_reenact.training.slot.pieces import write_pieces
from fewshot_reenact.training.slot.stages import Learner, SlotStage, batches_from
from fewshot_reenact.training.slot.state import decode_state, encode_state
from fewshot_reenact.training.trainer import Trainer

PIECE = 15 << 20  # bytes of a file that comes back
MOST = 58 << 20  # bytes of the state that comes back
_KEPT = "state"
_RESERVE = 0.08  # of the minutes, kept for looking and writing
_SAVE_EVERY = 45.0  # seconds
_CALMER = 3  # times that the rate is halved after numbers that are none


def run(
    packed: Packed,
    out: Path,
    *,
    minutes: float,
    device: torch.device,
    timed: int = 50,
    looks: int = 512,
    most: int = MOST,
    ahead: Callable[[Path], list[str]] | None = None,
    save_model_to: Path | None = None,
    keep: Path | None = None,
) -> None:
    """Train for so many minutes in all on what the parts hold, and write the state and report.json into OUT.

    timed: steps whose speed is reported. looks: held-out episodes for the figures. most: bytes of the state. ahead:
    arguments for Python with which another process does `compile_beside` and writes to that path; None: nothing is
    compiled. save_model_to: gets a generator's averaged weights, as float16. keep: a folder of this machine for the
    whole state; what lies there is gone on from. Raises InputError: parts.
    """
    began = time.monotonic()
    deadline = began + 60 * minutes * (1 - _RESERVE)
    with tempfile.TemporaryDirectory(prefix="reenact-") as folder:
        slot = open_slot(packed, Path(folder), device)
        stage = slot.stage
        _say(f"unpacked in {time.monotonic() - began:.1f} s: {len(slot.train.frames)} frames on {device}")
        learner = slot.learner(False)
        if keep is not None and (keep / _KEPT).is_file():
            learner.restore(decode_state((keep / _KEPT).read_bytes(), device))
            _say(f"gone on from step {learner.step}")
        report: dict[str, Any] = {"held_out_before": stage.look(learner, looks)}
        _say(f"held out before: {report['held_out_before']}")
        l1 = _time(slot, learner, timed, report)
        beside = None
        if ahead is not None and slot.ways:
            ready = Path(folder) / "compiled.json"
            beside = Ahead(ahead(ready), ready, l1)
        try:
            _train(slot, learner, deadline, report, beside, lambda: _write(learner, slot, out, report, most, keep))
        finally:
            if beside is not None:
                beside.close()
        report["held_out_after"] = stage.look(learner, looks)
        _say(f"held out after {learner.step} steps: {report['held_out_after']}")
        report["seconds"] = round(time.monotonic() - began, 1)
        if save_model_to is not None and isinstance(learner, Trainer):
            save_model(learner.averaged, save_model_to, f"step {learner.step}", half=True, losses=learner.weights)
        _write(learner, slot, out, report, most, None)
        _say(f"written to {out}; {report['seconds']} s in all")


def compile_beside(packed: Packed, device: torch.device, ready: Path) -> None:
    """Compile what `run` trains, with the same shapes, and write to `ready` in which way that can be done."""
    with tempfile.TemporaryDirectory(prefix="reenact-") as folder:
        slot, learners = open_slot(packed, Path(folder), device), dict[bool | str, Learner]()

        def steps(how: bool | str, count: int) -> list[dict[str, float]]:
            if how not in learners:
                learners.clear()
                learners[how] = slot.learner(how)
            return _advance(learners[how], slot.stage, count)

        try_out(slot.ways, steps, slot.stage.config.batch, ready)


def _time(slot: Slot, learner: Learner, timed: int, report: dict[str, Any]) -> float:
    """Do some steps and report how fast. Returns the L1 of the first of them."""
    stage, operations = slot.stage, json.loads(slot.blobs["about"])["flop"]
    l1 = mean_l1(_advance(learner, stage, WARM))
    began = time.monotonic()
    _advance(learner, stage, timed)
    rate = timed * stage.config.batch / (time.monotonic() - began)
    report |= {
        "device": torch.cuda.get_device_name(stage.device) if stage.device.type == "cuda" else "cpu",
        "torch": torch.__version__,
        "trainer": stage.config.trainer,
        "batch": stage.config.batch,
        "compile": False,
        "episodes_a_second": round(rate, 2),
        "gflop_an_episode": round(operations / 1e9, 2),
        "share_of_matrix_rate": round(rate * operations / matrix_rate(stage.device), 4),
    }
    _say(f"speed: {report}")
    return l1


def _advance(learner: Learner, stage: SlotStage, steps: int) -> list[dict[str, float]]:
    """So many steps. Returns their numbers."""
    batches = batches_from(stage, learner.step)
    for _ in range(steps):
        learner.advance(next(batches))
    batches.close()
    return learner.read()


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


def _train(
    slot: Slot,
    learner: Learner,
    deadline: float,
    report: dict[str, Any],
    beside: Ahead | None,
    save: Callable[[], None],
) -> None:
    """Until the deadline, one step at least; the rate rises from nothing and falls at the end, by the clock. beside:
    compiles meanwhile; once it is ready, the networks are compiled here too.
    """
    stage, first, began, calm = slot.stage, learner.step, time.monotonic(), 1.0
    length, log = max(deadline - began, 1e-3), Log(slot.folder, False)

    def rate(step: int) -> float:
        left = (deadline - time.monotonic()) / length
        return calm * stage.rate * slot_share(step - first, left, rise=stage.rise, final=stage.final)

    learner.rate = rate
    saved, calmer, batches = began, 0, batches_from(stage, learner.step)
    pace = _Pace(learner.step)
    while learner.step == first or time.monotonic() < deadline:
        _step(learner, next(batches), report)
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
        rate_now = pace.since(learner.step) * stage.config.batch
        report["episodes_a_second_at_the_end"] = round(rate_now, 1)
        _say(f"{time.monotonic() - began:6.0f} s, step {learner.step}, {rate_now:.0f} episodes a second: {means}")
        found = beside.found() if beside is not None else None
        if found is not None:
            report["compile"] = found["compile"]
            save()  # a fault in what is compiled ends this process
            _say(f"compiled from here on: {found}")
            learner.compile(found["compile"])
        if time.monotonic() - saved > _SAVE_EVERY:
            saved = time.monotonic()
            save()
    batches.close()
    try:
        learner.read()
    except Diverged as error:
        _say(str(error))


def _step(learner: Learner, batch: dict[str, Tensor], report: dict[str, Any]) -> None:
    """One step; where what was compiled fails at run time, from here on uncompiled, and this step is left out."""
    try:
        learner.advance(batch)
    except RuntimeError as error:
        if not report["compile"]:
            raise
        _say(f"what was compiled fails ({str(error).splitlines()[0][:200]}); uncompiled from here on")
        report["compile"] = False
        learner.compile(False)
        torch.compiler.set_stance("force_eager")


class _Pace:
    """Steps a second from one call to the next."""

    def __init__(self, step: int) -> None:
        self._step, self._time = step, time.monotonic()

    def since(self, step: int) -> float:
        """Since the last call."""
        steps, spent = step - self._step, time.monotonic() - self._time
        self._step, self._time = step, time.monotonic()
        return steps / max(spent, 1e-9)


def _write(learner: Learner, slot: Slot, out: Path, report: dict[str, Any], most: int, keep: Path | None) -> None:
    """State, config and log as pieces, the report beside them. most: bytes of the state. keep: gets all of it."""
    whole = learner.state()
    state, moments = encode_state(whole, most)
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        with partial_file(keep / _KEPT, overwrite=True) as partial:
            partial.write_bytes(state if moments else encode_state(whole)[0])
    if not moments:
        _say("Adam's moments do not fit into what may come back: the next run warms up anew")
    metrics = slot.folder / METRICS
    written = {
        "state": state,
        "config": slot.blobs["config"],
        "about": json.dumps({**json.loads(slot.blobs["about"]), "base": slot.stage.base()}).encode(),
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
