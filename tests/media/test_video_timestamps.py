"""Exact time."""

from __future__ import annotations

from fractions import Fraction

import pytest

from fewshot_reenact.media import timestamps

NTSC = Fraction(30000, 1001)


def test_ten_minutes_do_not_drift() -> None:
    """29.97 taken for 29, as a peer does, is 20 seconds off in ten minutes."""
    frames = round(600 * NTSC)
    base = Fraction(1, 30000)
    assert frames * 1001 * base == frames / NTSC
    assert timestamps.to_ticks(frames / NTSC, base) == frames * 1001


@pytest.mark.parametrize(("seconds", "ticks"), [(0.5, 1), (0.49, 0), (-0.5, 0), (-0.51, -1), (1.5, 2), (2.5, 3)])
def test_ticks_round_evenly_through_zero(seconds: float, ticks: int) -> None:
    assert timestamps.to_ticks(seconds, Fraction(1)) == ticks


def test_frame_rates_that_are_believed() -> None:
    assert timestamps.frame_rate(NTSC, Fraction(30)) == NTSC
    assert timestamps.frame_rate(None, Fraction(30)) == 30
    assert timestamps.frame_rate(Fraction(1000), Fraction(30)) == 30
    assert timestamps.frame_rate(Fraction(0), None) == 25
    assert timestamps.frame_rate(Fraction(240)) == 240
    assert timestamps.frame_duration(NTSC, Fraction(1, 30000)) == 1001
    assert timestamps.frame_duration(Fraction(100), Fraction(1, 25)) == 1


def test_variable_rates() -> None:
    ms = Fraction(1, 1000)
    assert not timestamps.is_variable([0, 33, 67, 100, 133], ms)  # 30 a second in milliseconds
    assert not timestamps.is_variable([0, 528, 1072, 1600], Fraction(1, 16_000))  # the same in a finer clock
    assert timestamps.is_variable([0, 33, 67, 167], ms)
    assert timestamps.is_variable([0, 1, 3], Fraction(1, 25))
    assert not timestamps.is_variable([5], ms)
    assert not timestamps.is_variable([], ms)
    assert not timestamps.is_variable([2, 0, 1, 3], Fraction(1, 25))  # decoding order


def test_where_zero_is() -> None:
    assert timestamps.origin(None) == 0
    assert timestamps.origin(Fraction(1, 30)) == 0
    assert timestamps.origin(Fraction(-1, 30)) == Fraction(-1, 30)
    assert timestamps.origin(Fraction(3600)) == 3600
    assert timestamps.origin(Fraction(7, 10), arbitrary_clock=True) == Fraction(7, 10)


def test_no_two_frames_at_one_time() -> None:
    increasing = timestamps.Increasing(10)
    assert [increasing(p) for p in (None, 5, 5, 3, 20, None, 25, None)] == [0, 5, 6, 7, 20, 30, 31, 41]
    assert increasing.mended == 6
    good = timestamps.Increasing(10)
    assert [good(p) for p in (-3, 0, 1, 99)] == [-3, 0, 1, 99]
    assert good.mended == 0
