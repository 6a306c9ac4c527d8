"""Pictures in and out: whatever cameras, phones and paint programs write, as (H, W, 3) uint8 RGB.

Pillow reads them, not OpenCV: OpenCV decodes a truncated JPEG without a word, the missing half grey, and cannot tell a
picture's size before decoding it.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageFile, ImageOps, PngImagePlugin, UnidentifiedImageError

from fewshot_reenact.errors import InputError, how_to_add
from fewshot_reenact.files import PartialFile, output_error
from fewshot_reenact.media.file_types import (
    PICTURE_SUFFIXES,
    is_heic,
    is_picture,
    is_video,
    kind_of,
    knows_heic,
    open_image,
)
from fewshot_reenact.media.marks import Marks, PlainNote

__all__ = [
    "LARGEST",
    "PICTURE_OUTPUTS",
    "PICTURE_SUFFIXES",
    "SMALLEST",
    "TRANSPARENT_PICTURES",
    "WORKING",
    "is_picture",
    "is_video",
    "kind_of",
    "read_picture",
    "write_picture",
]

logger = logging.getLogger(__name__)

SMALLEST = 16  # pixels a side
LARGEST = 16_384  # pixels a side; beyond this it is a mistake or an attack
WORKING = 4_096  # pixels a side; larger pictures are scaled down to it
MOST_PIXELS = LARGEST * LARGEST // 2  # 134 million: 400 MB as RGB
PICTURE_OUTPUTS = (".png", ".jpg", ".jpeg")
TRANSPARENT_PICTURES = (".png",)

_KINDS = "JPEG, PNG, WebP, TIFF, BMP, GIF or AVIF"


def read_picture(path: str | Path) -> NDArray[np.uint8]:
    """Reads a picture as (H, W, 3) uint8 sRGB, upright.

    EXIF orientation is applied; transparent parts are laid over white, as a page or a browser shows them; grey, CMYK,
    palette and 16-bit pictures are converted; colour profiles (Display P3 of phones, print CMYK) are converted to sRGB;
    of an animation the first frame is taken; a picture over 4,096 pixels a side is scaled down to that, and a warning
    is logged.

    Raises InputError: no such file, a folder, not a picture, damaged or cut off, under 16 or over 16,384 pixels a side.
    """
    return _read(Path(path), _to_rgb)


def read_mask(path: str | Path) -> NDArray[np.uint8]:
    """Reads a mask as (H, W) uint8, upright: a picture's transparency where it has any, otherwise its brightness.

    Raises InputError as `read_picture` does.
    """
    return _read(Path(path), _to_mask)


def read_colours(path: str | Path) -> NDArray[np.uint8]:
    """As `read_picture`, but what is transparent has the colours that the file holds there: marks are in them."""
    return _read(Path(path), _to_colours)


def read_alpha(path: str | Path) -> NDArray[np.uint8] | None:
    """A picture's transparency, (H, W) uint8, upright, 255 where it is opaque; None where all of it is.

    Raises InputError as `read_picture` does.
    """
    with _open(Path(path)) as image:
        if not image.has_transparency_data:
            return None
    alpha = _read(Path(path), _to_mask)
    return alpha if alpha.min() < 255 else None


def small_jpeg(path: str | Path, side: int) -> bytes:
    """A picture made small, its longer side so many pixels at most, as a JPEG. Raises InputError as `read_picture`."""
    image = Image.fromarray(read_picture(path))
    image.thumbnail((side, side))
    data = io.BytesIO()
    image.save(data, "JPEG", quality=85)
    return data.getvalue()


def _read(path: Path, convert: Callable[[Path, Image.Image], Image.Image]) -> NDArray[np.uint8]:
    image = _open(path)
    with image:
        width, height = image.size
        _check_size(path, width, height)
        if image.format == "JPEG":
            # Decodes a huge JPEG at 1/2, 1/4 or 1/8 while it is read: less memory and time, same result.
            image.draft(None, (WORKING, WORKING))
        try:
            if ImageFile.LOAD_TRUNCATED_IMAGES:
                # Another package in this process asked Pillow to accept cut-off files; here they are errors.
                ImageFile.LOAD_TRUNCATED_IMAGES = False
            with warnings.catch_warnings():
                # Pillow warns of oddities (EXIF, palettes) that change nothing here.
                warnings.simplefilter("ignore")
                image.load()
                made = convert(path, _upright(image))
        except MemoryError as error:
            raise InputError(f"{path}: {width} x {height} pixels do not fit into memory; scale it down") from error
        except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, ...
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(f"{path}: the picture is damaged or cut off ({reason}); get it again") from error
    if max(width, height) > WORKING:
        made.thumbnail((WORKING, WORKING), Image.Resampling.LANCZOS)
        logger.warning("%s: %d x %d pixels, scaled down to %d x %d", path, width, height, *made.size)
    return np.array(made, dtype=np.uint8)


def write_picture(
    path: str | Path,
    picture: NDArray[np.uint8],
    overwrite: bool = False,
    *,
    inputs: Sequence[str | Path] = (),
    marks: Marks | None = None,
    quality: int = 95,
) -> None:
    """Writes a picture (H, W, 3) uint8 RGB as PNG or JPEG, by the suffix, whole or not at all. A PNG may have a fourth
    channel, alpha, with straight colours.

    It carries the tags and marks of `marks`, at least a comment that says AI-generated. `inputs` are never written
    over. `quality` is JPEG's, 1..100. Raises UsageError as `check_output` does.
    """
    suffix = Path(path).suffix.lower()
    channels = (3, 4) if suffix in TRANSPARENT_PICTURES else (3,)
    if picture.ndim != 3 or picture.shape[2] not in channels or picture.dtype != np.uint8:
        raise ValueError(f"a picture is (H, W, 3) uint8, not {picture.shape} {picture.dtype}")
    marks = marks or PlainNote()
    tags = marks.metadata()
    file = PartialFile(path, overwrite, inputs, PICTURE_OUTPUTS)
    try:
        image = Image.fromarray(np.ascontiguousarray(marks.label(picture)))
        if suffix == ".png":
            info = PngImagePlugin.PngInfo()
            for key, value in tags.items():
                # PNG has agreed names: Title, Comment, Description, Software. Names in capitals are of videos.
                if not key.isupper():
                    info.add_itxt(key.capitalize(), value)
            image.save(file.partial, "PNG", pnginfo=info)
        else:
            exif = Image.Exif()
            exif[0x0131] = tags.get("encoder", tags["comment"])  # Software
            exif[0x010E] = tags.get("description", tags["comment"])  # ImageDescription
            image.save(
                file.partial, "JPEG", quality=quality, subsampling=0, comment=tags["comment"].encode(), exif=exif
            )
        marks.finish(file.partial, suffix)
    except OSError as error:
        file.discard()
        raise output_error(file.path, error) from error
    except BaseException:
        file.discard()
        raise
    file.publish()


def _open(path: Path) -> Image.Image:
    if path.is_dir():
        raise InputError(f"{path}: is a folder, not a picture; give one file")
    try:
        return open_image(path)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; check the name") from error
    except PermissionError as error:
        raise InputError(f"{path}: may not be read; change its permissions") from error
    except Image.DecompressionBombError as error:
        raise InputError(f"{path}: too large ({error}); scale it down to {WORKING:,} pixels a side") from error
    except UnidentifiedImageError as error:
        raise InputError(_what_else(path)) from error
    except Exception as error:  # a damaged header: see above
        raise InputError(f"{path}: cannot be read as a picture ({error}); get it again as JPEG or PNG") from error


def _what_else(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(12)
    if not start:
        return f"{path}: is an empty file; get it again"
    if is_heic(path) and not knows_heic():
        return f"{path}: is a HEIC picture; export it as JPEG, or install what reads it: {how_to_add('heif')}"
    if is_video(path):
        return f"{path}: is a video, not a picture; give a {_KINDS} file"
    return f"{path}: is not a picture; give a {_KINDS} file"


def _check_size(path: Path, width: int, height: int) -> None:
    if min(width, height) < SMALLEST:
        raise InputError(f"{path}: {width} x {height} pixels are too small to hold a face; give a larger picture")
    if max(width, height) > LARGEST or width * height > MOST_PIXELS:
        raise InputError(
            f"{path}: {width} x {height} pixels are too many; scale it down to {WORKING:,} pixels a side or less"
        )


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception as error:  # damaged EXIF beside a sound picture is no reason to refuse it
        logger.warning("EXIF could not be read, the picture may lie on its side: %s", error)
        return image


def _to_rgb(path: Path, image: Image.Image) -> Image.Image:  # noqa: ARG001
    image = _to_8_bit(image)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        flat = Image.alpha_composite(white, rgba).convert("RGB")
        return _to_srgb(flat, image.info.get("icc_profile")) if image.mode == "RGBA" else flat
    return _to_srgb(image, image.info.get("icc_profile"))


def _to_colours(path: Path, image: Image.Image) -> Image.Image:
    if image.has_transparency_data:
        return _to_8_bit(image).convert("RGBA").convert("RGB")
    return _to_rgb(path, image)


def _to_mask(path: Path, image: Image.Image) -> Image.Image:  # noqa: ARG001
    if image.has_transparency_data:
        return image.convert("RGBA").getchannel("A")
    return _to_8_bit(image).convert("L")


def _to_8_bit(image: Image.Image) -> Image.Image:
    # Pillow clips 16-bit grey instead of scaling it, which leaves a white sheet.
    if not (image.mode.startswith("I") or image.mode == "F"):
        return image
    values = np.asarray(image).astype(np.float32)
    brightest = values.max(initial=0)
    if image.mode.startswith("I;16") or brightest > 255:
        top = 65_535.0
    else:
        top = 1.0 if image.mode == "F" and brightest <= 1 else 255.0
    return Image.fromarray(np.clip(np.rint(values / top * 255), 0, 255).astype(np.uint8))


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    if profile and image.mode in ("RGB", "CMYK", "L"):
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if "srgb" not in ImageCms.getProfileDescription(source).lower():
                converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
                if converted is not None:
                    return converted
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
            logger.warning("the picture's colour profile could not be used, colours may be slightly off: %s", error)
    return image.convert("RGB")
