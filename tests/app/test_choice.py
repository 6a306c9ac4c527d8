"""A face of a portrait or of a driver, chosen by a click on a picture of all of them."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from fewshot_reenact.app.faces import face_at
from fewshot_reenact.app.visitors import Visitors
from fewshot_reenact.inputs.driver import DriverSource
from fewshot_reenact.landmarks.builtin import BuiltinLandmarks
from two_people import film, two_people


@pytest.fixture
def both(assets: Path, tmp_path: Path) -> Path:
    """Two people beside each other."""
    return two_people(assets, tmp_path / "both.png")


def middle(box: tuple[int, int, int, int]) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def test_faces_of_a_portrait_are_numbered_from_the_left(assets: Path, tmp_path: Path, both: Path):
    visitors = Visitors(tmp_path / "page")
    found = visitors.several_faces(str(both))
    assert found is not None
    shown, boxes = found
    assert shown.shape == (450, 900, 3) and len(boxes) == 2
    middles = [middle(box) for box in boxes]
    assert middles[0][0] < 450 < middles[1][0]
    assert [face_at(boxes, x, y) for x, y in middles] == [1, 2] and face_at(boxes, 2, 448) is None
    for other in (None, str(assets / "astronaut.jpg"), str(assets / "README.md"), str(tmp_path / "none.mp4")):
        assert visitors.several_faces(other) is None


@pytest.mark.parametrize("mirror", [False, True])
def test_the_face_that_is_clicked_in_a_driver_is_the_one_followed(tmp_path: Path, both: Path, mirror: bool):
    driver = film([both], tmp_path / "both.mp4")
    found = Visitors(tmp_path / "page").several_faces(str(driver), mirror=mirror)
    assert found is not None
    shown, boxes = found
    scale, backend = shown.shape[1] / 1024, BuiltinLandmarks()
    for box in boxes:
        number = face_at(boxes, *middle(box))
        assert number is not None
        followed = DriverSource.parse(driver, face=number, mirror=mirror).measure(backend).motion
        points = (scale * followed.points[0]).tolist()
        assert all(box[0] <= x <= box[2] and box[1] <= y <= box[3] for x, y in points)


def test_faces_are_counted_in_the_first_frame_with_one_from_the_beginning_that_was_chosen(
    assets: Path, tmp_path: Path, both: Path
):
    alone, nobody = tmp_path / "alone.png", tmp_path / "nobody.png"
    picture = cv2.imread(str(both))
    cv2.imwrite(str(alone), np.hstack([np.full((512, 512, 3), 128, np.uint8), picture[:, 512:]]))
    cv2.imwrite(str(nobody), np.full_like(picture, 128))
    visitors = Visitors(tmp_path / "page")
    film([nobody, both], tmp_path / "late.mp4")
    assert visitors.several_faces(str(tmp_path / "late.mp4")) is not None
    driver = str(film([alone, both], tmp_path / "joined.mp4"))
    assert visitors.several_faces(driver) is None, "the one of the beginning would be number 1"
    found = visitors.several_faces(driver, start=0.08)
    assert found is not None and len(found[1]) == 2
    assert visitors.several_faces(str(assets / "astronaut.jpg"), start=1.0) is None, "a picture has no beginning"
