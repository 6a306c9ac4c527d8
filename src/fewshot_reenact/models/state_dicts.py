"""State dicts of other people's networks: read without running code, found in torch's cache, never downloaded."""

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from fewshot_reenact.errors import ModelError
from fewshot_reenact.weights import open_weights

CACHE = "cache"
"""What an option says in place of a file to have torch's cache looked into."""


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Names and tensors of a .pth, .pt or .safetensors file. Raises ModelError: damaged, or more than tensors."""
    damaged = "not a state dict that can be read without running code ({reason})"
    if path.suffix == ".safetensors":
        with open_weights(path, "missing", damaged) as file:
            return file.tensors()
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises whatever its reader and its unpickler do
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise ModelError(f"{path}: {damaged.format(reason=reason)}") from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ModelError(f"{path}: not a state dict: names with tensors are wanted")
    return state


def convolutions(state: dict[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
    """(kernel, bias) of the convolutions, by the numbers in their names: features.0, conv1_1, ... whatever prefix."""
    names = [name.removesuffix(".weight") for name, v in state.items() if name.endswith(".weight") and v.ndim == 4]
    names.sort(key=lambda name: [int(number) for number in re.findall(r"\d+", name)])
    return [(state[f"{n}.weight"], state[f"{n}.bias"]) for n in names if f"{n}.bias" in state]


def cache_folder() -> Path:
    """Where torch keeps weights that were downloaded with it. Nothing needs to be there."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def find_weights(given: str | Path, names: Sequence[str], option: str, advice: str) -> Path:
    """A file that is there: `given`, or for "cache" the first of `names` in torch's cache.

    Raises ModelError, which says where was looked and, by `advice`, how to get the file: nothing is ever downloaded.
    """
    if str(given) != CACHE:
        if Path(given).is_file():
            return Path(given)
        raise ModelError(f"{given}: there is no such network; give another with {option}, or leave the option out")
    places = [cache_folder() / name for name in names]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise ModelError(f"{option} cache: there is no {' nor '.join(map(str, places))}; {advice}")
    return found
