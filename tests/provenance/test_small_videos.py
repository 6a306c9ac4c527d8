"""What the watermark of a video of 256 pixels, made by `animate` with the shipped model, outlasts."""

import functools
import json
import subprocess
from pathlib import Path

import cv2
import imageio_ffmpeg
import pytest

from animate_samples import run
from fewshot_reenact import animate
from fewshot_reenact.media.marks import PlainNote
from fewshot_reenact.media.pictures import read_picture
from mark_samples import ffmpeg

H264 = ["-c:v", "libx264", "-crf", "28", "-pix_fmt", "yuv420p"]
FINER = ["-c:v", "libx264", "-crf", "23", "-pix_fmt", "yuv420p"]
TREATMENTS: dict[str, list[str]] = {
    "CRF 28": H264,
    "half size": ["-vf", "scale=128:128", *H264],
    "one second, 0.8 times the size": ["-t", "1", "-vf", "scale=204:204", *H264],
    "one second, 1.37 times the size": ["-t", "1", "-vf", "scale=350:350", *H264],
    "480 lines": ["-vf", "scale=-2:480", *H264],
    "24 frames a second": ["-vf", "fps=24", *H264],
    "15 frames a second": ["-vf", "fps=15", *H264],
    "the first half second cut off": ["-ss", "0.5", *H264],
    "mirrored": ["-vf", "hflip", *H264],
    "cropped to 9:16": ["-vf", "crop=144:256", *FINER],
    "bars above and below, to 9:16": ["-vf", "pad=256:456:0:100", *H264],
    "bars at the sides, to 16:9": ["-vf", "pad=456:256:100:0", *H264],
    "turned by 5 degrees": ["-vf", "rotate=5*PI/180:fillcolor=gray,crop=230:230", *FINER],
    "turned by 5 degrees the other way": ["-vf", "rotate=-5*PI/180:fillcolor=gray,crop=230:230", *FINER],
    "stretched to 4:3": ["-vf", "scale=296:222", *FINER],
    "VP9": ["-c:v", "libvpx-vp9", "-crf", "38", "-b:v", "0", "-cpu-used", "5", "-f", "webm"],
    "AV1": ["-c:v", "libsvtav1", "-crf", "40", "-preset", "10"],
    "HEVC": ["-c:v", "libx265", "-crf", "28", "-x265-params", "log-level=error"],
}


@functools.cache
def encoders() -> set[str]:
    """Those that this ffmpeg has."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-encoders"]
    listing = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {line.split()[1] for line in listing.splitlines() if len(line.split()) > 1}


def found_in(path: Path) -> dict:
    return json.loads(run("verify", "--json", path).stdout)[0]


@pytest.fixture(scope="module")
def identity(small: Path) -> str:
    return str(found_in(small)["watermark"]["id"])


SLOW = ("turned by 5 degrees the other way", "stretched to 4:3")  # looked for last


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in TREATMENTS])
def test_a_copy_is_known_by_half_of_the_id(small: Path, identity: str, tmp_path: Path, name: str) -> None:
    how = TREATMENTS[name]
    if how[how.index("-c:v") + 1] not in encoders():
        pytest.skip(f"this ffmpeg has no {how[how.index('-c:v') + 1]}")
    copy = tmp_path / ("copy.webm" if name == "VP9" else "copy.mp4")
    ffmpeg("-i", small, "-map_metadata", "-1", "-an", *how, copy)
    found = found_in(copy)
    assert found["signature"] is None and found["watermark"] is not None and found["watermark"]["bits"] == 32
    assert found["watermark"]["id"] == identity and found["watermark"]["known"]
    assert found["watermark"]["mirrored"] is (name == "mirrored")
    rate = {"24 frames a second": 24, "15 frames a second": 15}.get(name, 30)
    seconds = 1 if name.startswith("one second") else 1.5 if name.startswith("the first half") else 2
    assert found["watermark"]["frames"] == rate * seconds


def test_two_services_one_after_the_other(small: Path, identity: str, tmp_path: Path) -> None:
    ffmpeg("-i", small, "-map_metadata", "-1", "-an", "-crf", "26", tmp_path / "first.mp4")
    ffmpeg("-i", tmp_path / "first.mp4", *H264, tmp_path / "second.mp4")
    assert found_in(tmp_path / "second.mp4")["watermark"]["id"] == identity


@pytest.mark.slow
def test_at_the_end_of_a_longer_video(small: Path, identity: str, assets: Path, tmp_path: Path) -> None:
    """Ten seconds are looked at together, then the next ones: what came before does not hide the mark."""
    join = "[0:v]setpts=N/(30*TB),scale=256:256,trim=end_frame=260,setpts=PTS-STARTPTS[a];[a][1:v]concat=n=2[v]"
    ffmpeg(
        "-stream_loop", "1", "-i", assets / "driver.mp4", "-i", small, "-filter_complex", join, "-map", "[v]",
        "-map_metadata", "-1", "-r", "30", *H264, tmp_path / "long.mp4",
    )  # fmt: skip
    found = found_in(tmp_path / "long.mp4")["watermark"]
    assert found is not None and found["id"] == identity and found["confidence"] >= 1 - 1e-6
    assert found["frames"] == 260 + 60 - 250, "of the second ten seconds alone"


def test_none_is_found_in_the_recording_that_drove_it(small: Path, tmp_path: Path) -> None:
    driver = small.with_name("driver.mp4")
    ffmpeg("-i", driver, "-map_metadata", "-1", "-vf", "scale=256:256", *H264, tmp_path / "copy.mp4")
    found = found_in(tmp_path / "copy.mp4")
    assert found["watermark"] is None and not found["made_by_this_tool"]


@pytest.mark.parametrize("portrait", ["grace_hopper.jpg", pytest.param("astronaut.jpg", marks=pytest.mark.slow)])
def test_a_marked_picture_is_within_42_db_of_the_one_without(assets: Path, tmp_path: Path, portrait: str) -> None:
    ffmpeg("-ss", "2", "-i", assets / "driver.mp4", "-frames:v", "1", tmp_path / "driver.png")
    for name, options in [("marked.png", {}), ("bare.png", {"marks": PlainNote()})]:
        animate(
            assets / portrait, tmp_path / "driver.png", tmp_path / name, frame="crop", size=256, label=False, **options
        )  # type: ignore[arg-type]
    marked, bare = read_picture(tmp_path / "marked.png"), read_picture(tmp_path / "bare.png")
    assert 42 <= cv2.PSNR(marked, bare) < 60, "the mark is there, and all that differs"


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
