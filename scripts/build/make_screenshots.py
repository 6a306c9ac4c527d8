#!/usr/bin/env python3
"""Take pictures of the running page, on a desktop and on a phone: docs/page.jpg, docs/page-phone.jpg.

Needs Chromium, and the extras ui and dev.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

import fewshot_reenact

DRIVER = Path(fewshot_reenact.__file__).parent / "assets" / "driver.mp4"
DOCS = Path(__file__).resolve().parents[2] / "docs"
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync")  # fmt: skip
SIZES = {"page.jpg": (1180, 1130), "page-phone.jpg": (390, 844)}
SLOW = 300_000  # milliseconds


@click.command(help=__doc__.split("\n\n")[0])
@click.option("--port", default=7877, show_default=True)
@click.option("--chromium", default=shutil.which("chromium") or "chromium", show_default=True)
def main(port: int, chromium: str) -> None:
    from playwright.sync_api import sync_playwright  # of the extra dev; --help does without

    command = [sys.executable, "-m", "fewshot_reenact", "ui", "--port", str(port), "--accept-use"]
    with (
        tempfile.TemporaryDirectory(prefix="reenact-") as folder,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1", "TMPDIR": folder}
        ) as page,
    ):
        assert page.stdout is not None
        page.stdout.readline()  # it is served from here on
        try:
            with sync_playwright() as run:
                browser = run.chromium.launch(executable_path=chromium, args=list(QUIET))
                for name, (width, height) in SIZES.items():
                    shown = browser.new_page(viewport={"width": width, "height": height}, is_mobile=width < 500)
                    shown.set_default_timeout(SLOW)
                    animate(shown, f"http://127.0.0.1:{port}")
                    if width < 500:  # a phone shows a part: the one that is new to people
                        shown.evaluate("document.querySelector('#output').scrollIntoView()")
                    shown.wait_for_timeout(500)
                    shown.screenshot(path=DOCS / name, type="jpeg", quality=75)
                    click.echo(f"{DOCS / name}: {(DOCS / name).stat().st_size / 1e3:.0f} kB")
        finally:
            page.terminate()


def animate(shown: Any, address: str) -> None:
    """A portrait that comes with the tool, animated for half a second by the driver that does."""
    shown.goto(address)
    shown.wait_for_selector("#animate")
    shown.get_by_label("grace_hopper.jpg").check()
    shown.locator("#seen img").wait_for()
    shown.locator("#driver input[type=file]").set_input_files(DRIVER)
    shown.locator("#driver-seen img").wait_for()
    shown.locator("#agreed input").check()
    shown.locator("#consent textarea, #consent input").first.fill("NASA and US Navy portraits, public domain")
    shown.get_by_text("Options", exact=True).click()
    shown.locator("#option-start input").fill("1.2")
    shown.locator("#option-end input").fill("1.7")
    shown.get_by_text("Options", exact=True).click()
    shown.locator("#animate").click()
    shown.wait_for_function("document.querySelector('#said textarea').value.includes('frames')")
    shown.locator(".wipe-time").fill("0.28")
    shown.wait_for_function("document.querySelector('.wipe-other').currentTime === 0.28")
    shown.wait_for_timeout(1500)
    shown.evaluate("window.scrollTo(0, 0)")


if __name__ == "__main__":
    main()
