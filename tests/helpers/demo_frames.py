"""A short run of the demo, seen from afar: to notice when a change that was to change nothing changes the pictures.

    PYTHONPATH=tests/helpers .venv/bin/python tests/helpers/demo_frames.py    # writes the reference anew

The reference is written when the model or the warp is meant to make other pictures, and then looked at.
"""

from pathlib import Path

import cv2
import numpy as np

import fewshot_reenact
from fewshot_reenact.media.marks import PlainNote
from fewshot_reenact.media.reader import VideoReader
from places import ROOT

REFERENCE = ROOT / "tests" / "data" / "demo_frames.npz"
ASSETS = ROOT / "src" / "fewshot_reenact" / "assets"
SIDE, SECONDS = 32, 0.5


def far(folder: Path, **options: object) -> np.ndarray:
    """(T, 32, 32, 3) float32: the demo's frames, averaged. Without marks, whose id is drawn anew each time."""
    made = fewshot_reenact.animate(
        ASSETS / "grace_hopper.jpg", ASSETS / "driver.mp4", folder / "demo.mp4",
        marks=PlainNote(), end=SECONDS, overwrite=True, **options,
    )  # type: ignore[arg-type]  # fmt: skip
    with VideoReader(made.output) as reader:
        frames = [frame.picture.astype(np.float32) for frame in reader]
    return np.stack([cv2.resize(frame, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for frame in frames])


if __name__ == "__main__":
    import tempfile

    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        REFERENCE.parent.mkdir(exist_ok=True)
        np.savez_compressed(REFERENCE, frames=np.round(far(Path(name)) * 16).astype(np.uint16))
    print(f"{REFERENCE}: {REFERENCE.stat().st_size / 1e3:.0f} kB")
