"""Following one face: losses, cuts, several people, gaps, smoothing."""

import weakref
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from fake_face import REST, PaintedFaces, paint, points_in
from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.geometry.topology import eye_distance
from fewshot_reenact.landmarks.selection import find_face, parse_face
from fewshot_reenact.landmarks.tracker import VERIFY_EVERY, Tracker
from fewshot_reenact.landmarks.video import track_video
from fewshot_reenact.motion.builtins import load_builtin_motion
from fewshot_reenact.motion.motion import Motion, fill_gaps
from fewshot_reenact.motion.smoothing import OneEuro, smooth_motion

FACE = (60, 30, 40, 50)


@dataclass
class _Info:
    width: int = 160
    height: int = 120
    fps: Fraction = Fraction(25)
    time_base: Fraction = Fraction(1, 25)
    frames: int | None = None


@dataclass
class _Frame:
    picture: np.ndarray
    pts: int
    time: float
    index: int


class _Reader:
    """Pictures as a video of 25 frames a second."""

    def __init__(self, pictures: list[np.ndarray]) -> None:
        self.pictures = pictures
        self.info = _Info(frames=len(pictures))
        self.path = Path("/somewhere/film.mp4")

    def __iter__(self):
        return (_Frame(picture, i, i / 25, i) for i, picture in enumerate(self.pictures))


def track(pictures: list[np.ndarray], face: str | int = "largest") -> Motion:
    return track_video(_Reader(pictures), PaintedFaces(), face)  # type: ignore[arg-type]


def left_edge(motion: Motion) -> np.ndarray:
    """Where the left edge of the followed face is, (T,)."""
    return motion.points[..., 0].min(1)


def test_follows_a_moving_face_and_seldom_detects():
    backend = PaintedFaces()
    tracker = Tracker(backend)
    frames = 2 * VERIFY_EVERY + 5
    for t in range(frames):
        found = tracker.update(paint((10 + t, 30, 40, 50)))
        assert found.found and not found.cut
        assert found.points[:, 0].min() == pytest.approx(10 + t, abs=0.01)
    assert backend.detections == 3  # the first frame, and two looks whether all is well
    assert backend.refinements == frames


@pytest.mark.parametrize(("blind", "lost"), [(1, 0), (2, 0), (5, 3)])
def test_a_face_that_the_detector_misses_once_is_not_lost(blind, lost):
    """Among several faces, the one followed is overlooked `blind` times; the third time in a row is believed."""

    class Blind(PaintedFaces):
        def detect(self, picture):
            faces = super().detect(picture)
            return faces[1:] if 1 < self.detections <= 1 + blind else faces

    reader = _Reader([paint((10, 40, 30, 36), (90, 20, 50, 60))] * (VERIFY_EVERY + 20))
    motion = track_video(reader, Blind())  # type: ignore[arg-type]
    assert (~motion.found).sum() == lost and (left_edge(motion)[motion.found] == 90).all()


def test_a_face_that_vanishes_for_a_second_and_returns():
    pictures = [paint(FACE)] * 25 + [paint()] * 25 + [paint((70, 30, 40, 50))] * 25
    motion = track(pictures)
    assert len(motion) == 75, "no frame is dropped"
    assert motion.found.tolist() == [True] * 25 + [False] * 25 + [True] * 25
    assert (motion.confidence[25:50] == 0).all() and np.isnan(motion.points[25:50]).all()
    assert motion.missing_spans() == [(1.0, 2.0)]
    report = motion.report()
    assert (report["found"], report["missing"], report["missing_spans"]) == (50, 25, [[1.0, 2.0]])
    assert "no face in 25 of 75 frames (1.00-2.00 s)" in report["warnings"][0]
    x = left_edge(motion.filled())
    assert (x[:36] == 60).all(), "held where it was last seen"
    assert (np.diff(x) >= 0).all() and x[50] == 70 and 60 < x[43] < 70, "then eased to where it is seen next"
    assert np.diff(x).max() < 1.5, "without a jump"


def test_no_face_at_all_is_an_error_that_names_the_file():
    with pytest.raises(InputError, match=r"^film\.mp4: no face was found in any of its 10 frames: use "):
        track([paint()] * 10)


