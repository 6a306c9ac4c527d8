"""Weights on disk: safetensors whose metadata holds the dimensions, so that a file is all that is needed to build the
networks.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from fewshot_reenact._version import __version__
from fewshot_reenact.errors import ModelError
from fewshot_reenact.models.dimensions import ModelDimensions
from fewshot_reenact.models.hub import fetch, is_on_hub
from fewshot_reenact.models.losses import LossWeights
from fewshot_reenact.models.reenactor import Reenactor
from fewshot_reenact.weights import WEIGHTS, open_weights, save_weights

DEFAULT_MODEL = WEIGHTS / "textured.safetensors"
FORMAT = "fewshot-reenact/model/1"


def save_model(
    model: Reenactor, path: Path, note: str = "", half: bool = False, losses: LossWeights | None = None
) -> None:
    """Write the weights atomically. half: as float16, half the size (rounding far below what training resolves).
    losses: by what they were trained, for `load_losses`.
    """
    meta = {"format": FORMAT, "dimensions": model.dims.to_json(), "version": __version__, "note": note}
    meta |= {"losses": losses.to_json()} if losses is not None else {}
    save_weights(path, model.state_dict(), meta, half=half)


def model_file(model: Path | str | None = None) -> Path:
    """Where the file of a model is. None: the built-in one. "hf:OWNER/NAME[@REV]": one on the Hugging Face Hub, which
    is downloaded when it is first asked for; see models.hub.
    """
    if model is None:
        return DEFAULT_MODEL
    return fetch(model) if is_on_hub(model) else Path(model)


def load_model(path: Path | str | None = None, device: torch.device | str = "cpu") -> Reenactor:
    """Build the networks that the file describes and fill them, ready for inference. path: see `model_file`.

    Raises ModelError when the file is missing, damaged, a Git-LFS pointer or of a newer format.
    """
    path = model_file(path)
    missing = "no such model; give another with --model, or install the package again"
    with open_weights(path, missing, "damaged or not a model of this tool ({reason})") as file:
        file.expect(FORMAT, f"made for {{found}}, this version reads {FORMAT}")
        model = Reenactor(ModelDimensions.from_json(file.meta["dimensions"]))
        model.load_state_dict({name: tensor.float() for name, tensor in file.tensors().items()})
    return model.to(device).to(memory_format=torch.channels_last).eval().requires_grad_(False)  # type: ignore[call-overload]


@torch.no_grad()
def take_over(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give a network the weights of one with fewer channels in some places: what is new starts at zero. Raises
    KeyError, RuntimeError: it is another network.
    """
    for name, own in network.state_dict().items():
        theirs = state[name]
        own.zero_()[tuple(slice(n) for n in theirs.shape)].copy_(theirs) if own.ndim else own.copy_(theirs)


def load_losses(path: Path | str | None = None) -> LossWeights | None:
    """By which losses the file's weights were trained; None: it does not say. Raises ModelError: missing, damaged."""
    path = model_file(path)
    with open_weights(path, "no such model") as file:
        said = file.meta.get("losses")
    try:
        return None if said is None else LossWeights.from_json(said)
    except (ValueError, TypeError) as error:
        raise ModelError(f"{path}: damaged: what it says of its losses cannot be read") from error
