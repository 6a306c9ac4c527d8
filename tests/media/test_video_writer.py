"""Videos out: exact timestamps, sound in step, and a whole file or none."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.media.marks import PlainNote
from fewshot_reenact.media.reader import VideoReader
from fewshot_reenact.media.writer import VideoWriter
from fewshot_reenact.provenance.marks import SOURCE_TYPE, standard_marks
from fewshot_reenact.provenance.tags import source_type
from places import DRIVERS
from video_samples import (
    HEIGHT,
    WIDTH,
    beep_times,
    beeps,
    ffmpeg,
    flashes,
    frame_times,
    make_video,
    number_of,
    numbered,
    packets,
    steady,
)

RATES = [Fraction(30000, 1001), Fraction(1350, 61), Fraction(1199, 50), Fraction(25), Fraction(50), Fraction(12)]
TICK = Fraction(1, 25)


def write(path: Path, frames: int = 5, **options: object) -> Path:
    size = options.pop("size", (WIDTH, HEIGHT))
    assert isinstance(size, tuple)
    with VideoWriter(path, *size, TICK, Fraction(25), **options) as writer:  # type: ignore[arg-type]
        for number in range(frames):
            writer.write(numbered(number, *size), number)
    return path


def copy(source: Path, target: Path, start: float | None = None, end: float | None = None, **options: object) -> Path:
    """What `animate` does with a driver, without the animation."""
    with VideoReader(source, start, end) as reader:
        info = reader.info
        with VideoWriter(
            target,
            info.width,
            info.height,
            info.time_base,
            info.fps,
            audio_from=source,
            audio_start=reader.audio_start,
            audio_end=reader.audio_end,
            **options,  # type: ignore[arg-type]
        ) as writer:
            for frame in reader:
                writer.write(frame.picture, frame.pts, frame.duration)
    return target


@pytest.mark.parametrize("fps", RATES, ids=str)
def test_steady_rates_are_exact(tmp_path: Path, fps: Fraction) -> None:
    out = copy(make_video(tmp_path / "a.mp4", *steady(12, fps)), tmp_path / "b.mp4")
    with VideoReader(out) as reader:
        frames = list(reader)
    expected = [n / fps for n in range(12)]
    assert [f.pts * reader.info.time_base for f in frames] == expected
    assert frame_times(out) == expected
    assert [number_of(f.picture) for f in frames] == list(range(12))
    assert reader.info.fps == fps
    assert reader.info.duration == pytest.approx(float(12 / fps), abs=1e-9)


@pytest.mark.parametrize("base", [Fraction(1, 90_000), Fraction(1, 1000), Fraction(1, 15_360), Fraction(1, 1_000_000)])
def test_variable_rates_are_exact(tmp_path: Path, base: Fraction) -> None:
    pts = [0, 33, 40, 90, 91, 700, 704]
    out = tmp_path / "b.mp4"
    with VideoWriter(out, WIDTH, HEIGHT, base, Fraction(25)) as writer:
        for number, tick in enumerate(pts):
            writer.write(numbered(number), tick, duration=17)
    assert frame_times(out) == [p * base for p in pts]
    with VideoReader(out) as reader:
        frames = list(reader)
    assert [f.pts * reader.info.time_base for f in frames] == [p * base for p in pts]
    assert frames[-1].duration * reader.info.time_base == 17 * base


def test_a_first_frame_that_comes_late_stays_late(tmp_path: Path) -> None:
    """As in a driver whose pictures begin 33 ms after its sound."""
    source = make_video(tmp_path / "a.mp4", [507, 1531, 2043], Fraction(1, 15_360), sound=beeps(0.3, [0.1]))
    out = copy(source, tmp_path / "b.mp4")
    assert frame_times(out) == [Fraction(p, 15_360) for p in (507, 1531, 2043)]


@pytest.mark.parametrize("size", [(65, 48), (64, 47), (65, 47), (2, 2), (66, 50)])
def test_odd_sizes_grow_by_one_pixel(tmp_path: Path, size: tuple[int, int]) -> None:
    out = write(tmp_path / "b.mp4", size=size)
    info = VideoReader(out).info
    assert (info.width, info.height) == (size[0] + size[0] % 2, size[1] + size[1] % 2)


def test_colours_are_tagged_and_come_back(tmp_path: Path) -> None:
    out = tmp_path / "b.mp4"
    colours = np.random.default_rng(0).integers(0, 256, (40, 3), dtype=np.uint8)
    with VideoWriter(out, 32, 32, TICK, Fraction(25), crf=1) as writer:
        for number, colour in enumerate(colours):
            writer.write(np.full((32, 32, 3), colour, np.uint8), number)
    with av.open(str(out)) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_range, context.color_primaries, context.color_trc) == (1, 1, 1, 1)
        assert context.pix_fmt == "yuv420p"
    for frame, colour in zip(VideoReader(out), colours, strict=True):
        assert np.abs(frame.picture[8:24, 8:24].astype(int) - colour).max() <= 6
    # An independent reader that honours the tags sees the same.
    raw = tmp_path / "b.rgb"
    ffmpeg("-i", out, "-f", "rawvideo", "-pix_fmt", "rgb24", raw)
    seen = np.fromfile(raw, np.uint8).reshape(-1, 32, 32, 3)[:, 16, 16]
    assert np.abs(seen.astype(int) - colours).max() <= 6


def test_the_index_comes_first(tmp_path: Path) -> None:
    data = write(tmp_path / "b.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize(
    ("suffix", "codec"), [("mp4", "aac"), ("mp4", "mp3"), ("mp4", "ac3"), ("mov", "alac"), ("mkv", "mp3")]
)
def test_sound_is_copied_bit_for_bit(tmp_path: Path, suffix: str, codec: str) -> None:
    source = make_video(tmp_path / f"a.{suffix}", *steady(25, Fraction(25)), sound=beeps(1.5, [0.5]), sound_codec=codec)
    out = copy(source, tmp_path / "b.mp4")
    before, after = packets(source, "audio"), packets(out, "audio")
    assert [data for _, data in after] == [data for _, data in before]
    # Matroska's clock ticks in milliseconds.
    tolerance = 0.001 if suffix == "mkv" else 0
    assert [float(t) for t, _ in after] == pytest.approx([float(t) for t, _ in before], abs=tolerance)


@pytest.mark.parametrize(
    ("name", "codec", "sound_codec"),
    [
        ("a.mp4", "libx264", "aac"),
        ("a.ts", "libx264", "aac"),
        ("a.avi", "mpeg4", "mp3"),
        ("a.avi", "mpeg4", "pcm_s16le"),
        ("a.webm", "libvpx", "libopus"),
        ("a.webm", "libvpx", "libvorbis"),
        ("a.mkv", "libx264", "flac"),
        ("a.mov", "libx264", "pcm_s16le"),
    ],
)
@pytest.mark.parametrize("start", [None, 1.0, 2.5])
def test_flash_and_beep_stay_together(
    tmp_path: Path, name: str, codec: str, sound_codec: str, start: float | None
) -> None:
    first = tmp_path / ("a.mkv" if sound_codec == "libvorbis" else name)
    first_codec = "pcm_s16le" if sound_codec == "libvorbis" else sound_codec
    sound = beeps(4, [3.2])
    source = make_video(
        first, *steady(100, Fraction(25)), codec=codec, flash=[80], sound=sound, sound_codec=first_codec
    )
    if sound_codec == "libvorbis":  # PyAV cannot make it
        source = tmp_path / name
        ffmpeg("-i", first, "-c:v", "copy", "-c:a", "libvorbis", source)
    out = copy(source, tmp_path / "out.mp4", start)
    apart_before, _ = sound_against_picture(source)
    apart_after, flash = sound_against_picture(out)
    # Some containers set the two apart by themselves (AVI knows nothing of an encoder's delay): that must not change.
    assert apart_after == pytest.approx(apart_before, abs=0.003)
    assert abs(apart_before) < (0.045 if name.endswith(".avi") else 0.003)
    assert flash == pytest.approx(3.2 - (start or 0.0), abs=0.045)


def sound_against_picture(path: Path) -> tuple[float, float]:
    """(seconds from flash to beep, time of the flash), both on the file's own clock."""
    with av.open(str(path)) as container:
        flash = next(f.time for f in container.decode(video=0) if flashes(f.to_ndarray(format="rgb24")))
    (beep,) = beep_times(path)
    return beep - flash, flash


