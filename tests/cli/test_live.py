"""`reenact live`: one line for each error, what cannot be turned off, ends by signals, figures and JSON."""

import io
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from animate_samples import FACE, WALK, complaint, film, names_in, portrait_file, run
from fake_face import PaintedFaces
from fewshot_reenact import LiveFigures, Session, verify
from fewshot_reenact.cli.live import _Line
from fewshot_reenact.landmarks import registry
from fewshot_reenact.media.reader import VideoReader
from fewshot_reenact.pipelines.live_window import check_window


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_model: Path) -> Path:
    """Where the command runs, with ann.png and walk.mp4; faces are painted ones, and the model is a tiny one."""
    monkeypatch.setitem(registry.BACKENDS, "builtin", lambda device: PaintedFaces())
    monkeypatch.setattr("fewshot_reenact.models.checkpoint.DEFAULT_MODEL", tiny_model)
    monkeypatch.chdir(tmp_path)
    portrait_file(tmp_path / "ann.png", FACE, scale=4)
    film(tmp_path / "walk.mp4", WALK * 8)
    return tmp_path


HEADLESS = ("live", "ann.png", "--camera", "walk.mp4", "--no-window")


def test_figures_and_the_recording(folder: Path) -> None:
    result = run(*HEADLESS, "--record", "out.mp4", "--frames", 3, "--json", "-", "--mirror", "--consent", "Ann agreed")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["schema"] == "fewshot-reenact/live/1" and report["frames"] == report["recorded"]["frames"] == 3
    assert report["settings"]["mirror"] is True and report["settings"]["label"] is True
    assert report["camera"] == "walk.mp4" and report["median_ms"] > 0 and report["sent_to"] is None
    assert "walk.mp4: 3 frames shown, " in result.stderr and "out.mp4: 3 frames, " in result.stderr
    (mark,) = verify("out.mp4")
    assert mark.signature is not None and mark.signature.statement["consent"] == "Ann agreed"
    assert names_in(folder) == ["ann.png", "out.mp4", "walk.mp4"]


