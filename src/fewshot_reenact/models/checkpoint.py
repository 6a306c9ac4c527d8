"""Weights on disk: safetensors whose metadata holds the dimensions, so that a file is all that is needed to build the
networks.
"""

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from fewshot_reenact._version import __version__
from fewshot_reenact.errors import ModelError
from fewshot_reenact.files import partial_file
from fewshot_reenact.models.dimensions import ModelDimensions
from fewshot_reenact.models.reenactor import Reenactor

WEIGHTS = Path(__file__).resolve().parent.parent / "weights"
DEFAULT_MODEL = WEIGHTS / "textured.safetensors"
_FORMAT = "fewshot-reenact/model/1"


def save_model(model: Reenactor, path: Path, note: str = "", half: bool = False) -> None:
    """Write the weights atomically. half: as float16, half the size (rounding far below what training resolves)."""
    tensors = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    if half:
        tensors = {k: v.half() if v.is_floating_point() else v for k, v in tensors.items()}
    meta = {"format": _FORMAT, "dimensions": model.dims.to_json(), "version": __version__, "note": note}
    with partial_file(path, overwrite=True) as partial:
        partial.write_bytes(save(tensors, metadata=meta))  # save_file would leave a file that only its owner may read


def load_model(path: Path | str | None = None, device: torch.device | str = "cpu") -> Reenactor:
    """Build the networks that the file describes and fill them, ready for inference. None: the built-in model.

    Raises ModelError when the file is missing, damaged, a Git-LFS pointer or of a newer format.
    """
    path = Path(path) if path is not None else DEFAULT_MODEL
    if not path.is_file():
        raise ModelError(f"{path}: no such model; give another with --model, or install the package again")
    if path.stat().st_size < 1024 and path.read_bytes().startswith(b"version https://git-lfs"):
        raise ModelError(f"{path}: this is a Git-LFS pointer, not the weights; run `git lfs pull`")
    try:
        with safe_open(str(path), "pt") as file:
            meta = file.metadata() or {}
            if meta.get("format") != _FORMAT:
                raise ModelError(
                    f"{path}: made for {meta.get('format', 'something else')}, this version reads {_FORMAT}"
                )
            model = Reenactor(ModelDimensions.from_json(meta["dimensions"]))
            model.load_state_dict({key: file.get_tensor(key).float() for key in file.keys()})  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]  # torch lists every tensor on a line of its own
        raise ModelError(f"{path}: damaged or not a model of this tool ({reason})") from error
    return model.to(device).to(memory_format=torch.channels_last).eval().requires_grad_(False)  # type: ignore[call-overload]
