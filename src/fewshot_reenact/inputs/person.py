"""A person in a file: what fine-tuning makes and `animate` takes for PORTRAIT. Safetensors, no pickle.

    model.*          the networks' weights, float16
    psi              the person's AdaIN scales and shifts, float32, in place of P e
    pictures.N       PNG or JPEG bytes, uint8; the first is the picture that moves
    points           the 83 points of the face in each, (K, 83, 2) float32 pixels
    row              D's row for the person, where the model has a D
Metadata: format, dimensions of the networks, version, note, consent (what was said of the person's agreement).
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from fewshot_reenact._version import __version__
from fewshot_reenact.errors import ModelError
from fewshot_reenact.files import partial_file
from fewshot_reenact.inputs.portrait import Portrait
from fewshot_reenact.models.dimensions import ModelDimensions
from fewshot_reenact.models.reenactor import Reenactor

SUFFIX = ".safetensors"
_FORMAT = "fewshot-reenact/person/1"
_JPEG_QUALITY = 95


@dataclass(frozen=True)
class Person:
    """The fine-tuned networks, psi (1, style_length) and the portraits of somebody."""

    model: Reenactor
    psi: Tensor
    portraits: list[Portrait]
    row: Tensor | None = None


def is_person(path: Path) -> bool:
    """By the name: whether it really is one is for load_person to say."""
    return path.suffix.lower() == SUFFIX


def save_person(
    person: Person, path: Path, *, note: str = "", consent: str | None = None, overwrite: bool = False
) -> None:
    """Write one file, atomically. The first picture keeps every pixel; the others only lend theirs to warps."""
    tensors = {f"model.{k}": v.half() if v.is_floating_point() else v for k, v in person.model.state_dict().items()}
    tensors["psi"] = person.psi.detach().float()
    tensors["points"] = torch.from_numpy(np.stack([p.points for p in person.portraits]).astype(np.float32))
    if person.row is not None:
        tensors["row"] = person.row.detach().float()
    for number, portrait in enumerate(person.portraits):
        kind, options = (".png", []) if number == 0 else (".jpg", [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        encoded = cv2.imencode(kind, np.ascontiguousarray(portrait.picture[..., ::-1]), options)[1]
        tensors[f"pictures.{number}"] = torch.from_numpy(encoded)
    meta = {"format": _FORMAT, "dimensions": person.model.dims.to_json(), "version": __version__, "note": note}
    if consent is not None:
        meta["consent"] = consent
    with partial_file(path, overwrite) as partial:
        partial.write_bytes(save({k: v.cpu().contiguous() for k, v in tensors.items()}, metadata=meta))


def consent_in(path: Path) -> str | None:
    """What was said at fine-tuning of the person's agreement. Raises ModelError: missing, damaged."""
    try:
        with safe_open(str(path), "pt") as file:
            return (file.metadata() or {}).get("consent")
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path}: damaged ({' '.join(str(error).split())[:300]})") from error


def load_person(path: Path, device: torch.device | str = "cpu") -> Person:
    """Read what save_person wrote, ready for inference. Raises ModelError: missing, damaged, something else."""
    if not path.is_file():
        raise ModelError(f"{path}: no such file; make it with `reenact finetune`, or give a picture")
    try:
        with safe_open(str(path), "pt") as file:
            meta = file.metadata() or {}
            if meta.get("format") != _FORMAT:
                what = meta.get("format", "something else")
                hint = "; weights go with --model" if "/model/" in what else ""
                raise ModelError(f"{path}: is no person from `reenact finetune` but {what}{hint}")
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        model = Reenactor(ModelDimensions.from_json(meta["dimensions"]))
        weights = {k.removeprefix("model."): v.float() for k, v in tensors.items() if k.startswith("model.")}
        model.load_state_dict(weights)
        psi, points = tensors["psi"].reshape(1, model.generator.style_length), tensors["points"].numpy()
        portraits = [Portrait(_decode(tensors[f"pictures.{n}"]), one) for n, one in enumerate(points)]
        if not portraits or points.shape[1:] != (83, 2):
            raise ValueError(f"points of shape {points.shape}")
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise ModelError(f"{path}: damaged ({' '.join(str(error).split())[:300]})") from error
    model.to(device).to(memory_format=torch.channels_last).eval().requires_grad_(False)  # type: ignore[call-overload]
    return Person(model, psi.to(device), portraits, tensors.get("row"))


def _decode(encoded: Tensor) -> np.ndarray:
    """PNG or JPEG bytes -> (H, W, 3) uint8 RGB."""
    bgr = cv2.imdecode(encoded.numpy(), cv2.IMREAD_COLOR)
    if bgr is None:
        raise ValueError("a picture that is neither PNG nor JPEG")
    return np.ascontiguousarray(bgr[..., ::-1])
