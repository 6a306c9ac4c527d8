"""How every command tells how far it is."""

from collections.abc import Callable
from typing import TypeAlias

Progress: TypeAlias = Callable[[str, int, int | None], None]
"""Called with the stage, how much of it is done, and how much there is, None where that is not known.

The stages are "portrait" (where it is a video), "driver" and "render" of animate; "measure" and "draw" of extract;
"frames" and "steps" of finetune; "clips" of evaluate; the file's name of check and verify.
"""
Count: TypeAlias = Callable[[int, int | None], None]
"""The same within one stage."""


def stage(progress: Progress | None, name: str) -> Count:
    """What one stage of a longer work calls. Without a listener it does nothing."""
    if progress is None:
        return lambda done, total: None
    return lambda done, total: progress(name, done, total)
