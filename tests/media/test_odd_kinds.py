"""Kinds of files, clocks and sounds that are rare, and read all the same."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from fake_face import PaintedFaces, paint
from fewshot_reenact import check, extract
from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.files import as_file
from fewshot_reenact.inputs.driver import DriverSource
from fewshot_reenact.media import level
from fewshot_reenact.media.file_types import is_picture, is_video
from fewshot_reenact.media.pictures import read_picture, write_picture
from fewshot_reenact.media.reader import VideoReader
from fewshot_reenact.media.timestamps import Continued, rate_of_frames
from fewshot_reenact.media.writer import VideoWriter
from fewshot_reenact.motion.builtins import load_builtin_motion
from video_samples import beep_times, beeps, ffmpeg, flashes, frame_times, make_video, number_of, numbered, steady

# ---- animations and folders of frames


@pytest.mark.parametrize("suffix", ["webp", "png", "apng"])
def test_an_animated_picture_is_a_video_of_all_its_frames(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    frames = [Image.fromarray(numbered(t)) for t in range(6)]
    kind = {"webp": {"lossless": True}}.get(suffix, {"format": "PNG"})
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=[40, 80, 40, 40, 40, 120], **kind)
    assert is_video(path) and not is_picture(path)
    with VideoReader(path) as reader:
        seen = list(reader)
    assert [number_of(one.picture) for one in seen] == list(range(6))
    assert [round(one.time, 3) for one in seen] == [0, 0.04, 0.12, 0.16, 0.2, 0.24]
    with VideoReader(path, start=0.1, end=0.21) as reader:
        assert [number_of(one.picture) for one in reader] == [2, 3, 4]
    frames[0].save(path, **kind)
    assert is_picture(path), "with one frame it is a picture"


def test_extract_and_check_take_what_animate_takes(tmp_path: Path) -> None:
    """A folder of frames; and --mirror turns the head to the other side."""
    frames = tmp_path / "frames"
    frames.mkdir()
    for t in range(4):
        write_picture(frames / f"{t}.png", paint((60 + t, 40, 40, 48)))
    plain = extract(frames, tmp_path / "a.npz", fps=10, landmarks=PaintedFaces()).motion
    other = extract(frames, tmp_path / "b.npz", fps=10, mirror=True, landmarks=PaintedFaces()).motion
    assert plain.fps == 10 and len(plain) == 4
    width = plain.size[0]
    assert np.allclose(other.points[..., 0].mean(1), width - 1 - plain.points[..., 0].mean(1), atol=1.5)
    (report,) = check(frames, fps=10, landmarks=PaintedFaces())
    assert report.kind == "driver" and report.verdict != "unusable"
    (without,) = check(frames, landmarks=PaintedFaces())
    assert without.verdict == "unusable" and "--fps" in without.in_words()
    large = make_video(tmp_path / "large.mov", *steady(1, Fraction(1)), size=(16, 16))
    for limit, verdict in ((100, "cannot"), (1 << 26, "no face")):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("fewshot_reenact.media.source.MOST_PIXELS", limit)
            for any_size in (False, True):
                said = check(large, any_size=any_size, landmarks=PaintedFaces())[0].in_words()
                assert ("too many for a video" in said) == (verdict == "cannot" and not any_size)


def test_a_folder_of_numbered_frames(tmp_path: Path) -> None:
    for t in (10, 9, 11, 8):  # in the order of the numbers, not of the names
        write_picture(tmp_path / f"shot2_{t}.png", numbered(t))
    (tmp_path / "notes.txt").write_text("no frame")
    source = DriverSource.parse(tmp_path, fps=29.97)
    assert source.is_video
    with source.open() as reader:
        seen = list(reader)
        assert reader.info.fps == Fraction(30000, 1001) and not reader.info.has_audio
    assert [number_of(one.picture) for one in seen] == [8, 9, 10, 11]
    assert [one.pts * reader.info.time_base for one in seen] == [t * Fraction(1001, 30000) for t in range(4)]
    with pytest.raises(InputError, match="with --fps"):
        DriverSource.parse(tmp_path)
    with pytest.raises(UsageError, match="has a frame rate of its own"):
        DriverSource.parse("motion:nod", fps=25)
    with pytest.raises(InputError, match="no numbered pictures"):
        DriverSource.parse(tmp_path.parent / tmp_path.name / "..", fps=25)
    write_picture(tmp_path / "shot2_12.png", numbered(12, 80, 48))
    with source.open() as reader, pytest.raises(InputError, match=r"shot2_12.png: has another size"):
        list(reader)
    with pytest.raises(UsageError, match="is not between"):
        rate_of_frames(0.01)


def test_mirrored(tmp_path: Path) -> None:
    make_video(tmp_path / "a.mp4", *steady(3, Fraction(25)))
    plain, mirrored = ([f.picture for f in VideoReader(tmp_path / "a.mp4", mirror=mirror)] for mirror in (False, True))
    assert all(np.array_equal(a[:, ::-1], b) for a, b in zip(plain, mirrored, strict=True))
    turned = VideoReader(tmp_path / "a.mp4", turn=1)
    assert (turned.info.width, turned.info.height) == plain[0].shape[:2]
    assert np.array_equal(next(iter(turned)).picture, np.rot90(plain[0]))
    motion = load_builtin_motion("talk")
    twice = motion.mirrored().mirrored()
    assert np.allclose(twice.points, motion.points) and not np.allclose(motion.mirrored().points, motion.points)
    right = motion.mirrored().points[:, 45, 0]
    assert np.allclose(right, motion.size[0] - 1 - motion.points[:, 36, 0])


def test_file_addresses_are_paths(tmp_path: Path) -> None:
    path = tmp_path / "with space.png"
    assert as_file(path.as_uri()) == path and as_file(f"file://localhost{path}") == path
    with pytest.raises(InputError, match="address on the net"):
        as_file("https://example.org/a.png")


def test_heic_is_read_where_the_extra_is_installed(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    heif.from_pillow(Image.fromarray(numbered(5, 256, 192))).save(tmp_path / "a.heic", quality=95)
    assert number_of(read_picture(tmp_path / "a.heic")) == 5


# ---- sizes that play


@pytest.mark.parametrize("width", [3024, 4096, 10080])
@pytest.mark.parametrize("fps", [25, 60])
def test_level_5_1(width: int, fps: int, tmp_path: Path) -> None:
    size = level.largest(width, 4032, Fraction(fps))
    assert size != (width, 4032) and abs(size[0] / size[1] - width / 4032) < 0.01
    assert size[0] * size[1] > 0.9 * min(36_864, 983_040 / fps) * 256
    with VideoWriter(tmp_path / "a.mp4", *size, Fraction(1, fps), Fraction(fps), preset="veryfast") as out:
        out.write(np.zeros((size[1], size[0], 3), np.uint8), 0)
    data = (tmp_path / "a.mp4").read_bytes()
    assert data[data.index(b"avcC") + 7] <= 51, "the level that the file claims"
    assert level.largest(1920, 1080, Fraction(60)) == (1920, 1080)
    assert level.largest(4096, 2304, Fraction(25)) == (4096, 2304)


# ---- clocks that jump back


def test_a_clock_that_jumps_back_goes_on() -> None:
    clock = Continued(10)
    assert [clock(t) for t in (0, 10, 20, 30, 0, 10, 20, 5000, 5010)] == [0, 10, 20, 30, 40, 50, 60, 5040, 5050]
    assert clock.offsets == [40]
    once = Continued(10)  # one wrong time is no jump
    assert [once(t) for t in (100, 110, 120, 5, 140, 150)] == [100, 110, 120, 130, 140, 150], (
        "one wrong time is no jump"
    )
    assert not once.offsets
    odd = Continued(10)
    assert [odd(t) for t in (0, 10, 30, 20, 40)] == [0, 10, 30, 20, 40], "frames that only changed places"


def test_joined_recordings_go_on_with_their_sound(tmp_path: Path) -> None:
    data = b""
    for part in range(3):
        path = tmp_path / f"{part}.ts"
        data += make_video(path, *steady(20, Fraction(25)), sound=beeps(0.8, [0.4]), flash=[10]).read_bytes()
    joined = tmp_path / "joined.ts"
    joined.write_bytes(data)
    with VideoReader(joined) as reader:
        frames = list(reader)
        shown = [frame.time for frame in frames if flashes(frame.picture)]
        steps = np.diff([frame.time for frame in frames])
        assert len(frames) == 60 and np.allclose(steps, 0.04, atol=0.002)
        info = reader.info
        with VideoWriter(
            tmp_path / "o.mp4", 64, 48, info.time_base, info.fps, audio_from=joined, audio_jumps=reader.jumps
        ) as out:
            for frame in frames:
                out.write(frame.picture, frame.pts, frame.duration)
    assert reader.jumps == [Fraction(4, 5), Fraction(8, 5)]
    assert np.allclose(beep_times(tmp_path / "o.mp4"), shown, atol=0.03)


@pytest.mark.parametrize("delay", [0.5, -0.5])
def test_sound_that_begins_at_another_time_stays_there(tmp_path: Path, delay: float) -> None:
    """Matroska has the times themselves, MP4 an edit list."""
    plain = make_video(tmp_path / "a.mp4", *steady(50, Fraction(25)), sound=beeps(2, [1.0]), flash=[25])
    for suffix in ("mkv", "mp4"):
        late = tmp_path / f"late.{suffix}"
        ffmpeg("-i", plain, "-itsoffset", delay, "-i", plain, "-map", "0:v", "-map", "1:a", "-c", "copy", late)
        with VideoReader(late) as reader:
            frames = list(reader)
            info = reader.info
            with VideoWriter(
                tmp_path / "o.mp4", 64, 48, info.time_base, info.fps, audio_from=late, overwrite=True
            ) as out:
                for frame in frames:
                    out.write(frame.picture, frame.pts, frame.duration)
        times = zip(frame_times(tmp_path / "o.mp4"), frames, strict=True)
        flash = next(float(time) for time, frame in times if flashes(frame.picture))
        assert abs(beep_times(tmp_path / "o.mp4")[0] - flash - delay) < 0.04, suffix


def test_sixteen_channels_are_mixed_down(tmp_path: Path) -> None:
    make_video(tmp_path / "a.mp4", *steady(25, Fraction(25)), sound=beeps(1, [0.4]))
    many = tmp_path / "many.mkv"
    channels = "|".join(f"c{n}=c0" for n in range(16))
    ffmpeg("-i", tmp_path / "a.mp4", "-c:v", "copy", "-af", f"pan=16c|{channels}", "-c:a", "pcm_s16le", many)
    with (
        VideoReader(many) as reader,
        VideoWriter(tmp_path / "o.mp4", 64, 48, reader.info.time_base, reader.info.fps, audio_from=many) as out,
    ):
        for frame in reader:
            out.write(frame.picture, frame.pts)
    assert out.notes == ["many.mkv: 16 channels of sound are mixed down to two"]
    with av.open(str(tmp_path / "o.mp4")) as container:
        assert container.streams.audio[0].codec_context.channels == 2
    assert abs(beep_times(tmp_path / "o.mp4")[0] - 0.4) < 0.03
