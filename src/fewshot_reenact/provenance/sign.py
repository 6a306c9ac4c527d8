"""The signed C2PA manifest of an output: what made it, from which inputs, and that nothing was changed since.

Everything happens on this machine: no remote manifests, no revocation service, and a time-stamp authority only where
the user names one.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import c2pa
from PIL import Image

from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.media.pictures import small_jpeg
from fewshot_reenact.provenance import webm
from fewshot_reenact.provenance.assertions import Ingredient, Origin, manifest, portraits, stated
from fewshot_reenact.provenance.keys import Credentials

_TYPES = {
    ".mp4": "video/mp4",
    ".m4v": "video/x-m4v",
    ".mov": "video/quicktime",
    ".webm": "video/webm",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
}
_STARTS = {
    b"\x89PNG": "image/png",
    b"\xff\xd8": "image/jpeg",
    b"GIF8": "image/gif",
    b"II*\0": "image/tiff",
    b"MM\0*": "image/tiff",
}
_BRANDS = {
    b"qt  ": "video/quicktime",
    b"avif": "image/avif",
    b"avis": "image/avif",
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"mif1": "image/heif",
}
# Marks of inputs beyond this are left out, or a hostile input could blow up every output made from it.
LARGEST_KEPT = 8 << 20
_THUMBNAIL = 256  # pixels, the longer side
_OFFLINE = {"remote_manifest_fetch": False, "ocsp_fetch": False}
# Actions are written out in full below; the library shall add none of its own.
_NO_ACTIONS = {f"auto_{name}_action": {"enabled": False} for name in ("created", "opened", "placed")}


logger = logging.getLogger(__name__)


def context(anchors: str | None = None) -> c2pa.Context:
    """Settings of the library: offline, and with certificates to be trusted beside its own (PEM)."""
    return c2pa.Context.from_dict(
        {
            "verify": _OFFLINE,
            "trust": {"user_anchors": anchors} if anchors else {},
            "builder": {"thumbnail": {"enabled": False}, "actions": _NO_ACTIONS},
        }
    )


def check_credentials(credentials: Credentials) -> None:
    """Signs a small picture, so that credentials that C2PA refuses are told of before the work. InputError.

    Where signatures are to be stamped, that is tried too, after it was said. Raises UsageError if it fails.
    """
    try:
        _sign_small(replace(credentials, timestamp=None))
    except c2pa.C2paError as error:
        raise InputError(f"the certificate cannot be used for C2PA ({reason(error)}); give another") from error
    if credentials.timestamp is None:
        return
    logger.warning(
        "%s is asked for time stamps: now, to try it, and when the output is signed. It learns this machine's address "
        "and the signature's hash, no picture",
        credentials.timestamp,
    )
    try:
        _sign_small(credentials)
    except c2pa.C2paError as error:
        raise _without_stamp(credentials, error) from error


def _sign_small(credentials: Credentials) -> None:
    picture, signed = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (16, 16)).save(picture, "PNG")
    with _signer(credentials) as signer:
        builder = c2pa.Builder(manifest(Origin(""), None, (), {}), context=context())
        builder.sign(signer, "image/png", picture, signed)


def _without_stamp(credentials: Credentials, error: c2pa.C2paError) -> UsageError:
    return UsageError(
        f"--timestamp {credentials.timestamp}: no time stamp came from there ({reason(error)}), so nothing is written; "
        "check the address, or leave it out"
    )


def sign(
    partial: Path,
    suffix: str,
    origin: Origin,
    credentials: Credentials,
    watermark: str | None = None,
    thumbnails: bool = False,
) -> list[str]:
    """Signs a finished file in place; `suffix` is the one that it will have. Returns what the user should know.

    watermark: the id in the invisible watermark. thumbnails: small pictures of the portraits go into the manifest.
    Raises UsageError if it cannot be signed, OSError for a full disk; the caller removes the file then.
    """
    notes: list[str] = []
    size = partial.stat().st_size
    target = partial.with_suffix(".signed.partial")
    marked = [n for n, one in enumerate(origin.ingredients) if one.path and not one.private and _has_marks(one, notes)]
    pictures = {n: small_jpeg(path, _THUMBNAIL) for n, path in portraits(origin).items()} if thumbnails else {}
    try:
        # Second, should an input's marks turn out to be unusable or huge: its hash alone, as of inputs without marks.
        for whole in (marked, []):
            try:
                _write_signed(partial, target, suffix, origin, credentials, watermark, whole, pictures)
            except c2pa.C2paError as error:
                if not whole or _is_of_stamp(credentials, error):
                    raise
                notes.append(f"marks of the inputs are not kept, their hashes are ({reason(error)})")
                continue
            if not whole or target.stat().st_size - size <= LARGEST_KEPT:
                break
            notes.append(f"marks of the inputs are over {LARGEST_KEPT >> 20} MiB and not kept, their hashes are")
        target.replace(partial)
    except c2pa.C2paError as error:
        if _is_of_stamp(credentials, error):
            raise _without_stamp(credentials, error) from error
        # The library wraps what the system says about a full disk.
        if shutil.disk_usage(partial.parent).free < size + LARGEST_KEPT:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(partial)) from error
        raise UsageError(f"the output could not be signed ({reason(error)}), so it is not written") from error
    finally:
        target.unlink(missing_ok=True)
    return notes


@contextlib.contextmanager
def opened(path: Path, anchors: str | None = None) -> Iterator[c2pa.Reader]:
    """A file's manifest, as the library reads and checks it. Raises c2pa.C2paError, OSError."""
    with path.open("rb") as file:
        if not webm.is_webm(path):
            with c2pa.Reader("", file, context=context(anchors)) as reader:
                yield reader
            return
        length, manifest = webm.split(path)
        if manifest is None:
            raise c2pa.C2paError.ManifestNotFound("none behind the video")
        with c2pa.Reader(_TYPES[".webm"], webm.Beginning(file, length), manifest, context=context(anchors)) as reader:
            yield reader


