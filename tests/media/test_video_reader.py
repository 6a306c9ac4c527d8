"""Videos in: exact timestamps, upright frames, what breaks and how it is said."""

from __future__ import annotations

import itertools
import logging
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.media.reader import VideoReader
from places import DRIVERS
from video_samples import (
    HEIGHT,
    WIDTH,
    beeps,
    ffmpeg,
    make_video,
    number_of,
    numbered,
    steady,
)

RATES = [Fraction(30000, 1001), Fraction(1350, 61), Fraction(1199, 50), Fraction(25), Fraction(24000, 1001)]


@pytest.mark.parametrize("fps", RATES, ids=str)
def test_timestamps_of_steady_rates_are_exact(tmp_path: Path, fps: Fraction) -> None:
    video = make_video(tmp_path / "a.mp4", *steady(12, fps))
    with VideoReader(video) as reader:
        frames = list(reader)
    assert [f.pts * reader.info.time_base for f in frames] == [n / fps for n in range(12)]
    assert reader.info.fps == fps
    assert [number_of(f.picture) for f in frames] == list(range(12))
    assert [f.index for f in frames] == list(range(12))
    assert reader.info.variable is False
    assert (reader.info.frames, reader.info.has_audio, reader.damaged) == (12, False, None)


def test_timestamps_of_a_variable_rate_are_exact(tmp_path: Path) -> None:
    pts = [0, 3003, 4000, 9000, 9001, 20000, 21001]
    video = make_video(tmp_path / "a.mp4", pts, Fraction(1, 90_000))
    reader = VideoReader(video)
    assert [f.pts * reader.info.time_base for f in reader] == [Fraction(p, 90_000) for p in pts]
    assert reader.info.variable is True


def test_it_can_be_read_again_and_partly(tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mp4", *steady(8, Fraction(25)))
    with VideoReader(video) as reader:
        first = next(iter(reader))
        assert [number_of(f.picture) for f in reader] == list(range(8))
        assert [number_of(f.picture) for f in reader] == list(range(8))
    assert (first.picture.shape, first.picture.dtype, first.pts, first.time) == ((HEIGHT, WIDTH, 3), np.uint8, 0, 0.0)


def test_colours_survive(tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mp4", *steady(2, Fraction(25)), options={"crf": "1"})
    picture = next(iter(VideoReader(video))).picture
    assert np.abs(picture[8:16, 8:-8].astype(int) - numbered(0)[8:16, 8:-8]).max() <= 4


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.webm", "libvpx", "yuv420p"),
        ("a.webm", "libvpx-vp9", "yuv420p"),
        ("a.mov", "prores_ks", "yuv422p10le"),
        ("a.mp4", "libx264", "yuv420p10le"),
        ("a.mp4", "libx264", "yuvj420p"),
        ("a.mp4", "libx264", "yuv444p"),
        ("a.avi", "mpeg4", "yuv420p"),
        ("a.avi", "mjpeg", "yuvj420p"),
        ("a.mkv", "libx264", "yuv420p"),
        ("a.mkv", "libx265", "yuv420p10le"),
        ("a.ts", "libx264", "yuv420p"),
        ("a.gif", "gif", "rgb8"),
    ],
)
def test_kinds_of_video(tmp_path: Path, name: str, codec: str, pix_fmt: str) -> None:
    video = make_video(tmp_path / name, *steady(6, Fraction(25)), codec=codec, pix_fmt=pix_fmt)
    with VideoReader(video) as reader:
        frames = list(reader)
    assert [number_of(f.picture) for f in frames] == list(range(6))
    times = [f.time for f in frames]
    assert times == pytest.approx([n / 25 for n in range(6)], abs=0.0011)
    assert reader.info.fps == 25
    colour = frames[2].picture[8:16, 8:-8].reshape(-1, 3).mean(0)
    # A GIF has eight shades of red and green and four of blue.
    assert np.abs(colour - (60, 90, 120)).max() < (40 if codec == "gif" else 6)


@pytest.mark.parametrize(("angle", "turn"), [(90, 1), (180, 2), (270, 3), (-90, 3)])
def test_phone_videos_stand_upright(tmp_path: Path, angle: int, turn: int) -> None:
    plain = make_video(tmp_path / "a.mp4", *steady(3, Fraction(25)))
    turned = tmp_path / "b.mp4"
    ffmpeg("-display_rotation", str(angle), "-i", plain, "-c", "copy", turned)
    with VideoReader(turned) as reader:
        frames = list(reader)
    # ffmpeg's angle is counterclockwise, like numpy's.
    expected = np.rot90(next(iter(VideoReader(plain))).picture, turn)
    assert np.array_equal(frames[0].picture, expected)
    assert (reader.info.height, reader.info.width) == expected.shape[:2]
    assert frames[0].picture.flags.c_contiguous


def test_mirrored_videos(tmp_path: Path) -> None:
    plain = make_video(tmp_path / "a.mp4", *steady(3, Fraction(25)))
    mirrored = tmp_path / "b.mp4"
    ffmpeg("-display_hflip", "-i", plain, "-c", "copy", mirrored)
    assert np.array_equal(next(iter(VideoReader(mirrored))).picture, next(iter(VideoReader(plain))).picture[:, ::-1])


