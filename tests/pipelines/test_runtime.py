"""`--runtime onnx`: the same points and pictures from ONNX Runtime, and what is said where it cannot be had."""

import dataclasses
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from animate_samples import complaint, run
from fewshot_reenact import AnimateOptions, Session, errors
from fewshot_reenact.landmarks.builtin import BuiltinLandmarks
from fewshot_reenact.media.pictures import read_picture
from fewshot_reenact.media.reader import VideoReader
from fewshot_reenact.models.checkpoint import save_model
from fewshot_reenact.models.dimensions import ModelDimensions
from fewshot_reenact.models.reenactor import Reenactor
from network_samples import model as small_model

needs_onnx = pytest.mark.skipif(
    not all(find_spec(name) for name in ("onnx", "onnxruntime")), reason="needs the extra onnx"
)


def difference(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.abs(one.astype(int) - other.astype(int))


@needs_onnx
def test_the_same_faces(assets: Path) -> None:
    picture = read_picture(assets / "astronaut.jpg")
    plain, other = BuiltinLandmarks(), BuiltinLandmarks(runtime="onnx")
    (wanted,), (face,) = plain.detect(picture), other.detect(picture)
    assert np.abs(face.points - wanted.points).max() < 0.01 and abs(face.confidence - wanted.confidence) < 1e-4
    again = other.refine(picture, face.points)
    assert again is not None and np.abs(again.spread - plain.refine(picture, face.points).spread).max() < 0.01


@needs_onnx
@pytest.mark.parametrize("background", [None, "white"])
def test_the_same_pictures(assets: Path, background: str | None) -> None:
    """With the built-in model, frame by frame, a live plan and dense motion in it. The points are of PyTorch in both:
    what is drawn and rounded by them is not steady, whatever moves them by 1e-5 pixels.
    """
    with VideoReader(assets / "driver.mp4", end=0.4) as driver:
        frames = [frame.picture for frame in driver][::3]
    made = []
    for runtime in ("torch", "onnx"):
        options = AnimateOptions(runtime=runtime, background=background, label=False, landmarks=BuiltinLandmarks())
        with Session(assets / "grace_hopper.jpg", options, calibrate=0) as session:
            session._marks.label = lambda picture, *_: picture  # each session's watermark is another one
            made.append([session.frame(frame) for frame in frames])
            assert session.about["device"].startswith("cpu (ONNX Runtime" if runtime == "onnx" else "cpu (")
    for wanted, got in zip(*made, strict=True):
        assert (difference(wanted, got) <= 1).mean() > 0.9999 and difference(wanted, got).max() <= 3
    assert max(difference(one, made[0][0]).max() for one in made[0][1:]) > 30, "nothing moved"


@needs_onnx
@pytest.mark.slow
def test_nearly_the_same_in_int8(assets: Path) -> None:
    """With the built-in model, of a face that is not one of those that set the ranges; twice, for it must not vary."""
    with VideoReader(assets / "driver.mp4", end=0.4) as driver:
        frames = [frame.picture for frame in driver][::3]
    portrait, made = np.ascontiguousarray(frames[0][:, ::-1]), []
    for runtime in ("torch", "onnx-int8", "onnx-int8"):
        options = AnimateOptions(runtime=runtime, label=False, landmarks=BuiltinLandmarks())
        with Session(portrait, options, calibrate=0) as session:
            session._marks.label = lambda picture, *_: picture
            made.append(np.stack([session.frame(frame) for frame in frames]))
            assert session.about["device"].startswith("cpu (ONNX Runtime") == (runtime != "torch")
    away = difference(made[0], made[1])
    assert away.max() > 0 and 20 * np.log10(255 / np.sqrt(np.square(away).mean())) > 42
    assert np.array_equal(made[1], made[2]), "the ranges depend on nothing but the weights"


@needs_onnx
def test_on_the_command_line(assets: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.safetensors"
    save_model(small_model(trained=True), model)
    out, report = tmp_path / "out.mp4", tmp_path / "report.json"
    result = run(
        "animate", assets / "astronaut.jpg", "motion:nod", "-o", out, "--end", 0.3, "--model", model,
        "--runtime", "onnx", "--json", report,
    )  # fmt: skip
    assert result.exit_code == 0 and "on cpu (ONNX Runtime" in result.stdout, result.output
    assert '"runtime": "onnx"' in report.read_text() and out.is_file()


def test_without_the_extra(assets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    command = ["animate", assets / "astronaut.jpg", "motion:nod", "-o", tmp_path / "out.mp4", "--runtime", "onnx"]
    said = complaint(run(*command), 2)
    assert "ONNX Runtime, which is not installed" in said and said.endswith(("onnx", "[onnx]'"))
    assert not list(tmp_path.iterdir())


def test_only_on_the_processor(assets: Path, tmp_path: Path) -> None:
    command = ["animate", assets / "astronaut.jpg", "motion:nod", "-o", tmp_path / "out.mp4", "--runtime", "onnx"]
    assert "computes on the CPU" in complaint(run(*command, "--device", "cuda"), 2)
    with pytest.raises(errors.UsageError, match="is not one of torch, onnx, onnx-int8"):
        AnimateOptions(runtime="tensorrt")  # type: ignore[arg-type]


@needs_onnx
def test_a_model_that_paints_is_refused(assets: Path, tmp_path: Path) -> None:
    dims = dataclasses.replace(
        ModelDimensions.paper(), size=64, embedding=16, embedder_channels=(8, 16), down_channels=(8, 16),
        up_channels=(16, 8), residual_blocks=1,
    )  # fmt: skip
    save_model(Reenactor(dims), tmp_path / "paper.safetensors")
    command = ["animate", assets / "astronaut.jpg", "motion:nod", "-o", tmp_path / "out.mp4", "--runtime", "onnx"]
    assert "take 'torch'" in complaint(run(*command, "--model", tmp_path / "paper.safetensors"), 2)
