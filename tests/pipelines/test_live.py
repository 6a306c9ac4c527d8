"""`live`: frames are dropped, never queued; a recording plays at the true speed and is signed; the label is there."""

import itertools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from animate_samples import FACE, WALK, box_in, face_picture, film, frames_of
from fake_face import PaintedFaces, paint
from fewshot_reenact import AnimateOptions, Session, live, verify
from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.media.reader import VideoReader
from fewshot_reenact.media.sender import StreamSender
from fewshot_reenact.pipelines import live as module
from fewshot_reenact.pipelines.live_figures import Meter
from fewshot_reenact.pipelines.live_window import KEYS
from fewshot_reenact.provenance import history
from scripted_cameras import BusyCamera
from stream_receivers import receiving

PORTRAIT = face_picture(FACE, scale=4)  # from 520 pixels on every watermark is found
PICTURES = [paint((30 + t, 30, 50, 60)) for t in range(16)]
Busy = Callable[..., BusyCamera]


@pytest.fixture
def options(tiny_model: Path) -> AnimateOptions:
    return AnimateOptions(model=tiny_model, landmarks=PaintedFaces(), smooth=0)


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> Busy:
    """Makes `live` use a BusyCamera. then: called after each frame that was worked on, with how many it were."""

    real = Session.frame

    def make(
        burst: int = 1, then: Callable[[int], None] = lambda worked: None, lost: bool = False, count: int = 16
    ) -> BusyCamera:
        camera = BusyCamera(PICTURES[:count], burst, lost)
        monkeypatch.setattr(module, "open_camera", lambda given, any_size: camera)
        monkeypatch.setattr(Session, "frame", camera.beside(real, then))
        return camera

    return make


def times_of(path: Path) -> list[float]:
    with VideoReader(path) as reader:
        return [frame.time for frame in reader]


def labelled(picture: np.ndarray) -> bool:
    """Whether the label's plate is in the lower right corner, where the portrait is lighter."""
    corner = np.s_[-30:-8, -130:-10]
    return bool(picture[corner].mean() < 0.85 * PORTRAIT[corner].mean() or picture[corner].max() > 230)


# ---- from end to end


def test_a_file_as_the_camera(options: AnimateOptions, tmp_path: Path) -> None:
    """Frames, window and all as they are, in real time; how many frames are dropped is the machine's."""
    camera, out = film(tmp_path / "walk.mp4", WALK), tmp_path / "out.mp4"
    before = camera.read_bytes()
    made = live(PORTRAIT, options, camera=camera, window=False, record=out)
    assert made.frames + made.dropped == len(WALK) and made.frames == made.recorded["frames"] >= 1
    assert (made.width, made.height, made.recording) == (640, 480, out) and camera.read_bytes() == before
    steps = [moment * 30000 / 1001 for moment in times_of(out)]
    assert steps[0] == 0 and steps == pytest.approx([round(step) for step in steps], abs=1e-2)
    pictures = frames_of(out)
    assert all(labelled(picture) for picture in pictures) and not labelled(PORTRAIT)
    (mark,) = verify(out)
    assert mark.signature is not None and mark.signature.holds and mark.signature.statement["live"] is True
    assert mark.watermark is not None and mark.watermark.id == made.watermark and not mark.foreign_manifest
    assert mark.watermark.same_file is True, "the history knows the file"
    roles = [one["role"] for one in mark.signature.statement["inputs"]]
    assert roles == ["portrait", "driver", "model"]
    assert {path.name for path in tmp_path.iterdir()} == {"walk.mp4", "out.mp4"}


