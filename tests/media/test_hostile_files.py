"""Files that attack: what is not a picture or a video stays unopened, times and sizes that do not fit are said."""

import ast
import errno
import itertools
import socket
import threading
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import fewshot_reenact
from animate_samples import run
from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.files import check_output, output_error
from fewshot_reenact.media import source, timestamps
from fewshot_reenact.media.pictures import read_picture
from fewshot_reenact.media.reader import VideoReader
from fewshot_reenact.media.writer import VideoWriter
from fewshot_reenact.provenance.tags import read_tags
from video_samples import beeps, make_video, steady

PACKAGE = Path(fewshot_reenact.__file__).parent
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\nshowpage\n"


def test_a_name_that_is_an_address_is_opened_as_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`http:127.0.0.1:PORT.mp4` in the current folder; a listener counts who calls."""
    calls = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)

        def answer() -> None:
            while True:
                connection, _ = listener.accept()
                calls.append(connection.recv(100))
                connection.close()
                if calls[-1] == b"end":
                    return

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        video = make_video(tmp_path / "a.mp4", *steady(3, Fraction(25)))
        names = [f"{kind}:127.0.0.1:{listener.getsockname()[1]}.mp4" for kind in ("http", "tcp", "ftp")]
        for name in names:
            (tmp_path / name).write_bytes(video.read_bytes())
        monkeypatch.chdir(tmp_path)
        assert all(read_tags(Path(name)).source_type is None for name in names)
        for name in names:
            assert run("verify", name).exit_code == 1  # no mark found
        with socket.create_connection(listener.getsockname()) as last:
            last.sendall(b"end")
        thread.join(30)
    assert calls == [b"end"]


def test_postscript_called_jpg_starts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, ran, picture = tmp_path / "bin", tmp_path / "ran", tmp_path / "a.jpg"
    folder.mkdir()
    for name in ("gs", "gswin64c"):
        (folder / name).write_text(f"#!/bin/sh\ntouch {ran}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)
    picture.write_bytes(POSTSCRIPT)
    with pytest.raises(InputError, match="is not a picture"):
        read_picture(picture)
    assert read_tags(picture).comment is None
    for command in ("check", "verify"):
        run(command, picture)
    assert not ran.exists()


@pytest.mark.parametrize("module", ["Image", "av"])
def test_files_are_opened_in_one_place(module: str) -> None:
    """Nobody but the safe openers (and those who open what they wrote themselves) calls Image.open or av.open."""
    allowed = {
        "Image": {"media/file_types.py"},
        "av": {
            "media/source.py",
            "media/audio.py",
            "media/encoder.py",
            "media/writer.py",
            "media/muxer.py",
            "media/segments.py",
            "media/sender.py",
            "training/data/codec.py",
        },
    }[module]
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == f"{module}.open":
                found.add(path.relative_to(PACKAGE).as_posix())
    assert found <= allowed, found - allowed


def test_a_video_of_too_many_pixels_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = make_video(tmp_path / "a.mp4", *steady(3, Fraction(25)))
    monkeypatch.setattr(source, "MOST_PIXELS", 1_000)
    with pytest.raises(InputError, match="pixels are too many for a video"):
        VideoReader(video)


# ---- sound -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["libopus", "pcm_s16le", "flac"])
def test_converted_sound_that_ends_before_the_cut(tmp_path: Path, codec: str) -> None:
    """Half a second of sound, a second of pictures, and a cut that begins after the sound."""
    sound = beeps(0.5, [0.2])
    video = make_video(tmp_path / "a.mkv", *steady(25, Fraction(25)), sound=sound, sound_codec=codec)
    with VideoReader(video, 0.8) as reader:
        info, frames = reader.info, list(reader)
        start, end = reader.audio_start, reader.audio_end
    path = tmp_path / "out.mp4"
    with VideoWriter(
        path, info.width, info.height, info.time_base, info.fps, audio_from=video, audio_start=start, audio_end=end
    ) as writer:
        for frame in frames:
            writer.write(frame.picture, frame.pts)
    with VideoReader(path) as made:
        assert not made.info.has_audio and len(list(made)) == len(frames) == 5


# ---- time ------------------------------------------------------------------------------------------------------------


def test_long_pauses_get_a_coarser_clock() -> None:
    nanoseconds = Fraction(1, 10**9)
    ticks = [0, 40_000_000, 3_080_000_000, 3_120_000_000]
    moved, base = timestamps.fit(ticks, nanoseconds)
    assert max(b - a for a, b in itertools.pairwise(moved)) <= timestamps.LONGEST_STEP
    assert all(abs(m * base - t * nanoseconds) < Fraction(1, 10**6) for m, t in zip(moved, ticks, strict=True))
    assert timestamps.fit(ticks[:2], nanoseconds) == (ticks[:2], nanoseconds), "what fits stays as it is"


def test_times_that_no_clock_holds_are_refused() -> None:
    with pytest.raises(InputError, match="cannot hold both times"):
        timestamps.fit([0, 1, 2, 2**40], Fraction(1, 12_800))


def test_a_long_pause_is_written_where_it_is(tmp_path: Path) -> None:
    ticks, base = timestamps.fit([0, 40_000_000, 3_080_000_000], Fraction(1, 10**9))
    path = tmp_path / "a.mp4"
    with VideoWriter(path, 32, 32, base, Fraction(25)) as writer:
        for pts in ticks:
            writer.write(np.zeros((32, 32, 3), np.uint8), pts)
    with VideoReader(path) as reader:
        times = [float(frame.pts * reader.info.time_base) for frame in reader]
    assert times == pytest.approx([0, 0.04, 3.08], abs=1e-6)


def test_the_writer_refuses_what_mp4_cannot_hold(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="do not fit"),
        VideoWriter(tmp_path / "a.mp4", 32, 32, Fraction(1, 10**9), Fraction(25)) as writer,
    ):
        writer.write(np.zeros((32, 32, 3), np.uint8), 0)
        writer.write(np.zeros((32, 32, 3), np.uint8), 2**31)
    assert not list(tmp_path.iterdir())


# ---- what writing says -----------------------------------------------------------------------------------------------


def test_a_full_disk_and_a_limit_on_files_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    assert "no room to write it" in str(output_error(path, OSError(errno.ENOSPC, "No space left on device")))
    limit = str(output_error(path, OSError(errno.EFBIG, "File too large")))
    assert "ulimit -f" in limit and "free some space" not in limit


def test_a_folder_for_an_output_is_called_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder; give a file name in it"):
        check_output(tmp_path, suffixes=(".mp4",))
