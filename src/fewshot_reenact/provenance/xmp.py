"""XMP in and out of MP4, MOV, JPEG and PNG: the place where IPTC's digitalSourceType is looked for.

The files are taken apart by hand, because that is short (each is a list of blocks with a length) and no library that
the project uses writes XMP into a video.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from xml.sax.saxutils import escape

# The XMP specification's number for its box in MP4 and MOV.
_BOX = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_JPEG_HEADER = b"http://ns.adobe.com/xap/1.0/\0"
_PNG_HEADER = b"XML:com.adobe.xmp\0\0\0\0\0"
_PNG_START = b"\x89PNG\r\n\x1a\n"
_LARGEST = 1 << 20  # bytes; an XMP packet beyond this is not ours and not read

# How a picture says that it must not be animated, and, in the words of PLUS, that it is not for training.
DO_NOT_ANIMATE = (
    '<fewshot:DoNotAnimate xmlns:fewshot="urn:fewshot-reenact:xmp:1">True</fewshot:DoNotAnimate>'
    '<plus:DataMining xmlns:plus="http://ns.useplus.org/ldf/xmp/1.0/" '
    'rdf:resource="http://ns.useplus.org/ldf/vocab/DMI-PROHIBITED"/>'
)

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov")


def packet(source_type: str | None, tool: str, description: str, more: str = "") -> bytes:
    """An XMP packet that states IPTC's digitalSourceType (a URL; None: none), the tool and a sentence for people. more:
    further properties, as elements that declare their namespaces.
    """
    source = f"<Iptc4xmpExt:DigitalSourceType>{escape(source_type or '')}</Iptc4xmpExt:DigitalSourceType>"
    return f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
    xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:xmp="http://ns.adobe.com/xap/1.0/">
   {source if source_type else ""}
   <xmp:CreatorTool>{escape(tool)}</xmp:CreatorTool>
   <dc:description><rdf:Alt><rdf:li xml:lang="x-default">{escape(description)}</rdf:li></rdf:Alt></dc:description>
   {more}
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>""".encode()


def embed(path: Path, suffix: str, xmp: bytes) -> None:
    """Puts an XMP packet into a file of the kind that `suffix` says. Raises OSError (disk full) and ValueError."""
    suffix = suffix.lower()
    if suffix == ".webm":
        return  # knows no XMP; what it says of itself are the tags of the container
    if suffix in VIDEO_SUFFIXES:
        with path.open("ab") as file:
            file.write(struct.pack(">I4s16s", 24 + len(xmp), b"uuid", _BOX) + xmp)
    elif suffix in (".jpg", ".jpeg"):
        data = path.read_bytes()
        if data[:2] != b"\xff\xd8":
            raise ValueError(f"{path}: is not a JPEG")
        at = _after_first_segments(data)
        body = _JPEG_HEADER + xmp
        segment = b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body
        path.write_bytes(data[:at] + segment + data[at:])
    elif suffix == ".png":
        data = path.read_bytes()
        if data[:8] != _PNG_START:
            raise ValueError(f"{path}: is not a PNG")
        at = 8 + 12 + struct.unpack(">I", data[8:12])[0]  # behind the header chunk
        body = b"iTXt" + _PNG_HEADER + xmp
        chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
        path.write_bytes(data[:at] + chunk + data[at:])
    else:
        raise ValueError(f"{path}: no place for XMP in a file of this kind ({suffix})")


def extract(path: Path) -> bytes | None:
    """The XMP packet of an MP4, MOV, JPEG or PNG file, whatever its name; None without one. Raises OSError."""
    with path.open("rb") as file:
        start = file.read(12)
        file.seek(0)
        if start[:8] == _PNG_START:
            found = (b[len(_PNG_HEADER) :] for kind, b in _png_chunks(file) if kind == b"iTXt" and _is(b, _PNG_HEADER))
        elif start[:2] == b"\xff\xd8":
            found = (
                b[len(_JPEG_HEADER) :] for kind, b in _jpeg_segments(file) if kind == 0xE1 and _is(b, _JPEG_HEADER)
            )
        elif start[4:8] in (b"ftyp", b"moov", b"mdat", b"free", b"wide"):
            found = (b[16:] for kind, b in _boxes(file, path.stat().st_size) if kind == b"uuid" and _is(b, _BOX))
        else:
            return None
        return next(iter(found), None)


def _is(body: bytes, header: bytes) -> bool:
    return body.startswith(header)


def _after_first_segments(data: bytes) -> int:
    # JFIF's and Exif's segments must come first.
    at = 2
    while data[at : at + 2] in (b"\xff\xe0", b"\xff\xe1"):
        at += 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
    return at


def _png_chunks(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    file.seek(8)
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind == b"iTXt" and length <= _LARGEST:
            yield kind, file.read(length)
            file.seek(4, os.SEEK_CUR)
        else:
            file.seek(length + 4, os.SEEK_CUR)


def _jpeg_segments(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    file.seek(2)
    while len(head := file.read(4)) == 4:
        mark, kind, length = struct.unpack(">BBH", head)
        if mark != 0xFF or kind == 0xDA or length < 2:  # the picture itself begins
            return
        yield kind, file.read(length - 2)


def _boxes(file: BinaryIO, size: int) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + 8 <= size:
        file.seek(at)
        length, kind = struct.unpack(">I4s", file.read(8))
        header = 8
        if length == 1:
            length, header = struct.unpack(">Q", file.read(8).rjust(8, b"\0"))[0], 16
        if length == 0:
            length = size - at
        if length < header:
            return
        if kind == b"uuid" and length <= _LARGEST:
            yield kind, file.read(length - header)
        at += length
