"""The watermark: its code, its invisibility, what it survives, and that it is not found where it is not."""

import subprocess
from itertools import pairwise
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np
import pytest

from fewshot_reenact.media.reader import VideoReader
from fewshot_reenact.provenance.detector import detect
from fewshot_reenact.provenance.payload import coded_bits, decode, encode
from fewshot_reenact.provenance.watermark import Watermarker

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


@pytest.mark.parametrize(
    ("payload", "bits"), [(0, 64), (1, 64), (2**64 - 1, 64), (PAYLOAD, 64), (0, 32), (2**32 - 1, 32), (1234567890, 32)]
)
def test_coded_payload_is_read_back_with_a_fifth_of_its_bits_wrong(payload, bits):
    coded = encode(payload, bits).astype(float)
    assert len(coded) == coded_bits(bits)
    wrong = np.random.default_rng(2).permutation(len(coded))[: len(coded) // 5]
    coded[wrong] *= -0.4
    assert decode(coded, bits) == payload


def test_the_shorter_payload_is_read_through_noise_that_hides_the_longer_one():
    rng = np.random.default_rng(4)

    def read(payload: int, bits: int) -> bool:
        coded = encode(payload, bits).astype(float)
        coded *= 9 / np.sqrt(len(coded))  # the same energy for both
        return decode(coded + rng.normal(size=len(coded)), bits) == payload

    assert sum(read(0x9A3CF127, 32) for _ in range(10)) >= 8
    assert sum(read(PAYLOAD, 64) for _ in range(10)) <= 2


def test_decoded_payload_fails_its_check_on_noise_mostly():
    rng = np.random.default_rng(3)
    for bits in (32, 64):
        assert sum(decode(rng.normal(size=coded_bits(bits)), bits) is None for _ in range(20)) >= 18


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
    assert not np.array_equal(small, Watermarker(PAYLOAD ^ 1 << 32).stamp(scene(200)))
    assert not np.array_equal(large, Watermarker(PAYLOAD ^ 1 << 32).stamp(scene(300)))


@pytest.mark.parametrize(("side", "bits"), [(300, 32), (480, 64)])
def test_mark_is_found_in_one_picture(side, bits):
    found = detect([Watermarker(PAYLOAD).stamp(scene(side))])
    assert found is not None
    assert found.payload == PAYLOAD >> (64 - bits) and found.bits == bits and f"{PAYLOAD:016x}".startswith(found.id)
    assert found.frames == 1 and not found.mirrored
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


@pytest.mark.slow
def test_nothing_is_found_under_any_key_where_a_hundredth_may_be_risked():
    """The bound is far from what chance does: ten thousand times the usual one leaves it unreached."""
    draw = np.random.default_rng(8)
    assert detect([scene(256)], false_alarm=0.01, keys=[draw.bytes(32) for _ in range(6)]) is None


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
    assert found is not None and found.payload == PAYLOAD >> 32 and found.frames == 10


def test_on_texture_the_mark_turns_into_its_opposite_and_on_even_ground_it_stands_still():
    picture = np.full((256, 256, 3), 90, np.uint8)
    texture = np.kron(np.random.default_rng(6).integers(40, 140, (64, 32, 1), np.uint8), np.ones((4, 4, 3), np.uint8))
    picture[:, 128:] = texture
    stamper = Watermarker(PAYLOAD)
    now, later = (stamper.stamp(picture, seconds).astype(float) - picture for seconds in (0.0, 1.0))
    still, turning = (slice(None), slice(8, 96)), (slice(None), slice(160, 250))
    assert np.array_equal(now[still], later[still])
    assert np.corrcoef(now[turning].ravel(), later[turning].ravel())[0, 1] < -0.9
    assert np.array_equal(stamper.stamp(picture, 0.3), stamper.stamp(picture, 8.3)), "a period of two seconds"


def test_consecutive_frames_of_a_still_video_differ_by_less_than_the_grain_of_a_camera():
    """No flicker: nowhere does the mark jump."""
    stamper, picture = Watermarker(PAYLOAD), scene(300)
    frames = [stamper.stamp(picture, t / 25).astype(np.float64) for t in range(51)]
    steps = [np.sqrt(((one - two) ** 2).mean()) for one, two in pairwise(frames)]
    assert max(steps) < 1 and np.median(steps) == 0


def texture(t: int) -> np.ndarray:
    """Brush strokes all over, which hide a mark that stands still; a little of it moves. (256, 256, 3)."""
    noise = np.random.default_rng(7).normal(120, 45, (256, 256, 1)).astype(np.float32)
    ground = np.clip(cv2.GaussianBlur(noise, (0, 0), 1.5) * 3 - 240, 0, 255).astype(np.uint8)[..., None].repeat(3, 2)
    ground[100:160, 100:160] = np.roll(ground[100:160, 100:160], t // 3, 1)
    return ground


def test_a_video_shows_the_mark_on_texture_that_hides_it_in_a_picture():
    stamper = Watermarker(PAYLOAD)
    frames = [(stamper.stamp(texture(t), t / 25), t / 25) for t in range(50)]
    assert detect(frames[:1]) is None
    found = detect(frames)
    assert found is not None and found.payload == PAYLOAD >> 32 and found.frames == 50
    # From another time on, at another rate, and where only the numbers of frames are known.
    assert detect([(one, 100 + t) for one, t in frames[7::2]]) is not None
    assert detect([one for one, _ in frames]) is not None


@pytest.mark.parametrize("degrees", [-5, -2, 3.3])
def test_a_turned_picture_is_looked_for_on_request(degrees):
    stamped = Watermarker(PAYLOAD).stamp(scene(480))
    height, width = stamped.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
    turned = cv2.warpAffine(stamped, matrix, (width, height), flags=cv2.INTER_CUBIC)[24:-24, 24:-24]
    found = detect([turned], turned=True)
    assert found is not None and found.payload == PAYLOAD


@pytest.mark.parametrize("size", [(640, 480), (480, 640)])
def test_a_stretched_picture_is_looked_for_on_request(size):
    stamped = Watermarker(PAYLOAD).stamp(scene(480)[:, 20:-20])
    stretched = cv2.resize(stamped, size, interpolation=cv2.INTER_CUBIC)
    assert detect([stretched]) is None
    found = detect([stretched], turned=True)
    assert found is not None and found.payload == PAYLOAD


@pytest.mark.parametrize("side", [256, 480])
def test_a_mark_of_the_first_version_is_found(side):
    """It stood still everywhere, at one strength, with 64 bits at every size."""
    from fewshot_reenact.provenance.mark_pattern import PUBLIC_KEY, pattern_signs

    picture = cv2.GaussianBlur(scene(side), (0, 0), 1)
    height, width = picture.shape[:2]
    pitch = np.sqrt(height * width) / (64 if side < 400 else 96)
    columns, rows = np.meshgrid(
        *(((np.arange(n) + 0.5) / pitch - 0.5).astype(np.float32) % 64 for n in (width, height))
    )
    signs = pattern_signs(PAYLOAD, PUBLIC_KEY).astype(np.float32)
    pattern = cv2.remap(signs, columns, rows, cv2.INTER_CUBIC, borderMode=cv2.BORDER_WRAP)
    delta = np.rint(pattern * 2 / np.sqrt((pattern**2).mean()))[..., None]
    stamped = np.clip(picture + delta, 0, 255).astype(np.uint8)
    found = detect([stamped])
    assert found is not None and found.payload == PAYLOAD and found.bits == 64
