"""Shards: plain tar files in WebDataset's layout, written so that the same clips give the same bytes, and read clip by
clip from anywhere in them.

OUT/plan.json                 what was asked: options, fingerprint of the list of videos
OUT/shard-000012.tar          KEY.mp4, KEY.npz, KEY.json of each clip; unpacked, a folder that training reads as well
OUT/shard-000012.json         its clips (with their places in the tar) and the videos that were skipped
OUT/index.json, clips.jsonl, skipped.jsonl, summary.jpg       of all shards, written last
"""

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fewshot_reenact.errors import InputError, brief
from fewshot_reenact.geometry.topology import no_faces
from fewshot_reenact.plain_json import read_object
from fewshot_reenact.training.data.clipping import CutClip
from fewshot_reenact.training.data.damage import DamagedClip
from fewshot_reenact.training.data.storage import Folder

SCHEMA = "reenact-shards/1"
INDEX, CLIPS, SKIPPED, PLAN, SUMMARY = "index.json", "clips.jsonl", "skipped.jsonl", "plan.json", "summary.jpg"
_NAMES = r"(shard-\d{6}\.(tar|json)|(index|plan)\.json|(clips|skipped)\.jsonl|summary\.jpg)"
_PARTIAL = rf"\.{_NAMES}\.[0-9a-f]{{8}}\.partial"


def is_ours(name: str) -> bool:
    """Whether a file in OUT was made by prepare."""
    return re.fullmatch(f"{_NAMES}|{_PARTIAL}", name) is not None


def is_partial(name: str) -> bool:
    """Whether a file in OUT was left half written by a prepare that was killed."""
    return re.fullmatch(_PARTIAL, name) is not None


def shard_name(number: int, suffix: str = ".tar") -> str:
    """The name of a shard's file."""
    return f"shard-{number:06d}{suffix}"


def clip_key(source: str, number: int) -> str:
    """A name for a clip that is unique, has no dot (WebDataset splits there) and can still be read by a person."""
    digest = hashlib.sha256(source.encode("utf-8", "surrogateescape")).hexdigest()[:10]
    readable = re.sub(r"[^A-Za-z0-9_-]+", "_", re.sub(r"\.[^./]*$", "", source))[-60:].strip("_")
    return f"{readable}-{digest}-{number:03d}"


class ShardWriter:
    """Adds clips to one tar file; `rows` says where each is in it."""

    def __init__(self, path: Path) -> None:
        self._tar = tarfile.open(path, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115 - closed by `close`
        self.rows: list[dict[str, Any]] = []

    def add(self, key: str, clip: CutClip, video: str) -> None:
        """Append a clip."""
        begin = self._tar.offset
        facts = {"key": key, "video": video, **clip.facts}
        text = json.dumps(facts).encode()
        for suffix, data in ((".mp4", clip.film), (".npz", clip.labels), (".json", text)):
            member = tarfile.TarInfo(key + suffix)  # time, owner and group are zero
            member.size = len(data)
            self._tar.addfile(member, io.BytesIO(data))
        self.rows.append({**facts, "offset": begin, "length": self._tar.offset - begin})

    def close(self) -> None:
        """Complete the tar file."""
        self._tar.close()


@dataclass(frozen=True)
class StoredClip:
    """One clip as it was read from a shard."""

    key: str
    film: bytes
    points: np.ndarray
    person: str
    facts: dict[str, Any]


def read_clip(folder: Folder, shard: str, offset: int, length: int) -> StoredClip:
    """The clip at a place of a shard; nothing else of it is read. Raises DamagedClip, InputError."""
    return parse_clip(folder.read(shard, offset, length), folder, shard, offset)


def parse_clip(data: bytes, folder: Folder, shard: str, offset: int) -> StoredClip:
    """The clip whose bytes were read at this place. Raises DamagedClip."""
    where = f"{folder / shard}: the clip at byte {offset}"
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            parts = {Path(m.name).suffix: (m.name, tar.extractfile(m).read()) for m in tar}  # type: ignore[union-attr]
        facts = json.loads(parts[".json"][1])
        with np.load(io.BytesIO(parts[".npz"][1]), allow_pickle=False) as labels:
            points, person = labels["points"].astype(np.float32), str(labels["identity"])
        if not len(points) or len(points) != facts["frames"] or no_faces(points).any():
            raise ValueError("points and frames do not agree, or are no faces', or there are none")
        return StoredClip(facts["key"], parts[".mp4"][1], points, person, facts)
    except Exception as error:  # whatever damaged bytes make of tar, zip and JSON
        message = f"{where} is damaged ({brief(error)}); delete the shard and run prepare again"
        raise DamagedClip(message, f"{shard} {offset}") from error


def read_json(folder: Folder, name: str) -> dict[str, Any]:
    """Raises InputError when it is missing or no JSON object."""
    try:
        return read_object(folder.read(name))
    except ValueError as error:
        raise InputError(f"{folder / name}: is damaged; delete it and run prepare again") from error


def write_json(folder: Folder, name: str, value: dict[str, Any]) -> None:
    """Write JSON, whole or not at all."""
    folder.write(name, (json.dumps(value, indent=1) + "\n").encode())


def write_lines(folder: Folder, name: str, rows: Iterable[dict[str, Any]]) -> None:
    """Write JSON lines, whole or not at all."""
    with folder.partial(name) as path, path.open("w", encoding="ascii") as file:
        for row in rows:
            file.write(json.dumps(row) + "\n")


def read_lines(folder: Folder, name: str) -> Iterator[dict[str, Any]]:
    """Read JSON lines. Raises InputError for a damaged one."""
    for number, line in enumerate(folder.lines(name), 1):
        try:
            yield read_object(line)
        except ValueError as error:
            raise InputError(f"{folder / name}: line {number} is damaged; delete it and run prepare again") from error
