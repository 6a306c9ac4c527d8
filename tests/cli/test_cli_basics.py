"""The command line: help, exit codes, one line for each error; `extract` and `info` from end to end."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import click
import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from fake_face import PaintedFaces, paint, points_in
from fewshot_reenact import __version__
from fewshot_reenact.cli import COMMANDS, main
from fewshot_reenact.cli.common import Commands, Seconds
from fewshot_reenact.device import choose_device
from fewshot_reenact.errors import InputError, ModelError, ReenactError, UsageError
from fewshot_reenact.landmarks import registry
from fewshot_reenact.media.reader import VideoReader
from fewshot_reenact.media.writer import VideoWriter
from fewshot_reenact.motion.files import load_motion
from places import HELPERS
from video_samples import beeps, make_video

RATE = Fraction(30000, 1001)


def run(*args: object) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


def complaint(result: Result, code: int) -> str:
    """The one line on stderr of a command that failed with that code."""
    assert result.exit_code == code, result.output
    lines = result.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("reenact: "), result.stderr
    return lines[0].removeprefix("reenact: ")


def python(code: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment}, check=False
    )


@pytest.fixture(autouse=True)
def painted(monkeypatch):
    """The built-in backend reads painted faces."""
    monkeypatch.setitem(registry.BACKENDS, "builtin", lambda device: PaintedFaces())


def film(path: Path, rectangles: list, pts: list[int] | None = None, sound: bool = False) -> Path:
    """A video of painted faces, a list of rectangles a frame, at 29.97 frames a second or at pts (1/30000 s)."""
    pts = pts or [1001 * i for i in range(len(rectangles))]
    other = None
    if sound:
        other = make_video(path.with_suffix(".tmp.mp4"), [0, 1], Fraction(1, 25), sound=beeps(pts[-1] / 30000, [0.2]))
    with VideoWriter(path, 160, 120, Fraction(1, 30000), RATE, audio_from=other, crf=8) as writer:
        for faces, tick in zip(rectangles, pts, strict=True):
            writer.write(paint(*faces), tick)
    if other is not None:
        other.unlink()
    return path


# The frame of the command line


def test_help_is_quick_to_load_and_names_every_command():
    done = python(
        "import sys\nfrom fewshot_reenact.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit as stop: print('code', stop.code)\n"
        "print('heavy:', sorted({'torch', 'torchvision', 'cv2', 'av', 'tqdm'} & set(sys.modules)))"
    )
    assert done.returncode == 0, done.stderr
    assert "code 0" in done.stdout and "heavy: []" in done.stdout
    assert all(f"\n  {name} " in done.stdout for name in COMMANDS)
    assert done.stdout.startswith("Usage: reenact [OPTIONS] COMMAND")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_registered_command_has_help(name):
    result = run(name, "--help")
    assert result.exit_code == 0 and result.output.startswith(f"Usage: reenact {name}")


def test_version():
    result = run("--version")
    assert (result.exit_code, result.output) == (0, f"reenact {__version__}\n")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["dance"], "No such command 'dance'"),
        (["--dance"], "No such option"),
        (["extract"], "Missing argument 'INPUT'; see `reenact extract --help`"),
        (["extract", "a.mp4"], "Missing option '-o'"),
        (["extract", "a.mp4", "-o", "b.npz", "--smooth", "2"], "2.0 is not in the range 0<=x<=1"),
        (["extract", "a.mp4", "-o", "b.npz", "--start", "soon"], "'soon' is not a time"),
        (["extract", "a.mp4", "-o", "b.npz", "--start", "-1"], "'-1' is not a time"),
        (["extract", "a.mp4", "-o", "b.npz", "--face", "0"], "face '0' is not known"),
        (["extract", "a.mp4", "-o", "b.npz", "--device", "tpu"], "device 'tpu' is not known"),
        (["extract", "a.mp4", "-o", "b.txt"], "b.txt: cannot write this kind of file"),
        (["extract", "a.mp4", "-o", "none/b.npz"], "there is no folder none"),
        (["info", "--device", "cuda:99"], "device 'cuda:99'"),
    ],
)
def test_mistakes_on_the_command_line_are_one_line_and_2(args, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    film(tmp_path / "a.mp4", [[(60, 30, 40, 50)]] * 3)
    assert says in complaint(run(*args), 2)
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]


def test_no_arguments_show_the_help():
    result = run()
    assert result.exit_code in (0, 2) and "Commands:" in result.output


@pytest.mark.parametrize(
    ("text", "seconds"), [("12", 12), ("12.5", 12.5), ("1:02.5", 62.5), ("1:00:02", 3602), (".5", 0.5)]
)
def test_times(text, seconds):
    assert Seconds().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", ":", "1:2:3:4", "nan", "inf", "1e3", "-5", "1.2.3", "²"])
def test_no_times(text):
    with pytest.raises(click.BadParameter, match="is not a time"):
        Seconds().convert(text, None, None)


def failing(error: BaseException) -> click.Group:
    group = Commands(name="reenact")

    @click.command()
    def fail() -> None:
        raise error

    group.lazy = {"fail": f"{__name__}:_never"}
    group.get_command = lambda ctx, name: fail  # type: ignore[method-assign]
    return group


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (ReenactError("a"), 1, "a"),
        (UsageError("b"), 2, "b"),
        (InputError("c\nd"), 3, "c d"),
        (ModelError("e"), 4, "e"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError(28, "No space left on device", "/x/y"), 2, "/x/y: No space left on device"),
        (MemoryError(), 1, "out of memory"),
        (ZeroDivisionError("ouch"), 1, "internal error: ZeroDivisionError: ouch (test_cli_basics.py:"),
    ],
)
def test_errors_become_one_line_and_an_exit_code(error, code, says, monkeypatch):
    monkeypatch.delenv("REENACT_DEBUG", raising=False)
    result = CliRunner().invoke(failing(error), ["fail"])
    lines = [line for line in result.stderr.splitlines() if line]
    assert result.exit_code == code and len(lines) == 1 and says in lines[0]
    assert "Traceback" not in result.output


def test_a_bug_shows_its_traceback_only_when_asked(monkeypatch):
    monkeypatch.setenv("REENACT_DEBUG", "1")
    result = CliRunner().invoke(failing(ZeroDivisionError("ouch")), ["fail"])
    assert result.exit_code == 1 and "Traceback" in result.stderr


def test_a_reader_that_goes_away_is_no_error():
    code = "from fewshot_reenact.cli import main; main(['extract', '--help'])"
    done = subprocess.run(
        f'{sys.executable} -c "{code}" | true', shell=True, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""


# extract


def test_extract_measures_every_frame_at_its_exact_time(tmp_path):
    source = film(tmp_path / "in.mp4", [[(20 + 2 * t, 30, 40, 50)] for t in range(20)], sound=True)
    result = run("extract", source, "-o", tmp_path / "m.npz", "--json", tmp_path / "report.json")
    assert result.exit_code == 0, result.output
    assert "20 of 20 frames with a face" in result.output
    motion = load_motion(tmp_path / "m.npz")
    with VideoReader(source) as reader:
        frames = [(frame.pts, frame.time) for frame in reader]
        assert (motion.time_base, motion.fps) == (reader.info.time_base, RATE)
    assert list(zip(motion.pts.tolist(), motion.times.tolist(), strict=True)) == frames
    assert motion.size == (160, 120) and motion.source == "in.mp4" and motion.cuts == []
    for t in (0, 19):
        assert np.abs(motion.points[t] - points_in(20 + 2 * t, 30, 39, 49)).max() < 1.1
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["frames"], report["found"], report["missing_spans"], report["fps"]) == (20, 20, [], "30000/1001")
    assert report["device"].startswith(("cpu (", "cuda", "mps")) and report["landmarks"] == "painted"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["in.mp4", "m.npz", "report.json"]


def test_extract_of_a_variable_frame_rate_keeps_it(tmp_path):
    pts = [0, 1001, 2002, 5005, 9009, 9510, 10010]
    source = film(tmp_path / "in.mp4", [[(20, 30, 40, 50)]] * 7, pts)
    assert run("extract", source, "-o", tmp_path / "m.json", "--smooth", "0.5").exit_code == 0
    motion = load_motion(tmp_path / "m.json")
    assert [int(p * motion.time_base * 30000) for p in motion.pts.tolist()] == pts


def test_extract_draws_what_it_found(tmp_path):
    faces = [[(20 + 3 * t, 30, 40, 50)] if not 8 <= t < 12 else [] for t in range(20)]
    source = film(tmp_path / "in.mp4", faces, sound=True)
    out = {name: tmp_path / name for name in ("m.npz", "points.png", "points.mp4")}
    result = run("extract", source, "-o", out["m.npz"], "--picture", out["points.png"], "--video", out["points.mp4"])
    assert result.exit_code == 0, result.output
    assert "no face in 4 of 20 frames" in result.stderr
    picture = cv2.imread(str(out["points.png"]))
    assert picture.shape == (120, 160, 3)
    with VideoReader(source) as before, VideoReader(out["points.mp4"]) as after:
        assert after.info.has_audio
        pairs = list(zip(before, after, strict=True))
        assert [a.time for a, _ in pairs] == pytest.approx([b.time for _, b in pairs], abs=1e-9)
    changed = [np.abs(a.picture.astype(int) - b.picture).max() > 60 for a, b in pairs]
    assert all(changed), "drawn in every frame, also where the face is held"
    grey = pairs[10][1].picture[30:80, 40:90].astype(int)
    assert np.ptp(grey, axis=2).max() < 60 < np.ptp(pairs[0][1].picture.astype(int), axis=2).max()


def test_extract_of_a_part(tmp_path):
    source = film(tmp_path / "in.mp4", [[(20 + t, 30, 40, 50)] for t in range(30)])
    assert run("extract", source, "-o", tmp_path / "m.npz", "--start", "0.2", "--end", "0.6").exit_code == 0
    motion = load_motion(tmp_path / "m.npz")
    assert len(motion) == 12 and motion.times[0] == 0 and motion.points[0, :, 0].min() == pytest.approx(26, abs=1.1)


def test_extract_of_a_picture(tmp_path):
    cv2.imwrite(str(tmp_path / "in.png"), paint((20, 30, 40, 50))[..., ::-1])
    result = run("extract", tmp_path / "in.png", "-o", tmp_path / "m.npz", "--picture", tmp_path / "p.png")
    assert result.exit_code == 0, result.output
    motion = load_motion(tmp_path / "m.npz")
    assert len(motion) == 1 and np.abs(motion.points[0] - points_in(20, 30, 39, 49)).max() < 0.01
    for option in (["--video", tmp_path / "v.mp4"], ["--start", "1"]):
        assert "is a picture" in complaint(run("extract", tmp_path / "in.png", "-o", tmp_path / "n.npz", *option), 2)


def test_extract_chooses_the_face_that_is_asked_for(tmp_path):
    source = film(tmp_path / "in.mp4", [[(5, 40, 30, 36), (90, 20, 50, 60)]] * 5)
    result = run("extract", source, "-o", tmp_path / "m.npz")
    assert result.exit_code == 0 and "up to 2 faces at once; the largest is followed" in result.stderr
    assert load_motion(tmp_path / "m.npz").points[0, :, 0].min() > 80
    assert run("extract", source, "-o", tmp_path / "n.npz", "--face", "1").exit_code == 0
    assert load_motion(tmp_path / "n.npz").points[0, :, 0].min() < 10
    assert "only 2" in complaint(run("extract", source, "-o", tmp_path / "o.npz", "--face", "3"), 3)


def test_report_to_standard_output_is_json_and_nothing_else(tmp_path):
    source = film(tmp_path / "in.mp4", [[(20, 30, 40, 50)]] * 3)
    result = run("extract", source, "-o", tmp_path / "m.npz", "--json", "-")
    assert json.loads(result.stdout)["frames"] == 3


@pytest.fixture
def inputs(tmp_path: Path) -> Iterator[Path]:
    """A folder with inputs that cannot be used; nothing may be added to it or changed in it."""
    folder = tmp_path / "inputs"
    folder.mkdir()
    good = film(folder / "good.mp4", [[(20, 30, 40, 50)]] * 5)
    (folder / "text.mp4").write_text("this is no video")
    (folder / "cut.mp4").write_bytes(good.read_bytes()[:700])
    (folder / "empty.mp4").touch()
    film(folder / "nobody.mp4", [[]] * 5)
    cv2.imwrite(str(folder / "nobody.png"), paint())
    (folder / "text.png").write_text("this is no picture")
    load_motion(run_ok(good, folder / "motion.npz"))
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    yield folder
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def run_ok(source: Path, output: Path) -> Path:
    assert run("extract", source, "-o", output).exit_code == 0
    return output


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("missing.mp4", "no such file"),
        ("text.mp4", "text.mp4"),
        ("cut.mp4", "cut.mp4"),
        ("empty.mp4", "empty"),
        ("nobody.mp4", "no face was found in any of its 5 frames"),
        ("nobody.png", "no face was found in the picture"),
        ("text.png", "is not a picture"),
        ("motion.npz", "is a motion file already"),
    ],
)
def test_inputs_that_cannot_be_used_are_one_line_and_3(inputs, tmp_path, name, says):
    assert says in complaint(run("extract", inputs / name, "-o", tmp_path / "m.npz"), 3)
    assert not (tmp_path / "m.npz").exists()


def test_outputs_are_never_written_over_unasked(inputs, tmp_path):
    good, existing = inputs / "good.mp4", tmp_path / "there.npz"
    existing.write_text("mine")
    assert "exists already; use --overwrite" in complaint(run("extract", good, "-o", existing), 2)
    for option, name in (("--picture", "p.png"), ("--video", "v.mp4"), ("--json", "r.json")):
        (tmp_path / name).write_text("mine")
        assert "exists already" in complaint(run("extract", good, "-o", tmp_path / "m.npz", option, tmp_path / name), 2)
        assert (tmp_path / name).read_text() == "mine" and not (tmp_path / "m.npz").exists()
    assert existing.read_text() == "mine"
    assert run("extract", good, "-o", existing, "--overwrite").exit_code == 0 and len(load_motion(existing)) == 5
    # The input is safe even then.
    line = complaint(run("extract", good, "-o", tmp_path / "m.npz", "--video", good, "--overwrite"), 2)
    assert "is an input" in line


@pytest.mark.slow
def test_ctrl_c_leaves_nothing_behind(tmp_path):
    """Interrupted in the middle of the overlay video, the longest part."""
    source = film(tmp_path / "in.mp4", [[(20, 30, 40, 50)]] * 40)
    code = f"""
