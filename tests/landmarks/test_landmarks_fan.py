"""The fan backend, with a stand-in for the face-alignment package: nothing is downloaded here."""

import logging
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch

from fewshot_reenact.errors import ModelError, how_to_complete
from fewshot_reenact.geometry.topology import FOREHEAD, GLABELLA, LEFT_EYE, MID_FOREHEAD, RIGHT_EYE, eye_distance
from fewshot_reenact.landmarks.fan import FanLandmarks, complete
from fewshot_reenact.landmarks.registry import load_backend
from fewshot_reenact.motion.builtins import load_builtin_motion

PICTURE = np.zeros((600, 600, 3), np.uint8)


@pytest.fixture
def face() -> np.ndarray:
    """(83, 2): the mean face of the built-in motions."""
    return np.asarray(load_builtin_motion("blink").points[0], np.float64)


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch, face: np.ndarray) -> SimpleNamespace:
    """A face-alignment package that sees what `seen` holds; `calls` are the boxes it was given."""
    state = SimpleNamespace(seen=[(face[:68].astype(np.float32), 0.8)], calls=[], options={}, fail=None)

    class FaceAlignment:
        def __init__(self, landmarks_type: int, device: str = "cuda", flip_input: bool = True, compile: bool = True):
            if state.fail is not None:
                raise state.fail
            state.options = {"kind": landmarks_type, "device": device, "compile": compile, "flip": flip_input}

        def get_landmarks_from_image(
            self,
            image: np.ndarray,
            detected_faces: list[np.ndarray] | None = None,
            return_bboxes: bool = False,
            return_landmark_score: bool = False,
        ) -> Any:
            state.calls.append(detected_faces)
            if not state.seen:
                return None, None, None
            points, scores = zip(*state.seen, strict=True)
            return list(points), [np.full(68, score) for score in scores], [np.zeros(5)] * len(points)

    module = ModuleType("face_alignment")
    module.FaceAlignment = FaceAlignment  # type: ignore[attr-defined]
    module.LandmarksType = SimpleNamespace(TWO_D=1)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "face_alignment", module)
    return state


def test_the_forehead_follows_the_face(face: np.ndarray) -> None:
    got = complete(face[:68])
    assert got.shape == (83, 2) and got.dtype == np.float32
    assert np.allclose(got[:68], face[:68], atol=1e-3)
    off = np.linalg.norm(got[68:81] - face[68:81], axis=1) / eye_distance(face)
    assert off.mean() < 0.06
    # The hairline runs from left to right above the brows, glabella between them.
    assert (np.diff(got[FOREHEAD][:, 0]) > 0).all()
    assert got[73, 1] < got[MID_FOREHEAD, 1] < got[GLABELLA, 1] < got[27, 1]
    assert np.allclose(got[81], face[LEFT_EYE].mean(0), atol=1e-3)
    assert np.allclose(got[82], face[RIGHT_EYE].mean(0), atol=1e-3)


def test_completion_turns_and_grows_with_the_face(face: np.ndarray) -> None:
    turn = 2.7 * np.array([[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]])
    moved = face @ turn.T + [40, -7]
    assert np.allclose(complete(moved[:68]), complete(face[:68]) @ turn.T + [40, -7], atol=0.02)


def test_faces_come_largest_first_and_doubtful_ones_not(package: SimpleNamespace, face: np.ndarray) -> None:
    small, large = face[:68] * 0.4, face[:68]
    package.seen = [(small, 0.9), (large, 0.7), (large * 1.2, 0.1)]
    backend = load_backend("fan")
    assert backend.name == "fan"
    faces = backend.detect(PICTURE)
    assert [round(one.confidence, 2) for one in faces] == [0.7, 0.9]
    assert np.allclose(faces[0].box, [*large.min(0), *large.max(0)], atol=1e-2)
    assert package.options == {"kind": 1, "device": "cpu", "compile": False, "flip": False}


def test_nothing_seen_is_no_face(package: SimpleNamespace, face: np.ndarray) -> None:
    package.seen = []
    backend = FanLandmarks()
    assert backend.detect(PICTURE) == []
    assert backend.refine(PICTURE, face.astype(np.float32)) is None
    assert backend.detect(np.zeros((1, 1, 3), np.uint8)) == []


def test_refine_looks_where_the_face_was(package: SimpleNamespace, face: np.ndarray) -> None:
    backend = FanLandmarks()
    found = backend.refine(PICTURE, face.astype(np.float32))
    assert found is not None and found.confidence == pytest.approx(0.8)
    ((box,),) = package.calls
    assert box[0] <= face[:68, 0].min() + 1e-3 and box[1] < face[17:27, 1].min() and box[3] >= face[8, 1] - 1e-3
    package.seen = [(face[:68], 0.05)]
    assert backend.refine(PICTURE, face.astype(np.float32)) is None
    assert backend.refine(PICTURE, np.full((83, 2), np.nan, np.float32)) is None


def test_the_download_is_announced_only_when_there_is_one(
    package: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with caplog.at_level(logging.WARNING):
        FanLandmarks()
    assert "downloads its weights" in caplog.text and "MB" in caplog.text
    (tmp_path / "checkpoints").mkdir()
    for name in ("2DFAN4-11f355bf06.pth.tar", "s3fd-619a316812.pth"):
        (tmp_path / "checkpoints" / name).touch()
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        FanLandmarks()
    assert caplog.text == ""


@pytest.mark.parametrize("failure", [URLError("Name or service not known"), RuntimeError("invalid hash value\nmore")])
def test_offline_is_one_clear_line(package: SimpleNamespace, failure: Exception) -> None:
    package.fail = failure
    with pytest.raises(ModelError) as caught:
        FanLandmarks()
    text = str(caught.value)
    assert "cannot be fetched" in text and "--landmarks builtin" in text and "\n" not in text
    assert caught.value.exit_code == 4


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "face_alignment", None)
    with pytest.raises(ModelError, match=re.escape(how_to_complete())):
        FanLandmarks()
