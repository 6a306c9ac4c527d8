"""Pictures in and out: what cameras, phones and paint programs write, and what is no picture at all."""

from __future__ import annotations

import io
import logging
import os
import struct
import zlib
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.media.pictures import is_picture, is_video, read_picture, write_picture
from fewshot_reenact.provenance.marks import SOURCE_TYPE, standard_marks
from fewshot_reenact.provenance.tags import source_type
from video_samples import make_video, steady

Array = np.ndarray


@pytest.fixture(scope="module")
def picture() -> Array:
    """(60, 80, 3) uint8 RGB, smooth, all corners different."""
    noise = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return cv2.resize(noise, (80, 60), interpolation=cv2.INTER_LINEAR)


def difference(a: Array, b: Array) -> float:
    assert a.shape == b.shape
    assert a.dtype == np.uint8
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


@pytest.mark.parametrize(
    ("name", "options", "tolerance"),
    [
        ("a.png", {}, 0),
        ("a.bmp", {}, 0),
        ("a.tif", {}, 0),
        ("a.webp", {"lossless": True}, 0),
        ("a.jpg", {"quality": 95}, 2.5),
        ("a.jpeg", {"quality": 95, "progressive": True}, 2.5),
        ("a.gif", {}, 12),
    ],
)
def test_formats(tmp_path: Path, picture: Array, name: str, options: dict[str, Any], tolerance: float) -> None:
    path = tmp_path / name
    Image.fromarray(picture).save(path, **options)
    assert difference(read_picture(path), picture) <= tolerance
    assert is_picture(path)
    assert not is_video(path)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "webp", "jpg"])
