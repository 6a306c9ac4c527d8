"""Where a file that is written says that it is AI-generated.

The writers here put a plain note into every file on their own. What goes further (signature, watermark, visible label)
lives in `provenance`, above this package; it comes in through the `Marks` protocol, as an object.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fewshot_reenact._version import __version__

NOTE = f"AI-generated: made with fewshot-reenact {__version__}"


class Marks(Protocol):
    """What a writer does to a file so that people and machines can tell where it came from."""

    def metadata(self) -> dict[str, str]:
        """Tags for the file, such as title, comment, description."""

    def label(self, picture: NDArray[np.uint8], seconds: float = 0.0) -> NDArray[np.uint8]:
        """A frame (H, W, 3) uint8 RGB, or (H, W, 4) with straight colours and alpha, as it goes into the file, of the
        same shape; must not change its argument. seconds: when a video shows it.
        """

    def finish(self, partial: Path, suffix: str) -> None:
        """Works on the finished file before it gets its name; `suffix` is the one that it will have, as `.mp4`."""


class PlainNote:
    """The least that every file carries: a comment that says AI-generated."""

    def metadata(self) -> dict[str, str]:
        """A comment that says AI-generated."""
        return {"comment": NOTE}

    def label(self, picture: NDArray[np.uint8], seconds: float = 0.0) -> NDArray[np.uint8]:  # noqa: ARG002
        """The picture as it is."""
        return picture

    def finish(self, partial: Path, suffix: str) -> None:
        """Nothing more."""
        pass
