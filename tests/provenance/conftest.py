"""What tests of the marks share."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory, assets: Path) -> Path:
    """Two seconds of 30 frames a second, 256 x 256, as `animate` makes them with the shipped model. Copy it."""
    from fewshot_reenact import animate
    from mark_samples import ffmpeg

    folder = tmp_path_factory.mktemp("small")
    every_frame = ["-vf", "setpts=N/(30*TB)", "-r", "30"]
    ffmpeg("-i", assets / "driver.mp4", *every_frame, "-frames:v", "60", "-crf", "16", "-an", folder / "driver.mp4")
    return animate(
        assets / "grace_hopper.jpg", folder / "driver.mp4", folder / "small.mp4", frame="crop", size=256
    ).output
