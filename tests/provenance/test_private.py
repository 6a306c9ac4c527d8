"""What motion files and outputs tell of the driver, and `--private-driver`."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from animate_samples import WALK, complaint, film, frames_of, portrait_file, run
from fake_face import PaintedFaces, paint
from fewshot_reenact import AnimateOptions, animate
from fewshot_reenact.errors import UsageError
from fewshot_reenact.files import sha256
from fewshot_reenact.landmarks import registry
from fewshot_reenact.media.marks import PlainNote
from fewshot_reenact.motion import files
from mark_samples import manifests, sign_as, statement


@pytest.fixture(autouse=True)
def painted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line finds the faces of painted pictures."""
    monkeypatch.setitem(registry.BACKENDS, "builtin", lambda device: PaintedFaces())


@pytest.fixture
def driver(tmp_path: Path) -> Path:
    """A driver with sound that carries marks of its own."""
    return sign_as(film(tmp_path / "eve.mp4", WALK, sound=True), "Camera of Eve")


def made(driver: Path, tiny_model: Path, *more: object) -> tuple[Path, str, dict]:
    """The output, what was said, and the report."""
    folder = driver.parent
    portrait, output, report = portrait_file(folder / "ann.png"), folder / "out.mp4", folder / "report.json"
    told = run("animate", portrait, driver, "-o", output, "--model", tiny_model, "--json", report, *more)
    assert told.exit_code == 0, told.output
    return output, told.stderr, json.loads(report.read_text())


def test_without_the_option_the_driver_is_named_by_hash(driver: Path, tiny_model: Path) -> None:
    output, _, report = made(driver, tiny_model)
    assert sha256(driver).encode() in output.read_bytes() and b"Camera of Eve" in output.read_bytes()
    assert report["marks"]["driver"] == "in the manifest by hash or name"


def test_a_private_driver_is_not_in_the_manifest(driver: Path, tiny_model: Path) -> None:
    output, said, report = made(driver, tiny_model, "--private-driver")
    every, active, state = manifests(output)
    assert state == "Valid" and len(every) == 1
    inputs = {one["role"]: one for one in statement(active)["inputs"]}
    assert inputs["driver"] == {"role": "driver", "private": True} and inputs["portrait"]["sha256"]
    data = output.read_bytes()
    for trace in (sha256(driver).encode(), bytes.fromhex(sha256(driver)), b"eve.mp4", b"Camera of Eve"):
        assert trace not in data
    assert report["marks"]["driver"] == "left out of the manifest"
    assert "the driver's sound is in the output" in said
    assert '"driver: private"' in run("verify", output).stdout


def test_without_sound_nothing_is_said_of_a_voice(driver: Path, tiny_model: Path) -> None:
    _, said, _ = made(driver, tiny_model, "--private-driver", "--audio", "none")
    assert "sound" not in said


@pytest.mark.parametrize("given", ["motion:blink", "frames"])
def test_built_in_motions_and_folders_are_left_out_too(tmp_path: Path, tiny_model: Path, given: str) -> None:
    options: dict = {"end": 0.1}
    if given == "frames":
        (tmp_path / "frames").mkdir()
        for number in range(3):
            portrait_file(tmp_path / "frames" / f"{number:03}.png")
        options = {"fps": 25}
    driver = tmp_path / "frames" if given == "frames" else given
    output = animate(
        portrait_file(tmp_path / "ann.png"), driver, tmp_path / "o.mp4", model=tiny_model, landmarks=PaintedFaces(),
        private_driver=True, **options,
    ).output  # fmt: skip
    said = statement(manifests(output)[1])["inputs"]
    assert {"role": "driver", "private": True} in said and b"motion:blink" not in output.read_bytes()


def test_what_shows_the_driver_does_not_go_with_it(tmp_path: Path) -> None:
    told = run("animate", "a.png", "b.mp4", "--private-driver", "--compare")
    assert "--compare shows the driver" in complaint(told, 2)
    with pytest.raises(UsageError, match="is not true or false"):
        AnimateOptions(private_driver="yes")  # type: ignore[arg-type]


def test_of_the_drivers_colours_nothing_is_in_an_output(tmp_path: Path, tiny_model: Path) -> None:
    """Two drivers that move alike, one in other colours before other ground, make one video but for its edges."""
    portrait, outputs = portrait_file(tmp_path / "ann.png"), []
    for name, face, ground in [("eve", (250, 20, 20), (30, 30, 30)), ("adam", (160, 21, 251), (0, 40, 57))]:
        (tmp_path / name).mkdir()
        for t, faces in enumerate(WALK):
            coloured = np.where(paint(*faces)[..., :1] > 150, face, ground).astype(np.uint8)
            Image.fromarray(coloured).save(tmp_path / name / f"{t:03}.png")
        made = animate(
            portrait, tmp_path / name, tmp_path / f"{name}.mp4", fps=25, model=tiny_model, landmarks=PaintedFaces(),
            marks=PlainNote(),
        )  # fmt: skip
        outputs.append(frames_of(made.output))
    assert np.abs(outputs[0][0] - outputs[0][-1]).mean() > 10, "they move"
    # Shifts of pixels are measured in the drivers' grey levels, so edges may differ a little; colours may not.
    assert np.abs(outputs[0] - outputs[1]).mean() < 2
    assert np.abs((outputs[0] - outputs[1]).mean((0, 1, 2))).max() < 0.5


@pytest.mark.parametrize("suffix", [".npz", ".json", ".jsonl"])
def test_a_motion_file_holds_points_and_times_and_no_pictures(driver: Path, suffix: str) -> None:
    """Every number in it is a point, an angle, a confidence, a time or a size, and the one text is the file's name."""
    path = driver.with_suffix(suffix)
    assert run("extract", driver, "-o", path).exit_code == 0
    known, frames = {*files.REQUIRED, *files.OPTIONAL, "angles"}, len(WALK)
    if suffix == ".npz":
        with np.load(path) as data:
            assert set(data.files) <= known
            largest = sum(data[name].size for name in data.files if data[name].dtype.kind in "fiu")
            assert {data[name].dtype.kind for name in data.files} <= {"f", "i", "U"}
        assert largest <= frames * (83 * 2 + 1 + 1 + 3 + 1) + 16
    else:
        rows = [json.loads(line) for line in path.read_text().splitlines()] if suffix == ".jsonl" else []
        names = {name for row in rows for name in row} if rows else set(json.loads(path.read_text()))
        assert names <= known | {"version", "frames", "time"}, names - known
    picture = io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "PNG")
    for start in (picture.getvalue()[:8], b"\xff\xd8\xff", b"ftyp"):
        assert start not in path.read_bytes()
