"""Clips that say that they must not be used for training (`provenance.protect`): no run begins with one.

Shards need no look, `prepare` leaves such videos out. To look for a watermark takes a second a clip; so a clip that
carries no mark is remembered in the user's folder, by a hash of its path, size and time and of this tool's version.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from fewshot_reenact._version import __version__
from fewshot_reenact.config_folder import append_private, config_folder
from fewshot_reenact.errors import InputError
from fewshot_reenact.provenance.protect import why_refused

REMEMBERED = "clips_without_marks.txt"
_NAMED = 5  # clips in a complaint


def refuse_protected_clips(clips: Sequence[Path]) -> None:
    """Looks at all of them, on all processors. One of several processes of a run looks at its share: whichever finds
    a mark ends the run.

    Raises InputError: some say that they must not be used for training.
    """
    rank, processes = (int(os.environ.get(name, one)) for name, one in (("RANK", "0"), ("WORLD_SIZE", "1")))
    known, mine = _remembered(), [clip for clip in clips[rank::processes] if clip.is_file()]
    unknown = [clip for clip in mine if _key(clip) not in known]
    if not unknown:
        return
    refused = []
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        tqdm(total=len(unknown), unit="clip", desc="marks", disable=True if rank else None, delay=2) as bar,
    ):
        for clip, why in zip(unknown, pool.map(lambda clip: why_refused(clip, "train"), unknown), strict=True):
            bar.update()
            if why is None:
                with contextlib.suppress(OSError):  # then it is looked at again
                    append_private(config_folder() / REMEMBERED, _key(clip))
            else:
                refused.append(f"{clip.name}: {why}")
    if refused:
        more = [f"and {len(refused) - _NAMED} more"] if len(refused) > _NAMED else []
        raise InputError(
            f"{clips[0].parent}: {len(refused)} of {len(clips)} clips say that they must not be used for training; "
            f"take them out of the folder: {'; '.join([*refused[:_NAMED], *more])}"
        )


def _remembered() -> set[str]:
    try:
        return set((config_folder() / REMEMBERED).read_text("ascii").split())
    except (OSError, UnicodeDecodeError):
        return set()


def _key(clip: Path) -> str:
    """Changes with the file, and with this tool, which may learn to see more."""
    stat = clip.stat()
    said = f"{__version__} {clip.resolve()} {stat.st_size} {stat.st_mtime_ns}"
    return hashlib.sha256(said.encode("utf-8", "surrogateescape")).hexdigest()
