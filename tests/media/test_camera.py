"""Cameras: devices that are missing, busy or lost; files in real time; only the newest frame is kept."""

import threading
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.media import camera as module
from fewshot_reenact.media.camera import Capture, DeviceCamera, FileCamera, open_camera
from scripted_cameras import FakeCapture
from video_samples import make_video, number_of, numbered

NEVER = threading.Event()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def device(monkeypatch: pytest.MonkeyPatch, capture: FakeCapture) -> DeviceCamera:
    monkeypatch.setattr(module.cv2, "VideoCapture", capture)
    opened = open_camera(0)
    assert isinstance(opened, DeviceCamera)
    return opened


# ---- devices


def test_a_camera_that_is_not_there(capfd: pytest.CaptureFixture[str]) -> None:
    for given in (97, "97", "/dev/video97"):
        with pytest.raises(InputError, match=r"^camera 97: .*--camera, or a video file"):
            open_camera(given)
    assert capfd.readouterr().err == "", "OpenCV's own lines"
    with pytest.raises(UsageError, match="counted from 0"):
        open_camera("-1")


def test_a_camera_that_another_program_has(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = FakeCapture([])
    with pytest.raises(InputError, match="camera 0: gives no picture: another program may have it"):
        device(monkeypatch, taken)
    assert taken.released


def test_what_a_camera_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    blue = np.zeros((4, 6, 3), np.uint8)
    blue[..., 0] = 200  # OpenCV's order is BGR
    opened = device(monkeypatch, FakeCapture([blue] * 4))
    assert opened.first()[0, 0].tolist() == [0, 0, 200] and opened.fps == 30
    seen = []
    with pytest.raises(InputError, match="any more: it was unplugged"):
        for shot in opened.shots(NEVER):
            seen.append(shot)
    assert [shot.picture[0, 0].tolist() for shot in seen] == [[0, 0, 200]] * 3
    times = [shot.time for shot in seen]
    assert times[0] == 0 and times == sorted(set(times))


def test_a_camera_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    hangs = threading.Event()
    fake = FakeCapture([np.zeros((4, 6, 3), np.uint8)] * 2, hangs=hangs)
    opened = device(monkeypatch, fake)
    monkeypatch.setattr(opened, "patience", 0.05)
    monkeypatch.setattr(module, "_JOIN", 0.05)
    with pytest.raises(InputError, match=r"no picture for 0\.05 s"), Capture(opened) as capture:
        for _ in range(1000):
            capture.take(0.02)
    assert not fake.released, "it is inside the driver still"
    hangs.set()


# ---- files


class Clock:
    """Time that passes only where somebody waits, or works."""

    def __init__(self) -> None:
        self.now = 100.0

    def wait(self, seconds: float) -> bool:
        assert seconds >= 0
        self.now += seconds
        return False


def test_a_file_is_played_in_real_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each frame at its time from the first; one that comes late moves none of the later ones."""
    ticks = [3, 4, 5, 9, 20, 21]
    video = make_video(tmp_path / "a.mp4", ticks, Fraction(1, 25))
    clock = Clock()
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    played = FileCamera(video)
    assert number_of(played.first()) == 0 and played.fps > 0
    shots = []
    for shot in played.shots(clock):  # type: ignore[arg-type]
        shots.append(shot)
        if len(shots) == 3:
            clock.now += 0.08  # work, which ends before the next frame
        if len(shots) == 5:
            clock.now += 0.2  # longer than until the next
    played.close()
    assert [number_of(shot.picture) for shot in shots] == list(range(6))
    assert [shot.time for shot in shots] == pytest.approx([tick / 25 for tick in ticks])
    passed = [shot.taken - 100 for shot in shots]
    assert passed == pytest.approx([0, 0.04, 0.08, 0.24, 0.68, 0.88])


def test_what_is_no_camera(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("no video")
    for given, says in (
        (tmp_path / "a.mp4", "not a video"),
        (tmp_path / "none.mp4", "no such file"),
        ("rtsp://host/stream", "address on the net"),
        (tmp_path, "is a folder"),
    ):
        with pytest.raises(InputError, match=says):
            open_camera(given)


# ---- the newest frame


def test_only_the_newest_frame_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = [numbered(number)[..., ::-1] for number in range(6)]
    hangs = threading.Event()
    opened = device(monkeypatch, FakeCapture(pictures, hangs=hangs))  # the first one tries it
    with Capture(opened) as capture:
        until(lambda: capture.dropped == 4)
        newest = capture.take(5)
        assert newest is not None and number_of(newest.picture) == 5
        assert capture.take(0.01) is None and capture.dropped == 4 and not capture.ended
        hangs.set()
        with pytest.raises(InputError, match="unplugged"):
            capture.take(5)


def test_the_last_frame_of_a_file_is_taken_too(tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mp4", [0, 1, 2], Fraction(1, 100))
    with Capture(FileCamera(video)) as capture:
        until(lambda: capture._over)
        newest = capture.take(1)
        assert newest is not None and number_of(newest.picture) == 2
        assert capture.dropped == 2 and capture.ended and capture.take(1) is None


def test_an_end_in_the_middle_of_a_pause(tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mp4", [0, 100], Fraction(1))
    with Capture(FileCamera(video)) as capture:
        assert capture.take(20) is not None
    assert not capture._thread.is_alive()
