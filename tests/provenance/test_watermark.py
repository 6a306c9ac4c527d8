"""The watermark: its code, its invisibility, what it survives, and that it is not found where it is not."""

import subprocess
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np
import pytest

from fewshot_reenact.media.reader import VideoReader
from fewshot_reenact.provenance.payload import CODED_BITS, decode, encode
from fewshot_reenact.provenance.watermark import Watermarker, detect

PAYLOAD = 0x9A3CF1275BE80D46


def scene(side: int = 320) -> np.ndarray:
    """A picture with even ground, an edge, dark parts and some texture, (side, side + 40, 3)."""
    rng = np.random.default_rng(1)
    width = side + 40
    picture = np.full((side, width, 3), (90, 110, 140), np.float32)
    picture += np.linspace(0, 60, width, dtype=np.float32)[None, :, None]
    cv2.circle(picture, (width // 2, side // 2), side // 4, (190.0, 150.0, 130.0), -1)
    cv2.rectangle(picture, (0, side - side // 6), (width, side), (25.0, 20.0, 22.0), -1)
    texture = cv2.resize(rng.normal(0, 12, (side // 4, side // 4)).astype(np.float32), (side // 3, side // 3))
    picture[10 : 10 + side // 3, 10 : 10 + side // 3] += texture[..., None]
    return np.clip(picture, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("payload", [0, 1, 2**64 - 1, PAYLOAD])
def test_coded_payload_is_read_back_with_a_fifth_of_its_bits_wrong(payload):
    coded = encode(payload).astype(float)
    wrong = np.random.default_rng(2).permutation(CODED_BITS)[: CODED_BITS // 5]
    coded[wrong] *= -0.4
    assert decode(coded) == payload


def test_decoded_payload_fails_its_check_on_noise_mostly():
    rng = np.random.default_rng(3)
    assert sum(decode(rng.normal(size=CODED_BITS)) is None for _ in range(20)) >= 18


@pytest.mark.parametrize("payload", [-1, 2**64])
def test_payload_beyond_64_bits_is_refused(payload):
    with pytest.raises(ValueError, match="64 bits"):
        Watermarker(payload)


@pytest.mark.parametrize("side", [256, 511])
def test_stamp_keeps_42_db_and_changes_luma_only(side):
    picture = scene(side)
    given = picture.copy()
    stamped = Watermarker(PAYLOAD).stamp(picture)
    assert np.array_equal(picture, given)
    assert stamped.shape == picture.shape and stamped.dtype == np.uint8
    assert cv2.PSNR(picture, stamped) >= 42
    change = stamped.astype(int) - picture
    inside = (picture.min(2) > 12) & (picture.max(2) < 243)
    assert np.ptp(change[inside], axis=1).max() == 0


def test_stamp_is_the_same_for_the_same_payload_and_follows_a_new_size():
    stamper = Watermarker(PAYLOAD)
    small, large = stamper.stamp(scene(200)), stamper.stamp(scene(300))
    assert np.array_equal(small, Watermarker(PAYLOAD).stamp(scene(200)))
    assert np.array_equal(large, Watermarker(PAYLOAD).stamp(scene(300)))
    assert not np.array_equal(small, Watermarker(PAYLOAD ^ 1).stamp(scene(200)))


@pytest.mark.parametrize("side", [300, 480])
def test_mark_is_found_in_one_picture(side):
    found = detect([Watermarker(PAYLOAD).stamp(scene(side))])
    assert found is not None
    assert found.payload == PAYLOAD and found.frames == 1 and not found.mirrored
    assert found.confidence >= 1 - 1e-6


def test_mark_is_found_mirrored_cropped_scaled_and_brightened():
    stamped = Watermarker(PAYLOAD).stamp(scene(480))
    height, width = stamped.shape[:2]
    part = stamped[int(0.07 * height) : int(0.97 * height), int(0.02 * width) : int(0.92 * width)]
    part = cv2.resize(part, None, fx=0.8, fy=0.8, interpolation=cv2.INTER_AREA)
    part = np.clip(part * 1.1, 0, 255).astype(np.uint8)
    found = detect([part[:, ::-1]])
    assert found is not None and found.payload == PAYLOAD and found.mirrored


def test_nothing_is_found_where_nothing_is():
    assert detect([scene(300)]) is None
    assert detect([np.zeros((64, 64, 3), np.uint8)]) is None
    assert detect([np.zeros((2, 2, 3), np.uint8)]) is None
    assert detect([]) is None


def test_mark_survives_h264_at_crf_28(tmp_path: Path):
    stamper = Watermarker(PAYLOAD)
    # The picture moves a little under the mark, as a head does.
    frames = [stamper.stamp(np.roll(scene(320), t // 3, 1)) for t in range(10)]
    path = tmp_path / "copy.mp4"
    height, width = frames[0].shape[:2]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    command += ["-s", f"{width}x{height}", "-i", "-", "-c:v", "libx264", "-crf", "28", "-pix_fmt", "yuv420p", str(path)]
    subprocess.run(command, input=b"".join(f.tobytes() for f in frames), check=True)
    with VideoReader(path) as reader:
        found = detect(frame.picture for frame in reader)
    assert found is not None and found.payload == PAYLOAD and found.frames == 10