def test_what_is_sent_is_said_before_it_starts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []
    monkeypatch.setattr("fewshot_reenact.media.sender.StreamSender.send", lambda *_: started.append("sent"))
    monkeypatch.setattr("fewshot_reenact.cli.live.warn", started.extend)
    result = run(*HEADLESS, "--to", "rtmp://studio.example/live/secret-key", "--frames", 2, "--json", "live.json")
    assert result.exit_code == 0, result.output
    said = "the pictures are sent over the network, unencrypted: rtmp://studio.example/live/..."
    assert said in started[: started.index("sent")] and started.count("sent") == 2
    assert "secret-key" not in result.output + (folder / "live.json").read_text()


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["live"], 2, "needs one PORTRAIT"),
        (["live", "a.png", "b.png"], 2, "further pictures of the person go with -p"),
        (["live", "ann.png", "--no-label"], 2, "No such option"),
        (["live", "ann.png", "--no-window"], 2, "use --record, --to, --frames or --seconds"),
        ([*HEADLESS, "--to", "http://example.org/x"], 2, "give udp://HOST:PORT or rtmp://"),
        ([*HEADLESS, "--to", "udp://example.org"], 2, "has no port"),
        ([*HEADLESS, "--record", "walk.mp4"], 2, "walk.mp4: exists already"),
        ([*HEADLESS, "--record", "walk.mp4", "--overwrite"], 2, "walk.mp4: is an input"),
        ([*HEADLESS, "--record", "out.mp4", "--json", "out.mp4"], 2, "out.mp4: is the recording"),
        ([*HEADLESS, "--record", "ann.png", "--overwrite"], 2, "cannot write this kind of file (.png)"),
        ([*HEADLESS, "--record", "out.avi"], 2, "cannot write this kind of file (.avi)"),
        ([*HEADLESS, "--frames", "1", "--background", "transparent"], 2, "cannot be transparent"),
        ([*HEADLESS, "--frames", "1", "--calibrate", "-3"], 2, "calibrate -3.0 is not between 0 and 60"),
        ([*HEADLESS, "--frames", "1", "--calibrate", "none.png"], 3, "none.png"),
        ([*HEADLESS, "--frames", "1", "--consent", " "], 2, "consent"),
        (["live", "none.png", "--camera", "walk.mp4", "--no-window", "--frames", "1"], 3, "none.png: no such file"),
        (["live", "ann.png", "--camera", "97", "--no-window", "--frames", "1"], 3, "camera 97: "),
        (["live", "ann.png", "--camera", "none.mp4", "--no-window", "--frames", "1"], 3, "none.mp4: no such file"),
        (["live", "ann.png", "--camera", "ann.png", "--no-window", "--frames", "1"], 3, "ann.png: "),
    ],
)
def test_mistakes_are_one_line(folder: Path, args: list[str], code: int, says: str) -> None:
    if "--consent" in args:
        args = [*args, "--record", "out.mp4"]
    before = (folder / "walk.mp4").read_bytes()
    assert says in complaint(run(*args), code)
    assert names_in(folder) == ["ann.png", "walk.mp4"] and (folder / "walk.mp4").read_bytes() == before


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_it_and_the_recording_is_whole(
    folder: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    worked, frame = [], Session.frame

    def counts(self: Session, picture, time=None):
        made = frame(self, picture, time)
        worked.append(time)
        if len(worked) == 4:  # the first one warms up
            signal.raise_signal(number)
        return made

    monkeypatch.setattr(Session, "frame", counts)
    before = signal.getsignal(number)
    result = run(*HEADLESS, "--record", "out.mp4")
    assert result.exit_code == code and signal.getsignal(number) is before, result.output
    assert "walk.mp4: 3 frames shown" in result.stdout
    assert verify("out.mp4")[0].signature.holds
    with VideoReader("out.mp4") as reader:
        assert sum(1 for _ in reader) == 3
    assert names_in(folder) == ["ann.png", "out.mp4", "walk.mp4"]


def test_a_second_signal_waits_for_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = Session.frame

    def twice(self: Session, picture, time=None):
        made = frame(self, picture, time)
        if time:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        return made

    monkeypatch.setattr(Session, "frame", twice)
    result = run(*HEADLESS, "--record", "out.mp4")
    assert result.exit_code == 130 and result.stderr.splitlines()[-1].startswith("reenact: interrupted")
    assert "frames shown" not in result.output
    assert names_in(folder) == ["ann.png", "out.mp4", "walk.mp4"], "what was recorded is complete all the same"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_figures_are_one_line_of_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    line = _Line()
    for frames in (10, 9):
        line(LiveFigures(frames, 2, 0.5, 30.2, 40.2))
    assert terminal.getvalue().count("\n") == 0 and terminal.getvalue().count("\r") == 2
    line.tell("something to know")
    last = terminal.getvalue().rpartition("\r")[2]
    assert last == "reenact: something to know\n"
    line(LiveFigures(11, 2, 0.5, 30.2, 40.2))
    line.keep()
    assert terminal.getvalue().endswith(
        "11 frames shown, 2 dropped, 20.0 frames a second, 30 ms from camera to picture (95 % under 40 ms)\n"
    )
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    quiet = _Line()
    quiet(LiveFigures(1, 2, 0.5, 30.2, 40.2))
    quiet.close()
    assert sys.stderr.getvalue() == ""


# ---- the window


def test_no_display(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("only Linux works without a display")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert "--no-window" in complaint(run("live", "ann.png", "--camera", "walk.mp4"), 2)


def test_an_opencv_without_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried in a process of its own finds this one."""
    fake = "class error(Exception): ...\ndef namedWindow(name): raise error('not implemented; rebuild the library')\n"
    (tmp_path / "cv2.py").write_text(fake)
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    monkeypatch.setenv("PYTHONPATH", path)
    result = run("live", "ann.png")
    assert "pip install --force-reinstall opencv-python; or use --no-window" in complaint(result, 2)
    (tmp_path / "cv2.py").write_text("error = ValueError\ndef namedWindow(name): ...\n")
    check_window()
