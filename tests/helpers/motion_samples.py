"""What the tests of motion files share: a motion with everything that a file must keep, and what is the same."""

from fractions import Fraction

import numpy as np

from fake_face import REST
from fewshot_reenact.motion.motion import Motion

NTSC = Fraction(30000, 1001)


def motion(frames: int = 6) -> Motion:
    """29.97 frames a second, a jump in time, a frame without a face, a cut."""
    rng = np.random.default_rng(1)
    points = (REST + rng.normal(0, 3, (frames, 83, 2))).astype(np.float32)
    pts = np.arange(frames) * 1001 + 5005 * (np.arange(frames) > 3)
    confidence = rng.uniform(0.5, 1, frames).astype(np.float32)
    points[2], confidence[2] = np.nan, 0
    time_base = Fraction(1, 30000)
    times = np.array([float(one * time_base) for one in pts.tolist()])
    return Motion(points, confidence, times, pts, time_base, NTSC, (1920, 1080), [4], "film.mp4")


def same(a: Motion, b: Motion, tolerance: float = 0) -> None:
    assert np.allclose(a.points, b.points, rtol=0, atol=tolerance, equal_nan=True)
    assert np.allclose(a.confidence, b.confidence, rtol=0, atol=tolerance)
    assert a.times.tobytes() == b.times.tobytes() and a.pts.tolist() == b.pts.tolist(), "time is exact to the bit"
    assert (a.time_base, a.fps, a.size, a.cuts, a.source) == (b.time_base, b.fps, b.size, b.cuts, b.source)
