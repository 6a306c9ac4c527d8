"""Attacks on the watermark by somebody without its key, those of `scripts/measure/threats.py`, on an output's file."""

import json
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from animate_samples import frames_of, run
from fewshot_reenact.media.writer import VideoWriter
from fewshot_reenact.provenance.watermark import Watermarker
from mark_samples import ffmpeg
from places import ROOT

OUTLASTED = (
    "the mean over this output's own frames taken away",
    "the mean over all other outputs taken away",
    "twice that taken away",
    "median of 3 x 3 pixels",
    "bilateral filter",
    "non-local means, h = 3",
    "twice the size by Lanczos, sharpened",
)
FRAMES = 30


def identity(path: Path) -> str | None:
    found = json.loads(run("verify", "--json", path).stdout)[0]["watermark"]
    return found and found["id"]


@pytest.fixture(scope="module")
def frames(small: Path) -> list[np.ndarray]:
    """The first second of an output, as anybody has it."""
    return list(frames_of(small).astype(np.uint8)[:FRAMES])


@pytest.fixture(scope="module")
def others(small: Path) -> list[np.ndarray]:
    """Frames of six other outputs under the same key, with ids and pictures of their own."""
    pictures = [cv2.resize(one, (256, 256)) for one in frames_of(small.with_name("driver.mp4")).astype(np.uint8)]
    made = []
    for number in range(6):
        mark, turns = Watermarker((1000 + number) << 32), number % 4
        about = [np.ascontiguousarray(np.rot90(one, turns)) for one in pictures[30 * (number // 4) :][:FRAMES]]
        made += [mark.stamp(one, t / 30) for t, one in enumerate(about)]
    return made


@pytest.mark.parametrize("attack", OUTLASTED)
def test_the_mark_outlasts(small, frames, others, tmp_path, monkeypatch, attack: str) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts" / "measure")
    from threats import ATTACKS

    attacked = ATTACKS[attack](frames, frames, others)
    height, width = attacked[0].shape[:2]
    unlike = [cv2.PSNR(one, cv2.resize(two, (width, height))) for one, two in zip(attacked, frames, strict=True)]
    assert len(attacked) == FRAMES and max(unlike) < 50, "it did something"
    with VideoWriter(tmp_path / "tagged.mp4", width, height, Fraction(1, 30), Fraction(30)) as writer:
        for t, picture in enumerate(attacked):
            writer.write(picture, t)
    ffmpeg("-i", writer.path, "-map_metadata", "-1", "-c", "copy", tmp_path / "attacked.mp4")
    assert identity(tmp_path / "attacked.mp4") == identity(small)
