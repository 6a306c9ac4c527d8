"""The marks that every output of this tool carries by default. Signature, watermark and visible label come here too."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fewshot_reenact._version import __version__
from fewshot_reenact.provenance import xmp
from fewshot_reenact.video.marking import NOTE, PlainNote

# https://cv.iptc.org/newscodes/digitalsourcetype: a real picture and motion, put together by a trained network.
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
DESCRIPTION = (
    "AI-generated: the face was animated by a neural network, from a picture and the motion in a driving video. "
    f"digitalSourceType: {SOURCE_TYPE}"
)


class StandardMarks(PlainNote):
    """Plain metadata for people (comment, description) and IPTC's digitalSourceType in XMP for machines."""

    def metadata(self) -> dict[str, str]:
        """Tags of the container: comment, description."""
        return {"comment": NOTE, "description": DESCRIPTION}

    def label(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The frame (H, W, 3) uint8 RGB as it will be seen; no visible label yet."""
        return picture

    def finish(self, partial: Path, suffix: str) -> None:
        """Adds the XMP packet to the finished file. Raises OSError if the disk is full."""
        xmp.embed(partial, suffix, xmp.packet(SOURCE_TYPE, f"fewshot-reenact {__version__}", DESCRIPTION))


def standard_marks() -> StandardMarks:
    """What `animate` hands to its writer."""
    return StandardMarks()


def source_type(path: str | Path) -> str | None:
    """The digitalSourceType that a file states about itself in XMP, a URL; None if it states none. Raises OSError."""
    packet = xmp.extract(Path(path))
    found = re.search(rb"DigitalSourceType(?:>|=\")\s*([^<\"]+?)\s*[<\"]", packet or b"")
    return found.group(1).decode(errors="replace") if found else None
