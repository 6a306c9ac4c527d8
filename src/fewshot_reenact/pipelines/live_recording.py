"""What a live session shows, into a file: signed, whole or not at all, at the times at which the camera saw it."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from fewshot_reenact.errors import UsageError
from fewshot_reenact.media import level, timestamps
from fewshot_reenact.media.writer import VideoWriter
from fewshot_reenact.provenance import history
from fewshot_reenact.provenance.marks import StandardMarks

_TICK = Fraction(1, 90_000)


class Recording:
    """Begins with the first picture. path: .mp4, .m4v or .mov. fps: of the camera, roughly. notes: for the user, known
    when it is finished. Raises UsageError as VideoWriter does; `switch` leaves parts out and closes the gap.
    """

    def __init__(
        self,
        path: Path,
        fps: Fraction,
        marks: StandardMarks,
        *,
        inputs: Sequence[str | Path] = (),
        overwrite: bool = False,
    ) -> None:
        self.path = VideoWriter.check_output(path, overwrite, inputs)
        self.on, self.notes = True, list[str]()
        self._fps, self._marks, self._inputs, self._overwrite = fps, marks, tuple(inputs), overwrite
        self._writer: VideoWriter | None = None
        self._size = (0, 0)
        self._began, self._last = 0.0, -1  # of the camera's clock, seconds; the last picture's tick
        self._joins = self._lost = False

    @property
    def frames(self) -> int:
        """Pictures in the file so far."""
        return 0 if self._writer is None else self._writer.frames

    @property
    def seconds(self) -> float:
        """The file's length so far."""
        return round(float(max(0, self._last) * _TICK + 1 / self._fps), 3) if self.frames else 0.0

    def switch(self) -> None:
        """Goes on or off. What comes while it is off is left out, without a gap."""
        self.on = not self.on
        self._joins = self._joins or (self.on and self.frames > 0)

    def write(self, picture: np.ndarray, time: float) -> None:
        """A picture (H, W, 3) uint8 RGB and its time on the camera's clock, seconds. Raises UsageError: disk full."""
        if not self.on:
            return
        if self._writer is None:
            self._begin(picture, time)
            assert self._writer is not None
        if self._joins:
            self._joins = False
            self._began = time - float(self._last * _TICK + 1 / self._fps)
        self._last = max(self._last + 1, timestamps.to_ticks(time - self._began, _TICK))
        if picture.shape[1::-1] != self._size:
            picture = level.scaled(picture, self._size)
        try:
            self._writer.write(picture, self._last)
        except UsageError:  # the writer has removed what there was
            self._lost = True
            raise

    def finish(self) -> bool:
        """Completes and signs the file, and notes it in the history. False where there is none."""
        if self._lost:
            return False
        if self._writer is None:
            self.notes.append(f"{self.path}: nothing was recorded, so there is no such file")
            return False
        self._writer.close()
        self.notes += [*self._marks.notes, *history.record(self._marks.id, self.path)]
        return True

    def _begin(self, picture: np.ndarray, time: float) -> None:
        width, height = picture.shape[1::-1]
        self._size = level.largest(width, height, self._fps)
        if self._size != (width, height):
            self.notes.append(
                f"{width}x{height} would be more than most players show; the recording is scaled to "
                f"{self._size[0]}x{self._size[1]} (H.264 level 5.1)"
            )
        self._began = time
        self._writer = VideoWriter(
            self.path, *self._size, _TICK, self._fps, marks=self._marks, inputs=self._inputs, overwrite=self._overwrite
        )
