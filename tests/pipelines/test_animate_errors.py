"""What goes wrong with `animate`: one line and the right exit code; nothing is left behind, nothing is written over.

Painted faces stand for people and an untrained model for the built-in one, as in test_animate.py.
"""

import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import Result
from PIL import Image

from animate_samples import WALK, complaint, film, frames_of, names_in, portrait_file, run
from fake_face import PaintedFaces, paint
from fewshot_reenact import animate
from fewshot_reenact.errors import InputError, ModelError, UsageError
from fewshot_reenact.landmarks import registry
from fewshot_reenact.media.pictures import read_picture
from fewshot_reenact.media.writer import VideoWriter
from places import HELPERS
from video_samples import beeps, ffmpeg, make_video


@pytest.fixture(scope="module", autouse=True)
def painted() -> Iterator[None]:
    """The built-in backend reads painted faces; "real" is the one of ours."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.BACKENDS, "real", registry.BACKENDS["builtin"])
        patch.setitem(registry.BACKENDS, "builtin", lambda device: PaintedFaces())
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inputs, most of which cannot be used."""
    folder = tmp_path_factory.mktemp("inputs")
    portrait_file(folder / "ann.png")
    portrait_file(folder / "two.png", (5, 40, 40, 48), (90, 20, 60, 72))
    cv2.imwrite(str(folder / "nobody.png"), paint())
    Image.new("RGB", (1, 1)).save(folder / "dot.png")
    Image.new("L", (30_000, 20)).save(folder / "wide.png")
    (folder / "text.jpg").write_text("this is no picture")
    (folder / "none.png").touch()
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    Image.fromarray(noise).save(folder / "whole.jpg")
    (folder / "cut.jpg").write_bytes((folder / "whole.jpg").read_bytes()[:2000])
    (folder / "empty").mkdir()
    os.mkfifo(folder / "pipe.png")
    os.mkfifo(folder / "pipe.mp4")

    good = film(folder / "walk.mp4", WALK)
    film(folder / "nobody.mp4", [[]] * 8)
    (folder / "text.mp4").write_text("this is no video")
    (folder / "cut.mp4").write_bytes(good.read_bytes()[:900])
    (folder / "none.mp4").touch()
    with_sound = make_video(folder / "sound.mp4", [0, 1], Fraction(1, 25), sound=beeps(0.5, [0.1]))
    ffmpeg("-i", with_sound, "-vn", "-c", "copy", folder / "only_sound.mp4")
    ffmpeg("-i", good, "-c", "copy", "-t", "0", "-f", "avi", folder / "no_frames.avi")
    (folder / "text.npz").write_text("this is no motion")
    np.savez(folder / "other.npz", a=np.zeros(3))
    (folder / "other.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    return folder


@pytest.fixture
def untouched(folder: Path) -> Iterator[None]:
    """The inputs are as they were."""
    before = {file.name: file.stat() for file in folder.iterdir()}
    yield
    after = {file.name: file.stat() for file in folder.iterdir()}
    assert {k: (v.st_size, v.st_mtime_ns) for k, v in after.items()} == {
        k: (v.st_size, v.st_mtime_ns) for k, v in before.items()
    }


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(
    ("portrait", "driver", "options", "code", "says"),
    [
        # Portraits
        ("missing.png", "walk.mp4", [], 3, "missing.png: no such file"),
        ("text.jpg", "walk.mp4", [], 3, "text.jpg: is not a picture"),
        ("none.png", "walk.mp4", [], 3, "none.png: is an empty file"),
        ("cut.jpg", "walk.mp4", [], 3, "cut.jpg: the picture is damaged or cut off"),
        ("dot.png", "walk.mp4", [], 3, "dot.png: 1 x 1 pixels are too small"),
        ("wide.png", "walk.mp4", [], 3, "wide.png: 30000 x 20 pixels are too many"),
        ("nobody.png", "walk.mp4", [], 3, "no face was found in the picture"),
        ("empty", "walk.mp4", [], 3, "there is no picture in this folder"),
        ("two.png", "walk.mp4", ["--face", "3"], 3, "only 2"),
        ("pipe.png", "walk.mp4", [], 3, "pipe.png: is not an ordinary file"),
        ("walk.mp4", "ann.png", [], 3, "walk.mp4: is not a picture but a video"),
        ("motion:talk", "ann.png", [], 3, "PORTRAIT comes first"),
        ("http://a.example/b.jpg", "walk.mp4", [], 3, "is an address on the net"),
        # Drivers
        ("ann.png", "missing.mp4", [], 3, "missing.mp4: no such file"),
        ("ann.png", "text.mp4", [], 3, "text.mp4"),
        ("ann.png", "cut.mp4", [], 3, "cut.mp4"),
        ("ann.png", "none.mp4", [], 3, "none.mp4: is an empty file"),
        ("ann.png", "only_sound.mp4", [], 3, "only_sound.mp4"),
        ("ann.png", "no_frames.avi", [], 3, "no_frames.avi"),
        ("ann.png", "nobody.mp4", [], 3, "no face was found in any of its 8 frames"),
        ("ann.png", "nobody.png", [], 3, "no face was found in the picture"),
        ("ann.png", "cut.jpg", [], 3, "the picture is damaged or cut off"),
        ("ann.png", "text.npz", [], 3, "text.npz"),
        ("ann.png", "other.npz", [], 3, "other.npz"),
        ("ann.png", "empty", [], 3, "empty: is a folder"),
        ("ann.png", "pipe.mp4", [], 3, "pipe.mp4: is not an ordinary file"),
        ("ann.png", "walk.mp4", ["--start", "0.101", "--end", "0.102"], 3, "no frames between --start and --end"),
        ("ann.png", "walk.mp4", ["--driver-face", "2"], 3, "only 1"),
        (
            "ann.png",
            "motion:dance",
            [],
            2,
            "there is no built-in motion 'dance': choose one of motion:talk, motion:nod",
        ),
        ("ann.png", "https://a.example/b.mp4", [], 3, "is an address on the net; download it first"),
        ("ann.png", "two.png", ["--start", "1"], 2, "is a picture"),
        # Options
        ("ann.png", "walk.mp4", ["--landmarks", "dlib"], 2, "'dlib' is not known: choose one of builtin, fan"),
        ("ann.png", "walk.mp4", ["--device", "tpu"], 2, "device 'tpu' is not known"),
        ("ann.png", "walk.mp4", ["--face", "0"], 2, "face '0' is not known"),
        ("ann.png", "walk.mp4", ["--size", "2000"], 2, "2000 is not in the range 256<=x<=1024"),
        ("ann.png", "walk.mp4", ["--strength", "3"], 2, "3.0 is not in the range 0<=x<=2"),
        ("ann.png", "walk.mp4", ["--travel", "2"], 2, "2.0 is not in the range 0<=x<=1"),
        ("ann.png", "walk.mp4", ["--smooth", "nan"], 2, "smooth nan is not between 0 and 1"),
        ("ann.png", "walk.mp4", ["--region", "ears"], 2, "'ears' is not one of"),
        ("ann.png", "walk.mp4", ["--motion", "absolute", "--region", "lips"], 2, "change relative motion only"),
        ("ann.png", "walk.mp4", ["--start", "soon"], 2, "'soon' is not a time"),
        # Models
        ("ann.png", "walk.mp4", ["--model", "{folder}/missing.safetensors"], 4, "no such model"),
        ("ann.png", "walk.mp4", ["--model", "{folder}/text.mp4"], 4, "damaged or not a model of this tool"),
        ("ann.png", "walk.mp4", ["--model", "{folder}/other.safetensors"], 4, "other.safetensors"),
    ],
)
def test_what_cannot_be_used(
    folder: Path, tiny_model: Path, tmp_path: Path, portrait: str, driver: str, options: list[str], code: int, says: str
) -> None:
    inputs = [name if ":" in name else folder / name for name in (portrait, driver)]
    options = [option.format(folder=folder) for option in options]
    output = tmp_path / ("o.png" if driver.endswith("g") else "o.mp4")
    line = complaint(run("animate", "--model", tiny_model, *inputs, "-o", output, *options), code)
    assert says in line, line
    assert names_in(tmp_path) == []


def test_the_largest_of_two_faces_is_taken_and_said(folder: Path, tiny_model: Path, tmp_path: Path) -> None:
    result = run("animate", folder / "two.png", "motion:nod", "--end", "0.6", "-o", tmp_path / "o.mp4",
                 "--model", tiny_model, "--travel", 0)  # fmt: skip
    assert result.exit_code == 0
    said = "reenact: two.png: 2 faces; the largest (number 2 from the left) is used, choose another with --face N"
    assert [line for line in result.stderr.splitlines() if "told from the ground" not in line] == [said]


def test_two_real_faces_and_none(assets: Path, tiny_model: Path, tmp_path: Path) -> None:
    both = np.full((512, 900, 3), 128, np.uint8)
    both[:, :512] = read_picture(assets / "astronaut.jpg")
    both[100:356, 600:856] = cv2.resize(read_picture(assets / "grace_hopper.jpg"), (256, 256))
    Image.fromarray(both).save(tmp_path / "both.png")
    Image.fromarray(both[400:, 600:]).save(tmp_path / "sky.png")
    options = ["--landmarks", "real", "--model", tiny_model, "--end", "0.1", "-o", tmp_path / "o.mp4"]
    result = run("animate", tmp_path / "both.png", "motion:nod", *options)
    assert result.exit_code == 0 and "both.png: 2 faces; the largest (number 1 from the left)" in result.stderr
    (tmp_path / "o.mp4").unlink()
    assert "no face was found" in complaint(run("animate", tmp_path / "sky.png", "motion:nod", *options), 3)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([], "needs a PORTRAIT and a DRIVER"),
        (["a.jpg"], "needs a PORTRAIT and a DRIVER"),
        (["a.jpg", "b.jpg", "c.mp4"], "further portraits go with -p"),
        (["a.jpg", "b.mp4", "--dance"], "No such option"),
    ],
)
def test_command_lines_that_make_no_sense(args: list[str], says: str) -> None:
    assert says in complaint(run("animate", *args), 2)


