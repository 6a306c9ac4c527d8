"""What the watermark of a video of 256 pixels, made by `animate` with the shipped model, outlasts."""

import json
from pathlib import Path

import pytest

from animate_samples import run
from fewshot_reenact import animate
from mark_samples import ffmpeg

H264 = ["-c:v", "libx264", "-crf", "28", "-pix_fmt", "yuv420p"]
TREATMENTS: dict[str, list[str]] = {
    "CRF 28": H264,
    "one second, 0.8 times the size": ["-t", "1", "-vf", "scale=204:204", *H264],
    "one second, 1.37 times the size": ["-t", "1", "-vf", "scale=350:350", *H264],
    "24 frames a second": ["-r", "24", *H264],
    "the first half second cut off": ["-ss", "0.5", *H264],
    "mirrored": ["-vf", "hflip", *H264],
    "bars": ["-vf", "pad=456:256:100:0", *H264],
    "turned": ["-vf", "rotate=0.05:fillcolor=gray,crop=232:232", "-crf", "23"],
    "stretched": ["-vf", "scale=296:222", "-crf", "23"],
    "VP9": ["-c:v", "libvpx-vp9", "-crf", "38", "-b:v", "0", "-cpu-used", "5", "-f", "webm"],
    "AV1": ["-c:v", "libsvtav1", "-crf", "40", "-preset", "10"],
    "HEVC": ["-c:v", "libx265", "-crf", "28", "-x265-params", "log-level=error"],
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, assets: Path) -> Path:
    output = tmp_path_factory.mktemp("small") / "small.mp4"
    animate(assets / "grace_hopper.jpg", assets / "driver.mp4", output, frame="crop", size=256, end=2.0)
    return output


def found_in(path: Path) -> dict:
    return json.loads(run("verify", "--json", path).stdout)[0]


@pytest.mark.parametrize("name", TREATMENTS)
def test_a_copy_is_known_by_half_of_the_id(small: Path, tmp_path: Path, name: str) -> None:
    copy = tmp_path / ("copy.webm" if name == "VP9" else "copy.mp4")
    ffmpeg("-i", small, "-map_metadata", "-1", "-an", *TREATMENTS[name], copy)
    found = found_in(copy)
    assert found["signature"] is None and found["watermark"]["bits"] == 32
    assert found["watermark"]["id"] == found_in(small)["watermark"]["id"] and found["watermark"]["known"]
    assert found["watermark"]["mirrored"] is (name == "mirrored")


def test_two_services_one_after_the_other(small: Path, tmp_path: Path) -> None:
    ffmpeg("-i", small, "-map_metadata", "-1", "-an", "-crf", "26", tmp_path / "first.mp4")
    ffmpeg("-i", tmp_path / "first.mp4", *H264, tmp_path / "second.mp4")
    assert found_in(tmp_path / "second.mp4")["watermark"]["id"] == found_in(small)["watermark"]["id"]


def test_the_id_is_completed_where_somebody_knows_it(small: Path, tmp_path: Path, monkeypatch) -> None:
    """By the history; elsewhere by the file's own manifest; a bare copy says the half that it holds."""
    whole = found_in(small)
    stated = whole["signature"]["statement"]["watermark"]
    assert whole["watermark"]["id"] == stated and len(stated) == 16 and not whole["foreign_manifest"]
    ffmpeg("-i", small, "-map_metadata", "-1", "-an", "-c", "copy", tmp_path / "bare.mp4")
    monkeypatch.setenv("REENACT_CONFIG", str(tmp_path / "elsewhere"))
    assert found_in(small)["watermark"]["id"] == stated
    bare = found_in(tmp_path / "bare.mp4")["watermark"]
    assert bare["id"] == stated[:8] and bare["known"] is None
    assert f"id {stated[:8]} (32 bits of it)" in run("verify", tmp_path / "bare.mp4").stdout