def reason(error: Exception) -> str:
    """What the library says, as part of a line; it quotes files, so nothing of it may reach a terminal unseen."""
    return printable(str(error).removeprefix("Other: "), 160)


def damaged_manifest(error: Exception) -> bool:
    """Whether the library found a manifest in a file and could not read it."""
    # What it says of other kinds of files, of damaged ones, of those without a manifest, or with one on the net.
    kinds = c2pa.C2paError
    harmless = (OSError, kinds.ManifestNotFound, kinds.NotSupported, kinds.Io, kinds.Other)
    return not isinstance(error, harmless) and not remote_manifest(error)


def remote_manifest(error: Exception) -> bool:
    """Whether a file has its manifest on the net, which is never fetched."""
    return isinstance(error, c2pa.C2paError.RemoteManifest) or str(error).startswith("Remote: must fetch")


def printable(text: object, longest: int = 200) -> str:
    """Text from a file as it may be shown on a terminal: one line, no control characters, not too long."""
    shown = "".join(c if c.isprintable() else " " for c in str(text)[: 4 * longest])
    shown = " ".join(shown.split())
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def _write_signed(
    source: Path,
    target: Path,
    suffix: str,
    origin: Origin,
    credentials: Credentials,
    watermark: str | None,
    whole: Sequence[int],
    pictures: Mapping[int, bytes],
) -> None:
    """The signed copy. whole: which ingredients the library reads, for their marks. pictures: their thumbnails."""
    builder = c2pa.Builder(manifest(origin, watermark, whole, pictures), context=context())
    for number, picture in pictures.items():
        builder.add_resource(f"thumbnail-{number}", io.BytesIO(picture))
    for number in whole:
        path = origin.ingredients[number].path
        assert path is not None
        with path.open("rb") as file:
            builder.add_ingredient_from_stream(json.dumps(stated(origin, number, pictures)), _type_of(path), file)
    if suffix == ".webm":
        builder.set_no_embed()
    with _signer(credentials) as signer, source.open("rb") as before, target.open("w+b") as after:
        made = builder.sign(signer, _TYPES[suffix], before, after)
    if suffix == ".webm":
        webm.append(target, made)


def _has_marks(one: Ingredient, notes: list[str]) -> bool:
    """Whether an input carries a C2PA manifest of its own, which then goes into the output's."""
    assert one.path is not None
    try:
        if webm.is_webm(one.path):
            return False  # its marks are where the library does not look
        with opened(one.path):
            return True
    except c2pa.C2paError.ManifestNotFound:
        return False
    except (c2pa.C2paError, OSError) as error:
        if damaged_manifest(error):
            notes.append(f"{one.path.name}: has marks that cannot be read and are not kept ({reason(error)})")
        return False  # else a kind of file that cannot carry marks


def _type_of(path: Path) -> str:
    """The MIME type by a file's first bytes; for a wrong one, or none, the library leaves the marks out silently."""
    with path.open("rb") as file:
        start = file.read(12)
    if start[4:8] == b"ftyp":
        return _BRANDS.get(start[8:12], "video/mp4")
    if start[:4] == b"RIFF":
        return {b"WEBP": "image/webp", b"AVI ": "video/avi"}.get(start[8:12], "")
    return next((kind for first, kind in _STARTS.items() if start.startswith(first)), "")


def _signer(credentials: Credentials) -> c2pa.Signer:
    return c2pa.Signer.from_info(
        c2pa.C2paSignerInfo(credentials.algorithm, credentials.chain, credentials.key, credentials.timestamp)
    )


def _is_of_stamp(credentials: Credentials, error: c2pa.C2paError) -> bool:
    """Whether the time stamp is what failed: that the key signs was tried before the work."""
    return credentials.timestamp is not None and isinstance(error, c2pa.C2paError.Signature)