def test_a_stream_to_this_machine(options: AnimateOptions, busy: Busy, tmp_path: Path) -> None:
    waits = threading.Event()
    camera = busy(burst=2, then=lambda worked: waits.wait(0.05) and None)
    told: list[str] = []
    with receiving(tmp_path / "got.ts") as port:
        made = live(PORTRAIT, options, window=False, to=f"udp://127.0.0.1:{port}", tell=told.append)
    assert made.sent_to == f"udp://127.0.0.1:{port}" and 1 <= made.sent <= made.frames == 9
    assert [line for line in told if made.sent_to in line and "sent to a program on this machine" in line]
    pictures = frames_of(tmp_path / "got.ts")
    assert len(pictures) == made.sent and all(labelled(picture) for picture in pictures)
    assert box_in(pictures[-1])[0] > box_in(pictures[0])[0] + 20
    assert {round(25 * moment, 2) for moment in times_of(tmp_path / "got.ts")} <= set(camera.worked_on)


# ---- frames are dropped, never queued


@pytest.mark.parametrize("burst", [1, 3])
def test_the_newest_frame_is_taken(options: AnimateOptions, busy: Busy, tmp_path: Path, burst: int) -> None:
    """While the session works the camera takes `burst` frames: all but the newest are dropped, and none is late."""
    camera = busy(burst)
    made = live(PORTRAIT, options, window=False, record=tmp_path / "out.mp4")
    assert camera.worked_on == list(range(0, 16, burst))
    assert (made.frames, made.dropped) == (len(camera.worked_on), 16 - len(camera.worked_on))
    assert times_of(tmp_path / "out.mp4") == pytest.approx([number / 25 for number in camera.worked_on])
    assert camera.closed


def test_an_end_after_frames_and_after_seconds(options: AnimateOptions, busy: Busy, tmp_path: Path) -> None:
    busy(burst=2)
    assert live(PORTRAIT, options, window=False, frames=3).frames == 3
    camera = busy(burst=2)
    made = live(PORTRAIT, options, window=False, seconds=0.24)
    assert camera.worked_on == [0, 2, 4] and made.recording is None and made.recorded == {}


# ---- ends of other kinds


def test_it_can_be_stopped(options: AnimateOptions, busy: Busy, tmp_path: Path) -> None:
    stop = threading.Event()
    busy(then=lambda worked: stop.set() if worked == 4 else None)
    figures = []
    made = live(PORTRAIT, options, window=False, record=tmp_path / "out.mp4", stop=stop, figures=figures.append)
    assert made.frames == len(times_of(tmp_path / "out.mp4")) == 4
    assert figures and figures[-1].frames == 4
    assert verify(tmp_path / "out.mp4")[0].signature.holds