def test_pixels_become_square(tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mp4", *steady(3, Fraction(25)), aspect=Fraction(4, 3))
    reader = VideoReader(video)
    assert (reader.info.width, reader.info.height) == (85, HEIGHT)
    assert next(iter(reader)).picture.shape == (HEIGHT, 85, 3)


def test_hdr_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plain = make_video(tmp_path / "a.mp4", *steady(3, Fraction(25)))
    hdr = tmp_path / "b.mp4"
    tags = "colour_primaries=9:transfer_characteristics=18:matrix_coefficients=9"
    ffmpeg("-i", plain, "-c", "copy", "-bsf:v", f"h264_metadata={tags}", hdr)
    reader = VideoReader(hdr)
    assert len(list(reader)) == 3 and "is HDR (HLG)" in (reader.hdr or "")
    assert VideoReader(plain).hdr is None and not caplog.text, "said where colours are shown, and only there"


def test_frames_that_change_their_size(tmp_path: Path) -> None:
    """As in a stream recorded while a window was resized: all frames come in the first one's size."""
    small = make_video(tmp_path / "a.ts", *steady(3, Fraction(25)))
    large = make_video(tmp_path / "b.ts", *steady(3, Fraction(25)), size=(128, 96))
    both = tmp_path / "c.ts"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    with VideoReader(both) as reader:
        frames = list(reader)
    assert {f.picture.shape for f in frames} == {(HEIGHT, WIDTH, 3)}
    assert [number_of(f.picture) for f in frames] == [0, 1, 2, 0, 1, 2]
    assert all(b.pts > a.pts for a, b in itertools.pairwise(frames))


def test_a_cut_by_timestamps(tmp_path: Path) -> None:
    fps = Fraction(30000, 1001)
    video = make_video(tmp_path / "a.mp4", *steady(120, fps), options={"preset": "medium", "g": "30"})
    # 1.001 s is exactly frame 30; 3.1 s lies between frames 92 and 93.
    for start, end, numbers in [
        (1.001, None, range(30, 120)),
        (3.1, 3.2, range(93, 96)),
        (3.1031, None, range(93, 120)),
        (None, 0.1, range(3)),
        (0.0, 0.1001, range(3)),
    ]:
        with VideoReader(video, start, end) as reader:
            frames = list(reader)
            assert [number_of(f.picture) for f in frames] == list(numbers), (start, end)
            assert [f.pts * reader.info.time_base for f in frames] == [n / fps for n in range(len(numbers))]
            assert reader.audio_start == numbers[0] / fps
            assert reader.info.frames is not None
            assert abs(reader.info.frames - len(numbers)) <= 1
            assert [number_of(f.picture) for f in reader] == list(numbers)
            assert reader.damaged is None


def test_a_cut_of_a_video_that_cannot_seek(tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.gif", *steady(100, Fraction(25)), codec="gif", pix_fmt="rgb8")
    assert [number_of(f.picture) for f in VideoReader(video, 3.0, 3.2)] == [75, 76, 77, 78, 79]


def test_a_cut_that_cannot_be(tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mp4", *steady(25, Fraction(25)))
    with pytest.raises(InputError, match=r"the start, 5 s, is behind the end; the video lasts 1\.00 s"):
        VideoReader(video, 5.0)
    with pytest.raises(UsageError, match="must lie after its start"):
        VideoReader(video, 0.5, 0.5)
    with pytest.raises(UsageError, match="negative"):
        VideoReader(video, -1.0)


def test_a_clock_that_starts_late_begins_at_zero(tmp_path: Path) -> None:
    plain = make_video(tmp_path / "a.mp4", *steady(10, Fraction(25)), sound=beeps(0.4, [0.2]))
    late = tmp_path / "b.mkv"
    ffmpeg("-i", plain, "-c", "copy", "-output_ts_offset", "3600", late)
    with VideoReader(late) as reader:
        frames = list(reader)
    assert frames[0].time == pytest.approx(0.0, abs=0.05)
    assert len(frames) == 10


def test_an_edit_list_hides_frames(tmp_path: Path) -> None:
    plain = make_video(tmp_path / "a.mp4", *steady(50, Fraction(25)), options={"preset": "medium", "g": "25"})
    cut = tmp_path / "b.mp4"
    # The copy begins at the keyframe before (0 s), and an edit list tells players to begin at 0.6 s.
    ffmpeg("-ss", "0.6", "-i", plain, "-c", "copy", cut)
    with VideoReader(cut) as reader:
        frames = list(reader)
    assert number_of(frames[0].picture) == 15
    assert frames[0].time == pytest.approx(0.0, abs=0.001)
    assert reader.damaged is None


def test_one_frame_is_fine(tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mp4", [0], Fraction(1, 25))
    with VideoReader(video) as reader:
        assert [f.pts for f in reader] == [0]
    assert reader.info.frames == 1


def test_errors(tmp_path: Path) -> None:
    def fails(path: Path, words: str) -> None:
        with pytest.raises(InputError, match=words) as caught:
            VideoReader(path)
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)
        assert caught.value.exit_code == 3

    fails(tmp_path / "none.mp4", "no such file")
    fails(tmp_path, "is a folder")
    text = tmp_path / "text.mp4"
    text.write_text("hello, this is no video\n" * 50)
    fails(text, "is not a video")
    (tmp_path / "empty.mp4").touch()
    fails(tmp_path / "empty.mp4", "empty file")
    whole = make_video(tmp_path / "a.mp4", *steady(50, Fraction(25)))
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    fails(cut, r"cut off before its index \(moov\)")
    sound = tmp_path / "sound.m4a"
    ffmpeg("-f", "lavfi", "-i", "sine=duration=1", "-c:a", "aac", sound)
    fails(sound, "no video stream")
    cover = tmp_path / "cover.m4a"
    ffmpeg(
        "-i",
        sound,
        "-i",
        whole,
        "-frames:v",
        "1",
        "-c:a",
        "copy",
        "-c:v",
        "png",
        "-disposition:v:0",
        "attached_pic",
        cover,
    )
    fails(cover, "no video stream")


def test_a_playlist_opens_nothing(tmp_path: Path) -> None:
    whole = make_video(tmp_path / "a.mp4", *steady(5, Fraction(25)))
    for text in (
        f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:1,\n{whole}\n#EXT-X-ENDLIST\n",
        f"ffconcat version 1.0\nfile {whole}\n",
    ):
        playlist = tmp_path / "list.mp4"
        playlist.write_text(text)
        with pytest.raises(InputError, match="is not a video"):
            VideoReader(playlist)


def test_no_frame_at_all(tmp_path: Path) -> None:
    whole = make_video(tmp_path / "a.mp4", *steady(10, Fraction(25)))
    fast = tmp_path / "fast.mp4"
    ffmpeg("-i", whole, "-c", "copy", "-movflags", "+faststart", fast)
    data = fast.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: data.index(b"mdat") + 4])
    with pytest.raises(InputError, match="no frame can be decoded"):
        VideoReader(cut)


def test_a_video_cut_off_behind_its_index(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = make_video(tmp_path / "a.mp4", *steady(60, Fraction(25)), sound=beeps(2.4, [1.0]))
    fast = tmp_path / "fast.mp4"
    ffmpeg("-i", whole, "-c", "copy", "-movflags", "+faststart", fast)
    cut = tmp_path / "cut.mp4"
    data = fast.read_bytes()
    cut.write_bytes(data[: data.index(b"mdat") + (len(data) - data.index(b"mdat")) * 6 // 10])
    with caplog.at_level(logging.WARNING), VideoReader(cut) as reader:
        frames = list(reader)
    assert 10 < len(frames) < 60
    assert [number_of(f.picture) for f in frames][:10] == list(range(10))
    assert reader.damaged is not None
    assert "is damaged" in caplog.text


def test_a_video_damaged_in_the_middle(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    video = make_video(tmp_path / "a.mp4", *steady(60, Fraction(25)), options={"preset": "ultrafast", "g": "10"})
    data = bytearray(video.read_bytes())
    begin = data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 3
    data[begin : begin + 600] = np.random.default_rng(0).integers(0, 256, 600, dtype=np.uint8).tobytes()
    video.write_bytes(data)
    with caplog.at_level(logging.WARNING), VideoReader(video) as reader:
        frames = list(reader)
    assert len(frames) > 40
    assert number_of(frames[-1].picture) == 59
    assert frames[-1].time == pytest.approx(59 / 25)
    assert reader.damaged is not None
    assert "is damaged" in caplog.text


def test_odd_names(tmp_path: Path) -> None:
    plain = make_video(tmp_path / "a.mp4", *steady(3, Fraction(25)))
    for name in ('12:30 it\'s %03d "quoted" $(date).mp4', "-y.mp4", "Ünïcødé 人.mp4"):
        odd = tmp_path / name
        odd.write_bytes(plain.read_bytes())
        assert len(list(VideoReader(odd))) == 3


def test_memory_stays_flat(tmp_path: Path) -> None:
    """Frames that nobody keeps are gone: at most a handful of pictures live while a video is read."""
    import gc
    import weakref

    video = make_video(tmp_path / "a.mp4", *steady(80, Fraction(25)))
    alive: list[weakref.ref[np.ndarray]] = []
    most = 0
    for frame in VideoReader(video):
        alive = [r for r in alive if r() is not None] + [weakref.ref(frame.picture)]
        most = max(most, len(alive))
    gc.collect()
    assert most <= 4


@pytest.mark.skipif(not DRIVERS.is_dir(), reason="no driver videos here")
@pytest.mark.parametrize("name", ["odd_fps_1350_61.mp4", "man_expressions.mp4"])
def test_real_drivers(name: str) -> None:
    import av

    with av.open(str(DRIVERS / name)) as container:
        expected = [f.pts for f in container.decode(video=0)]
    with VideoReader(DRIVERS / name) as reader:
        assert [f.pts for f in reader] == expected
    assert reader.damaged is None
    assert reader.info.frames == len(expected)
