"""Pictures that must not be animated: how `reenact protect` marks one, and whether a file says so, whoever did.

Three marks, of which one is enough: the watermark with a reserved id, which outlasts re-encoding; a property in XMP;
and the assertion on training and data mining in a signed manifest (CAWG's, and C2PA's older one). Each of them is
heeded whether or not a signature holds: who removes a mark has to do more than break it.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import c2pa
import numpy as np
from numpy.typing import NDArray

from fewshot_reenact._version import __version__
from fewshot_reenact.errors import InputError
from fewshot_reenact.files import check_output, sha256
from fewshot_reenact.media.marks import PlainNote
from fewshot_reenact.media.pictures import PICTURE_OUTPUTS, is_picture, read_alpha, read_colours, write_picture
from fewshot_reenact.media.reader import VideoReader
from fewshot_reenact.provenance import xmp
from fewshot_reenact.provenance.assertions import Ingredient, Origin
from fewshot_reenact.provenance.detector import detect
from fewshot_reenact.provenance.keys import user_credentials
from fewshot_reenact.provenance.sign import check_credentials, opened, printable, sign
from fewshot_reenact.provenance.signature import what_is_said
from fewshot_reenact.provenance.tags import do_not_animate
from fewshot_reenact.provenance.watermark import Watermarker

Use = Literal["animate", "train"]
RESERVED = int.from_bytes(b"NO-ANIM8", "big")
RESERVED_ID = f"{RESERVED:016x}"
NOTE = f"Do not animate: marked with fewshot-reenact {__version__}"
_DESCRIPTION = "Whoever marked this picture does not want it to be animated, or used for training."
# What a manifest may forbid, by what is to be done; fitting networks to a person is for animating them.
_FORBIDS = {"animate": ("ai_inference",), "train": ("ai_inference", "ai_training", "ai_generative_training")}
_LONGEST_CHAIN = 16  # manifests, each the picture that the one before was made of
_LOOKED_AT = 25  # frames of a video


class ProtectingMarks(PlainNote):
    """What `reenact protect` puts into a picture, in the order of a writer's calls; see `Marks`. notes: what the user
    should know, complete after `finish`.
    """

    def __init__(self, original: Path) -> None:
        self.notes: list[str] = []
        self._credentials = user_credentials()
        check_credentials(self._credentials)
        self._origin = Origin("", [Ingredient("original", sha256(original), original)], edited=True, protects=True)

    def metadata(self) -> dict[str, str]:
        """Comment and description, for people."""
        return {"comment": NOTE, "description": _DESCRIPTION}

    def label(self, picture: NDArray[np.uint8], seconds: float = 0.0) -> NDArray[np.uint8]:
        """The picture, (H, W, 3) or (H, W, 4), with the watermark."""
        stamped = Watermarker(RESERVED).stamp(np.ascontiguousarray(picture[..., :3]), seconds)
        return np.dstack([stamped, picture[..., 3]]) if picture.shape[2] == 4 else stamped

    def finish(self, partial: Path, suffix: str) -> None:
        """Tags and signs the file. Raises UsageError, OSError."""
        if _by_watermark(partial) is None:
            self.notes.append("the watermark cannot be read back, the picture is small or too finely textured; XMP is")
        tool = f"fewshot-reenact {__version__}"
        xmp.embed(partial, suffix, xmp.packet(None, tool, _DESCRIPTION, xmp.DO_NOT_ANIMATE))
        self.notes += [*self._credentials.notes, *sign(partial, suffix, self._origin, self._credentials, RESERVED_ID)]


def protect(picture: str | Path, output: str | Path, overwrite: bool = False) -> list[str]:
    """Writes a picture with the marks that say that it must not be animated. Returns what the user should know.

    Pixels change as little as by the watermark of outputs (42 dB); EXIF is left out. Raises InputError, UsageError.
    """
    source = Path(picture)
    path = check_output(output, overwrite, [source], PICTURE_OUTPUTS)
    colours, alpha = read_colours(source), read_alpha(source)
    if alpha is not None and path.suffix.lower() == ".png":
        colours = np.dstack([colours, alpha])
    marks = ProtectingMarks(source)
    write_picture(path, colours, overwrite, inputs=[source], marks=marks)
    return marks.notes


def refuse_protected(path: Path, use: Use) -> None:
    """Raises InputError for a picture or a video that says that it must not be used so. A file that cannot be read is
    for others to complain about.
    """
    why = why_refused(path, use)
    if why is not None:
        what = "animated" if use == "animate" else "used for training"
        raise InputError(f"{path}: must not be {what}, it says so: {why}; ask whoever marked it for another")


def why_refused(path: Path, use: Use) -> str | None:
    """What a picture or a video says against being used so; None: nothing."""
    if not path.is_file():
        return None
    return _by_manifest(path, use) or _by_xmp(path, use) or _by_watermark(path)


def _by_manifest(path: Path, use: Use) -> str | None:
    with contextlib.suppress(c2pa.C2paError, OSError, ValueError, RecursionError), opened(path) as reader:
        for manifest in _chain(json.loads(reader.json())):
            mining = what_is_said(manifest).mining
            said = [f"{name} {mining[name]}" for name in _FORBIDS[use] if mining.get(name, "allowed") != "allowed"]
            if said:
                return f"its C2PA manifest has {', '.join(said)}"
    return None


def _chain(store: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The active manifest, that of the picture which it was made from, and so on."""
    manifests, name = store.get("manifests") or {}, store.get("active_manifest")
    for _ in range(_LONGEST_CHAIN):
        manifest = manifests.get(name)
        if not isinstance(manifest, dict):
            return
        yield manifest
        above = [one for one in manifest.get("ingredients") or [] if one.get("relationship") == "parentOf"]
        name = above[0].get("active_manifest") if above else None


def _by_xmp(path: Path, use: Use) -> str | None:
    packet = b""
    with contextlib.suppress(OSError):
        packet = xmp.extract(path) or b""
    if do_not_animate(packet):
        return "its XMP says DoNotAnimate (`reenact protect`)"
    found = re.search(rb"DataMining[^<]{0,80}?/vocab/(DMI-PROHIBITED[A-Z-]*)", packet)
    if use == "train" and found:
        return f"its XMP says plus:DataMining {printable(found[1].decode())}"
    return None


def _by_watermark(path: Path) -> str | None:
    with contextlib.suppress(InputError, OSError):
        found = detect(_pictures(path))
        if found is not None and RESERVED_ID.startswith(found.id):
            return "its watermark is the one that forbids it (`reenact protect`)"
    return None


def _pictures(path: Path) -> Iterator[tuple[NDArray[np.uint8], float]]:
    if is_picture(path):
        yield read_colours(path), 0.0
        return
    with VideoReader(path) as reader:
        for frame in islice(reader, _LOOKED_AT):
            yield frame.picture, frame.time
