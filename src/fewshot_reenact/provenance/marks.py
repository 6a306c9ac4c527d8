"""The marks that every output of this tool carries: visible label, invisible watermark, plain tags, signature."""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewshot_reenact._version import __version__
from fewshot_reenact.media.marks import NOTE, PlainNote
from fewshot_reenact.media.pictures import PICTURE_OUTPUTS, read_colours
from fewshot_reenact.media.reader import VideoReader
from fewshot_reenact.provenance import aigc, xmp
from fewshot_reenact.provenance.aigc import CHINA, Visible
from fewshot_reenact.provenance.assertions import TOOL, Origin
from fewshot_reenact.provenance.detector import Detection, detect
from fewshot_reenact.provenance.keys import Credentials, user_credentials
from fewshot_reenact.provenance.label import Label
from fewshot_reenact.provenance.mark_pattern import PUBLIC_KEY
from fewshot_reenact.provenance.sign import check_credentials, sign
from fewshot_reenact.provenance.tags import read_tags
from fewshot_reenact.provenance.watermark import Watermarker

# https://cv.iptc.org/newscodes/digitalsourcetype: a real picture and motion, put together by a trained network.
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
DESCRIPTION = (
    "AI-generated: the face was animated by a neural network, from a picture and the motion in a driving video. "
    f"digitalSourceType: {SOURCE_TYPE}"
)

_DOUBTFUL_SIDE = 520  # pixels, the root of the area: from here on all that was tried carried the watermark
_LOOKED_AT = 75  # frames


class PixelMarks:
    """The marks that pictures carry wherever they go: the label (unless `visible` is False; "cn": the one that China
    asks for) and the watermark. id: 16 hexadecimal digits; None: random ones. key: of the watermark; None: the public
    one.
    """

    def __init__(self, visible: Visible, id: str | None = None, key: bytes | None = None) -> None:
        self.visible = visible
        # Random: it says nothing of user, machine or time.
        payload = secrets.randbits(64) if id is None else int(id, 16)  # that of `protect` comes once in 2^64
        self.id = f"{payload:016x}"
        self._watermarker = Watermarker(payload, key or PUBLIC_KEY)
        self._label: tuple[tuple[int, int], Label] | None = None

    def label(self, picture: NDArray[np.uint8], seconds: float = 0.0) -> NDArray[np.uint8]:
        """The picture (H, W, 3) uint8 RGB labelled and watermarked. Of a transparent one, (H, W, 4), the straight
        colours are, everywhere. seconds: when a video shows it.
        """
        if self.visible:
            size = (picture.shape[0], picture.shape[1])
            if self._label is None or self._label[0] != size:
                self._label = (size, Label(*size, chinese=self.visible == CHINA))
            picture = self._label[1].draw(picture)
        if picture.shape[2] == 3:
            return self._watermarker.stamp(picture, seconds)
        return np.dstack([self._watermarker.stamp(np.ascontiguousarray(picture[..., :3]), seconds), picture[..., 3]])


