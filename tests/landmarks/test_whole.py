"""Frames that show less than a whole face are not believed; slow transitions; pictures that lie or hang on a wall."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from fake_face import PaintedFaces, paint
from fewshot_reenact.geometry.topology import MOUTH, eye_distance
from fewshot_reenact.inputs.driver import DriverSource
from fewshot_reenact.inputs.portrait_files import PortraitSource
from fewshot_reenact.landmarks.builtin import BuiltinLandmarks
from fewshot_reenact.landmarks.dissolves import TransitionDetector
from fewshot_reenact.landmarks.upright import quarter_turns, turned
from fewshot_reenact.landmarks.video import track_video
from fewshot_reenact.landmarks.whole import look_over, redness_of_lips
from fewshot_reenact.media.pictures import read_picture, write_picture
from fewshot_reenact.media.reader import VideoReader
from fewshot_reenact.media.writer import VideoWriter
from fewshot_reenact.motion.motion import Motion
from talking_heads import head


class _Frames:
    """Pictures as a reader gives them."""

    audio_end = None

    def __init__(self, pictures: list[np.ndarray]) -> None:
        self.path, self.pictures = Path("driver.mp4"), pictures
        height, width = pictures[0].shape[:2]
        self.info = SimpleNamespace(
            time_base=Fraction(1, 25), fps=Fraction(25), width=width, height=height, frames=len(pictures)
        )

    def __iter__(self):
        for t, picture in enumerate(self.pictures):
            yield SimpleNamespace(picture=picture, time=t / 25, pts=t)


@pytest.fixture(scope="module")
def backend() -> BuiltinLandmarks:
    return BuiltinLandmarks()


@pytest.fixture(scope="module")
def talk(assets: Path) -> list[np.ndarray]:
    """The bundled driver's first frames, half as large."""
    with VideoReader(assets / "driver.mp4", end=1.6) as reader:
        return [cv2.resize(f.picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for f in reader]


@pytest.fixture(scope="module")
def plain(talk: list[np.ndarray], backend: BuiltinLandmarks) -> Motion:
    return track_video(_Frames(talk), backend)  # type: ignore[arg-type]


def hand(picture: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Something of the colour of skin before the mouth."""
    unit, middle = float(eye_distance(points)), points[MOUTH].mean(0)
    x, y = points[29].round().astype(int)
    mask = np.zeros(picture.shape[:2], np.uint8)
    axes = (round(0.5 * unit), round(0.35 * unit))
    cv2.ellipse(mask, middle.round().astype(int).tolist(), axes, -20, 0, 360, 255, -1, cv2.LINE_AA)
    return (picture + mask[..., None] / 255.0 * (0.95 * picture[y, x] - picture)).astype(np.uint8)


def microphone(picture: np.ndarray, points: np.ndarray) -> np.ndarray:
    unit, middle = float(eye_distance(points)), points[MOUTH].mean(0)
    out = picture.copy()
    centre = (middle + np.array([0, 0.1 * unit])).round().astype(int).tolist()
    cv2.circle(out, centre, round(0.26 * unit), (25, 25, 28), -1, cv2.LINE_AA)
    return out


def board(picture: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Half of the face behind something flat."""
    out = picture.copy()
    out[:, : int(points[27:31, 0].mean())] = (90, 80, 70)
    return out


def test_a_whole_face_is_believed_in_every_frame(plain: Motion) -> None:
    assert plain.found.all() and not plain.notes and not plain.cuts


@pytest.mark.parametrize("cover", [hand, microphone, board])
def test_a_covered_face_neither_drives_nor_is_the_reference(
    talk: list[np.ndarray], plain: Motion, backend: BuiltinLandmarks, cover: Callable[..., np.ndarray]
) -> None:
    covered = range(10, 24)
    pictures = [cover(p, plain.points[t]) if t in covered else p for t, p in enumerate(talk)]
    motion = track_video(_Frames(pictures), backend)  # type: ignore[arg-type]
    assert not motion.found[list(covered)].any()
    seen = motion.found & ~np.isin(np.arange(len(talk)), list(covered))
    assert seen.sum() >= len(talk) - len(covered) - 6
    apart = np.linalg.norm(motion.points[seen] - plain.points[seen], axis=2).mean(1)
    assert (apart / eye_distance(plain.points[seen])).max() < 0.05
    assert "something covers the face" in motion.notes[0] and "(0.40-" in motion.notes[0]
    # What was made is judged as it is.
    judged = track_video(_Frames(pictures), backend, whole=False)  # type: ignore[arg-type]
    assert judged.found.sum() > motion.found.sum()


def test_a_face_that_leaves_the_picture_is_held_whole(talk: list[np.ndarray], backend: BuiltinLandmarks) -> None:
    width = talk[0].shape[1]
    wide = [np.pad(p, ((0, 0), (0, 2 * width), (0, 0)), mode="edge") for p in talk]
    pictures = [w[:, max(0, t - 15) * width // 20 :][:, :width].copy() for t, w in enumerate(wide)]
    motion = track_video(_Frames(pictures), backend)  # type: ignore[arg-type]
    last = np.flatnonzero(motion.found)[-1]
    assert 15 < last < len(talk) - 5
    outside = ((motion.points[: last + 1] < 0) | (motion.points[: last + 1] > width)).any(2).mean(1)
    assert outside.max() < 0.2, "what is held is a whole face"


def test_points_outside_count_against_what_is_usual() -> None:
    points = np.tile(np.random.default_rng(0).uniform(20, 80, (83, 2)), (20, 1, 1)).astype(np.float32)
    sure, red = np.ones(20), np.zeros(20)
    points[15:, :30, 0] -= 100
    assert look_over(points, sure, None, red, (100, 100)).leaving.tolist() == [False] * 15 + [True] * 5
    points[:, :30, 0] = -5  # a face that is cut off all along drives as well as it can
    assert not look_over(points, sure, None, red, (100, 100)).leaving.any()


def test_lips_are_redder_than_the_skin(talk: list[np.ndarray], plain: Motion) -> None:
    open_, covered = (redness_of_lips(p, plain.points[0]) for p in (talk[0], hand(talk[0], plain.points[0])))
    assert open_ > 5 and covered < 0.4 * open_


# ---- slow transitions


def _blend(frames: int, length: int, lively: float = 0.0) -> list[np.ndarray]:
    """A dissolve between two people in the middle of so many frames."""
    one, other = (head(name, 128).astype(np.float32) for name in ("astronaut.jpg", "grace_hopper.jpg"))
    out = []
    for t in range(frames):
        share = np.clip((t - (frames - length) / 2) / length, 0, 1)
        picture = one + share * (other - one)
        shift = np.array([[1, 0, lively * np.sin(t / 3)], [0, 1, 0]], np.float32)
        out.append(cv2.warpAffine(picture, shift, (128, 128), borderMode=cv2.BORDER_REPLICATE).astype(np.uint8))
    return out


@pytest.mark.parametrize("length", [5, 12, 25])
def test_a_dissolve_between_two_people_is_a_cut(length: int, backend: BuiltinLandmarks) -> None:
    motion = track_video(_Frames(_blend(60, length)), backend)  # type: ignore[arg-type]
    assert len(motion.cuts) == 1 and abs(motion.cuts[0] - 30) <= 2
    held = motion.filled().points
    assert np.ptp(held[:28, :, 0], axis=0).max() < 6 and np.ptp(held[33:, :, 0], axis=0).max() < 6, "no head in between"


def _slowly(how: str, other: str, length: int = 50, before: int = 24) -> list[np.ndarray]:
    """From one person to another, both swaying, in so many frames."""
    out = []
    for t in range(2 * before + length):
        share = float(np.clip((t - before + 0.5) / length, 0, 1))
        shift = np.array([[1, 0, 2 * np.sin(t / 5)], [0, 1, np.cos(t / 7)]], np.float32)
        one, two = (
            cv2.warpAffine(head(name, 128), shift, (128, 128), borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
            for name in ("astronaut.jpg", other)
        )
        edge = round(share * 128)
        ground = {"black": 0.0, "white": 255.0}.get(how, 0.0)
        faded = (one if share < 0.5 else two) - ground
        picture = {
            "dissolve": one + share * (two - one),
            "wipe": np.concatenate([two[:, :edge], one[:, edge:]], 1),
        }.get(how, ground + faded * abs(1 - 2 * share))
        out.append(picture.round().astype(np.uint8))
    return out


@pytest.mark.parametrize("how", ["dissolve", "wipe", "black", "white"])
def test_two_seconds_from_one_person_to_another_are_a_cut(how: str, backend: BuiltinLandmarks) -> None:
    motion = track_video(_Frames(_slowly(how, "grace_hopper.jpg")), backend)  # type: ignore[arg-type]
    assert len(motion.cuts) == 1 and 24 + 15 < motion.cuts[0] < 24 + 35
    assert motion.found[:24].all() and motion.found[-14:].all()
    assert motion.found[30:68].sum() < 6, "nobody in between"
    sides = [
        motion.points[part][motion.found[part]] for part in (slice(0, motion.cuts[0]), slice(motion.cuts[0], None))
    ]
    for side in sides:
        assert np.ptp(eye_distance(side)) < 0.12 * eye_distance(side).mean(), "no head grows into the other"


@pytest.mark.parametrize("how", ["black", "white"])
def test_a_shot_that_goes_dark_is_not_cut(how: str, backend: BuiltinLandmarks) -> None:
    motion = track_video(_Frames(_slowly(how, "astronaut.jpg")), backend)  # type: ignore[arg-type]
    assert not motion.cuts and motion.found[:24].all() and motion.found[-18:].all()


def test_movement_and_cuts_are_no_slow_transition(backend: BuiltinLandmarks) -> None:
    pan = [np.roll(_blend(2, 1)[0], 4 * t, 1) for t in range(60)]
    for pictures in (_blend(60, 5)[:20] * 3, _blend(80, 1), pan):
        look = TransitionDetector()
        assert not any(found is not None and found.sure for found in map(look, pictures))
    assert not track_video(_Frames(pan[:12] + pan[11::-1]), backend).cuts  # type: ignore[arg-type]


# ---- pictures that lie


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_a_picture_that_lies_is_turned(turn: int, backend: BuiltinLandmarks, tmp_path: Path, assets: Path) -> None:
    upright = read_picture(assets / "grace_hopper.jpg")
    lying = turned(upright, -turn % 4)
    assert quarter_turns(lying, backend.detect(lying), backend, "largest") == turn
    assert quarter_turns(upright, backend.detect(upright), backend, "largest") == 0
    write_picture(tmp_path / "lying.png", lying)
    people, notes = PortraitSource.parse(tmp_path / "lying.png").load(backend)
    assert np.array_equal(people[0].picture, upright) and "lies on its" in notes[0]


def test_a_driver_that_lies_is_turned(talk: list[np.ndarray], backend: BuiltinLandmarks, tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "lying.mp4", talk[0].shape[0], talk[0].shape[1], Fraction(1, 25), Fraction(25)) as out:
        for t, picture in enumerate(talk[:10]):
            out.write(turned(picture, 1), t)
    driver = DriverSource.parse(tmp_path / "lying.mp4").measure(backend)
    assert driver.source.turn == 3 and "(turn it by 90 degrees to the right)" in driver.motion.notes[0]
    assert driver.motion.found.all() and driver.motion.size == (talk[0].shape[1], talk[0].shape[0])
    shown = next(driver.pictures() or iter(()))
    assert np.abs(shown.astype(int) - talk[0]).mean() < 6


# ---- who is followed


def test_a_picture_on_the_wall_does_not_drive() -> None:
    frames = [paint((10, 10, 50, 60), (90 + t % 5, 50 + t % 3, 40, 48)) for t in range(40)]
    motion = track_video(_Frames(frames), PaintedFaces(), option="--driver-face")  # type: ignore[arg-type]
    assert (motion.points[..., 0].min(1) > 80).all(), "who moves is followed"
    assert "never moves" in motion.notes[0] and "--driver-face N" in motion.notes[0]
    chosen = track_video(_Frames(frames), PaintedFaces(), 1, option="--driver-face")  # type: ignore[arg-type]
    assert (chosen.points[..., 0].max(1) < 70).all(), "who was asked for is followed all the same"
    assert "never moves" in chosen.notes[0]


def test_somebody_larger_is_told() -> None:
    frames = [paint((90 + t % 5, 60, 20, 24), *([(10, 10, 60, 70)] if t > 5 else [])) for t in range(100)]
    motion = track_video(_Frames(frames), PaintedFaces())  # type: ignore[arg-type]
    assert (motion.points[..., 0].min(1) > 80).all() and "another becomes larger" in motion.notes[0]
