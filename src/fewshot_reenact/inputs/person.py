"""A person in a file: what fine-tuning makes and `animate` takes for PORTRAIT. Safetensors, no pickle.

    model.*          the networks' weights, float16
    psi              the person's AdaIN scales and shifts, float32, in place of P e
    pictures.N       PNG or JPEG bytes, uint8; the first is the picture that moves
    points           the 83 points of the face in each, (K, 83, 2) float32 pixels
    row              D's row for the person, where the model has a D
Metadata: format, dimensions of the networks, version, note, consent (what was said of the person's agreement),
consent_file (the SHA-256 of a statement of theirs).
"""

import io
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fewshot_reenact._version import __version__
from fewshot_reenact.geometry.topology import no_faces
from fewshot_reenact.inputs.portrait import Portrait
from fewshot_reenact.media.file_types import open_image
from fewshot_reenact.media.pictures import SMALLEST, WORKING
from fewshot_reenact.models.dimensions import ModelDimensions
from fewshot_reenact.models.reenactor import Reenactor
from fewshot_reenact.weights import open_weights, save_weights

SUFFIX = ".safetensors"
_FORMAT = "fewshot-reenact/person/1"
_JPEG_QUALITY = 95
_MISSING = "no such file; make it with `reenact finetune`, or give a picture"


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
    person: Person,
    path: Path,
    *,
    note: str = "",
    consent: str | None = None,
    statement: str | None = None,
    overwrite: bool = False,
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
    if statement is not None:
        meta["consent_file"] = statement
    save_weights(path, tensors, meta, overwrite=overwrite)


def consent_in(path: Path) -> tuple[str | None, str | None]:
    """What was said at fine-tuning of the person's agreement, and the SHA-256 of a statement of theirs. Raises
    ModelError: missing, damaged.
    """
    with open_weights(path, _MISSING) as file:
        return file.meta.get("consent"), file.meta.get("consent_file")


def load_person(path: Path, device: torch.device | str = "cpu") -> Person:
    """Read what save_person wrote, ready for inference. Raises ModelError: missing, damaged, something else."""
    with open_weights(path, _MISSING) as file:
        found = file.meta.get("format", "something else")
        hint = "; weights go with --model" if "/model/" in found else ""
        file.expect(_FORMAT, f"is no person from `reenact finetune` but {{found}}{hint}")
        tensors = file.tensors()
        model = Reenactor(ModelDimensions.from_json(file.meta["dimensions"]))
        weights = {k.removeprefix("model."): v.float() for k, v in tensors.items() if k.startswith("model.")}
        model.load_state_dict(weights)
        psi, points = tensors["psi"].reshape(1, model.generator.style_length), tensors["points"].numpy()
        if not len(points) or points.shape[1:] != (83, 2):
            raise ValueError(f"points of shape {points.shape}")
        portraits = [_portrait(tensors[f"pictures.{n}"], one) for n, one in enumerate(points)]
    model.to(device).to(memory_format=torch.channels_last).eval().requires_grad_(False)  # type: ignore[call-overload]
    return Person(model, psi.to(device), portraits, tensors.get("row"))


def _portrait(encoded: Tensor, points: np.ndarray) -> Portrait:
    """Raises ValueError: no picture, or points that are no face's in it."""
    picture = _decode(encoded)
    if no_faces(points, max(picture.shape[:2])):
        raise ValueError("points that are no face's")
    return Portrait(picture, points)


def _decode(encoded: Tensor) -> np.ndarray:
    """PNG or JPEG bytes -> (H, W, 3) uint8 RGB. Its size is looked at before it is decoded. Raises ValueError."""
    if encoded.dtype != torch.uint8:
        raise ValueError(f"a picture of {encoded.dtype}")
    try:
        with open_image(io.BytesIO(encoded.numpy().tobytes())) as image:
            kind, size = image.format, image.size
    except Image.DecompressionBombError as error:
        raise ValueError(f"a picture that is too large ({error})") from error
    if kind not in ("PNG", "JPEG"):
        raise ValueError("a picture that is neither PNG nor JPEG")
    if not SMALLEST <= min(size) <= max(size) <= WORKING:
        raise ValueError(f"a picture of {size[0]} x {size[1]} pixels")
    bgr = cv2.imdecode(encoded.numpy().ravel(), cv2.IMREAD_COLOR)
    if bgr is None:
        raise ValueError("a picture that cannot be decoded")
    return np.ascontiguousarray(bgr[..., ::-1])
