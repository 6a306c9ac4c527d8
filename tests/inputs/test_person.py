"""A person's file may come from a stranger: nothing is decoded, or believed, before it is looked at."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from fewshot_reenact.errors import ModelError
from fewshot_reenact.inputs.person import Person, load_person, save_person
from fewshot_reenact.inputs.portrait import Portrait
from fewshot_reenact.models.checkpoint import load_model, save_model
from network_samples import model
from painted_clips import face_points, paint_face


@pytest.fixture
def person(tmp_path: Path) -> Path:
    net, points = model(), face_points(64)
    save_person(
        Person(net, net.generator.style(torch.zeros(1, 8)), [Portrait(paint_face(points, 64), points)]),
        tmp_path / "a.safetensors",
    )
    return tmp_path / "a.safetensors"


def with_tensor(path: Path, name: str, value: torch.Tensor) -> Path:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        meta = file.metadata()
    save_file({**load_file(path), name: value}, path, metadata=meta)
    return path


def picture(image: Image.Image, kind: str) -> torch.Tensor:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return torch.frombuffer(bytearray(buffer.getvalue()), dtype=torch.uint8)


def png_that_claims(side: int) -> torch.Tensor:
    """A PNG whose header states a size that its data does not have: what it would cost to believe it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


def test_it_is_what_was_saved(person: Path) -> None:
    kept = load_person(person)
    assert kept.portraits[0].picture.shape == (64, 64, 3) and kept.psi.shape[0] == 1
    assert np.allclose(kept.portraits[0].points, face_points(64))


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (png_that_claims(30_000), "a picture that is too large"),
        (png_that_claims(9_000), "a picture of 9000 x 9000 pixels"),
        (picture(Image.new("RGB", (1, 1)), "PNG"), "a picture of 1 x 1 pixels"),
        (picture(Image.new("RGB", (64, 64)), "BMP"), "neither PNG nor JPEG"),
        (torch.zeros(0, dtype=torch.uint8), "damaged"),
        (torch.zeros(40), "a picture of torch.float32"),
    ],
)
def test_pictures_that_are_refused(person: Path, value: torch.Tensor, complaint: str) -> None:
    with pytest.raises(ModelError, match=complaint):
        load_person(with_tensor(person, "pictures.0", value))


def test_numbers_that_are_none_are_refused(person: Path, tmp_path: Path) -> None:
    """Weights of NaN were rendered as garbage, with exit code 0."""
    with pytest.raises(ModelError, match="psi holds values that are no numbers"):
        load_person(with_tensor(person, "psi", torch.full((1, 10), torch.nan)))
    net = model()
    torch.nn.init.constant_(net.generator.out.weight, torch.inf)
    save_model(net, tmp_path / "m.safetensors")
    with pytest.raises(ModelError, match="holds values that are no numbers"):
        load_model(tmp_path / "m.safetensors")