def test_sound_ends_with_the_cut(tmp_path: Path) -> None:
    source = make_video(tmp_path / "a.mp4", *steady(100, Fraction(25)), sound=beeps(4, [0.2, 1.5, 3.2]))
    out = copy(source, tmp_path / "b.mp4", 1.0, 2.0)
    assert beep_times(out) == pytest.approx([0.5], abs=0.004)
    times = [float(t) for t, _ in packets(out, "audio")]
    assert -0.06 < times[0] <= 0
    assert 0.95 < times[-1] < 1.0


def test_no_sound_to_take(tmp_path: Path) -> None:
    source = make_video(tmp_path / "a.mp4", *steady(5, Fraction(25)))
    assert not VideoReader(copy(source, tmp_path / "b.mp4")).info.has_audio
    with pytest.raises(InputError, match="no such file"):
        write(tmp_path / "c.mp4", audio_from=tmp_path / "none.mp4")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mp4", "b.mp4"]


def test_sound_that_ends_before_the_cut(tmp_path: Path) -> None:
    source = make_video(tmp_path / "a.mp4", *steady(100, Fraction(25)), sound=beeps(1, [0.5]))
    out = copy(source, tmp_path / "b.mp4", 3.0)
    assert not VideoReader(out).info.has_audio
    assert len(frame_times(out)) == 25


