"""Frozen networks whose features serve as losses, read from safetensors that describe themselves.

The file's metadata holds `ops`, a JSON list of operations in order, `mean`/`std` of the input normalisation and, where
the network sees only some of the picture's columns, `columns` [from, to); its tensors hold the weights. Operations:
conv, head (a convolution whose result is tapped but not passed on), pool, tap, push, add and flatten_normalise.
"""

from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewshot_reenact.errors import ModelError
from fewshot_reenact.plain_json import read_json
from fewshot_reenact.weights import open_weights

_TRIAL = 112  # pixels of the picture that every network sees once: what face networks take
_MOST_OPERATIONS = 1000
# In place: a convolution needs nothing of its own result to be differentiated.
_ACTIVATIONS = {"relu": partial(F.relu, inplace=True), "relu6": partial(F.relu6, inplace=True)}


class FeatureNet(nn.Module):
    """forward: (B, 3, H, W) RGB in 0..1 -> the tapped feature maps, a list of (B, C, h, w), shallow first."""

    mean: Tensor
    std: Tensor

    def __init__(self, path: Path | str, skip_heads: int = 0, maps_only: bool = False):
        """skip_heads: leave out that many of the first heads: those at full size are most of the cost and see little
        but pixels. maps_only: end at the last map, also where a vector for pictures of one size would follow. Raises
        ModelError when the file is missing or not such a network.
        """
        super().__init__()
        path = Path(path)
        missing = "no such feature network; check the name (in a config: loss.network)"
        with open_weights(path, missing, "not a self-describing feature network ({reason})") as file:
            self.ops: list[dict[str, Any]] = read_json(file.meta["ops"])
            self.columns: list[int] | None = read_json(file.meta.get("columns", "null"))
            for name in ("mean", "std"):
                self.register_buffer(name, torch.tensor(read_json(file.meta[name])).view(1, 3, 1, 1).float())
            for name, tensor in file.tensors().items():
                tensor = tensor.float()
                if tensor.ndim == 4:  # the order in memory in which convolutions are fastest, on every device
                    tensor = tensor.contiguous(memory_format=torch.channels_last)
                self.register_buffer(name.replace(".", "_"), tensor)
            _check(self.ops)
            # What does not fit is found now and not after minutes.
            if not self.requires_grad_(False)(torch.zeros(1, 3, _TRIAL, _TRIAL)):
                raise ValueError("no operation gives features")
            maps = [number for number, op in enumerate(self.ops) if op["op"] in ("tap", "head")]
            if maps_only and not maps:
                raise ValueError("it has no maps, only a vector")
        for op in [op for op in self.ops if op["op"] == "head"][:skip_heads]:
            op["skipped"] = True
        if maps_only:
            self.ops = self.ops[: maps[-1] + 1]

    def forward(self, x: Tensor) -> list[Tensor]:
        """See the class."""
        if self.columns is not None:
            x = x[..., self.columns[0] : self.columns[1]]
        x = ((x - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        taps: list[Tensor] = []
        held: list[Tensor] = []
        for op in self.ops:
            if op.get("skipped"):
                continue
            kind = op["op"]
            if kind == "conv":
                x = self._convolve(x, op)
            elif kind == "head":
                taps.append(self._convolve(x, op))
            elif kind == "pool":
                x = F.max_pool2d(x, 2, 2, ceil_mode=op["ceil"])
            elif kind == "tap":
                taps.append(x)
            elif kind == "push":
                held.append(x)
            elif kind == "add":
                x = x + held.pop()
            elif kind == "flatten_normalise":
                x = F.normalize(x.flatten(1), dim=1)
                taps.append(x)
            else:
                raise ModelError(f"feature network has an operation {kind!r} that this version does not know")
        return taps

    def _convolve(self, x: Tensor, op: dict[str, Any]) -> Tensor:
        name, pad = op["name"], op["pad"]
        if op.get("reflect") and pad:
            x, pad = F.pad(x, (pad,) * 4, "reflect"), 0
        weight, bias = self.get_buffer(f"{name}_weight"), self.get_buffer(f"{name}_bias")
        y = F.conv2d(x, weight, bias, op["stride"], pad, groups=op["groups"])
        if op["act"] == "prelu":
            return F.prelu(y, self.get_buffer(f"{name}_slope"))
        return _ACTIVATIONS[op["act"]](y) if op["act"] in _ACTIVATIONS else y


def _check(ops: Any) -> None:
    """Raises ValueError, TypeError or KeyError for what is no list of operations, or would take a machine apart."""
    if not isinstance(ops, list) or not 0 < len(ops) <= _MOST_OPERATIONS:
        raise ValueError(f"operations are a list of up to {_MOST_OPERATIONS}")
    for op in ops:
        for key, most in (("stride", 16), ("pad", 64), ("groups", 4096)) if op["op"] in ("conv", "head") else ():
            if not isinstance(op[key], int) or not 0 <= op[key] <= most:
                raise ValueError(f"{key} of {op['name']} is {op[key]!r}, a whole number up to {most} is wanted")


def relative_l1(net: FeatureNet, output: Tensor, truth: Tensor) -> Tensor:
    """Mean over the taps of |features(output) - features(truth)| / |features(truth)|, each a mean over a picture.

    output, truth: (B, 3, H, W) RGB in 0..1. Scale-free, so that no tap needs a weight of its own. Returns a scalar.
    """
    with torch.no_grad():
        wanted = net(truth)
    terms = [
        (_length(got - want) / _length(want).clamp(min=1e-6 * want[0].numel())).mean()
        for got, want in zip(net(output), wanted, strict=True)
    ]
    return torch.stack(terms).mean()


def _length(maps: Tensor) -> Tensor:
    """Sum of absolute values of each picture's maps, (B,): in one pass, and in float32 whatever the maps are."""
    return torch.linalg.vector_norm(maps, 1, dim=tuple(range(1, maps.ndim)), dtype=torch.float32)
