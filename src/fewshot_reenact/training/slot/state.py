"""A run's state as one blob that is small enough to travel.

Weights stay as they are. Averaged weights become float16, Adam's moments bfloat16, the second one as its root, whose
range is half as wide in powers of two. That is 10 bytes a weight where a checkpoint has 16; an Adam that goes on from
rounded moments is within a few steps what it would have been.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

_LEFT_OUT = ("random", "sums")  # of the machine and of the log
_MOMENTS = ("exp_avg", "exp_avg_sq")


def encode_state(state: dict[str, Any], limit: int | None = None) -> tuple[bytes, bool]:
    """A trainer's state, see `Trainer.state`, as bytes. limit: bytes; where they do not suffice Adam's moments are left
    out. Returns the bytes, and whether the moments are in them.
    """
    state = {name: value for name, value in state.items() if name not in _LEFT_OUT}
    blob = _encode(state, moments=True)
    if limit is None or len(blob) <= limit:
        return blob, True
    return _encode(state, moments=False), False


def _encode(state: dict[str, Any], moments: bool) -> bytes:
    tensors: dict[str, Tensor] = {}

    def describe(value: Any, path: tuple[str, ...]) -> Any:
        if isinstance(value, Tensor):
            name = f"t{len(tensors):05d}"
            tensors[name] = _shrink(value.detach().cpu(), path).contiguous().clone()
            return {"tensor": name, "dtype": str(value.dtype).removeprefix("torch."), "root": path[-1] == _MOMENTS[1]}
        if isinstance(value, dict):
            if not moments and _MOMENTS[0] in value:
                return {"left out": True}
            rows = [[key, describe(one, (*path, str(key)))] for key, one in value.items()]
            return {"dict": [row for row in rows if row[1] != {"left out": True}]}
        if isinstance(value, list | tuple):
            return {"list": [describe(one, path) for one in value]}
        return {"value": value}

    tree = json.dumps(describe(state, ("state",)))
    return save(tensors, {"tree": tree})


def _shrink(value: Tensor, path: tuple[str, ...]) -> Tensor:
    if value.dtype != torch.float32 or value.ndim == 0:
        return value
    if path[-1] == _MOMENTS[1]:
        return value.sqrt().bfloat16()
    if path[-1] == _MOMENTS[0]:
        return value.bfloat16()
    return value.half() if "averaged" in path else value


def decode_state(blob: bytes, device: torch.device) -> dict[str, Any]:
    """What `encode_state` wrote, on the device, in the types that it had."""
    length = int.from_bytes(blob[:8], "little")
    tree = json.loads(json.loads(blob[8 : 8 + length])["__metadata__"]["tree"])
    tensors = load(blob)

    def build(row: dict[str, Any]) -> Any:
        if "tensor" in row:
            value = tensors[row["tensor"]].to(device, getattr(torch, row["dtype"]))
            return value.square() if row["root"] else value
        if "dict" in row:
            return {key: build(one) for key, one in row["dict"]}
        if "list" in row:
            return [build(one) for one in row["list"]]
        return row["value"]

    state: dict[str, Any] = build(tree)
    return state