# Outputs


def attempt(folder: Path, model: Path, *options: object, driver: str = "walk.mp4") -> Result:
    return run("animate", folder / "ann.png", folder / driver, "--model", model, *options)


@pytest.mark.usefixtures("untouched")
def test_outputs_that_cannot_be(folder: Path, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.mp4").write_text("mine")
    (tmp_path / "mine.json").write_text("mine")
    out = tmp_path / "o.mp4"
    (tmp_path / "link.mp4").symlink_to(folder / "walk.mp4")
    for options, says in (
        (["-o", tmp_path / "no" / "o.mp4"], f"there is no folder {tmp_path / 'no'}"),
        (["-o", tmp_path / "mine.mp4"], "exists already; use --overwrite"),
        (["-o", tmp_path], "is a folder; give a file name in it"),
        (["-o", tmp_path / "o.avi"], "use .mp4, .m4v, .mov"),
        (["-o", tmp_path / "o.png"], "use .mp4, .m4v, .mov"),
        (["-o", tmp_path / ("o" * 300 + ".mp4")], "too long"),
        (["-o", folder / "walk.mp4", "--overwrite"], "is an input"),
        (["-o", tmp_path / "link.mp4", "--overwrite"], "is an input"),
        (["-o", out, "--json", tmp_path / "mine.json"], "exists already"),
        (["-o", out, "--json", tmp_path / "no" / "r.json"], "there is no folder"),
        (["-o", out, "--json", out], "is the output"),
        (["-o", out, "--json", folder / "ann.png", "--overwrite"], "is an input"),
    ):
        assert says in complaint(attempt(folder, tiny_model, *options), 2)
    assert "use .png, .jpg" in complaint(attempt(folder, tiny_model, "-o", out, driver="two.png"), 2)
    assert "is an input" in complaint(attempt(folder, tiny_model, "-p", folder / "two.png", "-o",
                                              folder / "two.png", "--overwrite", driver="nobody.png"), 2)  # fmt: skip
    assert names_in(tmp_path) == ["link.mp4", "mine.json", "mine.mp4"]
    assert (tmp_path / "mine.mp4").read_text() == (tmp_path / "mine.json").read_text() == "mine"
    assert attempt(folder, tiny_model, "-o", tmp_path / "mine.mp4", "--overwrite").exit_code == 0
    assert len(frames_of(tmp_path / "mine.mp4")) == len(WALK)


def test_a_failure_leaves_the_file_that_was_to_be_replaced(folder: Path, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.mp4").write_text("mine")
    complaint(attempt(folder, tiny_model, "-o", tmp_path / "mine.mp4", "--overwrite", driver="nobody.mp4"), 3)
    assert (tmp_path / "mine.mp4").read_text() == "mine" and names_in(tmp_path) == ["mine.mp4"]


def test_a_folder_that_is_not_writable() -> None:
    with tempfile.TemporaryDirectory() as there:
        Path(there).chmod(0o755)
        portrait = portrait_file(Path(there) / "ann.png")
        closed = Path(there) / "closed"
        closed.mkdir(mode=0o555)
        user = os.geteuid()
        if user == 0:  # root may write everywhere: be nobody for a moment
            os.seteuid(65_534)
        try:
            line = complaint(run("animate", portrait, "motion:talk", "-o", closed / "o.mp4"), 2)
        finally:
            os.seteuid(user)
        assert f"the folder {closed} is not writable; write somewhere else" in line


@pytest.mark.parametrize("limit", [0, 4_000])
def test_a_full_disk(folder: Path, tiny_model: Path, tmp_path: Path, limit: int) -> None:
    """A limit on file sizes stands for the disk: the system refuses to write beyond it, as it does when it is full."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, old[1]))
    try:
        result = attempt(folder, tiny_model, "-o", tmp_path / "o.mp4")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    line = complaint(result, 2)
    assert "larger than this file system, or a limit" in line
    assert names_in(tmp_path) == []


def test_an_output_that_appears_meanwhile_is_kept(
    folder: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = VideoWriter.close

    def meanwhile(writer: VideoWriter) -> None:
        (tmp_path / "o.mp4").write_text("somebody's")
        close(writer)

    monkeypatch.setattr(VideoWriter, "close", meanwhile)
    assert "appeared meanwhile" in complaint(attempt(folder, tiny_model, "-o", tmp_path / "o.mp4"), 2)
    assert (tmp_path / "o.mp4").read_text() == "somebody's" and names_in(tmp_path) == ["o.mp4"]


@pytest.mark.parametrize(
    ("number", "code", "says"), [(signal.SIGINT, 130, "reenact: interrupted"), (signal.SIGTERM, 143, "")]
)
@pytest.mark.slow
def test_signals_leave_nothing_behind(
    folder: Path, tiny_model: Path, tmp_path: Path, number: signal.Signals, code: int, says: str
) -> None:
    """In the middle of rendering, with the partial file there."""
    args = f"animate {folder}/ann.png motion:talk --model {tiny_model} -o {tmp_path}/o.mp4".split()
    script = f"""
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's "&" has it ignored, for children too
sys.path.insert(0, {str(HELPERS)!r})
from fake_face import PaintedFaces
from fewshot_reenact.landmarks import registry
from fewshot_reenact.rendering.textured import TexturedRenderer
registry.BACKENDS["builtin"] = lambda device: PaintedFaces()
compose, count = TexturedRenderer._compose, [0]
def slow(*args):
    count[0] += 1
    if count[0] == 3:
        print("rendering", flush=True)
    time.sleep(0.2)
    return compose(*args)
TexturedRenderer._compose = slow
from fewshot_reenact.cli import main
main({args!r})
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "rendering\n"
    assert [name[-8:] for name in names_in(tmp_path)] == [".partial"]
    time.sleep(0.3)
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == code and errors.strip().startswith(says) and "Traceback" not in errors
    assert len(errors.strip().splitlines()) <= 1 and names_in(tmp_path) == []


# The Python interface raises what the command line prints


@pytest.mark.parametrize(
    ("portrait", "driver", "options", "kind"),
    [
        ("missing.png", "walk.mp4", {}, InputError),
        ("ann.png", "nobody.mp4", {}, InputError),
        ("ann.png", "text.npz", {}, InputError),
        ("ann.png", "walk.mp4", {"model": "no.safetensors"}, ModelError),
        ("ann.png", "walk.mp4", {"output": "no/o.mp4"}, UsageError),
        ("ann.png", "walk.mp4", {"face": 7}, InputError),
    ],
)
def test_python_interface(
    folder: Path, tiny_model: Path, tmp_path: Path, portrait: str, driver: str, options: dict, kind: type
) -> None:
    with pytest.raises(kind) as caught:
        animate(folder / portrait, folder / driver, **{"output": tmp_path / "o.mp4", "model": tiny_model, **options})
    assert "\n" not in str(caught.value) and names_in(tmp_path) == []


def test_no_portrait_at_all(folder: Path) -> None:
    for none in ([], "", [""]):
        with pytest.raises(InputError, match="no portrait was given"):
            animate(none, folder / "walk.mp4")
    with pytest.raises(InputError, match="no driver was given"):
        animate(folder / "ann.png", "")