def test_exif_orientation_is_applied(tmp_path: Path, picture: Array, orientation: int, suffix: str) -> None:
    upright = {
        1: picture,
        2: picture[:, ::-1],
        3: picture[::-1, ::-1],
        4: picture[::-1],
        5: picture.transpose(1, 0, 2),
        6: np.rot90(picture, -1),
        7: picture[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(picture, 1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(picture).save(path, exif=exif, quality=100, lossless=True, subsampling=0)
    assert difference(read_picture(path), upright) < 2


def test_alpha_lies_over_white(tmp_path: Path, picture: Array) -> None:
    alpha = np.zeros(picture.shape[:2], np.uint8)
    alpha[:, 40:] = 255
    alpha[:30, 40:] = 128
    Image.fromarray(np.dstack([picture, alpha])).save(tmp_path / "a.png")
    seen = read_picture(tmp_path / "a.png")
    assert (seen[:, :40] == 255).all()
    assert np.array_equal(seen[30:, 40:], picture[30:, 40:])
    half = picture[:30, 40:] * (128 / 255) + 127
    assert np.abs(seen[:30, 40:] - half).max() < 1.5


def test_a_palette_with_a_transparent_colour(tmp_path: Path) -> None:
    indexed = Image.new("P", (40, 40), 0)
    indexed.putpalette([10, 20, 30, 200, 100, 50])
    indexed.paste(1, (20, 0, 40, 40))
    indexed.save(tmp_path / "a.png", transparency=0)
    seen = read_picture(tmp_path / "a.png")
    assert (seen[:, :20] == 255).all()
    assert (seen[:, 20:] == (200, 100, 50)).all()


def test_grey_and_bilevel(tmp_path: Path, picture: Array) -> None:
    grey = Image.fromarray(picture).convert("L")
    expected = np.dstack([np.asarray(grey)] * 3)
    grey.save(tmp_path / "a.png")
    assert difference(read_picture(tmp_path / "a.png"), expected) == 0
    grey.save(tmp_path / "a.jpg", quality=98)
    assert difference(read_picture(tmp_path / "a.jpg"), expected) < 1.5
    grey.convert("1").save(tmp_path / "b.png")
    assert set(np.unique(read_picture(tmp_path / "b.png"))) == {0, 255}


def test_sixteen_bits(tmp_path: Path, picture: Array) -> None:
    deep = picture.astype(np.uint16) * 257
    cv2.imwrite(str(tmp_path / "colour.png"), deep[..., ::-1])
    assert difference(read_picture(tmp_path / "colour.png"), picture) == 0
    cv2.imwrite(str(tmp_path / "grey.png"), deep[..., 0])
    assert difference(read_picture(tmp_path / "grey.png"), np.dstack([picture[..., 0]] * 3)) == 0
    cv2.imwrite(str(tmp_path / "alpha.png"), np.dstack([deep[..., ::-1], np.full(deep.shape[:2], 65535, np.uint16)]))
    assert difference(read_picture(tmp_path / "alpha.png"), picture) == 0
    cv2.imwrite(str(tmp_path / "grey.tif"), deep[..., 0])
    assert difference(read_picture(tmp_path / "grey.tif"), np.dstack([picture[..., 0]] * 3)) == 0
    cv2.imwrite(str(tmp_path / "colour.tif"), deep[..., ::-1])
    assert difference(read_picture(tmp_path / "colour.tif"), picture) == 0


def test_cmyk(tmp_path: Path, picture: Array) -> None:
    Image.fromarray(picture).convert("CMYK").save(tmp_path / "a.jpg", quality=98)
    assert difference(read_picture(tmp_path / "a.jpg"), picture) < 3


def test_colour_profiles_are_converted(tmp_path: Path, picture: Array) -> None:
    Image.fromarray(picture).save(tmp_path / "srgb.png", icc_profile=_profile("sRGB"))
    assert difference(read_picture(tmp_path / "srgb.png"), picture) == 0
    # A profile with red and blue swapped stands for any that is not sRGB.
    Image.fromarray(picture).save(tmp_path / "other.png", icc_profile=_swapped_profile())
    seen = read_picture(tmp_path / "other.png")
    assert difference(seen, picture[..., ::-1].copy()) < difference(seen, picture) / 3
    Image.fromarray(picture).save(tmp_path / "bad.png", icc_profile=b"not a profile")
    assert difference(read_picture(tmp_path / "bad.png"), picture) == 0


def _profile(name: Literal["sRGB"]) -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes()


def _swapped_profile() -> bytes:
    data = _profile("sRGB").replace("sRGB".encode("utf-16-be"), "test".encode("utf-16-be"))
    return data.replace(b"rXYZ", b"tmpX").replace(b"bXYZ", b"rXYZ").replace(b"tmpX", b"bXYZ")


def test_animations_give_their_first_frame(tmp_path: Path, picture: Array) -> None:
    frames = [Image.fromarray(picture), Image.fromarray(255 - picture)]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], lossless=True)
    assert difference(read_picture(tmp_path / "a.webp"), picture) == 0
    assert is_video(tmp_path / "a.webp"), "as a driver all frames count"
    frames[0].save(tmp_path / "b.webp", lossless=True)
    assert is_picture(tmp_path / "b.webp")
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert is_video(tmp_path / "a.gif")


def test_large_pictures_are_scaled_down(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a.jpg", "a.png"):
        Image.new("RGB", (6000, 1500), (200, 100, 50)).save(tmp_path / name)
        with caplog.at_level(logging.WARNING):
            seen = read_picture(tmp_path / name)
        assert seen.shape == (1024, 4096, 3)
        assert "6000 x 1500 pixels, scaled down to 4096 x 1024" in caplog.text
        assert np.abs(seen[500, 2000].astype(int) - (200, 100, 50)).max() < 3
        caplog.clear()


def fails(path: Path, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        read_picture(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert caught.value.exit_code == 3


def test_what_is_no_picture(tmp_path: Path) -> None:
    fails(tmp_path / "none.jpg", "no such file")
    fails(tmp_path, "is a folder")
    text = tmp_path / "text.jpg"
    text.write_text("this is no picture\n")
    fails(text, "is not a picture")
    (tmp_path / "empty.png").touch()
    fails(tmp_path / "empty.png", "is an empty file")
    video = make_video(tmp_path / "a.mp4", *steady(3, Fraction(25)))
    fails(video, "is a video, not a picture")
    heic = tmp_path / "a.heic"
    heic.write_bytes(struct.pack(">I4s4s", 24, b"ftyp", b"heic") + bytes(50))
    fails(heic, "is a HEIC picture; export it as JPEG|cannot be read|damaged")


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "bmp", "gif"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.99])
def test_cut_off_pictures(tmp_path: Path, suffix: str, share: float) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    fails(path, "damaged or cut off|cannot be read|is not a picture")


def test_a_cut_off_progressive_jpeg(tmp_path: Path, picture: Array) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(picture).save(path, progressive=True)
    path.write_bytes(path.read_bytes()[:-300])
    fails(path, "damaged or cut off")


def test_cut_off_pictures_are_found_whatever_others_set(
    tmp_path: Path, picture: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("PIL.ImageFile.LOAD_TRUNCATED_IMAGES", True)
    path = tmp_path / "a.jpg"
    Image.fromarray(picture).save(path)
    path.write_bytes(path.read_bytes()[:-400])
    fails(path, "damaged or cut off")


def test_sizes_that_cannot_be(tmp_path: Path) -> None:
    for size in ((1, 1), (15, 100), (100, 15)):
        Image.new("RGB", size).save(tmp_path / "small.png")
        fails(tmp_path / "small.png", f"{size[0]} x {size[1]} pixels are too small to hold a face")
    Image.new("RGB", (16, 16)).save(tmp_path / "least.png")
    assert read_picture(tmp_path / "least.png").shape == (16, 16, 3)
    Image.new("L", (30_000, 100)).save(tmp_path / "wide.png")
    fails(tmp_path / "wide.png", "30000 x 100 pixels are too many; scale it down to 4,096")


@pytest.mark.parametrize("size", [(16_000, 16_000), (60_000, 60_000), (2_000_000_000, 2_000_000_000)])
def test_decompression_bombs_are_refused_by_their_header(tmp_path: Path, size: tuple[int, int]) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    path = tmp_path / "bomb.png"
    header = struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    fails(path, "too many|too large")


@pytest.mark.parametrize("name", ["b.png", "b.jpg", "b.JPEG"])
def test_writing(tmp_path: Path, picture: Array, name: str) -> None:
    path = tmp_path / name
    write_picture(path, picture)
    assert difference(read_picture(path), picture) <= (0 if name.endswith("png") else 1.5)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    with Image.open(path) as image:
        comment = image.info.get("Comment") or image.info["comment"].decode()
    assert comment.startswith("AI-generated: made with fewshot-reenact")
    assert source_type(path) is None
    with pytest.raises(UsageError, match="exists already"):
        write_picture(path, picture)
    write_picture(path, 255 - picture, overwrite=True, marks=standard_marks(visible=False))
    assert difference(read_picture(path), 255 - picture) <= 3  # the watermark
    assert source_type(path) == SOURCE_TYPE
    with Image.open(path) as image:
        assert SOURCE_TYPE in (image.info.get("Description") or image.getexif()[0x010E])
        # Pillow finds the XMP packet where we put it.
        assert SOURCE_TYPE.encode() in image.info["xmp"]


def test_writing_where_it_cannot_be(tmp_path: Path, picture: Array) -> None:
    with pytest.raises(UsageError, match="cannot write this kind of file"):
        write_picture(tmp_path / "b.bmp", picture)
    with pytest.raises(UsageError, match="there is no folder"):
        write_picture(tmp_path / "nowhere" / "b.png", picture)
    Image.fromarray(picture).save(tmp_path / "in.png")
    with pytest.raises(UsageError, match="is an input"):
        write_picture(tmp_path / "in.png", picture, overwrite=True, inputs=[tmp_path / "in.png"])
    with pytest.raises(ValueError, match="a picture is"):
        write_picture(tmp_path / "b.png", picture[..., 0])
    assert [p.name for p in tmp_path.iterdir()] == ["in.png"]


def test_kinds_by_name_and_content(tmp_path: Path, picture: Array) -> None:
    for name in ("none.jpg", "none.PNG", "none.webp"):
        assert is_picture(tmp_path / name)
    for name in ("none.mp4", "none.MOV", "none.webm", "none.gif"):
        assert is_video(tmp_path / name)
    for name in ("none", "none.npz", "none.txt"):
        assert not is_picture(tmp_path / name)
        assert not is_video(tmp_path / name)
    # The content decides over the name.
    Image.fromarray(picture).save(tmp_path / "a.mp4", "PNG")
    assert is_picture(tmp_path / "a.mp4")
    video = make_video(tmp_path / "b.mp4", *steady(3, Fraction(25)))
    video.rename(tmp_path / "b.jpg")
    assert is_video(tmp_path / "b.jpg")
    text = tmp_path / "text.mp4"
    text.write_text("hello")
    assert is_video(text)


def test_unreadable_exif_is_no_obstacle(tmp_path: Path, picture: Array) -> None:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=98, exif=b"Exif\0\0MM\0*\xff\xff\xff\xff" + os.urandom(20))
    (tmp_path / "a.jpg").write_bytes(stream.getvalue())
    assert read_picture(tmp_path / "a.jpg").shape == picture.shape