def test_hardly_any_face_is_a_warning():
    motion = track([paint()] * 20 + [paint(FACE)])
    assert "only 1 of 21 frames" in motion.report()["warnings"][0]
    assert (left_edge(motion.filled()) == 60).all(), "the first face is held backwards"


LEFT, RIGHT = (10, 40, 30, 36), (90, 20, 50, 60)


@pytest.mark.parametrize(("face", "edge"), [("largest", 90), (1, 10), (2, 90), ("2", 90)])
def test_two_faces_and_a_choice(face, edge):
    motion = track([paint(LEFT, RIGHT)] * 5, face)
    assert (left_edge(motion) == edge).all()
    assert "up to 2 faces at once" in motion.report()["warnings"][0]


def test_a_choice_that_is_not_there():
    with pytest.raises(InputError, match=r"face 3 was asked for, but there are only 2 .*choose --face 1 to 2"):
        track([paint(LEFT, RIGHT)] * 5, 3)
    with pytest.raises(InputError, match=r"there is only 1 in .*choose --face 1"):
        find_face(paint(FACE), PaintedFaces(), 2)


@pytest.mark.parametrize("face", ["0", 0, -1, "left", "", "1.5", "²"])
def test_a_choice_that_makes_no_sense(face):
    with pytest.raises(UsageError, match="is not known: use 'largest', or a number"):
        parse_face(face)


def test_the_second_face_may_come_later():
    motion = track([paint(LEFT)] * 5 + [paint(LEFT, RIGHT)] * 5, 2)
    assert motion.found.tolist() == [False] * 5 + [True] * 5
    assert (left_edge(motion)[5:] == 90).all()


def test_never_jumps_to_somebody_else():
    both, other = paint(LEFT, RIGHT), paint(LEFT)
    motion = track([both] * 10 + [other] * 60 + [both] * 10)
    assert motion.found.tolist() == [True] * 10 + [False] * 60 + [True] * 10
    assert (left_edge(motion)[motion.found] == 90).all()


def test_half_a_picture_that_goes_black_takes_only_its_own_person():
    def half(picture: np.ndarray) -> np.ndarray:
        black = picture.copy()
        black[:, 80:] = 0
        return black

    both = paint((10, 30, 50, 60), RIGHT)
    pictures = [both] * 10 + [half(both)] * 20 + [both] * 10
    right, left = track(pictures, 2), track(pictures, 1)
    assert right.found.tolist() == [True] * 10 + [False] * 20 + [True] * 10 and right.cuts == []
    assert left.found.all() and (left_edge(left) == 10).all() and left.cuts == []


def test_a_face_half_covered_is_not_held_as_a_grimace():
    """A hand passes: before and after it hides the face, what is left of it is squeezed into the part that shows."""
    halves = [paint((60, 30, width, 50)) for width in (40, 32, 20)]
    motion = track([paint(FACE)] * 10 + halves[1:] + [paint()] * 5 + halves[:0:-1] + [paint(FACE)] * 10)
    assert motion.found.tolist() == [True] * 10 + [False] * 9 + [True] * 10
    assert np.abs(motion.filled().points - motion.points[0]).max() < 0.01


def test_growing_larger_does_not_attract_the_tracker():
    pictures = [
        paint((5, 50, 20 + t, 24 + t), (90 + t % 3, *RIGHT[1:])) for t in range(40)
    ]  # becomes the larger of the two
    assert np.allclose(left_edge(track(pictures)), 90 + np.arange(40) % 3)


def test_found_again_some_way_off():
    motion = track([paint(FACE)] * 5 + [paint()] * 10 + [paint((100, 40, 40, 50))] * 5)
    assert motion.found.tolist() == [True] * 5 + [False] * 10 + [True] * 5


