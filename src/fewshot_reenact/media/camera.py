"""Where live pictures come from: a camera, or a video file in real time. A thread keeps the newest frame only."""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.files import as_file
from fewshot_reenact.media import timestamps
from fewshot_reenact.media.reader import VideoReader

_STALE = 5  # frames that a camera's driver has kept since it was opened
_PATIENCE = 5.0  # seconds without a frame, after which a camera counts as lost
_SILENT = 0  # LOG_LEVEL_SILENT of OpenCV
_JOIN = 3.0  # seconds for a camera's read to come back when all is over


@dataclass(frozen=True)
class Shot:
    """A frame of a camera. picture: (H, W, 3) uint8 RGB. time: seconds on the camera's own clock, which only goes
    forward; a file's are its timestamps. taken: when the picture was there, seconds of time.perf_counter.
    """

    picture: np.ndarray
    time: float
    taken: float


class Camera(Protocol):
    """What live pictures come from."""

    @property
    def name(self) -> str:
        """For people."""

    @property
    def path(self) -> Path | None:
        """The file that is played; None for a device."""

    @property
    def fps(self) -> Fraction:
        """Frames a second, as it claims."""

    @property
    def patience(self) -> float | None:
        """Seconds without a frame after which it counts as lost; None: for ever."""

    def first(self) -> np.ndarray:
        """A picture (H, W, 3) uint8 RGB to see that there are any; of a file the first one, which comes again."""

    def shots(self, stop: threading.Event) -> Iterator[Shot]:
        """The frames as they come, until `stop` is set or the file ends. Raises InputError: the camera is lost."""

    def close(self) -> None:
        """Gives the camera back."""


def open_camera(camera: int | str | Path, any_size: bool = False) -> Camera:
    """camera: a device's index, or a video file. any_size: of a file, see VideoReader.

    Raises InputError: no such camera, in use, no such file, no video; UsageError: an index below zero.
    """
    text = str(camera)
    device = re.fullmatch(r"(?:/dev/video)?(\d+)", text)
    if device:
        return DeviceCamera(int(device[1]))
    if re.fullmatch(r"-\d+", text):
        raise UsageError(f"camera {text}: cameras are counted from 0")
    return FileCamera(as_file(camera if isinstance(camera, Path) else text), any_size)


class DeviceCamera:
    """A camera of this machine, by OpenCV. Raises InputError: there is none, it is in use, or gives no picture."""

    path: Path | None = None
    patience: float | None = _PATIENCE

    def __init__(self, index: int) -> None:
        self.name = f"camera {index}"
        self._level = _log_level(_SILENT)  # what there is to say is said in an error
        self._capture = cv2.VideoCapture(index)
        if not self._capture.isOpened():
            self.close()
            raise InputError(f"{self.name}: {_why_not(index)}; give another with --camera, or a video file")
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        claimed = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.fps = timestamps.frame_rate(Fraction(claimed).limit_denominator(1001) if 0 < claimed < 1000 else None)
        try:
            self._first = self._read("gives no picture: another program may have it; close that, or give another")
        except BaseException:
            self.close()
            raise

    def first(self) -> np.ndarray:
        """The picture with which it was tried."""
        return self._first

    def shots(self, stop: threading.Event) -> Iterator[Shot]:
        """Frames as they come."""
        for _ in range(_STALE):
            if not stop.is_set():
                self._capture.grab()
        began: float | None = None
        while not stop.is_set():
            picture = self._read("gives no picture any more: it was unplugged, or another program took it")
            now = time.perf_counter()
            began = now if began is None else began
            yield Shot(picture, now - began, now)

    def close(self) -> None:
        """Gives the camera back."""
        self._capture.release()
        _log_level(self._level)

    def _read(self, otherwise: str) -> np.ndarray:
        try:
            good, picture = self._capture.read()
        except cv2.error as error:
            raise InputError(f"{self.name}: {otherwise}") from error
        if not good or picture is None:
            raise InputError(f"{self.name}: {otherwise}")
        return np.ascontiguousarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))


