"""Every backend that is registered keeps the same promises; FAN with a package that is faked."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from fewshot_reenact.errors import UsageError
from fewshot_reenact.landmarks.backend import LandmarkBackend
from fewshot_reenact.landmarks.registry import BACKENDS, load_backend
from fewshot_reenact.landmarks.selection import find_face
from fewshot_reenact.landmarks.tracker import Tracker
from fewshot_reenact.media.pictures import read_picture


@pytest.fixture(scope="module")
def picture(root: Any) -> np.ndarray:
    face = read_picture(root / "src" / "fewshot_reenact" / "assets" / "astronaut.jpg")
    return cv2.resize(face, (512, 512 * face.shape[0] // face.shape[1]), interpolation=cv2.INTER_AREA)


@pytest.fixture
def fan_package(monkeypatch: pytest.MonkeyPatch, picture: np.ndarray) -> None:
    """A face-alignment package that sees what the built-in backend sees, wherever it is asked to look."""
    builtin = load_backend()

    class FaceAlignment:
        def __init__(self, *_: Any, **__: Any) -> None: ...

        def get_landmarks_from_image(self, image: np.ndarray, detected_faces: Any = None, **_: Any) -> Any:
            faces = builtin.detect(image)
            if not faces:
                return None, None, None
            points = [face.points[:68] for face in faces]
            return points, [np.full(68, 0.9) for _ in points], [np.zeros(5) for _ in points]

    module = ModuleType("face_alignment")
    module.FaceAlignment = FaceAlignment  # type: ignore[attr-defined]
    module.LandmarksType = SimpleNamespace(TWO_D=1)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "face_alignment", module)


@pytest.fixture(params=sorted(BACKENDS))
def backend(request: pytest.FixtureRequest, fan_package: None) -> LandmarkBackend:
    return load_backend(request.param)


def test_a_face_is_what_the_protocol_says(backend: LandmarkBackend, picture: np.ndarray) -> None:
    before = picture.copy()
    (face,) = backend.detect(picture)
    again = backend.refine(picture, face.points)
    assert again is not None and np.array_equal(picture, before)
    for one in (face, again):
        assert one.points.shape == (83, 2) and one.points.dtype == np.float32 and np.isfinite(one.points).all()
        assert one.box.shape == (4,) and (one.box[2:] > one.box[:2]).all() and 0 <= one.confidence <= 1
        # Left and right are those of the picture; brows above eyes above nose above mouth above chin; hair on top.
        x, y = one.points.T
        assert x[36] < x[39] < x[42] < x[45] and x[81] < x[82]
        assert y[73] < y[17:27].mean() < y[36:48].mean() < y[30] < y[48:68].mean() < y[8]
    eyes = np.linalg.norm(face.points[45] - face.points[36])
    assert np.linalg.norm(face.points - again.points, axis=1).mean() < 0.03 * eyes


def test_nothing_is_found_in_nothing(backend: LandmarkBackend, picture: np.ndarray) -> None:
    (face,) = backend.detect(picture)
    assert backend.detect(np.zeros((64, 80, 3), np.uint8)) == []
    assert backend.refine(np.zeros_like(picture), face.points) is None


def test_tracker_and_choice_work_with_it(backend: LandmarkBackend, picture: np.ndarray) -> None:
    tracker = Tracker(backend)
    steps = [tracker.update(np.roll(picture, shift, 1)) for shift in (0, 3, 6)]
    assert all(step.found for step in steps)
    moved = steps[2].points[:68, 0] - steps[0].points[:68, 0]
    assert abs(float(moved.mean()) - 6) < 1.5
    assert np.isfinite(find_face(picture, backend).points).all()


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match=", ".join(BACKENDS)):
        load_backend("dlib")