class StandardMarks(PlainNote):
    """One output's marks, in the order of a writer's calls; see `Marks`.

    Every frame: the label (unless `visible` is False) and the watermark with this output's id, random unless it is
    given, for an output of which a part is made already. The finished file: IPTC's digitalSourceType in XMP, and last
    of all the C2PA manifest, which covers everything before it. visible="cn": the label and the metadata that China's
    GB 45438-2025 asks for.
    stamped: the pictures carry label and watermark of that id already, as a session's do; they stay as they are.
    key: of the watermark; None: the public one.
    notes: what the user should know, complete after `finish`. Among it whether a small picture hides the watermark:
    where brush strokes are as fine as the mark is, nothing finds it again.
    """

    def __init__(
        self,
        origin: Origin,
        credentials: Credentials,
        visible: Visible,
        thumbnails: bool,
        id: str | None = None,
        stamped: bool = False,
        key: bytes | None = None,
    ) -> None:
        self.origin, self.visible = origin, visible
        self.notes = list(credentials.notes)
        self._credentials, self._thumbnails = credentials, thumbnails
        self._pixels = None if stamped else PixelMarks(visible, id, key)
        self.id = str(id) if self._pixels is None else self._pixels.id
        self._key = key or PUBLIC_KEY
        self._side = 0.0

    def metadata(self) -> dict[str, str]:
        """Tags of the container: comment, description, and, where they are kept, the label of GB 45438-2025."""
        return {
            "comment": NOTE,
            "description": DESCRIPTION,
            **({"AIGC": self._aigc} if self.visible == CHINA else {}),
        }

    def label(self, picture: NDArray[np.uint8], seconds: float = 0.0) -> NDArray[np.uint8]:
        """The frame (H, W, 3) uint8 RGB as it goes into the file: labelled, watermarked. Of a transparent one, (H, W,
        4), the straight colours are, everywhere.
        """
        self._side = math.sqrt(picture.shape[0] * picture.shape[1])
        return picture if self._pixels is None else self._pixels.label(picture, seconds)

    def finish(self, partial: Path, suffix: str) -> None:
        """Tags and signs the finished file. Raises UsageError if it cannot be signed, OSError if the disk is full."""
        if self._side < _DOUBTFUL_SIDE and self._found(partial, suffix) is None:
            self.notes.append(
                "the watermark cannot be read back from this output: the picture is small and too finely textured; "
                "signature and tags are there, a larger --size or picture would carry it too"
            )
        # The standard wants it once: a .mov and a WebM have it in their tags by now, others keep no such tag.
        wanted = self.visible == CHINA and read_tags(partial).aigc is None
        more = aigc.property_of(self._aigc) if wanted else ""
        tool = f"fewshot-reenact {__version__}"
        xmp.embed(partial, suffix, xmp.packet(self.origin.source_type, tool, DESCRIPTION, more))
        self.notes += sign(partial, suffix, self.origin, self._credentials, self.id, self._thumbnails)

    def _found(self, partial: Path, suffix: str) -> Detection | None:
        return detect(_first_frames(partial, suffix), keys=(self._key,))

    @property
    def _private(self) -> bool:
        return any(one.private for one in self.origin.ingredients)

    @property
    def _aigc(self) -> str:
        return aigc.label(self.origin.provider or TOOL, self.id)

    def report(self) -> dict[str, Any]:
        """What was marked how, as plain data."""
        return {
            "signature": "own key" if self._credentials.own else "given certificate",
            "watermark": self.id,
            "watermark_key": self.origin.watermark_key,
            "label": self.visible,
            "tag": self.origin.source_type,
            "driver": "left out of the manifest" if self._private else "in the manifest by hash or name",
            "provider": self.origin.provider or TOOL,
            "timestamp": self._credentials.timestamp,
        }


def _first_frames(path: Path, suffix: str) -> Iterator[tuple[NDArray[np.uint8], float]]:
    """What a finished output shows first, as it was encoded, and when."""
    if suffix in PICTURE_OUTPUTS:
        yield read_colours(path), 0.0
        return
    with VideoReader(path) as reader:
        for frame in islice(reader, _LOOKED_AT):
            yield frame.picture, frame.time


def standard_marks(
    origin: Origin | None = None,
    *,
    credentials: Credentials | None = None,
    visible: Visible = True,
    thumbnails: bool = False,
    id: str | None = None,
    stamped: bool = False,
    key: bytes | None = None,
) -> StandardMarks:
    """What `animate` hands to its writer. credentials: None for the user's own, which are made on first use. id: of the
    watermark, None for a new one. stamped, key: see StandardMarks.

    Raises InputError for credentials that C2PA refuses.
    """
    credentials = credentials or user_credentials()
    check_credentials(credentials)
    return StandardMarks(origin or Origin(SOURCE_TYPE), credentials, visible, thumbnails, id, stamped, key)
