"""A driver's motion at the times of a portrait's video: how long the output is, and what drives each frame."""

from fractions import Fraction

import numpy as np
import pytest

from fake_face import points_in
from fewshot_reenact.motion.motion import Motion
from fewshot_reenact.motion.pacing import Fit, frames_shown, paced

BASE = Fraction(1, 600)


def motion(frames: int, fps: int, speed: float = 30.0, first: int = 0, cuts: tuple[int, ...] = ()) -> Motion:
    """A face that goes right by `speed` pixels a second."""
    pts = first + np.arange(frames) * (600 // fps)
    times = pts / 600
    points = np.stack([points_in(20 + speed * time, 30, 50, 60) for time in times])
    return Motion(points, np.ones(frames), times, pts, BASE, Fraction(fps), (320, 120), list(cuts), f"{frames}.mp4")


def lefts(made: Motion) -> np.ndarray:
    return made.points[..., 0].min(1)


def test_the_driver_is_taken_at_the_videos_times():
    """Whatever its own frame rate: between two of its frames in between."""
    made = paced(motion(60, 30), motion(20, 10))
    assert made.motion.pts.tolist() == motion(20, 10).pts.tolist() and made.motion.fps == 10
    assert np.allclose(lefts(made.motion), 20 + 30 * made.motion.times, atol=1e-3)
    slow = paced(motion(4, 4), motion(10, 10)).motion
    assert (
        np.allclose(lefts(slow)[:8], 20 + 30 * slow.times[:8], atol=1e-3) and (lefts(slow)[8:] == lefts(slow)[8]).all()
    )
    assert frames_shown(20, motion(20, 10)).tolist() == list(range(20))


def test_a_driver_that_is_the_video_itself_is_untouched():
    own = motion(12, 25)
    made = paced(own, own)
    assert (made.motion.points == own.points).all() and made.at.tolist() == list(range(12)) and made.notes == []


@pytest.mark.parametrize(
    ("fit", "video", "driver", "frames"),
    [
        ("shortest", 20, 10, 10),
        ("shortest", 10, 20, 10),
        ("loop", 20, 10, 20),
        ("loop", 10, 25, 25),
        ("stretch", 20, 10, 20),
        ("stretch", 10, 25, 10),
    ],
)
def test_lengths(fit: Fit, video: int, driver: int, frames: int):
    own = motion(video, 10)
    made = paced(motion(driver, 10), own, fit)
    assert len(made.motion) == frames and (np.diff(made.motion.times) > 0).all()
    assert made.length == Fraction(frames, 10)
    (said,) = made.notes
    assert f"lasts {video / 10:.2f} s, the driver {driver / 10:.2f} s" in said


def test_loops_begin_anew_with_a_cut():
    """The driver, or the video; nothing is between its end and its beginning."""
    made = paced(motion(4, 10), motion(10, 10), "loop")
    assert made.at.tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1] and made.motion.cuts == [4, 8]
    own = motion(4, 10)
    made = paced(motion(10, 10), own, "loop")
    assert frames_shown(10, own).tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1] and made.motion.cuts == []
    assert made.motion.pts.tolist() == (np.arange(10) * 60).tolist(), "without a pause"


def test_stretched_it_goes_faster_or_slower():
    made = paced(motion(20, 10), motion(10, 10), "stretch")
    assert made.tempo == 2 and made.at.tolist() == list(range(0, 20, 2))
    assert paced(motion(5, 10), motion(10, 10), "stretch").tempo == Fraction(1, 2)
    assert paced(motion(20, 10), motion(10, 10), "loop").tempo == 1


def test_nothing_is_between_two_shots_nor_between_a_face_and_none():
    driver = motion(8, 10, cuts=(4,))
    driver.points[4:] += 100
    driver.points[6] = np.nan
    driver.confidence[6] = 0
    made = paced(driver, motion(32, 40)).motion
    assert made.cuts == [14] and not ((lefts(made) > 35) & (lefts(made) < 130)).any()
    assert made.found.tolist() == [True] * 22 + [False] * 4 + [True] * 6
    assert (made.confidence[~made.found] == 0).all()
