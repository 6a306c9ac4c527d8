"""Cameras that do what a test says: a device that OpenCV seems to open, and one that goes on while a session works."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from fewshot_reenact.errors import InputError
from fewshot_reenact.media.camera import Shot
from fewshot_reenact.pipelines.session import Session


class FakeCapture:
    """cv2.VideoCapture of a device. pictures: BGR, what it gives; afterwards nothing, or it hangs while `hangs` is not
    set. released: whether it was given back.
    """

    def __init__(
        self, pictures: Sequence[np.ndarray], opens: bool = True, hangs: threading.Event | None = None
    ) -> None:
        self.pictures, self.opens, self.hangs = list(pictures), opens, hangs
        self.released = False

    def __call__(self, index: int) -> "FakeCapture":
        self.index = index
        return self

    def isOpened(self) -> bool:
        return self.opens

    def set(self, what: int, value: float) -> bool:
        return True

    def get(self, what: int) -> float:
        return 30.0

    def grab(self) -> bool:
        return True

    def read(self) -> tuple[bool, np.ndarray | None]:
        if self.pictures:
            return True, self.pictures.pop(0)
        if self.hangs is not None:
            self.hangs.wait(20)
        return False, None

    def release(self) -> None:
        self.released = True


class BusyCamera:
    """Takes `burst` frames while the session works on one, 25 a second by its own clock, until there are none.

    lost: it then breaks off as a camera does that is unplugged. worked_on: the numbers of the frames that were.
    """

    name, fps, patience = "a scripted camera", Fraction(25), None
    path: Path | None = None

    def __init__(self, pictures: Sequence[np.ndarray], burst: int, lost: bool = False) -> None:
        self.pictures, self.burst, self.lost = pictures, burst, lost
        self.worked_on: list[int] = []
        self.closed = False
        self._go, self._done = threading.Semaphore(0), threading.Semaphore(0)

    def first(self) -> np.ndarray:
        return self.pictures[0]

    def shots(self, stop: threading.Event) -> Iterator[Shot]:
        number = 0
        while number < len(self.pictures):
            for _ in range(self.burst if number else 1):
                if number < len(self.pictures):
                    yield Shot(self.pictures[number], number / 25, time.perf_counter())
                    number += 1
            if number > 1:
                self._done.release()
            while not self._go.acquire(timeout=0.01):
                if stop.is_set():
                    return
        self._done.release()
        if self.lost:
            raise InputError("a scripted camera: was unplugged")

    def close(self) -> None:
        self.closed = True

    def go_on(self) -> None:
        """Takes the next frames."""
        self._go.release()
        self._done.acquire(timeout=20)

    def beside(self, frame: Callable[..., np.ndarray], then: Callable[[int], None]) -> Callable[..., np.ndarray]:
        """Session.frame, while which the camera goes on. then: called with the number of each frame worked on."""

        def slow(session: Session, picture: np.ndarray, moment: float | None = None) -> np.ndarray:
            made = frame(session, picture, moment)
            if moment is not None:
                self.worked_on.append(round(25 * moment))
                self.go_on()
                then(len(self.worked_on))
            return made

        return slow
