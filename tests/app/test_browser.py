"""The page in a real browser: every button is pressed, a portrait is animated, a camera moves one."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import pytest

from local_ports import free_port
from two_people import film, two_people

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
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In which the page keeps what is put in and made."""
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def address(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a page that is served."""
    port = free_port()
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
        "([part, text]) => document.querySelector(`#${part} textarea`)?.value.includes(text)", arg=[part, text]
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


def agree(page: Any, end: float | None = None) -> None:
    """What has to be there before anything is made. end: seconds of the driver."""
    page.locator("#agreed input").check()
    page.locator("#consent textarea, #consent input").first.fill("she agreed")
    if end is not None:
        page.get_by_text("Options", exact=True).click()
        page.locator("#option-end input").fill(str(end))


def times(page: Any) -> list[float]:
    """Of output and driver, seconds."""
    return list(page.evaluate("['made', 'other'].map(name => document.querySelector(`.wipe-${name}`).currentTime)"))


def test_the_driver_is_laid_over_the_output(page: Any, assets: Path):
    page.get_by_label("grace_hopper.jpg").check()
    page.locator("#driver input[type=file]").set_input_files(assets / "driver.mp4")
    page.locator("#driver-seen img").wait_for()
    assert "driver.mp4 (driver" in said(page, "driver-verdict") and "grace_hopper" in wait_for(page, "verdict", "face")
    agree(page, 0.8)
    page.locator("#animate").click()
    page.locator(".wipe-other").wait_for()
    page.wait_for_function(
        "[...document.querySelectorAll('.wipe video')].every(one => one.readyState === 4 && one.duration === 0.8)"
    )
    width = page.locator(".wipe-stage").bounding_box()["width"]
    page.locator(".wipe-slider").click(position={"x": 0.25 * width, "y": 40})
    at = page.locator(".wipe").evaluate("(one) => parseFloat(one.style.getPropertyValue('--at'))")
    assert 20 < at < 30
    page.locator(".wipe-time").fill("0.52")
    page.wait_for_function("[...document.querySelectorAll('.wipe video')].every(one => one.currentTime === 0.52)")
    page.locator(".wipe-time").fill("0")
    page.get_by_role("button", name="Play", exact=True).click()
    page.wait_for_function("document.querySelector('.wipe-made').currentTime > 0.4")
    made, other = times(page)
    assert abs(made - other) < 0.04, "the driver is a frame behind or before"
    page.get_by_role("button", name="Play", exact=True).wait_for()  # it has ended
    page.wait_for_function("[...document.querySelectorAll('.wipe video')].every(one => one.currentTime === 0.8)")


def test_a_pose_is_taken_from_a_picture(page: Any, assets: Path):
    page.get_by_label("grace_hopper.jpg").check()
    page.locator("#driver-file input[type=file]").set_input_files(assets / "astronaut.jpg")
    page.locator("#driver-seen img").wait_for()
    wait_for(page, "verdict", "face size")
    agree(page)
    page.locator("#animate").click()
    source = page.locator("#output-picture img").get_attribute("src")
    assert source.endswith("/grace_hopper--astronaut.png")
    assert "512x512" in said(page, "said") and "she agreed" in said(page, "marks")
    assert page.locator("#output video").count() == 0 and page.locator(".wipe-play").count() == 0
    page.wait_for_function("[...document.querySelectorAll('.wipe img')].every(one => one.naturalWidth === 512)")
    assert page.locator(".wipe img").count() == 2


def test_a_video_that_browsers_cannot_show_has_a_picture_and_a_slider(page: Any, assets: Path, tmp_path: Path):
    film = tmp_path / "old.avi"
    made = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-v",
        "error",
        "-i",
        assets / "driver.mp4",
        "-t",
        "0.4",
        "-c:v",
        "mpeg4",
        film,
    ]
    subprocess.run(made, check=True)
    page.get_by_label("astronaut.jpg").check()
    page.locator("#driver-file input[type=file]").set_input_files(film)
    page.locator("#driver-seen img").wait_for()
    assert "old.avi (driver" in said(page, "driver-verdict")
    wait_for(page, "verdict", "face size")
    agree(page)
    page.locator("#animate").click()
    page.wait_for_function("document.querySelector('video.wipe-other')?.readyState === 4")
    assert page.evaluate("document.querySelector('.wipe-other').duration") == 0.4


def test_what_was_wrong_is_not_said_of_another_input(page: Any):
    page.locator("#animate").click()
    page.locator(".toast-body.error").first.wait_for()
    page.locator("#said .error").wait_for()
    page.get_by_label("astronaut.jpg").check()
    page.wait_for_timeout(2000)  # by itself an error stays for ten seconds
    assert page.locator(".toast-body.error").count() == page.locator("#said .error").count() == 0


def test_who_waits_sees_their_place_and_who_leaves_is_forgotten(page: Any, browser: Any, address: str, folder: Path):
    other = browser.new_page()
    other.set_default_timeout(SLOW)
    other.goto(address)
    for one, end in ((page, 3), (other, 0.4)):
        one.get_by_label("grace_hopper.jpg").check()
        wait_for(one, "verdict", "face size")
        agree(one, end)
    page.locator("#animate").click()
    page.get_by_text("measuring the").or_(page.get_by_text("rendering")).first.wait_for()
    other.locator("#animate").click()
    other.get_by_text(re.compile(r"queue: *1/1")).first.wait_for()
    page.get_by_text(re.compile(r"rendering, \d+ s left")).first.wait_for()
    page.close()  # what it asked for ends with it
    wait_for(other, "said", "10 frames")
    assert [path.name for path in folder.rglob("*.mp4")] == ["grace_hopper--talk.mp4"], "the first one's is there too"
    assert len(list(folder.rglob("visitor-*"))) == 1
    other.close()
    for _ in range(100):
        left = [path for path in folder.rglob("put-in/**/*") if path.is_file() and path.stat().st_size]
        if not left:
            return
        time.sleep(0.1)
    raise AssertionError(f"left behind: {left}")


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


def seen_picture(page: Any, part: str) -> Any:
    """It is loaded only when it comes into view."""
    page.locator(f"#{part} img").wait_for(state="attached")
    page.locator(f"#{part}").scroll_into_view_if_needed()
    page.locator(f"#{part} img").wait_for()
    return page.locator(f"#{part} img")


def click_face(page: Any, part: str, across: float) -> None:
    """In the picture of several faces. across: share of its width."""
    shown = seen_picture(page, part)
    box = shown.bounding_box()
    shown.click(position={"x": across * box["width"], "y": 0.45 * box["height"]})


def wait_for_face(page: Any, option: str, face: str) -> None:
    page.wait_for_function(
        "([part, face]) => document.querySelector(`#option-${part} textarea, #option-${part} input`).value === face",
        arg=[option, face],
    )


def test_a_face_is_chosen_by_a_click(page: Any, assets: Path, tmp_path: Path):
    page.locator("#portraits input[type=file]").set_input_files(two_people(assets, tmp_path / "both.png"))
    seen_picture(page, "choose")
    page.get_by_text("Options", exact=True).click()
    wait_for(page, "verdict", "face size")  # nothing moves any more
    click_face(page, "choose", 0.75)
    wait_for_face(page, "face", "2")
    page.get_by_label("grace_hopper.jpg").check()  # there is no second one in it
    wait_for_face(page, "face", "largest")
    page.locator("#choose").wait_for(state="hidden")


def test_the_drivers_face_is_chosen_by_a_click(page: Any, assets: Path, tmp_path: Path):
    driver = film([two_people(assets, tmp_path / "both.png")], tmp_path / "both.mp4")
    page.get_by_label("astronaut.jpg").check()
    wait_for(page, "verdict", "face size")
    page.locator("#driver input[type=file]").set_input_files(driver)
    seen_picture(page, "driver-choose")
    wait_for(page, "driver-verdict", "face size")
    page.get_by_text("Options", exact=True).click()
    click_face(page, "driver-choose", 0.75)
    wait_for_face(page, "driver_face", "2")
    before = page.locator("#driver-choose img").get_attribute("src")
    page.locator("#option-mirror input").check()
    wait_for_face(page, "driver_face", "largest")  # who was the second is the first now
    page.wait_for_function("(src) => document.querySelector('#driver-choose img').src !== src", arg=before)
    click_face(page, "driver-choose", 0.25)
    wait_for_face(page, "driver_face", "1")
    agree(page)
    page.locator("#animate").click()
    assert "2 frames" in wait_for(page, "said", "frames")
    with page.expect_download() as given:
        page.locator("#report").click()
    report = json.loads(Path(given.value.path()).read_text("utf-8"))
    assert given.value.suggested_filename == "astronaut--both.json"
    assert report["settings"]["driver_face"] == "1" and report["settings"]["mirror"] is True
    assert report["settings"]["driver"] == "both.mp4", "where files lie is nobody's business"


def test_options_have_the_commands_help_and_take_files(page: Any, assets: Path, tmp_path: Path, folder: Path):
    page.get_by_text("Options", exact=True).click()
    for tip in ("white (or opaque) where the person is", "its SHA-256 is kept", "the one thing that uses the network"):
        page.get_by_text(tip).first.wait_for()
    statement = tmp_path / "statement.txt"
    statement.write_text("I agree. Ann")
    page.locator("#option-consent_file input[type=file]").set_input_files(statement)
    page.locator("#option-consent_file").get_by_text("statement", exact=False).first.wait_for()
    page.locator("#option-matte input[type=file]").set_input_files(assets / "astronaut.jpg")
    page.locator("#option-matte").get_by_text("astronaut", exact=False).first.wait_for()
    page.locator("#option-background input, #option-background textarea").first.fill("/etc/passwd")
    page.get_by_label("grace_hopper.jpg").check()
    wait_for(page, "verdict", "face size")
    page.locator("#agreed input").check()
    page.locator("#consent textarea, #consent input").first.fill("she agreed")
    page.locator("#animate").click()
    assert "neither a colour" in error_of(page)
    page.close()  # nothing was made of them, and yet they go
    for _ in range(100):
        if not list(folder.rglob("statement.txt")):
            return
        time.sleep(0.1)
    raise AssertionError("the statement is left behind")


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
    page.get_by_role("button", name="Use as the portrait").click()
    page.locator("#portraits").get_by_text("astronaut", exact=False).first.wait_for()
    assert "a person that networks were fitted to" in wait_for(page, "verdict", "astronaut.safetensors")


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
