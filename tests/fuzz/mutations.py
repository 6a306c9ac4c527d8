"""What a fuzzer does to a file: bytes, numbers and pieces of it, and where its format is known the values inside."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Callable

import numpy as np

_NUMBERS = (0, 1, 2, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1)
_VALUES = (
    None, True, 0, -1, 5, 1e308, 1e-308, float("nan"), float("inf"), 2**31, 2**63, 2**64, "", "x", "\x1b[31m", "..",
    "/", "²", "\ud800", [], {}, [[]], {"a": {}}, ["x"] * 50, "9" * 5000,
)  # fmt: skip
_WORDS = (
    b"null", b"~", b"-1", b"0", b"1e999", b".nan", b"[]", b"{}", b"[[[[", b"&a [*a]", b"!!python/object:os.system x",
    b"2001-13-45", b"9" * 5000, b"\xff\xfe", b"\x00", b"'", b": ", b"\n", b"!!binary x", b"<<: *a", b"true", b"../../x",
)  # fmt: skip


def mutate(data: bytes, suffix: str, others: list[bytes], rng: np.random.Generator) -> bytes:
    """The file, changed in one to three ways. others: files of the same kind, for pieces of them."""
    inside = {".safetensors": _safetensors, ".npz": _npz, ".json": _json}.get(suffix)
    text = suffix in (".yaml", ".json", ".jsonl", ".csv", ".pem")
    for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
        kind = rng.random()
        if inside is not None and kind < 0.6:
            data = inside(data, rng)
        elif text and kind < 0.6:
            data = _words(data, rng)
        elif kind > 0.95 and others:
            data = _splice(data, others[int(rng.integers(len(others)))], rng)
        else:
            data = _BYTES[int(rng.integers(len(_BYTES)))](data, rng)
    return data


def _at(data: bytes, rng: np.random.Generator, room: int = 0) -> int:
    """Somewhere in it; headers are at the beginning and at the end, so that these are likelier."""
    last = max(1, len(data) - room)
    where = rng.random()
    if where < 0.25:
        return int(rng.integers(min(last, 512)))
    return int(last - 1 - rng.integers(min(last, 512))) if where < 0.35 else int(rng.integers(last))


def _flip(data: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 17)) if data else 0):
        changed[_at(data, rng)] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _number(data: bytes, rng: np.random.Generator) -> bytes:
    at, value = _at(data, rng, 4), int(rng.choice(_NUMBERS))
    form = (">I", "<I", ">H", "<H", "B")[int(rng.integers(5))]
    packed = struct.pack(form, value & (256 ** struct.calcsize(form) - 1))
    return data[:at] + packed + data[at + len(packed) :]


def _cut(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: _at(data, rng)]


def _drop(data: bytes, rng: np.random.Generator) -> bytes:
    at = _at(data, rng)
    return data[:at] + data[at + int(rng.integers(1, 200)) :]


def _double(data: bytes, rng: np.random.Generator) -> bytes:
    at, to = _at(data, rng), _at(data, rng)
    return data[:to] + data[at : at + int(rng.integers(1, 2000))] + data[to:]


def _insert(data: bytes, rng: np.random.Generator) -> bytes:
    at = _at(data, rng)
    return data[:at] + rng.bytes(int(rng.integers(1, 64))) + data[at:]


def _same(data: bytes, rng: np.random.Generator) -> bytes:
    at, length = _at(data, rng), int(rng.integers(1, 64))
    return data[:at] + bytes([int(rng.choice([0, 255, 127]))]) * length + data[at + length :]


_BYTES: tuple[Callable[[bytes, np.random.Generator], bytes], ...] = (
    _flip, _flip, _number, _number, _cut, _drop, _double, _insert, _same,
)  # fmt: skip


def _splice(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    return data[: _at(data, rng)] + other[_at(other, rng) :]


def _words(data: bytes, rng: np.random.Generator) -> bytes:
    """A word or number of a text becomes another."""
    lines = data.split(b"\n")
    number = int(rng.integers(len(lines)))
    parts = lines[number].split(b" ")
    parts[int(rng.integers(len(parts)))] = _WORDS[int(rng.integers(len(_WORDS)))]
    lines[number] = b" ".join(parts)
    return b"\n".join(lines)


def _in_values(value: object, rng: np.random.Generator) -> object:
    """Plain data in which one value, somewhere, became another, or is missing."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = list(value)[int(rng.integers(len(value)))]
        rest = {k: v for k, v in value.items() if k != key}
        return rest if rng.random() < 0.1 else {**rest, key: _in_values(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.85:
        at = int(rng.integers(len(value)))
        return [*value[:at], _in_values(value[at], rng), *value[at + 1 :]]
    if isinstance(value, str) and value.startswith(("{", "[")) and rng.random() < 0.8:  # JSON in JSON
        try:
            return json.dumps(_in_values(json.loads(value), rng))
        except ValueError:
            pass
    return _VALUES[int(rng.integers(len(_VALUES)))]


def _json(data: bytes, rng: np.random.Generator) -> bytes:
    try:
        return json.dumps(_in_values(json.loads(data), rng)).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):
        return _flip(data, rng)


def _safetensors(data: bytes, rng: np.random.Generator) -> bytes:
    """Its header, which is JSON after eight bytes that say how long it is."""
    length = int.from_bytes(data[:8], "little")
    if length > len(data):
        return _flip(data, rng)
    if rng.random() < 0.4:
        change = _BYTES[int(rng.integers(len(_BYTES)))]
        body = change(data[8 + length :], rng)
        return data[: 8 + length] + body[: len(data) - 8 - length].ljust(len(data) - 8 - length, b"\0")
    header = _json(data[8 : 8 + length], rng)
    return struct.pack("<Q", len(header)) + header + data[8 + length :]


def _npz(data: bytes, rng: np.random.Generator) -> bytes:
    """One of the arrays in it: its header, its values, or all of it is missing."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
    except Exception:
        return _flip(data, rng)
    name = list(members)[int(rng.integers(len(members)))] if members else ""
    if members and rng.random() < 0.1:
        del members[name]
    elif members:
        members[name] = _array(members[name], rng) if rng.random() < 0.6 else _flip(members[name], rng)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    return packed.getvalue()


def _array(data: bytes, rng: np.random.Generator) -> bytes:
    try:
        values = np.load(io.BytesIO(data), allow_pickle=False)
    except Exception:
        return data
    if values.dtype.kind in "iuf" and values.size:
        odd = (0, -1, 1, 2**31, -(2**31), 2**62, *((np.nan, np.inf, 1e30, 1e-30) if values.dtype.kind == "f" else ()))
        values = values.copy()
        with np.errstate(all="ignore"):
            one = np.asarray(odd[int(rng.integers(len(odd)))]).astype(values.dtype)
        if rng.random() < 0.3:
            values[...] = one
        else:
            values.flat[int(rng.integers(values.size))] = one
    elif values.dtype.kind == "U":
        values = np.asarray("²" if rng.random() < 0.5 else "x" * 300)
    kept = io.BytesIO()
    np.save(kept, values if rng.random() < 0.8 else values.ravel()[: max(0, values.size - 1)], allow_pickle=False)
    return kept.getvalue()