import signal, sys, time; sys.path.insert(0, {str(HELPERS)!r})
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's "&" has it ignored, for children too
from fake_face import PaintedFaces
from fewshot_reenact.landmarks import registry
from fewshot_reenact.pipelines import extract
registry.BACKENDS["builtin"] = lambda device: PaintedFaces()
draw = extract.draw_points
def slow(*args):
    print("drawing", flush=True); time.sleep(0.5); return draw(*args)
extract.draw_points = slow
from fewshot_reenact.cli import main
main(["extract", {str(source)!r}, "-o", {str(tmp_path / "m.npz")!r}, "--video", {str(tmp_path / "v.mp4")!r}])
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "drawing\n"
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130 and "interrupted" in errors and "Traceback" not in errors
    assert [file.name for file in tmp_path.iterdir()] == ["in.mp4"]


# info and devices


def test_info_for_people_and_for_machines():
    result = run("info", "--device", "cpu")
    assert result.exit_code == 0
    assert f"fewshot-reenact {__version__}" in result.output and "device: cpu (asked for)" in result.output
    assert "motions.npz" in result.output
    facts = json.loads(run("info", "--json").output)
    assert facts["packages"]["torch"] and facts["device"]["why"]
    motions = next(model for model in facts["models"] if model["name"] == "motions.npz")
    assert motions["state"] == "ok" and len(motions["sha256"]) == 64
    assert facts["ffmpeg"] and "aac" in facts["encoders"]


