"""Long videos that are half done: killed at every stage, gone on with, and the same as if nothing had happened."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from animate_samples import Rectangle, complaint, film, frames_of, names_in, portrait_file, run
from fake_face import PaintedFaces
from fewshot_reenact.errors import notes_of
from fewshot_reenact.files import held_folder
from fewshot_reenact.landmarks import registry
from fewshot_reenact.media import segments
from fewshot_reenact.media.reader import VideoReader
from fewshot_reenact.media.writer import VideoWriter
from fewshot_reenact.pipelines import unfinished
from fewshot_reenact.pipelines.animate import animate
from fewshot_reenact.rendering.textured import BATCH
from video_samples import packets

_SEGMENT = segments.SEGMENT  # before the tests make it shorter
HELPERS = Path(__file__).resolve().parent.parent / "helpers"
FRAMES = 26  # six pieces of four frames, and two
WALK: list[list[Rectangle]] = [[(40 + 2 * (t % 9), 30 + t % 5, 50 + t % 7, 60)] for t in range(FRAMES)]
# Where a run is killed, and how many frames are there then.
MOMENTS = [
    ("track", 9, 0), ("write", 0, 0), ("write", 2, 0), ("write", 5, 4), ("close", 2, 8), ("write", 13, 12),
    ("write", 18, 16), ("write", 25, 24), ("mux", FRAMES + 9, 24), ("sign", 0, 24),
]  # fmt: skip


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Painted faces, a known watermark, and pieces of four frames."""
    monkeypatch.setitem(registry.BACKENDS, "builtin", lambda device: PaintedFaces())
    monkeypatch.setattr("fewshot_reenact.provenance.marks.secrets.randbits", lambda bits: 7)
    monkeypatch.setattr(segments, "SEGMENT", 4)
    monkeypatch.setattr(unfinished, "LONG", 8)
    yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A portrait and a driver with sound. Not to be changed."""
    folder = tmp_path_factory.mktemp("given")
    portrait_file(folder / "ann.png")
    film(folder / "walk.mp4", WALK, sound=True)
    return folder


def command(folder: Path, model: Path, output: Path, *more: object) -> list[str]:
    given = folder / "ann.png", folder / "walk.mp4"
    return [
        str(word) for word in ("animate", *given, "-o", output, "--model", model, "--json", f"{output}.json", *more)
    ]


def in_processes(*runs: dict[str, Any]) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, HELPERS / "killed_animate.py", json.dumps(runs)], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def stopped(monkeypatch: pytest.MonkeyPatch, at: int, error: BaseException) -> None:
    """From now on, writing the frame of that number ends so."""
    write = VideoWriter.write

    def stops(writer: VideoWriter, *given: Any) -> None:
        if writer.frames == at:
            raise error
        write(writer, *given)

    monkeypatch.setattr(VideoWriter, "write", stops)


def test_pieces_end_where_batches_do() -> None:
    """Networks that see other frames together give other last bits."""
    assert _SEGMENT % BATCH == 0 and segments.SEGMENT % BATCH == 0


def test_killed_at_ten_moments(folder: Path, tiny_model: Path, tmp_path: Path) -> None:
    outputs = [tmp_path / str(number) / "out.mp4" for number in range(len(MOMENTS))]
    runs = []
    for output, (place, call, _) in zip(outputs, MOMENTS, strict=True):
        output.parent.mkdir()
        words = command(folder, tiny_model, output)
        runs.append({"command": words, "watermark": 7, "at": [place, call], "signal": int(signal.SIGKILL)})
        # Where frames are there their watermark goes on, whatever would be drawn now.
        runs.append({"command": words, "watermark": 9 if place != "track" else 7})
    ends = in_processes(*runs)
    whole = tmp_path / "whole.mp4"
    assert run(*command(folder, tiny_model, whole)).exit_code == 0
    expected, sound = frames_of(whole), packets(whole, "audio")
    assert len(expected) == FRAMES and len(sound) > 10
    for output, moment, killed, resumed in zip(outputs, MOMENTS, ends[::2], ends[1::2], strict=True):
        assert killed["ended"] == -signal.SIGKILL and resumed["ended"] == 0, (moment, killed, resumed)
        assert names_in(output.parent) == ["out.mp4", "out.mp4.json"], moment
        report = json.loads(Path(f"{output}.json").read_text())
        assert report["taken_over"] == moment[2] and report["frames"] == FRAMES
        assert report["marks"]["watermark"] == "0000000000000007", moment
        assert np.array_equal(frames_of(output), expected), moment
        assert packets(output, "audio") == sound and times(output) == times(whole)
        assert (f"{moment[2]} of {FRAMES} frames are kept" in resumed["said"]) == (moment[0] != "track")


def times(path: Path) -> list[tuple[int, int]]:
    with VideoReader(path) as reader:
        return [(frame.pts, frame.duration) for frame in reader]


def test_signals_say_that_the_same_command_goes_on(folder: Path, tiny_model: Path, tmp_path: Path) -> None:
    words = command(folder, tiny_model, tmp_path / "out.mp4")
    run_ = {"command": words, "watermark": 7}
    term, hup, ctrl_c, last = in_processes(
        {**run_, "at": ["write", 9], "signal": int(signal.SIGTERM)},
        {**run_, "at": ["write", 5], "signal": int(signal.SIGHUP)},
        {**run_, "at": ["write", 5], "signal": int(signal.SIGINT)},
        run_,
    )
    assert [one["ended"] for one in (term, hup, ctrl_c, last)] == [75, 129, 130, 0]
    assert term["said"].splitlines() == [
        "reenact: interrupted; out.mp4: 8 of 26 frames are kept, the same command goes on there"
    ]
    assert "interrupted; out.mp4: 16 of 26 frames are kept" in ctrl_c["said"] and "nothing half" not in ctrl_c["said"]
    assert names_in(tmp_path) == ["out.mp4", "out.mp4.json"]


@pytest.fixture
def half(folder: Path, tiny_model: Path, tmp_path: Path) -> list[str]:
    """A command of which 8 of 26 frames are done."""
    with pytest.MonkeyPatch.context() as patch:
        stopped(patch, 9, KeyboardInterrupt())
        words = command(folder, tiny_model, tmp_path / "out.mp4")
        assert run(*words).exit_code == 130
    assert names_in(tmp_path) == [".out.mp4.part"]
    return words


def taken_over(folder: Path) -> int:
    return json.loads((folder / "out.mp4.json").read_text())["taken_over"]


@pytest.mark.parametrize("what", ["portrait", "--smooth", "version of this tool", "one piece"])
def test_what_differs_begins_anew(
    what: str, half: list[str], tiny_model: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = f"it was made with another {what}; it begins anew"
    if what == "portrait":
        half[1] = str(portrait_file(tmp_path / "bob.png", (52, 30, 60, 70)))
    elif what == "--smooth":
        half += ["--smooth", "0.2"]
    elif what == "one piece":
        half, said = [*half, "--keep-going", "off"], "it shall be made in one piece; it begins anew"
    else:
        monkeypatch.setattr(unfinished, "__version__", "0.0.1")
    done = run(*half)
    assert done.exit_code == 0 and said in done.stderr, done.output
    assert taken_over(tmp_path) == 0 and len(frames_of(tmp_path / "out.mp4")) == FRAMES
    assert not (tmp_path / ".out.mp4.part").exists()


@pytest.mark.parametrize("what", ["piece", "state", "motion"])
def test_damaged_pieces_are_made_anew(what: str, half: list[str], tmp_path: Path) -> None:
    part = tmp_path / ".out.mp4.part"
    path = {"piece": next(part.glob("000001.*")), "state": part / "state.json", "motion": part / "motion.npz"}[what]
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 8] = b"[[[\xff[[[["
    path.write_bytes(data)
    done = run(*half)
    assert done.exit_code == 0 and taken_over(tmp_path) == (4 if what == "piece" else 0), done.output
    assert ("it cannot be read; it begins anew" in done.stderr) == (what != "piece")
    assert names_in(tmp_path) == ["out.mp4", "out.mp4.json"]


def test_one_process_at_a_time(half: list[str], tmp_path: Path) -> None:
    with held_folder(tmp_path / ".out.mp4.part", "busy"):
        assert "another reenact is making it" in complaint(run(*half), 2)
    assert len(list((tmp_path / ".out.mp4.part").glob("0*"))) == 2
    assert run(*half).exit_code == 0 and taken_over(tmp_path) == 8


def test_a_full_disk_is_one_line_and_pieces_stay(
    folder: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = command(folder, tiny_model, tmp_path / "out.mp4")
    publish = segments.publish_whole

    def full(partial: Path, path: Path) -> None:
        if path.name.startswith("000002"):
            raise OSError(28, os.strerror(28), str(path))
        publish(partial, path)

    monkeypatch.setattr(segments, "publish_whole", full)
    line = complaint(run(*words), 2)
    assert "no room to write it" in line and line.endswith("8 of 26 frames are kept, the same command goes on there")
    monkeypatch.setattr(segments, "publish_whole", publish)
    assert (
        run(*words).exit_code == 0 and taken_over(tmp_path) == 8 and names_in(tmp_path) == ["out.mp4", "out.mp4.json"]
    )


@pytest.mark.parametrize("more", [["--compare"], ["--background", "transparent"]])
def test_other_kinds_of_output(
    more: list[str], folder: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "out.mov" if "transparent" in more else "out.mp4"
    words = command(folder, tiny_model, tmp_path / name, *more, "--end", "0.5")
    with pytest.MonkeyPatch.context() as patch:
        stopped(patch, 6, KeyboardInterrupt())
        assert run(*words).exit_code == 130
    done = run(*words)
    assert done.exit_code == 0 and "(4 of them were kept)" in done.output
    whole = command(folder, tiny_model, tmp_path / f"whole{name[3:]}", *more, "--end", "0.5")
    assert run(*whole).exit_code == 0
    assert np.array_equal(frames_of(tmp_path / name), frames_of(tmp_path / f"whole{name[3:]}"))


def test_short_videos_and_one_piece_keep_nothing(
    folder: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(monkeypatch, 6, KeyboardInterrupt())
    words = command(folder, tiny_model, tmp_path / "out.mp4")
    for more in (["--keep-going", "off"], ["--end", "0.23"]):
        with pytest.raises(KeyboardInterrupt) as caught:
            animate(
                folder / "ann.png", folder / "walk.mp4", tmp_path / "o.mp4", model=tiny_model,
                keep_going="off" not in more, end=0.23 if "--end" in more else None,
            )  # fmt: skip
        assert notes_of(caught.value) == [] and names_in(tmp_path) == []
        interrupted = run(*words, *more)
        assert interrupted.exit_code == 130 and "nothing half-written is left" in interrupted.stderr
        assert names_in(tmp_path) == []
