"""What a file says of itself without proof: its comment, digitalSourceType in XMP, China's AIGC label. Anybody can
write them.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from av.error import FFmpegError
from PIL import Image

from fewshot_reenact.errors import InputError
from fewshot_reenact.media.file_types import is_picture, open_image
from fewshot_reenact.media.marks import NOTE
from fewshot_reenact.media.source import open_container
from fewshot_reenact.provenance import aigc, xmp
from fewshot_reenact.provenance.sign import printable

_MADE_WITH = NOTE.rsplit(" ", 1)[0]  # of any version


@dataclass(frozen=True)
class Tags:
    """comment: the file's comment. source_type: IPTC's digitalSourceType, a URL. aigc: the elements of the label that
    China's GB 45438-2025 wants. None: there is none. protected: whether it says that it must not be animated.
    """

    comment: str | None
    source_type: str | None
    aigc: dict[str, str] | None = None
    protected: bool = False

    @property
    def by_this_tool(self) -> bool:
        """Whether the comment is the one that outputs of this tool carry. Not whether it names the tool: pictures of
        landmarks name it too, and are of real recordings. A source type alone may be any tool's.
        """
        return self.comment is not None and self.comment.startswith(_MADE_WITH)

    @property
    def generated(self) -> bool:
        """Whether the file calls itself AI-generated, whoever made it."""
        return self.by_this_tool or "AlgorithmicMedia" in (self.source_type or "") or self.aigc is not None


def read_tags(path: Path) -> Tags:
    """The tags of a picture or a video; none of a file that cannot be read. Text is made fit for a terminal."""
    comment, stated, tags, label, protected = None, None, dict[str, Any](), None, False
    with contextlib.suppress(OSError, ValueError, SyntaxError, FFmpegError, InputError, Image.DecompressionBombError):
        if is_picture(path):
            tags = _of_picture(path)
            comment = tags.get("Comment") or tags.get("comment")
        else:
            tags = _of_video(path)
            # A WebM holds no XMP: the source type is in its description.
            found = re.search(r"digitalSourceType: (\S+)", tags.get("description", ""))
            comment, stated = tags.get("comment"), found and found.group(1)
    with contextlib.suppress(OSError):
        stated, label = source_type(path) or stated, aigc.read(path, tags)
        protected = do_not_animate(xmp.extract(path) or b"")
    comment = comment.decode(errors="replace") if isinstance(comment, bytes) else comment
    label = label and {name: printable(value) for name, value in label.items()}
    return Tags(comment and printable(comment), stated and printable(stated), label, protected)


def do_not_animate(packet: bytes) -> bool:
    """Whether an XMP packet says so, as `reenact protect` writes it."""
    return re.search(rb"DoNotAnimate(?:[^<>]*>|=[\"'])\s*True", packet) is not None


def source_type(path: str | Path) -> str | None:
    """The digitalSourceType that a file states about itself in XMP, a URL; None if it states none. Raises OSError."""
    packet = xmp.extract(Path(path))
    found = re.search(rb"DigitalSourceType(?:>|=\")\s*([^<\"]+?)\s*[<\"]", packet or b"")
    return found.group(1).decode(errors="replace") if found else None


def _of_picture(path: Path) -> dict[str, Any]:
    with open_image(path) as image:
        return {str(name): value for name, value in image.info.items()}


def _of_video(path: Path) -> dict[str, str]:
    with contextlib.closing(open_container(path)) as container:
        return {key.lower(): value for key, value in container.metadata.items()}
