"""The page in a real browser: every button is pressed, a portrait is animated, a camera moves one."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import imageio_ffmpeg
import numpy as np
import pytest

from local_ports import free_port

pytest.importorskip("gradio")
playwright = pytest.importorskip("playwright.sync_api")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync")  # fmt: skip
SLOW = 120_000  # milliseconds: a machine that does other things

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None or sys.platform == "win32", reason="needs Chromium on this machine"),
]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a page that is served."""
    port, folder = free_port(), tmp_path_factory.mktemp("served")
    command = [sys.executable, "-m", "fewshot_reenact", "ui", "--port", str(port), "--accept-use"]
    own = {"TMPDIR": str(folder), "REENACT_CONFIG": str(tmp_path_factory.mktemp("config")), "PYTHONUNBUFFERED": "1"}
    environment = {**os.environ, **own}  # a history of its own: other tests look into theirs
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert f"http://127.0.0.1:{port}" in process.stdout.readline()
        yield f"http://127.0.0.1:{port}"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 143
    left = [str(path.relative_to(folder)) for path in folder.rglob("*") if "torchinductor" not in path.name]
    assert not left, "what visitors put in and made is still there"


@pytest.fixture(scope="module")
def browser(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium whose camera is the bundled driver."""
    film = tmp_path_factory.mktemp("camera") / "camera.mjpeg"
    subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", assets / "driver.mp4", "-t", "2", "-r", "10", "-s",
         "320x320", "-c:v", "mjpeg", "-q:v", "3", "-an", film], check=True
    )  # fmt: skip
    camera = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
              f"--use-file-for-fake-video-capture={film}")  # fmt: skip
    with playwright.sync_playwright() as run:
        opened = run.chromium.launch(executable_path=CHROMIUM, args=[*QUIET, *camera])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    shown = browser.new_page()
    shown.set_default_timeout(SLOW)
    asked: list[str] = []
    shown.on("request", lambda request: asked.append(request.url))
    shown.goto(address)
    shown.wait_for_selector("#animate")
    yield shown
    shown.close()
    elsewhere = [url for url in asked if not url.startswith((address, "data:", "blob:"))]
    assert not elsewhere, "the page asks for something that is not on this machine"


def said(page: Any, part: str) -> str:
    return str(page.locator(f"#{part} textarea").input_value())


def wait_for(page: Any, part: str, text: str) -> str:
    """What the text box says once it has that in it."""
    page.wait_for_function(
        "([part, text]) => document.querySelector(`#${part} textarea`).value.includes(text)", arg=[part, text]
    )
    return said(page, part)


def tab(page: Any, name: str) -> None:
    page.get_by_role("tab", name=name).click()


def error_of(page: Any) -> str:
    """What the page complains of; gone afterwards."""
    shown = page.locator(".toast-body.error")
    shown.first.wait_for()
    text = str(shown.first.inner_text())
    page.locator(".toast-close").first.click()
    return text


def test_from_an_example_to_a_signed_video_and_back(page: Any, tmp_path: Path):
    page.locator("#animate").click()
    assert "give a portrait" in error_of(page)
    page.get_by_label("grace_hopper.jpg").check()
    assert "grace_hopper.jpg (portrait" in wait_for(page, "verdict", "face size")
    page.locator("#seen img").wait_for()
    page.locator("#animate").click()
    assert "tick the box" in error_of(page)
    page.locator("#agreed input").check()
    page.locator("#consent textarea, #consent input").first.fill("she agreed, in the browser")
    page.get_by_text("Options", exact=True).click()
    page.locator("#option-end input").fill("0.4")
    page.locator("#option-region").get_by_label("expression").check()
    page.locator("#animate").click()
    assert "10 frames, 512x512" in wait_for(page, "said", "frames")
    assert "she agreed, in the browser" in said(page, "marks") and "reenact-ui" not in said(page, "marks")
    source = page.locator("#output video").get_attribute("src")
    assert re.search(r"grace_hopper--talk\.mp4$", source)
    made = tmp_path / "made.mp4"
    made.write_bytes(page.request.get(source).body())

    tab(page, "Verify")
    page.locator("#verify-files input[type=file]").set_input_files(made)
    page.locator("#verify-files").get_by_text("made.mp4").wait_for()
    page.get_by_role("button", name="Verify").click()
    assert "signature  holds" in wait_for(page, "verify-said", "signature")


def test_a_job_is_stopped(page: Any):
    page.get_by_label("astronaut.jpg").check()
    wait_for(page, "verdict", "face size")
    page.locator("#agreed input").check()
    page.locator("#consent textarea, #consent input").first.fill("she agreed")
    page.locator("#animate").click()
    page.get_by_text("measuring the").or_(page.get_by_text("rendering")).first.wait_for()
    page.get_by_role("button", name="Stop", exact=True).click()
    assert "stopped; nothing is left of it" in error_of(page)
    assert said(page, "said") == ""


def test_pictures_and_videos_are_checked(page: Any, assets: Path):
    tab(page, "Check")
    page.locator("#check-files input[type=file]").set_input_files([assets / "astronaut.jpg", assets / "driver.mp4"])
    page.locator("#check-files").get_by_text("driver", exact=False).first.wait_for()
    page.get_by_role("button", name="Check").click()
    words = wait_for(page, "check-said", "driver.mp4")
    assert "astronaut.jpg (portrait" in words and "driver.mp4 (driver" in words
    page.locator("#check-seen img").wait_for()


def test_a_face_is_chosen_by_a_click(page: Any, assets: Path, tmp_path: Path):
    names = ("astronaut", "grace_hopper")
    pictures = [cv2.resize(cv2.imread(str(assets / f"{name}.jpg")), (512, 512)) for name in names]
    both = tmp_path / "both.jpg"
    cv2.imwrite(str(both), np.hstack(pictures))
    page.locator("#portraits input[type=file]").set_input_files(both)
    shown = page.locator("#choose img")
    shown.wait_for()
    page.get_by_text("Options", exact=True).click()
    wait_for(page, "verdict", "face size")  # nothing moves any more
    box = shown.bounding_box()
    shown.click(position={"x": 0.75 * box["width"], "y": 0.45 * box["height"]})
    page.wait_for_function("document.querySelector('#option-face textarea, #option-face input').value === '2'")


def test_a_person_is_fitted(page: Any, assets: Path):
    tab(page, "Fine-tune")
    page.locator("#person-pictures input[type=file]").set_input_files(assets / "astronaut.jpg")
    page.locator("#person-pictures").get_by_text("astronaut", exact=False).first.wait_for()
    page.get_by_role("button", name="Fine-tune", exact=True).click()
    assert "tick the box" in error_of(page)
    page.locator("#person-agreed input").check()
    page.locator("#person-consent textarea, #person-consent input").first.fill("she agreed")
    page.get_by_role("button", name="Fine-tune", exact=True).click()
    assert "1 frames, 0 steps" in wait_for(page, "person-said", "frames")
    page.locator("#person").get_by_text("astronaut", exact=False).first.wait_for()


def test_a_camera_moves_the_portrait(page: Any, assets: Path):
    tab(page, "Live")
    page.locator("#live-portrait input[type=file]").set_input_files(assets / "astronaut.jpg")
    page.locator("#live-portrait img").wait_for()
    page.locator("#camera").get_by_text("Click to Access Webcam").click()
    page.locator("#camera video").wait_for()
    page.locator("#camera .icon-button, #camera button").last.wait_for()
    page.locator("#camera button[aria-label='start recording'], #camera .button-wrap button").first.click()
    page.locator("#live img").wait_for()
    seen = {page.locator("#live img").get_attribute("src")}
    for _ in range(60):
        page.wait_for_timeout(500)
        seen.add(page.locator("#live img").get_attribute("src"))
        if len(seen) > 3:
            break
    assert len(seen) > 3, "the picture stands still"


def test_a_phone_shows_all_of_it(browser: Any, address: str):
    shown = browser.new_page(viewport={"width": 390, "height": 844}, is_mobile=True)
    shown.goto(address)
    shown.wait_for_selector("#animate")
    wide = shown.evaluate("document.documentElement.scrollWidth")
    shown.close()
    assert wide <= 390, "it has to be pushed to the side"