def test_info_sees_weights_that_are_not_what_their_card_says(tmp_path, monkeypatch):
    from fewshot_reenact.pipelines import info

    (tmp_path / "a.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    (tmp_path / "b.npz").write_bytes(b"changed")
    (tmp_path / "b.md").write_text(f"SHA-256 {'0' * 64}")
    monkeypatch.setattr(info, "WEIGHTS", tmp_path)
    states = {model["name"]: model["state"] for model in info.gather("cpu")["models"]}
    assert "git lfs pull" in states["a.safetensors"] and "differs" in states["b.npz"]


def test_devices(monkeypatch):
    assert choose_device("cpu")[0].type == "cpu"
    device, why = choose_device("auto")
    assert why.startswith("auto: ") and device.type in ("cpu", "cuda", "mps")
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match=r"device 'cuda' cannot be used: .*; use --device auto or cpu"):
        choose_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "GPU")
    assert str(choose_device("cuda:1")[0]) == "cuda:1" and str(choose_device("auto")[0]) == "cuda:0"
    with pytest.raises(UsageError, match="this machine has cuda:0 to cuda:1"):
        choose_device("cuda:2")
    for name in ("tpu", "", "cuda:x", "meta"):
        with pytest.raises(UsageError, match="is not known"):
            choose_device(name)
