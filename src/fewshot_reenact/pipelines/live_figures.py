"""How a live session is doing: frames shown and dropped, their rate, and how long a frame takes to be shown."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_BIN, _BINS = 0.5, 20_000  # milliseconds, and how many: memory does not grow with a session's length


@dataclass(frozen=True)
class LiveFigures:
    """frames: shown. dropped: that the camera took and nobody saw. seconds: for which frames were shown, pauses left
    out. median_ms, late_ms: milliseconds from a frame's arrival from the camera to its picture being shown (without a
    window: made), the median, and what 95 % are faster than; None before the first one.
    """

    frames: int
    dropped: int
    seconds: float
    median_ms: float | None
    late_ms: float | None

    @property
    def fps(self) -> float | None:
        """Frames shown a second; None for fewer than two."""
        return (self.frames - 1) / self.seconds if self.frames > 1 and self.seconds > 0 else None

    def line(self) -> str:
        """For people."""
        rate = "" if self.fps is None else f", {self.fps:.1f} frames a second"
        late = ""
        if self.median_ms is not None:
            late = f", {self.median_ms:.0f} ms from camera to picture (95 % under {self.late_ms:.0f} ms)"
        return f"{self.frames} frame{'s' if self.frames != 1 else ''} shown, {self.dropped} dropped{rate}{late}"


class Meter:
    """Adds up what LiveFigures tells."""

    def __init__(self) -> None:
        self.frames, self._seconds = 0, 0.0
        self._last: float | None = None
        self._delays = np.zeros(_BINS, np.int64)

    def shown(self, taken: float, now: float) -> None:
        """A picture is shown at `now` of a frame that arrived at `taken`, seconds on one clock."""
        self.frames += 1
        if self._last is not None:
            self._seconds += now - self._last
        self._last = now
        self._delays[min(_BINS - 1, max(0, int(1000 * (now - taken) / _BIN)))] += 1

    def pause(self) -> None:
        """What passes until the next picture does not count."""
        self._last = None

    def figures(self, dropped: int) -> LiveFigures:
        """All of it so far."""
        median, late = (self._delay(share) for share in (0.5, 0.95))
        return LiveFigures(self.frames, dropped, round(self._seconds, 3), median, late)

    def _delay(self, share: float) -> float | None:
        if not self.frames:
            return None
        return float(_BIN * (np.searchsorted(np.cumsum(self._delays), share * self.frames) + 0.5))
