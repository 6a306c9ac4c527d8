"""The shards' own lists put together: index, clips, skipped videos, picture."""

from collections.abc import Iterator
from typing import Any

from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.training.data.contact_sheet import contact_sheet
from fewshot_reenact.training.data.engines import run_threads
from fewshot_reenact.training.data.shard_worker import Unit
from fewshot_reenact.training.data.shards import (
    CLIPS,
    INDEX,
    SKIPPED,
    SUMMARY,
    read_json,
    shard_name,
    write_json,
    write_lines,
)
from fewshot_reenact.training.data.storage import Folder


def shard_list(folder: Folder, number: int, sizes: dict[str, int]) -> dict[str, Any] | None:
    """What is in a shard that is finished, or None. sizes: of the folder's files."""
    if shard_name(number, ".json") not in sizes:
        return None
    try:
        made = read_json(folder, shard_name(number, ".json"))
        texts = {"clips": ("key", "video", "person"), "skipped": ("video", "reason"), "notes": ("video", "note")}
        rows = all(isinstance(row[key], str) for name, keys in texts.items() for row in made[name] for key in keys)
        counts = [made[name] for name in ("bytes", "videos", "frames")] + [row["frames"] for row in made["clips"]]
        whole = all(isinstance(count, int) and 0 <= count < 1 << 50 for count in counts)
        if not (rows and whole and 0 <= made["seconds"] < 1e12 and made["shard"] == shard_name(number)):
            return None
    except (InputError, KeyError, TypeError):
        return None  # damaged: it is made again
    return made if not made["clips"] or sizes.get(shard_name(number)) == made["bytes"] else None


def write_index(folder: Folder, plan: dict[str, Any], units: list[Unit]) -> dict[str, Any]:
    """Put the shards' own lists together: index, clips, skipped videos, picture. Returns the totals.

    The lists are read by several threads; a few at a time are in memory.
    """
    sizes = folder.sizes()
    files: list[dict[str, Any]] = []
    skipped: list[dict[str, str]] = []
    notes: list[dict[str, str]] = []
    people: set[str] = set()
    frames, seconds = 0, 0.0

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal frames, seconds
        read = run_threads(lambda unit: shard_list(folder, unit.number, sizes), units)
        for unit, made in zip(units, read, strict=True):
            if made is None:
                raise UsageError(
                    f"{folder / shard_name(unit.number)}: was made, and is not there; "
                    "OUT must be one place for all workers"
                )
            seconds += made["seconds"]
            skipped.extend(made["skipped"])
            notes.extend(made["notes"])
            if made["clips"]:
                files.append({"shard": made["shard"], "clips": len(made["clips"]), "bytes": made["bytes"]})
            for clip in made["clips"]:
                people.add(clip["person"])
                frames += clip["frames"]
                yield {"shard": made["shard"], **clip}

    write_lines(folder, CLIPS, rows())
    skipped.sort(key=lambda row: row["video"])
    write_lines(folder, SKIPPED, skipped)
    totals = {
        **plan,
        "clips": sum(file["clips"] for file in files),
        "people": len(people),
        "frames": frames,
        "seconds": round(seconds, 3),
        "bytes": sum(file["bytes"] for file in files),
        "skipped": len(skipped),
        "notes": notes,
    }
    if files:
        folder.write(SUMMARY, contact_sheet(folder, files))
    write_json(folder, INDEX, {**totals, "files": files})
    if not files:
        first = skipped[0]
        raise InputError(
            f"{folder.name}: none of {len(skipped)} videos can be used, see {folder / SKIPPED}; "
            f"the first: {first['video']}: {first['reason']}"
        )
    return totals
