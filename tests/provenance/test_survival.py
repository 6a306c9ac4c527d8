"""What the watermark of a real output of `animate` outlasts: each treatment that is promised, alone."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from animate_samples import run
from fewshot_reenact.provenance.assertions import TOOL
from mark_samples import ffmpeg

BRIGHT = "lutrgb=r=clip(val*{0}\\,0\\,255):g=clip(val*{0}\\,0\\,255):b=clip(val*{0}\\,0\\,255)"
TREATMENTS: dict[str, list[str]] = {
    "re-encoded": ["-crf", "28"],
    "half size": ["-vf", "scale=iw/2:ih/2"],
    "cropped by 10 %": ["-vf", "crop=iw*0.9:ih*0.9", "-crf", "28"],
    "mirrored": ["-vf", "hflip", "-crf", "28"],
    "darker": ["-vf", BRIGHT.format(0.9), "-crf", "28"],
    "brighter": ["-vf", BRIGHT.format(1.1), "-crf", "28"],
    "slower": ["-vf", "fps=12", "-crf", "28"],
    "recorded from a screen": ["-t", "1", "-vf", "scale=iw*1.35:ih*1.35,fps=30", "-crf", "28"],
}


def found_in(path: Path) -> dict:
    result = run("verify", "--json", path)
    assert "Traceback" not in result.output
    return json.loads(result.stdout)[0]


@pytest.fixture(scope="module")
def identity(marked: Path) -> str:
    return str(found_in(marked)["watermark"]["id"])


@pytest.mark.parametrize("name", TREATMENTS)
def test_the_id_of_a_treated_copy(marked: Path, identity: str, tmp_path: Path, name: str) -> None:
    ffmpeg("-i", marked, *TREATMENTS[name], "-map_metadata", "-1", "-an", tmp_path / "copy.mp4")
    found = found_in(tmp_path / "copy.mp4")
    assert found["watermark"]["id"] == identity and found["made_by_this_tool"]
    assert found["watermark"]["mirrored"] is (name == "mirrored")
    assert found["signature"] is None, "a new encoding has none"
    assert 1 - 1e-6 <= found["watermark"]["confidence"] < 1, "sure, and never certain"


def test_a_video_of_four_frames(marked: Path, identity: str, tmp_path: Path) -> None:
    ffmpeg("-i", marked, "-frames:v", "4", "-crf", "28", "-an", tmp_path / "copy.mp4")
    found = found_in(tmp_path / "copy.mp4")["watermark"]
    assert found["id"] == identity and found["frames"] == 4


def test_a_picture_under_a_videos_name(marked: Path, identity: str, tmp_path: Path) -> None:
    """Another program's comment in it is no mark of this tool and is not told of as one."""
    ffmpeg("-i", marked, "-frames:v", "1", "-q:v", "2", tmp_path / "still.jpg")
    (tmp_path / "still.jpg").rename(tmp_path / "still.mp4")
    result = run("verify", tmp_path / "still.mp4")
    assert result.exit_code == 0 and identity in result.stdout
    assert "Lavc" not in result.stdout and "not found  signature, tags" in result.stdout


def test_an_upright_picture(marked: Path, tmp_path: Path) -> None:
    """A frame of 1080 x 1920 pixels, of which the search makes as much as of a wide one."""
    from fewshot_reenact.provenance.detector import detect
    from fewshot_reenact.provenance.watermark import Watermarker

    ground = cv2.resize(np.random.default_rng(5).integers(60, 200, (24, 14, 3), np.uint8), (1080, 1920))
    small = cv2.resize(Watermarker(77).stamp(ground), (540, 960), interpolation=cv2.INTER_AREA)
    found = detect([small])
    assert found is not None and found.payload == 77


@pytest.mark.usefixtures("signature_only")
def test_what_a_signature_that_does_not_fit_says_of_consent(marked: Path, tmp_path: Path) -> None:
    """It may be what was said of another file, so it is not repeated."""
    data = bytearray(marked.read_bytes())
    data[data.rindex(b"mdat") + 1000] ^= 1
    (tmp_path / "a.mp4").write_bytes(data)
    assert "Ann said yes" in run("verify", marked).stdout
    said = run("verify", tmp_path / "a.mp4").stdout
    assert f"ALTERED. It says of itself that it was made with {TOOL}" in said and "Ann said yes" not in said