def test_sound_that_mp4_cannot_hold_is_converted(tmp_path: Path) -> None:
    for name, codec, rate in (("a.avi", "mp3", 8_000), ("a.mov", "pcm_s16le", 44_100), ("b.mkv", "flac", 96_000)):
        source = make_video(
            tmp_path / name, *steady(25, Fraction(25)), sound=beeps(1, [0.5], rate), sound_codec=codec, sound_rate=rate
        )
        out = copy(source, tmp_path / "out.mp4", overwrite=True)
        with av.open(str(out)) as container:
            assert container.streams.audio[0].codec_context.name == "aac"
            assert container.streams.audio[0].codec_context.sample_rate == rate
        assert beep_times(out) == pytest.approx([0.5], abs=0.15 if codec == "mp3" else 0.004)
    assert not [p for p in tmp_path.iterdir() if "partial" in p.name]


def test_sound_that_cannot_be_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = make_video(tmp_path / "a.mkv", *steady(25, Fraction(25)), sound=beeps(1, [0.5]), sound_codec="pcm_s16le")
    with nothing_left(tmp_path):
        monkeypatch.setattr("imageio_ffmpeg.get_ffmpeg_exe", lambda: "/bin/false")
        with pytest.raises(InputError, match=r"its sound cannot be converted .* leave the sound out"):
            copy(source, tmp_path / "b.mp4")

        def missing() -> str:
            raise RuntimeError("No ffmpeg exe could be found.")

        monkeypatch.setattr("imageio_ffmpeg.get_ffmpeg_exe", missing)
        with pytest.raises(InputError, match="there is no ffmpeg; reinstall imageio-ffmpeg"):
            copy(source, tmp_path / "b.mp4")


def test_damaged_sound_does_not_cost_the_video(tmp_path: Path) -> None:
    source = make_video(tmp_path / "a.ts", *steady(50, Fraction(25)), sound=beeps(2, [0.5]))
    data = bytearray(source.read_bytes())
    noise = np.random.default_rng(0)
    for packet in range(0, len(data), 188):
        # The sound's packets carry the second stream's number; every third loses what is in it.
        if (data[packet + 1] & 0x1F) << 8 | data[packet + 2] == 0x101 and packet % 3 == 0:
            data[packet + 40 : packet + 188] = noise.integers(0, 256, 148, dtype=np.uint8).tobytes()
    source.write_bytes(data)
    out = copy(source, tmp_path / "b.mp4")
    assert len(frame_times(out)) == 50