def test_nothing_was_recorded(options: AnimateOptions, busy: Busy, tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    busy()
    made = live(PORTRAIT, options, window=False, record=tmp_path / "out.mp4", stop=stop)
    assert made.recording is None and made.frames == 0 and made.fps is None
    assert any("nothing was recorded" in line for line in made.warnings) and not list(tmp_path.iterdir())


def test_a_camera_that_is_unplugged(options: AnimateOptions, busy: Busy, tmp_path: Path) -> None:
    """What was recorded until then is finished, signed and kept."""
    camera = busy(lost=True, count=5)
    with pytest.raises(InputError, match=r"unplugged; what was recorded until then is kept in .*out\.mp4"):
        live(PORTRAIT, options, window=False, record=tmp_path / "out.mp4")
    assert times_of(tmp_path / "out.mp4") == pytest.approx([number / 25 for number in range(5)])
    signature = verify(tmp_path / "out.mp4")[0].signature
    assert signature is not None and signature.holds and camera.closed
    (driver,) = [one for one in signature.statement["inputs"] if one["role"] == "driver"]
    assert driver["name"] == "camera" and driver.get("sha256") is None
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_a_stream_that_breaks(
    options: AnimateOptions, busy: Busy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(self: StreamSender, picture: np.ndarray, time: float) -> None:
        if time > 0.1:
            raise UsageError("udp://127.0.0.1:1: gone")

    monkeypatch.setattr(StreamSender, "send", breaks)
    busy()
    with pytest.raises(UsageError, match="gone; what was recorded until then is kept"):
        live(PORTRAIT, options, window=False, to="udp://127.0.0.1:1", record=tmp_path / "out.mp4")
    assert len(times_of(tmp_path / "out.mp4")) == 4


def test_a_full_disk(options: AnimateOptions, busy: Busy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is kept, and nothing says that it was."""

    def full(self: object, picture: np.ndarray, pts: int, duration: int) -> None:
        if pts > 9000:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("fewshot_reenact.media.encoder.Encoder.put", full)
    busy()
    with pytest.raises(UsageError, match="no room to write it") as told:
        live(PORTRAIT, options, window=False, record=tmp_path / "out.mp4")
    assert "kept" not in str(told.value) and not list(tmp_path.iterdir())


# ---- what cannot be


def test_the_label_cannot_be_left_out(tiny_model: Path) -> None:
    bare = AnimateOptions(model=tiny_model, landmarks=PaintedFaces(), label=False)
    with pytest.raises(UsageError, match=r"label cannot be left out of live pictures; RESPONSIBLE_USE\.md says why"):
        live(PORTRAIT, bare, window=False, frames=1)


@pytest.mark.parametrize(
    ("options", "more", "says"),
    [
        ({"background": "transparent"}, {}, "cannot be transparent"),
        ({"start": 1.0}, {}, "start is of drivers"),
        ({"compare": True}, {}, "compare is of drivers"),
        ({}, {"frames": None}, "nobody would see anything"),
        ({}, {"frames": 0}, "above zero"),
        ({}, {"seconds": float("nan")}, "above zero"),
        ({}, {"to": "http://host"}, "give udp://"),
        ({}, {"record": "out.avi"}, "cannot write this kind of file"),
    ],
)
def test_what_cannot_be(options: dict, more: dict, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        live(PORTRAIT, AnimateOptions(**options), **{"window": False, "frames": 1, **more})


def test_nothing_is_written_over(options: AnimateOptions, tmp_path: Path) -> None:
    camera = film(tmp_path / "walk.mp4", WALK[:2])
    before = camera.read_bytes()
    with pytest.raises(UsageError, match="exists already"):
        live(PORTRAIT, options, camera=camera, window=False, record=camera)
    with pytest.raises(UsageError, match="is an input"):
        live(PORTRAIT, options, camera=camera, window=False, record=camera, overwrite=True)
    assert camera.read_bytes() == before


# ---- the window's keys


class FakeWindow:
    """Shows nothing. keys: what is pressed at each picture, by its number."""

    def __init__(self, keys: dict[int, str]) -> None:
        self.keys, self.shown, self.lines, self.closed = keys, list[np.ndarray](), list[list[str]](), False
        self.while_paused: Callable[[], None] = lambda: None

    def __enter__(self) -> "FakeWindow":
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True

    def show(self, picture: np.ndarray, lines: list[str]) -> None:
        self.shown.append(picture)
        self.lines.append(list(lines))

    def key(self) -> str | None:
        if self.lines and self.lines[-1] == ["paused"]:
            self.while_paused()
        return self.keys.pop(len(self.shown) - 1, None)


@pytest.fixture
def pressing(monkeypatch: pytest.MonkeyPatch, busy: Busy) -> Iterator[Callable[[dict[int, str]], FakeWindow]]:
    def press(keys: dict[int, str]) -> FakeWindow:
        window = FakeWindow(keys)
        monkeypatch.setattr(module, "check_window", lambda: None)
        monkeypatch.setattr(module, "LiveWindow", lambda: window)
        return window

    yield press


def test_recording_off_and_on_leaves_no_gap(options: AnimateOptions, busy: Busy, pressing, tmp_path: Path) -> None:
    window = pressing({2: "r", 9: "r"})
    camera = busy()
    live(PORTRAIT, options, record=tmp_path / "out.mp4")
    assert camera.worked_on == list(range(16)) and len(window.shown) == 16 and window.closed
    assert times_of(tmp_path / "out.mp4") == pytest.approx([number / 25 for number in range(3 + 6)])
    assert window.lines[5] == ["not recording"] and window.lines[0] == window.lines[12] == []
    recorded = frames_of(tmp_path / "out.mp4")
    assert box_in(recorded[3])[0] == pytest.approx(box_in(window.shown[10])[0], abs=2)
    assert box_in(recorded[3])[0] > box_in(recorded[2])[0] + 10


def test_a_pause_holds_the_picture(options: AnimateOptions, busy: Busy, pressing, tmp_path: Path) -> None:
    window = pressing({3: "space", 6: "space", 10: "q"})
    window.while_paused = busy().go_on
    made = live(PORTRAIT, options, record=tmp_path / "out.mp4")
    assert window.lines[4] == ["paused"] and window.lines[8] == []
    assert all(np.array_equal(window.shown[3], window.shown[number]) for number in (4, 5, 6))
    assert not np.array_equal(window.shown[3], window.shown[7])
    assert made.recorded["frames"] == len(window.shown) == 11, "q ended it, and the recording has the pause in it"
    assert made.frames == 11 - 3


def test_help_is_on_the_screen_only(options: AnimateOptions, busy: Busy, pressing, tmp_path: Path) -> None:
    window = pressing({0: "h", 3: "h", 4: "x", 5: "q"})
    busy()
    live(PORTRAIT, options)
    assert [len(lines) for lines in window.lines] == [0] + [len(KEYS) - 1] * 3 + [0] * 2
    assert not any(line.startswith("r:") for line in window.lines[1]), "there is no recording to switch"


@pytest.mark.slow
def test_mirroring_and_calibrating_anew(options: AnimateOptions, busy: Busy, pressing) -> None:
    window = pressing({7: "m"})
    busy()
    live(PORTRAIT, options, calibrate=0)
    left = np.array([box_in(picture)[0] for picture in window.shown])
    assert left[7] > left[0] + 15 and left[15] < left[8] - 15, "then the face goes the other way"
    assert abs(left[8] - left[0]) < 12, "it begins from where the portrait has it"
    window = pressing({7: "c"})
    busy()
    live(PORTRAIT, options, calibrate=0)
    left = np.array([box_in(picture)[0] for picture in window.shown])
    assert left[7] > left[0] + 15 and abs(left[8] - left[0]) < 12 and left[15] > left[8] + 15


def test_mirroring_takes_the_still_with_it(options: AnimateOptions) -> None:
    """A picture of the driver at rest is mirrored too: what looks like it leaves the portrait as it is."""
    still, moved = paint((30, 30, 50, 60)), paint((45, 30, 50, 60))
    with Session(PORTRAIT, options, calibrate=still) as session:
        rest = [box_in(session.frame(still))]
        session.mirror(True)
        rest += [box_in(session.frame(still))]
        assert box_in(session.frame(moved))[0] < rest[1][0] - 15
        session.mirror(False)
        rest += [box_in(session.frame(still))]
        assert box_in(session.frame(moved))[0] > rest[2][0] + 15
    assert max(np.abs(a - b).max() for a, b in itertools.combinations(rest, 2)) < 4


# ---- figures


def test_figures_add_up() -> None:
    meter = Meter()
    assert meter.figures(3).line() == "0 frames shown, 3 dropped"
    for number in range(100):
        meter.shown(number / 20, number / 20 + (0.2 if number < 10 else 0.03))
    figures = meter.figures(7)
    assert (figures.frames, figures.dropped) == (100, 7)
    assert figures.median_ms == pytest.approx(30, abs=0.5) and figures.late_ms == pytest.approx(200, abs=0.5)
    assert figures.fps == pytest.approx(99 / (99 / 20 - 0.17), rel=1e-3)
    meter.pause()
    meter.shown(1000, 1000.03)
    assert meter.figures(7).seconds == figures.seconds
    assert "20.7 frames a second, 30 ms from camera to picture (95 % under 200 ms)" in figures.line()


def test_a_session_says_what_it_showed_in_the_history(options: AnimateOptions, busy: Busy, tmp_path: Path) -> None:
    busy(count=3)
    made = live(PORTRAIT, options, window=False, record=tmp_path / "out.mp4")
    files = [one.file for one in history.entries() if one.id == made.watermark]
    assert len(files) == 2 and "session" in files[0] and files[1] == str(tmp_path / "out.mp4")
