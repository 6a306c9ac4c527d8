"""What the tests of marks share: manifests of other tools, re-encoding, reading with the c2pa library itself."""

import io
import json
import struct
import subprocess
import zlib
from pathlib import Path
from typing import Any

import c2pa
import imageio_ffmpeg

from fewshot_reenact.provenance.keys import Credentials, make_credentials

_TYPES = {".mp4": "video/mp4", ".png": "image/png", ".jpg": "image/jpeg"}
_PNG_HEADER = 33  # bytes before the place where chunks may be put


def ffmpeg(*arguments: object) -> None:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, timeout=60)


def manifests(path: Path) -> tuple[dict[str, Any], dict[str, Any], str]:
    """All manifests, the active one and the state of validation, as the c2pa library's own reader says."""
    with c2pa.Reader(str(path)) as reader:
        store = json.loads(reader.json())
        return store["manifests"], store["manifests"][store["active_manifest"]], reader.get_validation_state()


def statement(manifest: dict[str, Any]) -> dict[str, Any]:
    return next(one["data"] for one in manifest["assertions"] if one["label"] == "org.fewshot-reenact.animation")


def actions(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    return next(one["data"]["actions"] for one in manifest["assertions"] if one["label"] == "c2pa.actions.v2")


def sign_as(
    path: Path,
    tool: str,
    extra: dict[str, Any] | None = None,
    by: Credentials | None = None,
    ingredient: Path | None = None,
) -> Path:
    """Signs a file in place as another tool would."""
    by = by or make_credentials()
    source = "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture"
    assertions = [
        {"label": "c2pa.actions.v2", "data": {"actions": [{"action": "c2pa.created", "digitalSourceType": source}]}}
    ]
    if extra is not None:
        assertions.append({"label": "com.example.extra", "data": extra})
    builder = c2pa.Builder({"claim_generator_info": [{"name": tool, "version": "1"}], "assertions": assertions})
    if ingredient is not None:
        with ingredient.open("rb") as file:
            about = json.dumps({"title": "part", "relationship": "componentOf"})
            builder.add_ingredient_from_stream(about, _TYPES[ingredient.suffix], file)
    signed = io.BytesIO()
    with c2pa.Signer.from_info(c2pa.C2paSignerInfo(by.algorithm, by.chain, by.key, None)) as signer:
        builder.sign(signer, _TYPES[path.suffix], io.BytesIO(path.read_bytes()), signed)
    path.write_bytes(signed.getvalue())
    return path


def png_with_manifest(path: Path, jumbf: bytes) -> Path:
    """Puts any bytes where a PNG's manifest is looked for."""
    data, body = path.read_bytes(), b"caBX" + jumbf
    chunk = struct.pack(">I", len(jumbf)) + body + struct.pack(">I", zlib.crc32(body))
    path.write_bytes(data[:_PNG_HEADER] + chunk + data[_PNG_HEADER:])
    return path


def nested_boxes(depth: int) -> bytes:
    """JUMBF boxes, each inside the one before."""
    body = bytes.fromhex("6332706100110010800000aa00389b71") + b"\x03x\0"
    description = struct.pack(">I4s", len(body) + 8, b"jumd") + body
    step = 8 + len(description)
    return b"".join(struct.pack(">I4s", step * n, b"jumb") + description for n in range(depth, 0, -1))


def uuid_box(data: bytes) -> tuple[int, int]:
    """Where an MP4's manifest stands: start and end of its top-level box."""
    at = 0
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        if kind == b"uuid" and data[at + 8 : at + 24] == bytes.fromhex("d8fec3d61b0e483c92975828877ec481"):
            return at, at + length
        at += length
    raise ValueError("no manifest")