def test_it_says_that_it_is_generated(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.mov"):
        plain = write(tmp_path / f"plain-{name}", metadata={"title": "A title", "comment": "nothing generated here"})
        with av.open(str(plain)) as container:
            assert container.metadata["comment"].startswith("AI-generated: made with fewshot-reenact")
            assert container.metadata["title"] == "A title"
        marked = write(tmp_path / name, marks=standard_marks())
        with av.open(str(marked)) as container:
            assert container.metadata["comment"].startswith("AI-generated")
            assert SOURCE_TYPE in container.metadata["description"]
        assert source_type(marked) == SOURCE_TYPE
        assert source_type(plain) is None
        assert len(list(VideoReader(marked))) == 5
        assert len(frame_times(marked)) == 5


def test_marks_are_applied(tmp_path: Path) -> None:
    class Marks:
        def metadata(self) -> dict[str, str]:
            return {"comment": "ours"}

        def label(self, picture: np.ndarray, seconds: float = 0.0) -> np.ndarray:
            return np.full_like(picture, 200)

        def finish(self, partial: Path, suffix: str) -> None:
            assert suffix == ".mp4"
            assert not (tmp_path / "b.mp4").exists()
            with partial.open("ab") as file:
                file.write(b"\0\0\0\x0cfreemark")

    out = write(tmp_path / "b.mp4", marks=Marks())
    assert out.read_bytes().endswith(b"freemark")
    assert next(iter(VideoReader(out))).picture.mean() == pytest.approx(200, abs=3)


@contextmanager
def nothing_left(folder: Path) -> Iterator[None]:
    before = {p: p.read_bytes() for p in folder.iterdir() if p.is_file()}
    yield
    assert {p: p.read_bytes() for p in folder.iterdir() if p.is_file()} == before


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_nothing_is_left_after_an_exception(tmp_path: Path, kind: type[BaseException]) -> None:
    source = make_video(
        tmp_path / "a.webm", *steady(25, Fraction(25)), codec="libvpx", sound=beeps(1, [0.5]), sound_codec="libopus"
    )
    out = tmp_path / "b.mp4"
    with (
        nothing_left(tmp_path),
        pytest.raises(kind),
        VideoWriter(out, WIDTH, HEIGHT, TICK, Fraction(25), audio_from=source) as writer,
    ):
        for number in range(20):
            writer.write(numbered(number), number)
        assert not out.exists()
        raise kind


def test_marks_that_fail_leave_nothing(tmp_path: Path) -> None:
    class Bad(PlainNote):
        def finish(self, partial: Path, suffix: str) -> None:
            raise RuntimeError("no signature")

    with nothing_left(tmp_path), pytest.raises(RuntimeError, match="no signature"):
        write(tmp_path / "b.mp4", marks=Bad())


def test_a_video_without_frames_is_not_written(tmp_path: Path) -> None:
    with nothing_left(tmp_path), pytest.raises(UsageError, match="no frame was made"):
        write(tmp_path / "b.mp4", frames=0)


def test_outputs_that_cannot_be(tmp_path: Path) -> None:
    source = make_video(tmp_path / "a.mp4", *steady(5, Fraction(25)))
    (tmp_path / "there.mp4").write_text("somebody's work")
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "link.mp4").symlink_to(source)
    cases: list[tuple[Path, str, dict[str, object]]] = [
        (tmp_path / "there.mp4", "exists already; use --overwrite", {}),
        (tmp_path / "folder.mp4", "is a folder", {"overwrite": True}),
        (tmp_path / "nowhere" / "b.mp4", "there is no folder", {}),
        (tmp_path / "b.avi", "cannot write this kind of file", {}),
        (tmp_path / "b", "cannot write this kind of file", {}),
        (source, "is an input", {"overwrite": True, "inputs": [source]}),
        (tmp_path / "link.mp4", "is an input", {"overwrite": True, "inputs": [source]}),
        (Path("/proc/b.mp4"), "/proc", {}),
        (tmp_path / ("b" * 260 + ".mp4"), "too long", {}),
    ]
    with nothing_left(tmp_path):
        for path, words, options in cases:
            for attempt in (VideoWriter.check_output, write):
                with pytest.raises(UsageError, match=words) as caught:
                    attempt(path, **options)  # type: ignore[operator]
                assert "\n" not in str(caught.value)
                assert caught.value.exit_code == 2
        with pytest.raises(UsageError, match="is an input"):
            write(source, overwrite=True, audio_from=source)
        assert VideoWriter.check_output(tmp_path / "new.mp4") == tmp_path / "new.mp4"


def test_a_folder_that_is_not_writable() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        closed = Path(folder) / "closed"
        closed.mkdir(mode=0o555)
        user = os.geteuid()
        if user == 0:  # root may write everywhere: be nobody for a moment
            os.seteuid(65_534)
        try:
            for attempt in (VideoWriter.check_output, write):
                with pytest.raises(UsageError, match=f"the folder {closed} is not writable; write somewhere else"):
                    attempt(closed / "b.mp4")
        finally:
            os.seteuid(user)


def test_overwriting(tmp_path: Path) -> None:
    out = tmp_path / "b.mp4"
    out.write_text("old")
    with VideoWriter(out, WIDTH, HEIGHT, TICK, Fraction(25), overwrite=True) as writer:
        writer.write(numbered(7), 0)
        assert out.read_text() == "old"
    assert number_of(next(iter(VideoReader(out))).picture) == 7
    umask = os.umask(0)
    os.umask(umask)
    assert out.stat().st_mode & 0o777 == 0o666 & ~umask


def test_a_file_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    out = tmp_path / "b.mp4"
    with (
        pytest.raises(UsageError, match="appeared meanwhile"),
        VideoWriter(out, WIDTH, HEIGHT, TICK, Fraction(25)) as writer,
    ):
        writer.write(numbered(7), 0)
        out.write_text("somebody else's")
    assert [p.name for p in tmp_path.iterdir()] == ["b.mp4"]
    assert out.read_text() == "somebody else's"


