"""How long the stages of a work take."""

import time


class Clock:
    """Seconds by stage."""

    def __init__(self) -> None:
        self._began = self._last = time.perf_counter()
        self._laps: dict[str, float] = {}

    def lap(self, name: str | None = None) -> None:
        """Ends a stage; without a name its time counts for none."""
        now = time.perf_counter()
        if name is not None:
            self._laps[name] = now - self._last
        self._last = now

    def all(self, more: dict[str, float]) -> dict[str, float]:
        """Seconds of all stages so far, of `more`, and in all."""
        laps = {**self._laps, **more, "all": time.perf_counter() - self._began}
        return {name: round(value, 3) for name, value in laps.items()}
