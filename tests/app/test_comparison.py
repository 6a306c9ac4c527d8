"""The driver laid over the output: the part of it that counts, at the output's own times."""

import re
from pathlib import Path

import av
import numpy as np
import pytest

from fewshot_reenact.app.comparison import compare, head
from fewshot_reenact.errors import InputError
from fewshot_reenact.inputs.driver import DriverSource
from fewshot_reenact.media.pictures import read_picture
from fewshot_reenact.media.reader import VideoReader
from fewshot_reenact.pipelines.animate import Animation


def made(name: str = "out.mp4") -> Animation:
    """An output of 640 x 480 that needs not be there."""
    return Animation(Path("/put-in") / name, 10, "25", 640, 480, 10, [], [0], {}, "cpu", "model", "0")


def test_a_film_is_the_part_that_moves_the_portrait_as_it_counts(assets: Path, tmp_path: Path):
    told: list[int] = []
    driver = DriverSource.parse(assets / "driver.mp4", start=1.0, end=1.4, mirror=True)
    html = compare(made('ann "&.mp4'), [str(assets / "astronaut.jpg")], driver, tmp_path, told.append)
    assert re.findall(r'src="([^"]+)"', html)[0] == "gradio_api/file=/put-in/ann%20%22%26.mp4"
    (copy,) = tmp_path.rglob("driver.mp4")
    assert f"gradio_api/file={copy.as_posix()}" in html and "aspect-ratio: 1.3333" in html and "wipe-play" in html
    with VideoReader(copy) as one, VideoReader(assets / "driver.mp4", start=1.0, end=1.4) as other:
        shown, original = list(one), list(other)
    with av.open(str(copy)) as container:
        assert container.metadata["comment"].startswith("A smaller copy of an input")
    assert [float(frame.time) for frame in shown] == [float(frame.time) for frame in original] and len(shown) == 10
    assert told == list(range(2, 11))
    first, mirrored = shown[0].picture.astype(int), original[0].picture[:, ::-1].astype(int)
    assert np.abs(first - mirrored).mean() < 4 < np.abs(first - mirrored[:, ::-1]).mean()


def test_a_pose_and_a_motion_without_pictures_have_pictures_beside_them(assets: Path, tmp_path: Path):
    portraits, pose = [str(assets / "astronaut.jpg")], DriverSource.parse(assets / "grace_hopper.jpg", mirror=True)
    html = compare(made("out.png"), portraits, pose, tmp_path)
    assert html.count("<img") == 2 and "<video" not in html and "wipe-play" not in html and "Driver" in html
    (copy,) = tmp_path.rglob("driver.jpg")
    original = read_picture(assets / "grace_hopper.jpg").astype(int)
    assert np.abs(read_picture(copy).astype(int) - original[:, ::-1]).mean() < 4
    html = compare(made(), portraits, DriverSource.parse("motion:blink"), tmp_path)
    assert html.count("<img") == html.count("<video") == 1 and ">Portrait<" in html and "wipe-play" in html
    assert len(list(tmp_path.rglob("portrait.jpg"))) == 1
    assert compare(made(), ["ann.safetensors"], DriverSource.parse("motion:blink"), tmp_path) == ""


def test_a_driver_that_is_gone_is_an_error_of_the_input(assets: Path, tmp_path: Path):
    driver = tmp_path / "driver.mp4"
    driver.write_bytes((assets / "driver.mp4").read_bytes())
    parsed = DriverSource.parse(driver)
    driver.unlink()
    with pytest.raises(InputError, match=r"driver\.mp4"):
        compare(made(), [str(assets / "astronaut.jpg")], parsed, tmp_path)


def test_what_goes_into_the_head_asks_for_nothing_elsewhere():
    assert "<script>" in head() and not re.search(r"https?:|src=|@import|url\(", head())