@pytest.mark.parametrize("limit", [0, 20_000, 120_000])
def test_a_full_disk(tmp_path: Path, limit: int) -> None:
    """A limit on file sizes stands for the disk: the system refuses to write beyond it, as it does when it is full."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 96, 128, 3), dtype=np.uint8)
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    with nothing_left(tmp_path), pytest.raises(UsageError, match=r"larger than this file system|disk full") as caught:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, old[1]))
        try:
            with VideoWriter(tmp_path / "b.mp4", 128, 96, TICK, Fraction(25)) as writer:
                for number, picture in enumerate(noise):
                    writer.write(picture, number)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert "\n" not in str(caught.value)


def test_wrong_frames_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a frame is"):
        write_one(tmp_path, np.zeros((HEIGHT, WIDTH), np.uint8), [0])
    with pytest.raises(ValueError, match="a frame is"):
        write_one(tmp_path, np.zeros((HEIGHT, WIDTH, 3), np.float32), [0])
    with pytest.raises(ValueError, match="must grow"):
        write_one(tmp_path, numbered(0), [0, 1, 1])
    assert not list(tmp_path.iterdir())


def write_one(folder: Path, picture: np.ndarray, pts: list[int]) -> None:
    with VideoWriter(folder / "b.mp4", WIDTH, HEIGHT, TICK, Fraction(25)) as writer:
        for tick in pts:
            writer.write(picture, tick)


def test_a_killed_process_leaves_no_output(tmp_path: Path) -> None:
    """SIGTERM ends Python without cleaning up unless it is turned into an exception; the output must not be there."""
    script = f"""
import signal, sys, time
from fractions import Fraction
from pathlib import Path
import numpy as np
from fewshot_reenact.cli.signals import exit_on_sigterm
from fewshot_reenact.media.writer import VideoWriter
with exit_on_sigterm(), VideoWriter(Path({str(tmp_path / "b.mp4")!r}), 64, 48, Fraction(1, 25), Fraction(25)) as writer:
    for n in range(10**6):
        writer.write(np.zeros((48, 64, 3), np.uint8), n)
        if n == 3:
            print("ready", flush=True)
        time.sleep(0.01)
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    assert [p.suffix for p in tmp_path.iterdir()] == [".partial"]
    process.terminate()
    assert process.wait(20) == 143
    process.stdout.close()
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_memory_stays_flat(tmp_path: Path) -> None:
    """Ten times the frames, not ten times the memory (kilobytes at the peak)."""
    peaks = []
    for frames in (60, 600):
        script = f"""
import resource
from fractions import Fraction
import numpy as np
from fewshot_reenact.media.writer import VideoWriter
picture = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
with VideoWriter({str(tmp_path / f"{frames}.mp4")!r}, 256, 256, Fraction(1, 25), Fraction(25), crf=40) as writer:
    for n in range({frames}):
        writer.write(picture, n)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
        peaks.append(int(subprocess.check_output([sys.executable, "-c", script])))
    assert peaks[1] < peaks[0] + 30_000


def test_a_slow_reader_of_errors_is_told(tmp_path: Path) -> None:
    """An encoder that fails while its queue is full must not block the caller for ever."""
    writer = VideoWriter(tmp_path / "b.mp4", WIDTH, HEIGHT, TICK, Fraction(25))
    assert writer._encoder is not None
    writer._encoder._stream = None  # whatever the encoder does next fails
    began = time.monotonic()
    with pytest.raises(Exception, match="NoneType"):
        for number in range(100):
            writer.write(numbered(number), number)
    writer.abort()
    assert time.monotonic() - began < 10
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not DRIVERS.is_dir(), reason="no driver videos here")
@pytest.mark.parametrize("name", ["odd_fps_1350_61.mp4", "odd_fps_1199_50_1024px.mp4"])
def test_real_drivers(tmp_path: Path, name: str) -> None:
    source = DRIVERS / name
    with (
        VideoReader(source) as reader,
        VideoWriter(
            tmp_path / "b.mp4", WIDTH, HEIGHT, reader.info.time_base, reader.info.fps, audio_from=source
        ) as writer,
    ):
        for frame in reader:
            writer.write(numbered(frame.index), frame.pts, frame.duration)
    assert frame_times(tmp_path / "b.mp4") == frame_times(source)
    assert packets(tmp_path / "b.mp4", "audio") == packets(source, "audio")
    assert VideoReader(tmp_path / "b.mp4").info.fps == reader.info.fps
