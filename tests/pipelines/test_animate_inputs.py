"""`animate` with every kind of portrait and driver that is fine, its names and reports, and the Python interface.

As in test_animate.py, painted faces stand for people, except where a picture's colours matter.
"""

import dataclasses
import hashlib
import inspect
import json
import re
import subprocess
import sys
import typing
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import fewshot_reenact
from animate_samples import WALK, box_in, complaint, film, frames_of, names_in, portrait_file, run
from fake_face import PaintedFaces
from fewshot_reenact import animate
from fewshot_reenact.errors import ReenactError, UsageError
from fewshot_reenact.files import sha256
from fewshot_reenact.landmarks import registry
from fewshot_reenact.motion.builtins import NAMES, load_builtin_motion
from fewshot_reenact.motion.files import save_motion
from fewshot_reenact.pipelines.animate import Animation
from fewshot_reenact.pipelines.options import AnimateOptions
from places import HELPERS
from video_samples import ffmpeg, frame_times


@pytest.fixture(scope="module", autouse=True)
def painted() -> Iterator[None]:
    """The built-in backend reads painted faces; "real" is the one of ours."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.BACKENDS, "real", registry.BACKENDS["builtin"])
        patch.setitem(registry.BACKENDS, "builtin", lambda device: PaintedFaces())
        # The watermark's id is random; pictures that are compared here have the same one.
        patch.setattr("fewshot_reenact.provenance.marks.secrets.randbits", lambda bits: 7)
        yield


@pytest.fixture
def portrait(tmp_path: Path) -> Path:
    return portrait_file(tmp_path / "ann.png")


@pytest.fixture
def make(portrait: Path, tiny_model: Path, tmp_path: Path) -> Callable[..., str]:
    """Animates the portrait with a driver into out.mp4 (or another name); returns what was said on stderr."""

    def made(driver: object, *options: object, output: str = "out.mp4") -> str:
        result = run("animate", portrait, driver, "-o", tmp_path / output, "--model", tiny_model, *options)
        assert result.exit_code == 0, result.output
        return result.stderr

    return made


# Drivers


@pytest.mark.parametrize("name", NAMES)
def test_builtin_motions(make: Callable[..., str], tmp_path: Path, name: str) -> None:
    assert make(f"motion:{name}", "--end", "0.4") == ""
    assert len(frames_of(tmp_path / "out.mp4")) == 10
    assert frame_times(tmp_path / "out.mp4")[:3] == [0, Fraction(1, 25), Fraction(2, 25)]


def test_a_picture_gives_a_picture_with_its_pose(make: Callable[..., str], tmp_path: Path) -> None:
    pose = portrait_file(tmp_path / "pose.jpg", (58, 34, 60, 70))
    make(pose, "--motion", "absolute", output="out.png")
    with Image.open(tmp_path / "out.png") as picture:
        assert picture.size == (160, 120) and "AI-generated" in picture.info["Comment"]
        assert abs(box_in(np.asarray(picture.convert("RGB")))[0] - 58) < 4
    make(pose, "--compare", output="compared.jpg")
    with Image.open(tmp_path / "compared.jpg") as picture:
        assert picture.size == (480, 120)


def test_a_motion_file_drives_as_its_videos_points_do(make: Callable[..., str], tmp_path: Path) -> None:
    driver = film(
        tmp_path / "walk.mp4", WALK, [0, 1001, 2002, 5005, 6006, 7007, 9009, 9510, 10010, 11011, 12012, 14000]
    )
    make(driver, "--audio", "none", "--motion", "absolute", "--no-dense", output="direct.mp4")
    for name in ("m.npz", "m.json"):
        assert run("extract", driver, "-o", tmp_path / name).exit_code == 0
        make(tmp_path / name, "--motion", "absolute", output=f"{name}.mp4")
        difference = np.abs(frames_of(tmp_path / f"{name}.mp4") - frames_of(tmp_path / "direct.mp4"))
        assert difference.mean() < (1.5 if name == "m.json" else 1e-9), "JSON rounds the points a little"
        assert frame_times(tmp_path / f"{name}.mp4") == frame_times(driver)


def test_a_face_that_vanishes_and_comes_back(make: Callable[..., str], tmp_path: Path) -> None:
    faces = [faces if not 10 <= t < 40 else [] for t, faces in enumerate(WALK[:1] * 50)]
    said = make(film(tmp_path / "gone.mp4", faces), "--json", tmp_path / "r.json")
    assert re.search(r"no face in 30 of 50 frames \(0\.33-1\.33 s\): the motion is held there", said)
    report = json.loads((tmp_path / "r.json").read_text())
    assert (report["frames"], report["found"]) == (50, 20) == (len(frames_of(tmp_path / "out.mp4")), 20)
    assert report["missing_spans"] == [pytest.approx([0.3337, 1.3347], abs=1e-3)]


def test_a_single_frame(make: Callable[..., str], tmp_path: Path) -> None:
    make(film(tmp_path / "one.mp4", WALK[:1]))
    assert len(frames_of(tmp_path / "out.mp4")) == 1


def test_a_driver_cut_off_in_the_middle_gives_what_can_be_read(make: Callable[..., str], tmp_path: Path) -> None:
    whole = film(tmp_path / "whole.mp4", WALK * 4)
    ffmpeg("-i", whole, "-c", "copy", tmp_path / "whole.ts")
    data = (tmp_path / "whole.ts").read_bytes()
    (tmp_path / "half.ts").write_bytes(data[: len(data) // 2])
    make(tmp_path / "half.ts")
    assert 5 < len(frames_of(tmp_path / "out.mp4")) < 48


def test_a_moving_gif_is_a_video(make: Callable[..., str], tmp_path: Path) -> None:
    ffmpeg("-i", film(tmp_path / "walk.mp4", WALK), "-vf", "fps=10", tmp_path / "walk.gif")
    make(tmp_path / "walk.gif")
    assert len(frames_of(tmp_path / "out.mp4")) == 4


def test_a_folder_of_numbered_frames(make: Callable[..., str], tmp_path: Path) -> None:
    """Its hash is that of the list of its frames, whatever else lies there."""
    folder = tmp_path / "shots"
    folder.mkdir()
    ffmpeg("-i", film(tmp_path / "walk.mp4", WALK), folder / "shot_%d.png")
    (folder / "notes.txt").write_text("no frame")
    make(folder, "--fps", "25")
    assert len(frames_of(tmp_path / "out.mp4")) == len(WALK)
    listed = subprocess.run(
        ["sha256sum", *(f"shot_{n}.png" for n in range(1, len(WALK) + 1))], cwd=folder, capture_output=True, check=True
    )
    said = json.loads(run("verify", tmp_path / "out.mp4", "--json").stdout)
    assert hashlib.sha256(listed.stdout).hexdigest() in json.dumps(said)


# Portraits


def astronaut(assets: Path) -> Image.Image:
    with Image.open(assets / "astronaut.jpg") as picture:
        return picture.convert("RGB").resize((240, 300))


def exif_turned(picture: Image.Image, path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned a quarter clockwise
    picture.rotate(90, expand=True).save(path, exif=exif, quality=95)


def with_alpha(picture: Image.Image, path: Path) -> None:
    picture.putalpha(255)
    picture.paste((0, 0, 0, 0), (0, 0, 240, 12))
    picture.save(path)


def sixteen_bits(picture: Image.Image, path: Path) -> None:
    cv2.imwrite(str(path), np.asarray(picture)[..., ::-1].astype(np.uint16) * 257)


def sixteen_bits_grey(picture: Image.Image, path: Path) -> None:
    cv2.imwrite(str(path), np.asarray(picture.convert("L")).astype(np.uint16) * 257)


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("turned.jpg", exif_turned),
        ("alpha.png", with_alpha),
        ("grey.png", lambda picture, path: picture.convert("L").save(path)),
        ("cmyk.jpg", lambda picture, path: picture.convert("CMYK").save(path, quality=95)),
        ("sixteen.png", sixteen_bits),
        ("grey16.png", sixteen_bits_grey),
        ("name with spaces & ü.webp", lambda picture, path: picture.save(path)),
    ],
)
def test_portraits_of_every_kind(assets: Path, tiny_model: Path, tmp_path: Path, name: str, save: Callable) -> None:
    picture = astronaut(assets)
    save(picture.copy(), tmp_path / name)
    result = run("animate", tmp_path / name, "motion:blink", "--strength", 0, "--end", "0.1", "--landmarks", "real",
                 "--model", tiny_model, "-o", tmp_path / "o.mp4")  # fmt: skip
    assert result.exit_code == 0, result.output
    frames = frames_of(tmp_path / "o.mp4")
    assert frames.shape[1:] == (300, 240, 3), "upright"
    wanted = np.asarray(picture.convert("L").convert("RGB") if "grey" in name else picture).astype(np.int16)
    assert np.abs(frames[0] - wanted)[16:].mean() < 8
    if name == "alpha.png":
        assert frames[0, :10].min() > 230, "transparent is white"
    assert ("transparent parts are shown as white; --background" in result.output) == (name == "alpha.png")


# Names and reports


def test_the_output_has_both_names_and_lies_in_the_current_folder(
    portrait: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    pose = portrait_file(tmp_path / "pose.png")
    for driver, name in (("motion:nod", "ann--nod.mp4"), (pose, "ann--pose.png")):
        cut = [] if driver is pose else ["--end", "0.1"]
        result = run("animate", portrait, driver, *cut, "--model", tiny_model)
        assert result.exit_code == 0, result.output
        what = "160x120 (" if driver is pose else "3 frames, 160x120, 25.000 fps ("
        assert result.stdout.startswith(f"{here / name}: {what}") and (here / name).is_file()
        assert "exists already" in complaint(run("animate", portrait, driver, *cut, "--model", tiny_model), 2)
    assert names_in(here) == ["ann--nod.mp4", "ann--pose.png"]
    assert names_in(tmp_path) == ["ann.png", "here", "pose.png"], "nothing is written beside the inputs"


def test_report_of_the_command_line(portrait: Path, tiny_model: Path, tmp_path: Path) -> None:
    args = ["animate", portrait, "motion:talk", "--end", "0.2", "--model", tiny_model, "--region", "lips",
            "-o", tmp_path / "o.mp4", "--overwrite"]  # fmt: skip
    shown = run(*args, "--json", "-")
    report = json.loads(shown.stdout)
    assert f"{tmp_path / 'o.mp4'}: 5 frames, 160x120, 25.000 fps" in shown.stderr
    assert report["schema"] == "fewshot-reenact/animate/1" and report["version"] == fewshot_reenact.__version__
    assert (report["frames"], report["fps"], report["width"], report["height"], report["found"]) == (
        5,
        "25",
        160,
        120,
        5,
    )
    assert report["output"] == str(tmp_path / "o.mp4") and report["warnings"] == [] == report["missing_spans"]
    assert report["model_sha256"] == sha256(tiny_model) and report["settings"]["region"] == "lips"
    assert {"setup", "driver", "render", "all"} <= set(report["seconds"])
    assert run(*args, "--json", tmp_path / "r.json").exit_code == 0
    written = json.loads((tmp_path / "r.json").read_text())
    assert set(written) == set(report) and written["settings"]["region"] == "lips"


@pytest.mark.parametrize("driver", ["motion:talk", "walk.mp4"])
def test_python_interface(portrait: Path, tiny_model: Path, tmp_path: Path, driver: str) -> None:
    stages: list[tuple[str, int, int | None]] = []
    if driver == "walk.mp4":
        driver = str(film(tmp_path / driver, WALK))
    made = animate(
        portrait,
        driver,
        tmp_path / "o.mp4",
        end=0.3,
        model=tiny_model,
        landmarks=PaintedFaces(),
        report=tmp_path / "r.json",
        progress=lambda *at: stages.append(at),
    )
    frames = frames_of(tmp_path / "o.mp4")
    assert isinstance(made, Animation) and made.output == tmp_path / "o.mp4"
    assert (made.frames, made.height, made.width) == frames.shape[:3] and made.found == made.frames
    assert len(made.reference) == 1 and made.reference[0] in range(made.frames)
    assert made.device.startswith(("cpu", "cuda", "mps")) and made.model == str(tiny_model)
    assert json.loads((tmp_path / "r.json").read_text()) == json.loads(json.dumps(made.report()))
    assert [at for at in stages if at[0] == "render"] == [("render", t + 1, made.frames) for t in range(made.frames)]
    assert any(at[0] == "driver" for at in stages) == driver.endswith(".mp4")


def test_python_interface_and_command_line_have_the_same_defaults(
    portrait: Path, tiny_model: Path, tmp_path: Path
) -> None:
    made = animate(portrait, "motion:nod", tmp_path / "a.mp4", model=tiny_model, end=0.3)
    result = run("animate", portrait, "motion:nod", "-o", tmp_path / "b.mp4", "--model", tiny_model, "--end", "0.3",
                 "--json", "-")  # fmt: skip
    theirs = json.loads(result.stdout)["settings"]
    mine = made.report()["settings"]
    differ = {"portrait", "output", "model"}  # as they were written
    assert {k: v for k, v in mine.items() if k not in differ} == {k: v for k, v in theirs.items() if k not in differ}
    assert np.array_equal(frames_of(tmp_path / "a.mp4"), frames_of(tmp_path / "b.mp4"))


def test_every_option_is_a_parameter_with_the_same_default() -> None:
    parameters = inspect.signature(animate).parameters
    options = {field.name: field.default for field in dataclasses.fields(AnimateOptions)}
    assert list(options) == [name for name in parameters if name in options], "in the same order"
    assert options == {name: parameters[name].default for name in options}
    assert set(parameters) - set(options) == {
        "portrait", "driver", "output", "marks", "report", "overwrite", "progress",
    }  # fmt: skip
    types = typing.get_type_hints(AnimateOptions)
    assert types == {name: kind for name, kind in typing.get_type_hints(animate).items() if name in options}


def test_every_option_has_its_line() -> None:
    for field in dataclasses.fields(AnimateOptions):
        assert re.search(rf"\b{field.name}(, \w+)?: ", AnimateOptions.__doc__ or "") or re.search(
            rf"\w+, {field.name}: ", AnimateOptions.__doc__ or ""
        ), field.name


@pytest.mark.parametrize(
    "options",
    [
        {"motion": "sideways"},
        {"frame": "half"},
        {"size": 100},
        {"face": 0},
        {"driver_face": "left"},
        {"region": "ears"},
        {"strength": 3},
        {"strength": float("nan")},
        {"smooth": -1},
        {"audio": "loud"},
        {"landmarks": "dlib"},
        {"device": "tpu"},
        {"start": 2, "end": 1},
        {"motion": "absolute", "region": "lips"},
        {"output": "no/such/folder.mp4"},
    ],
)
def test_options_that_make_no_sense_are_usage_errors(
    portrait: Path, tiny_model: Path, tmp_path: Path, options: dict
) -> None:
    with pytest.raises(UsageError) as caught:
        animate(portrait, "motion:nod", **{"output": tmp_path / "o.mp4", "model": tiny_model, **options})
    assert "\n" not in str(caught.value) and isinstance(caught.value, ReenactError)
    assert names_in(tmp_path) == ["ann.png"]


@pytest.mark.slow
def test_long_drivers_do_not_need_more_memory(tiny_model: Path, tmp_path: Path) -> None:
    """Ten times the frames, not ten times the memory: frames flow through. (Peaks of new processes, in kilobytes.)"""
    portrait, talk = portrait_file(tmp_path / "ann.png", scale=2), load_builtin_motion("talk")
    peaks = []
    for frames in (30, 330):
        driver = tmp_path / f"{frames}.npz"
        order = np.arange(frames) % len(talk)
        talk.points, talk.confidence = talk.points[order], np.ones(frames, np.float32)
        talk.pts, talk.times = np.arange(frames), np.arange(frames) / 25
        save_motion(talk, driver)
        code = f"""
import resource, sys
sys.path.insert(0, {str(HELPERS)!r})
from fake_face import PaintedFaces
from fewshot_reenact import animate
animate({str(portrait)!r}, {str(driver)!r}, {str(tmp_path / "o.mp4")!r}, model={str(tiny_model)!r},
        landmarks=PaintedFaces(), overwrite=True)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
        peaks.append(int(subprocess.check_output([sys.executable, "-c", code])))
    # 300 pictures of 320 x 240 pixels would be 69,000.
    assert peaks[1] < peaks[0] + 35_000, peaks
