"""Points that damaged files hold in place of a face's."""

import numpy as np
import pytest

from fewshot_reenact.geometry.topology import no_faces
from painted_clips import face_points


@pytest.fixture
def points() -> np.ndarray:
    return face_points(200).astype(np.float32)


def test_faces_are_faces_large_and_small(points: np.ndarray) -> None:
    for scale in (0.1, 1.0, 10.0):
        assert not no_faces(scale * points, scale * 200)
    assert not no_faces(points - 250, 200), "half out of the picture"


@pytest.mark.parametrize("kind", ["nan", "infinite", "far", "one place", "one line"])
def test_what_no_warp_can_be_fitted_to_is_none(kind: str, points: np.ndarray) -> None:
    bad = points.copy()
    if kind in ("nan", "infinite"):
        bad[3, 0] = np.nan if kind == "nan" else np.inf
    elif kind == "far":
        bad[5] = 9000
    elif kind == "one place":
        bad[:] = 1
    else:
        bad[:, 1] = 2 * bad[:, 0]
    assert no_faces(np.stack([points, bad]), 200).tolist() == [False, True]