def test_a_cut_begins_anew_and_nothing_is_smoothed_across_it():
    pictures = [paint(FACE)] * 20 + [paint((10, 5, 60, 80), (100, 60, 20, 24), ground=90)] * 20
    motion = track(pictures)
    assert motion.cuts == [20]
    assert motion.report()["cuts"] == [0.8]
    assert motion.shots == [(0, 20), (20, 40)]
    x = left_edge(motion)
    assert (x[:20] == 60).all() and (x[20:] == 10).all()
    assert np.allclose(smooth_motion(motion.points, motion.times, 1.0, motion.cuts), motion.points, atol=1e-3)
    smeared = smooth_motion(motion.points, motion.times, 1.0)
    assert np.abs(smeared - motion.points).max() > 0.3, "the test can fail"


def test_shot_and_reverse_shot_with_a_numbered_face():
    """Face 2 of a shot of two; the next shots show nobody, then one person: that one is followed."""
    pictures = [paint(LEFT, RIGHT)] * 10 + [paint(ground=90)] * 10 + [paint((40, 30, 50, 60), ground=90)] * 10
    motion = track(pictures, 2)
    assert motion.cuts == [20], "a shot without a face stays with the one before: there the face is held"
    assert motion.found.tolist() == [True] * 10 + [False] * 10 + [True] * 10
    assert (left_edge(motion)[20:] == 40).all()


def test_a_gap_over_a_cut_stays_with_its_shot():
    points = np.stack([points_in(0, 0, 10, 10), *[points_in(0, 0, 1, 1) * np.nan] * 4, points_in(50, 0, 10, 10)])
    filled = fill_gaps(points, np.arange(6) / 25, cuts=[3])
    assert filled[:, :, 0].min(1).tolist() == [0, 0, 0, 50, 50, 50]


def test_a_jump_cut_of_one_person():
    big, far = (10, 10, 60, 80), (85, 30, 60, 80)
    motion = track([paint(big)] * 20 + [paint(far)] * 20)
    assert motion.cuts == [20]
    assert (left_edge(motion)[20:] == 85).all()


@pytest.mark.parametrize("blank", [0, 255])
def test_a_blank_second_is_a_gap_and_no_cut(blank):
    gone = np.full_like(paint(), blank)
    motion = track([paint(FACE)] * 10 + [gone] * 10 + [paint((64, 30, 40, 50))] * 10)
    assert motion.cuts == [] and motion.missing_spans() == [(0.4, 0.8)]
    assert (np.diff(left_edge(motion.filled())) < 1).all(), "eased, for it is the same shot"


def test_a_blank_second_between_two_shots_is_a_cut():
    gone = np.zeros_like(paint())
    motion = track([paint(FACE)] * 10 + [gone] * 10 + [paint((20, 10, 60, 80), ground=90)] * 10)
    assert motion.cuts == [20] and motion.found.tolist() == [True] * 10 + [False] * 10 + [True] * 10


def test_a_new_slide_behind_the_speaker_is_no_cut():
    motion = track([paint(FACE)] * 10 + [paint(FACE, ground=90)] * 10)
    assert motion.cuts == [] and motion.found.all()


def test_movement_and_flashes_are_no_cuts():
    dimmed = (paint(FACE) * 0.75).astype(np.uint8)
    assert track([paint(FACE)] * 10 + [dimmed] + [paint(FACE)] * 10).cuts == []
    assert track([paint((10 + 4 * t, 30, 40, 50)) for t in range(25)]).cuts == []


def test_pictures_are_not_kept():
    """However long the video: no more than the frame at hand and the one before."""
    alive = peak = 0

    class Streaming(_Reader):
        def __iter__(self):
            nonlocal alive, peak
            for i in range(50):
                picture = paint((10 + i, 30, 40, 50))
                alive += 1
                peak = max(peak, alive)
                weakref.finalize(picture, gone)
                yield _Frame(picture, i, i / 25, i)

    def gone() -> None:
        nonlocal alive
        alive -= 1

    assert len(track_video(Streaming([]), PaintedFaces())) == 50  # type: ignore[arg-type]
    assert peak <= 3


def test_progress_is_told_after_every_frame():
    told: list[tuple[int, int | None]] = []
    reader = _Reader([paint(FACE)] * 4)
    track_video(reader, PaintedFaces(), progress=lambda done, total: told.append((done, total)))  # type: ignore[arg-type]
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_video_without_frames():
    with pytest.raises(InputError, match="has no frames"):
        track([])


