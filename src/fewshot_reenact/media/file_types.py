"""Which files are pictures and which are videos: by their first bytes, and by their name where those say nothing."""

from __future__ import annotations

import warnings
from importlib import import_module
from pathlib import Path
from typing import IO, Literal

from PIL import Image

_PICTURES = "jpg jpeg jpe jfif mpo png webp bmp dib tif tiff avif heic heif ppm pgm pbm pnm tga jp2"
_VIDEOS = "mp4 m4v mov qt webm mkv avi gif mpg mpeg ts mts m2ts flv wmv asf 3gp 3g2 ogv vob mxf y4m"
PICTURE_SUFFIXES = frozenset(f".{name}" for name in _PICTURES.split())
VIDEO_SUFFIXES = frozenset(f".{name}" for name in _VIDEOS.split())

# Of Pillow's forty formats those that are pictures and nothing else: PostScript, for one, would start Ghostscript.
_DECODERS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "DIB", "GIF", "AVIF", "PPM", "TGA", "JPEG2000")
_PICTURE_STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP  ")
_PNG = b"\x89PNG\r\n\x1a\n"
_VIDEO_STARTS = (b"\x1a\x45\xdf\xa3", b"FLV\x01", b"\0\0\x01\xba", b"\0\0\x01\xb3", b"\x30\x26\xb2\x75", b"YUV4MPEG2")
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"hevc", b"msf1")
_PICTURE_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")


def kind_of(path: str | Path) -> Literal["picture", "video"] | None:
    """What a file is, or would be by its name if it is missing or starts like nothing known; None for neither.

    A GIF, WebP or PNG with one frame is a picture, with more a video.
    """
    path = Path(path)
    start = _first_bytes(path)
    if start.startswith(b"GIF8"):
        return "video" if _frames_of(path) > 1 else "picture"
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "video" if start[12:16] == b"VP8X" and start[20] & 2 and _frames_of(path) > 1 else "picture"
    if start.startswith(_PNG) and _moves(path):
        return "video"
    if start.startswith(_PICTURE_STARTS):
        return "picture"
    if start.startswith(_VIDEO_STARTS) or (start[:4] == b"RIFF" and start[8:12] == b"AVI "):
        return "video"
    if start[4:8] == b"ftyp":
        return "picture" if start[8:12] in _PICTURE_BRANDS else "video"
    suffix = path.suffix.lower()
    if suffix in PICTURE_SUFFIXES:
        return "picture"
    return "video" if suffix in VIDEO_SUFFIXES else None


def open_image(path: str | Path | IO[bytes]) -> Image.Image:
    """Pillow's picture, not decoded yet: the one way in, by those decoders alone that read pictures.

    Raises what Pillow raises: UnidentifiedImageError for every other kind of file, OSError, DecompressionBombError.
    """
    decoders: tuple[str, ...] = _DECODERS
    if isinstance(path, str | Path) and is_heic(path) and knows_heic():
        decoders = (*_DECODERS, "HEIF")
    with warnings.catch_warnings():
        # Pillow warns of large pictures, where the limits are our own, and of odd EXIF, which changes nothing.
        warnings.simplefilter("ignore")
        return Image.open(path, formats=decoders)


def is_heic(path: str | Path) -> bool:
    """Whether a file begins as a HEIC picture does, which phones write."""
    start = _first_bytes(Path(path))
    return start[4:8] == b"ftyp" and start[8:12] in _HEIC_BRANDS


def knows_heic() -> bool:
    """Whether the extra `heif` is installed; then Pillow reads HEIC too."""
    try:
        pillow_heif = import_module("pillow_heif")
    except ImportError:
        return False
    if "HEIF" not in Image.OPEN:
        pillow_heif.register_heif_opener(thumbnails=False)
    return True


def is_picture(path: str | Path) -> bool:
    """Whether `kind_of(path)` is a picture. Says nothing of whether it can be read."""
    return kind_of(path) == "picture"


def is_video(path: str | Path) -> bool:
    """Whether `kind_of(path)` is a video (a GIF that moves included). Says nothing of whether it can be read."""
    return kind_of(path) == "video"


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(32)
    except OSError:
        return b""


def _frames_of(path: Path) -> int:
    try:
        with open_image(path) as image:
            return int(getattr(image, "n_frames", 1))
    except Exception:  # damaged: whoever reads it says what is wrong
        return 1


def is_animated_webp(path: str | Path) -> bool:
    """Whether a file is a WebP that moves, which FFmpeg cannot read."""
    start = _first_bytes(Path(path))
    return start[:4] == b"RIFF" and start[8:12] == b"WEBP" and kind_of(path) == "video"


def _moves(path: Path) -> bool:
    """Whether a PNG says, before its first picture, that it has several frames: its chunk acTL."""
    try:
        with path.open("rb") as file:
            file.seek(8)
            for _ in range(64):
                head = file.read(8)
                if len(head) < 8 or head[4:] in (b"IDAT", b"IEND"):
                    return False
                if head[4:] == b"acTL":
                    return int.from_bytes(file.read(4), "big") > 1
                file.seek(int.from_bytes(head[:4], "big") + 4, 1)
    except OSError:
        pass
    return False
