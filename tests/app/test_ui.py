"""The page in the browser: what it makes and says without a browser, the page itself where gradio is installed."""

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from animate_samples import run
from fewshot_reenact.app.gradio_page import look_at, make_page, make_video, remove_leftovers
from fewshot_reenact.errors import InputError, UsageError, how_to_add
from fewshot_reenact.files import held_folder
from fewshot_reenact.media.reader import VideoReader
from fewshot_reenact.pipelines.extract import extract

GRADIO = importlib.util.find_spec("gradio") is not None


@pytest.fixture
def driver(assets: Path, tmp_path: Path) -> Path:
    """Four frames of the bundled driver."""
    extract(assets / "driver.mp4", tmp_path / "driver.npz", end=0.16)
    return tmp_path / "driver.npz"


@pytest.mark.slow
def test_it_makes_what_animate_makes_with_its_marks(assets: Path, driver: Path, tmp_path: Path):
    told: list[tuple[float, str]] = []
    given = [str(assets / "astronaut.jpg")]
    options = {"consent": "she agreed", "compare": True}
    first, said = make_video(tmp_path, given, str(driver), "blink", **options, tell=lambda *x: told.append(x))
    second, _ = make_video(tmp_path, given, str(driver), "blink")
    assert first != second and Path(first).is_relative_to(tmp_path)
    with VideoReader(Path(first)) as wide, VideoReader(Path(second)) as plain:
        assert len(list(wide)) == len(list(plain)) == 4
        assert wide.info.width > plain.info.width == 512
    assert "4 frames" in said
    assert told[-1] == (1.0, "rendering")
    assert "she agreed" in run("verify", first).stdout


def test_mistakes_are_said_in_animates_words(assets: Path, tmp_path: Path):
    with pytest.raises(UsageError, match="give a portrait"):
        make_video(tmp_path, None, None, "blink")
    text = tmp_path / "me.jpg"
    text.write_text("not a picture")
    with pytest.raises(InputError, match=r"me\.jpg"):
        make_video(tmp_path, [str(text)], None, "blink")
    assert not list(tmp_path.rglob("*.mp4"))


def test_it_looks_at_what_is_put_in(assets: Path):
    words = look_at([str(assets / "grace_hopper.jpg")])
    assert words.startswith("grace_hopper.jpg (portrait") and "face size" in words
    assert look_at(None) == ""


def test_without_gradio_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "gradio", None)  # as if it were not there
    result = run("ui", "--port", free_port())
    assert result.exit_code == 2
    assert f"gradio is needed: {how_to_add('ui')}" in result.stderr


@pytest.mark.skipif(not GRADIO, reason="needs the extra ui")
@pytest.mark.slow
def test_the_page_offers_the_options_of_animate_and_sends_nothing_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("GRADIO_ANALYTICS_ENABLED", raising=False)
    monkeypatch.delenv("GRADIO_TEMP_DIR", raising=False)
    page = make_page(tmp_path)
    assert page.analytics_enabled is False
    labels = {part["props"].get("label") for part in page.get_config_file()["components"]}
    assert {"Motion", "What moves", "Strength", "Output"} <= labels


# ---- the page as it is served


def free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


def test_a_port_that_is_taken_is_one_line():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        result = run("ui", "--port", port)
    assert result.exit_code == 2 and len(result.stderr.splitlines()) == 1
    assert f"127.0.0.1:{port}: cannot be served there" in result.stderr and "choose another --port" in result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such locks")
def test_folders_of_killed_pages_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    gone, held, fresh, other = (tmp_path / name for name in ("reenact-ui-a", "reenact-ui-b", "reenact-ui-c", "mine"))
    for folder in (gone, held, fresh, other):
        (folder / "put-in").mkdir(parents=True)
        (folder / "put-in" / "ann.jpg").write_bytes(b"a person")
    with held_folder(held, "in use"):
        for folder in (gone, held, other):
            os.utime(folder, (0, 0))
        remove_leftovers()
    assert not gone.exists() and all((folder / "put-in" / "ann.jpg").exists() for folder in (held, fresh, other))


def status(port: int, host: str) -> int:
    asked = urllib.request.Request(f"http://127.0.0.1:{port}/", headers={"Host": host})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        return int(opener.open(asked, timeout=30).status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.skipif(not GRADIO or sys.platform == "win32", reason="needs the extra ui")
@pytest.mark.slow
def test_it_answers_to_this_machines_names_only_and_leaves_nothing(tmp_path: Path):
    port = free_port()
    command = [sys.executable, "-m", "fewshot_reenact", "ui", "--port", str(port)]
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert f"http://127.0.0.1:{port}" in process.stdout.readline()
        assert [status(port, f"{host}:{port}") for host in ("127.0.0.1", "localhost")] == [200, 200]
        assert status(port, "rebound.example") == 400, "a page on the net whose name was made to lead here"
        assert list(tmp_path.glob("reenact-ui-*"))
        time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 143
    assert not list(tmp_path.glob("reenact-ui-*"))


@pytest.mark.skipif(not GRADIO, reason="needs the extra ui")
@pytest.mark.slow
def test_uploads_have_a_limit(monkeypatch: pytest.MonkeyPatch):
    import gradio

    from fewshot_reenact.app import gradio_page

    given: dict[str, object] = {}
    monkeypatch.setattr(gradio.Blocks, "launch", lambda page, **options: given.update(options))
    monkeypatch.setattr(gradio.Blocks, "block_thread", lambda page: None)
    gradio_page.serve("127.0.0.1", free_port(), False, say=lambda line: None)
    assert given["max_file_size"] == "2gb" and given["share"] is False
    assert len(given["app_kwargs"]["middleware"]) == 1  # type: ignore[index]
    gradio_page.serve("0.0.0.0", free_port(), False, say=lambda line: None)
    assert given["app_kwargs"] == {"middleware": []}, "served to others, by whatever name"
