"""A folder of talking-head videos: its clips, and who is in them."""

import zlib
from pathlib import Path

import numpy as np

from fewshot_reenact.errors import InputError
from fewshot_reenact.media.file_types import VIDEO_SUFFIXES


def person_in_clip(clip: Path) -> str:
    """Who is in a clip: what NAME.npz beside it says (`identity`), else the file's own name."""
    beside = clip.with_suffix(".npz")
    if beside.is_file():
        try:
            with np.load(beside, allow_pickle=False) as data:
                if "identity" in data:
                    return str(data["identity"])
        except (OSError, ValueError, EOFError, zlib.error):  # somebody else's npz is no business of ours
            pass
    return clip.stem


def clip_files(clips: Path, limit: int | None) -> list[Path]:
    """The videos of a folder, by name; with a limit, one of each person before the second of any."""
    if clips.is_file():
        return [clips]
    if not clips.is_dir():
        raise InputError(f"{clips}: no such folder of clips; check the name")
    files = sorted(f for f in clips.iterdir() if f.suffix.lower() in VIDEO_SUFFIXES and not f.name.startswith("."))
    if not files:
        raise InputError(f"{clips}: there is no video in this folder")
    if limit is None or limit >= len(files):
        return files
    count: dict[str, int] = {}
    ranked = []
    for file in files:
        person = person_in_clip(file)
        ranked.append((count.setdefault(person, 0), file))
        count[person] += 1
    return sorted(file for _, file in sorted(ranked)[:limit])