class FileCamera:
    """A video file, played in real time by its timestamps. Raises InputError: see VideoReader."""

    patience: float | None = None

    def __init__(self, path: Path, any_size: bool = False) -> None:
        self._reader = VideoReader(path, any_size=any_size)
        self.name, self.path = str(path), path
        self.fps = self._reader.info.fps

    def first(self) -> np.ndarray:
        """The first frame; playing begins with it all the same."""
        return next(iter(self._reader)).picture

    def shots(self, stop: threading.Event) -> Iterator[Shot]:
        """Each frame when its time has come, counted from the first one."""
        began: float | None = None
        for frame in self._reader:
            now = time.perf_counter()
            began = now - frame.time if began is None else began
            if stop.wait(max(0.0, began + frame.time - now)):
                return
            yield Shot(frame.picture, frame.time, time.perf_counter())

    def close(self) -> None:
        """Closes the file."""
        self._reader.close()


class Capture:
    """Takes a camera's frames on a thread of its own and keeps the newest alone: whoever is slow misses frames, and no
    frame waits. dropped: frames that were never taken. A context manager: the camera is given back at its end.
    """

    def __init__(self, camera: Camera) -> None:
        self.camera, self.dropped = camera, 0
        self._newest: Shot | None = None
        self._error: BaseException | None = None
        self._over = False
        self._since = time.perf_counter()
        self._stop, self._changed = threading.Event(), threading.Condition()
        self._thread = threading.Thread(target=self._run, name="camera", daemon=True)

    def __enter__(self) -> Capture:
        self._since = time.perf_counter()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(_JOIN)
        if not self._thread.is_alive():  # else it is inside the camera's driver, which a second call could crash
            self.camera.close()

    @property
    def ended(self) -> bool:
        """Whether the last frame was taken."""
        with self._changed:
            return self._over and self._newest is None

    def take(self, timeout: float) -> Shot | None:
        """The newest frame that was not taken yet; None where none comes within `timeout` seconds, or none any more.

        Raises InputError: the camera is lost.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._newest is not None or self._over, timeout)
            shot, self._newest = self._newest, None
            if shot is not None:
                return shot
            if self._error is not None:
                raise self._error
            patience = self.camera.patience
            if patience is not None and not self._over and time.perf_counter() - self._since > patience:
                raise InputError(f"{self.camera.name}: gives no picture for {patience:g} s: it hangs, or was unplugged")
            return None

    def _run(self) -> None:
        try:
            for shot in self.camera.shots(self._stop):
                with self._changed:
                    self.dropped += self._newest is not None
                    self._newest, self._since = shot, time.perf_counter()
                    self._changed.notify_all()
        except BaseException as error:
            self._error = error
        finally:
            with self._changed:
                self._over = True
                self._changed.notify_all()


def _why_not(index: int) -> str:
    """Why a camera cannot be opened, as far as can be told without opening it."""
    if sys.platform != "linux":
        return "cannot be opened: there is none of this number, another program has it, or cameras are not allowed here"
    device = Path(f"/dev/video{index}")
    if not device.exists():
        there = sorted(int(one.name.removeprefix("video")) for one in Path("/dev").glob("video[0-9]*"))
        others = f"there are {', '.join(map(str, there))}" if there else "no camera is connected"
        return f"there is no such camera ({others})"
    if not os.access(device, os.R_OK | os.W_OK):
        return f"{device} may not be read by this user, who has to be in the group 'video'"
    return "cannot be opened: another program has it, or it gives no pictures"


def _log_level(level: int) -> int:
    """Sets how much OpenCV says on stderr of itself; returns how much it was."""
    logging: Any = getattr(cv2.utils, "logging", cv2)  # OpenCV 4.8 has them at its root
    if not hasattr(logging, "setLogLevel"):
        return level
    before = int(logging.getLogLevel())
    logging.setLogLevel(level)
    return before
