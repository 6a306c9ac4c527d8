"""The page in the browser: what it makes and says without a browser, the page itself where gradio is installed."""

import importlib.util
import sys
from pathlib import Path

import pytest

from animate_samples import run
from fewshot_reenact.app.gradio_page import look_at, make_page, make_video
from fewshot_reenact.errors import InputError, UsageError
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
    result = run("ui")
    assert result.exit_code == 2
    assert "fewshot-reenact[ui]" in result.stderr


@pytest.mark.skipif(not GRADIO, reason="needs the extra ui")
@pytest.mark.slow
def test_the_page_offers_the_options_of_animate_and_sends_nothing_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("GRADIO_ANALYTICS_ENABLED", raising=False)
    monkeypatch.delenv("GRADIO_TEMP_DIR", raising=False)
    page = make_page(tmp_path)
    assert page.analytics_enabled is False
    labels = {part["props"].get("label") for part in page.get_config_file()["components"]}
    assert {"Motion", "What moves", "Strength", "Output"} <= labels
