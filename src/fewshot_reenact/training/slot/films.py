"""A store's frames as films, small enough to travel, and back with OpenCV alone."""

from __future__ import annotations

import io
import json
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import torch

from fewshot_reenact.errors import InputError
from fewshot_reenact.training.resident.store import Store, store_of

_UNIT = 64  # points travel as 1/64 pixels
_KEY_EVERY = 250  # frames: nobody looks for one in the middle


def pack_films(store: Store, crf: int) -> dict[str, bytes]:
    """Three blobs: films, points, and an index of both. crf: x264's quality, lower is better.

    Raises ValueError: a point is farther than 500 pixels from the picture's corner, so nothing that was tracked.
    """
    scaled = np.round(store.table.points.astype(np.float64) * _UNIT)
    if np.abs(scaled).max() >= 2**15:
        raise ValueError("points lie too far outside the pictures to be packed")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        spans = [(int(a), int(a + n)) for a, n in zip(store.first, store.count, strict=True)]
        films = list(pool.map(lambda span: _encode(store, span[0], span[1], crf), spans))
    index = {
        "side": store.side,
        "count": store.count.tolist(),
        "bytes": [len(film) for film in films],
        "videos": store.videos.tolist(),
        "people": store.people,
        "fingerprint": store.fingerprint,
    }
    points = io.BytesIO()
    changes = np.diff(scaled.astype(np.int16), axis=0, prepend=np.zeros((1, *scaled.shape[1:]), np.int16))
    np.savez_compressed(points, changes=changes)  # from frame to frame they change little, and small numbers pack well
    return {"films": b"".join(films), "points": points.getvalue(), "index": json.dumps(index).encode()}


def _encode(store: Store, begin: int, end: int, crf: int) -> bytes:
    from fewshot_reenact.training.data.codec import ClipEncoder  # needs av, which is not where films are unpacked

    encoder = ClipEncoder(store.side, Fraction(25), crf, _KEY_EVERY, "bt601")
    for frame in store.frames[begin:end]:
        encoder.add(frame.permute(1, 2, 0).numpy())
    return encoder.finish()


def unpack_films(blobs: dict[str, bytes]) -> Store:
    """The store on the CPU. blobs: what `pack_films` gave. Raises InputError: a film does not give its frames."""
    index = json.loads(blobs["index"])
    changes = np.load(io.BytesIO(blobs["points"]), allow_pickle=False)["changes"]
    points = np.cumsum(changes, axis=0, dtype=np.int16).astype(np.float32) / _UNIT
    side, count = index["side"], np.array(index["count"])
    frames = np.empty((int(count.sum()), 3, side, side), np.uint8)
    first, at = np.cumsum(count) - count, np.cumsum(index["bytes"]) - index["bytes"]
    with tempfile.TemporaryDirectory(prefix="reenact-") as folder, ThreadPoolExecutor(os.cpu_count()) as pool:

        def one(number: int) -> None:
            path = Path(folder) / f"{number}.mp4"
            path.write_bytes(blobs["films"][at[number] : at[number] + index["bytes"][number]])
            _decode(path, frames[first[number] : first[number] + count[number]])
            path.unlink()

        for done in pool.map(one, range(len(count))):
            assert done is None
    return store_of(torch.from_numpy(frames), points, count, index["people"], index["videos"], index["fingerprint"])


def _decode(path: Path, frames: np.ndarray) -> None:
    """Fill frames (n, 3, P, P)."""
    film = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    try:
        for number in range(len(frames)):
            read, picture = film.read()
            if not read:
                raise InputError(f"{path.name}: gives {number} of {len(frames)} frames; pack again")
            frames[number] = picture[..., ::-1].transpose(2, 0, 1)
    finally:
        film.release()
