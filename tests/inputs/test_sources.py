"""DRIVER and PORTRAIT as given: what they are, what is refused before anything is loaded, which part counts."""

from pathlib import Path

import numpy as np
import pytest

from animate_samples import FACE, WALK, film, portrait_file
from fake_face import PaintedFaces
from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.inputs.driver import DriverSource
from fewshot_reenact.inputs.portrait_files import PortraitSource
from fewshot_reenact.media.reader import VideoReader
from fewshot_reenact.motion.files import save_motion

TWO = ((10, 30, 40, 50), (90, 20, 60, 70))  # a small face on the left, a large one on the right


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """walk.mp4 of 12 frames, walk.npz with its motion, ann.png, two.png with two faces."""
    folder = tmp_path_factory.mktemp("sources")
    film(folder / "walk.mp4", WALK)
    save_motion(DriverSource.parse(folder / "walk.mp4").measure(PaintedFaces()).motion, folder / "walk.npz")
    portrait_file(folder / "ann.png")
    portrait_file(folder / "two.png", *TWO)
    return folder


# ---- DRIVER


@pytest.mark.parametrize(
    ("name", "builtin", "still", "video"),
    [
        ("walk.mp4", False, False, True),
        ("walk.npz", False, False, False),
        ("ann.png", False, True, False),
        ("motion:nod", True, False, False),
    ],
)
def test_a_driver_is_one_of_four_things(folder: Path, name: str, builtin: bool, still: bool, video: bool) -> None:
    given = name if builtin else str(folder / name)
    source = DriverSource.parse(given)
    assert (source.is_builtin, source.is_still, source.is_video) == (builtin, still, video)
    assert source.given == given and source.name == name.removeprefix("motion:").split(".")[0]
    assert (source.path is None) == builtin
    pictures = source.measure(PaintedFaces()).pictures()
    assert (pictures is not None) == (still or video), "a motion file and the built-in motions hold points alone"


def test_a_picture_is_known_by_what_is_in_it(folder: Path, tmp_path: Path) -> None:
    odd = tmp_path / "ann.mp4"
    odd.write_bytes((folder / "ann.png").read_bytes())
    assert DriverSource.parse(odd).is_still


def test_the_second_pass_sees_the_frames_that_were_measured(folder: Path) -> None:
    """Frame N of the cut is picture N of the motion, numbered from 0, and what the whole video has there."""
    with VideoReader(folder / "walk.mp4") as reader:
        whole = [frame.picture for frame in reader]
    source = DriverSource.parse(folder / "walk.mp4", start=0.1, end=0.3)
    driver = source.measure(PaintedFaces())
    frames = list(source.frames())
    assert [number for number, _ in frames] == list(range(len(driver.motion)))
    first = next(i for i, picture in enumerate(whole) if np.array_equal(picture, frames[0][1]))
    assert first > 0 and first + len(frames) < len(whole), "something was cut off at both ends"
    assert all(np.array_equal(picture, whole[first + number]) for number, picture in frames)
    pictures = driver.pictures()
    assert pictures is not None
    assert all(np.array_equal(mine, picture) for mine, (_, picture) in zip(pictures, frames, strict=True))
    low, high = driver.motion.points[0].min(0), driver.motion.points[0].max(0)
    assert abs(low[0] - (40 + 2 * first)) < 2 and abs(high[0] - low[0] - (50 + first)) < 3, "the points are its own"


def test_the_part_of_a_motion_file_begins_at_zero(folder: Path) -> None:
    whole = DriverSource.parse(folder / "walk.npz").measure(PaintedFaces()).motion
    part = DriverSource.parse(folder / "walk.npz", start=0.1, end=0.3).measure(PaintedFaces()).motion
    assert 0 < len(part) < len(whole) and part.times[0] == part.pts[0] == 0
    first = int(np.flatnonzero(whole.times >= 0.1)[0])
    assert np.array_equal(part.points, whole.points[first : first + len(part)])


@pytest.mark.parametrize(
    ("given", "options", "error", "says"),
    [
        ("", {}, InputError, "no driver was given"),
        ("no.mp4", {}, InputError, "no such file"),
        (".", {}, InputError, "is a folder"),
        ("https://example.org/a.mp4", {}, InputError, "https://example.org/a.mp4"),
        ("motion:dance", {}, UsageError, "dance"),
        ("ann.png", {"start": 1}, UsageError, "is a picture, which has no --start and --end"),
        ("walk.mp4", {"face": "left"}, UsageError, "face 'left' is not known"),
        ("no.mp4", {"face": 0}, UsageError, "face 0 is not known"),
    ],
)
def test_drivers_that_are_refused_at_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, given: str, options: dict, error: type[Exception], says: str
) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(error, match=says):
        DriverSource.parse(given, **options)


def test_a_builtin_motion_is_no_file() -> None:
    with pytest.raises(ValueError, match="is no file"):
        _ = DriverSource.parse("motion:nod").file


# ---- PORTRAIT


def test_portraits_are_files_and_folders_in_order(folder: Path, tmp_path: Path) -> None:
    for name in ("b.png", "a.png", ".hidden.png"):
        portrait_file(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    source = PortraitSource.parse([folder / "ann.png", tmp_path])
    assert source.files == [folder / "ann.png", tmp_path / "a.png", tmp_path / "b.png"]
    assert source.name == "ann" and not source.is_person and source.person(None, "cpu") is None


@pytest.mark.parametrize("face", ["largest", "LARGEST", " Largest "])
def test_face_chooses_in_the_first_picture_only(folder: Path, face: str) -> None:
    both = [folder / "two.png", folder / "two.png"]
    people, notes = PortraitSource.parse(both, face).load(PaintedFaces())
    assert [round(float(one.points[:, 0].min())) for one in people] == [TWO[1][0]] * 2
    assert len(notes) == 2 and "2 faces; the largest (number 2 from the left) is used" in notes[0]
    people, notes = PortraitSource.parse(both, " 1 ").load(PaintedFaces())
    assert [round(float(one.points[:, 0].min())) for one in people] == [TWO[0][0], TWO[1][0]]
    assert len(notes) == 1, "of the first it was said which is meant"


def test_a_face_that_is_not_there(folder: Path) -> None:
    source = PortraitSource.parse(folder / "two.png", 3)
    with pytest.raises(InputError, match="face 3 was asked for, but there are only 2"):
        source.load(PaintedFaces())


def test_portraits_that_are_refused_at_once(folder: Path, tmp_path: Path) -> None:
    for given, says in (
        ([], "no portrait was given"),
        ("", "no portrait was given"),
        (tmp_path, "no picture in this folder"),
        ("motion:nod", "PORTRAIT comes first, then DRIVER"),
        (folder / "walk.mp4", "PORTRAIT comes first, then DRIVER"),
        (folder / "walk.npz", "is not a picture"),
    ):
        with pytest.raises(InputError, match=says):
            PortraitSource.parse(given)
    with pytest.raises(UsageError, match="face -1 is not known"):
        PortraitSource.parse(folder / "ann.png", -1)


def test_a_portrait_is_its_picture_and_its_points(folder: Path) -> None:
    (person,), notes = PortraitSource.parse(str(folder / "ann.png")).load(PaintedFaces())
    assert person.picture.shape == (120, 160, 3) and person.points.shape == (83, 2) and not notes
    assert np.abs(person.points.min(0) - FACE[:2]).max() < 1