# Smoothing


def trembling(points: np.ndarray, share: float = 0.007) -> np.ndarray:
    """Points with noise of that share of the eye distance."""
    return points + np.random.default_rng(0).normal(0, share * eye_distance(points[0]), points.shape)


def shake(points: np.ndarray) -> float:
    return float(np.sqrt((np.diff(points, 2, axis=0) ** 2).mean()))


def lips(points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points[:, 62] - points[:, 66], axis=-1)


def lids(points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points[:, 38] - points[:, 40], axis=-1)


TIMES = np.arange(60) / 25
STILL = np.repeat(REST[None], 60, 0)


def test_strength_0_changes_nothing_and_more_is_stiller():
    noisy = trembling(STILL)
    assert np.array_equal(smooth_motion(noisy, TIMES, 0), noisy.astype(np.float32))
    shakes = [shake(smooth_motion(noisy, TIMES, strength)) / shake(noisy) for strength in (0.25, 0.5, 1.0)]
    assert shakes[0] < 0.7 and shakes[1] < 0.5 and shakes[2] < 0.4
    assert shakes == sorted(shakes, reverse=True)


def test_blinks_and_closures_of_the_lips_keep_their_depth():
    blink, talk = load_builtin_motion("blink"), load_builtin_motion("talk")
    for motion, gap in ((blink, lids), (talk, lips)):
        true = gap(motion.points)
        kept = gap(smooth_motion(trembling(motion.points, 0.004), motion.times, 0.5))
        assert np.ptp(kept) > 0.9 * np.ptp(true)
        assert np.corrcoef(kept, true)[0, 1] > 0.97
    # In step: shifted by a frame either way it fits worse.
    fit = [np.corrcoef(np.roll(kept, shift), true)[0, 1] for shift in (-1, 0, 1)]
    assert max(fit) == fit[1]


def test_smoothing_knows_neither_size_nor_place_nor_direction_of_time():
    motion = load_builtin_motion("talk")
    points, times = trembling(motion.points), motion.times
    once = smooth_motion(points, times, 0.5)
    assert np.allclose(smooth_motion(points * 3 + [500, -40], times, 0.5), once * 3 + [500, -40], atol=0.02)
    assert np.allclose(smooth_motion(points[::-1], times[-1] - times[::-1], 0.5)[::-1], once, atol=0.02)


def test_smoothing_uses_true_times_where_the_frame_rate_varies():
    """A frame rate that halves midway smooths as much as one that does not: what counts is seconds, not frames."""
    steps = np.where(np.arange(80) < 40, 1 / 50, 1 / 25)
    times = np.concatenate([[0], np.cumsum(steps)])
    sway = 40 * np.sin(2 * np.pi * 0.7 * times)
    points = REST[None] + np.stack([sway, 0 * sway], -1)[:, None]
    true = smooth_motion(points, times, 1.0)[:, 30, 0] - REST[30, 0]
    naive = smooth_motion(points, np.arange(81) / 25, 1.0)[:, 30, 0] - REST[30, 0]
    inner = slice(8, -8)
    assert np.abs(true - sway)[inner].max() < 1.5
    assert np.abs(true - naive)[inner].max() > 0.05, "the test can fail"
    # The live filter's delay, in seconds, is alike in both halves.
    live = OneEuro(1.0)
    followed = np.array([live(p, t)[30, 0] - REST[30, 0] for p, t in zip(points, times, strict=True)])
    speed = np.gradient(sway, times)
    fast = np.abs(speed) > 100
    late = (sway - followed)[fast] / speed[fast]
    early_half, late_half = late[times[fast] < times[40]], late[times[fast] >= times[40]]
    assert np.median(late_half) == pytest.approx(np.median(early_half), rel=0.35)


@pytest.mark.parametrize("strength", [-0.1, 1.01, float("nan")])
def test_a_strength_that_makes_no_sense(strength):
    with pytest.raises(UsageError, match="from 0 to 1"):
        smooth_motion(STILL, TIMES, strength)
