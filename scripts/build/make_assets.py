#!/usr/bin/env python3
"""Make the bundled pictures and the bundled driver in src/fewshot_reenact/assets.

    python scripts/build/make_assets.py portraits     # astronaut.jpg and grace_hopper.jpg; needs scikit-image and \\
      matplotlib
    python scripts/build/make_assets.py driver        # driver.mp4, made by this tool from a built-in motion
    python scripts/build/make_assets.py               # both

The portraits are public-domain photographs that two Python packages carry; nothing is downloaded.
`pip install scikit-image matplotlib` is needed only here, so neither is a dependency of the package.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

ASSETS = Path(__file__).resolve().parents[2] / "src" / "fewshot_reenact" / "assets"
SIDE = 512
JPEG_QUALITY = 92
DRIVER_LIMIT_BYTES = 1_000_000

# (left, top, side) of the head-and-shoulders square, in pixels of the original picture
CROPS = {"astronaut": (68, 0, 320), "grace_hopper": (0, 8, 512)}


def load_astronaut() -> np.ndarray:
    """Eileen Collins, NASA portrait of 1999 from scikit-image; BGR, (512, 512, 3) uint8."""
    from skimage import data

    return np.ascontiguousarray(data.astronaut()[..., ::-1])


def load_grace_hopper() -> np.ndarray:
    """Grace Hopper, US Navy portrait of 1984 from matplotlib's sample data; BGR, (600, 512, 3) uint8."""
    import matplotlib

    path = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise SystemExit(f"make_assets: cannot read {path}")
    return picture


def make_portraits() -> None:
    for name, load in (("astronaut", load_astronaut), ("grace_hopper", load_grace_hopper)):
        left, top, side = CROPS[name]
        crop = load()[top : top + side, left : left + side]
        if side != SIDE:
            crop = cv2.resize(crop, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        path = ASSETS / f"{name}.jpg"
        ok, data = cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        if not ok:
            raise SystemExit(f"make_assets: cannot encode {path}")
        path.write_bytes(data.tobytes())
        print(f"{path}: {crop.shape[1]}x{crop.shape[0]}, {path.stat().st_size:,} bytes")


def make_driver() -> None:
    """The tool's own video: the astronaut moved by the built-in motion `talk`."""
    path = ASSETS / "driver.mp4"
    reenact = [sys.executable, "-c", "from fewshot_reenact.cli import main; main()"]
    subprocess.run(
        [*reenact, "animate", str(ASSETS / "astronaut.jpg"), "motion:talk", "-o", str(path), "--overwrite"], check=True
    )
    size = path.stat().st_size
    print(f"{path}: {size:,} bytes")
    if size > DRIVER_LIMIT_BYTES:
        raise SystemExit(f"make_assets: {path} is over {DRIVER_LIMIT_BYTES:,} bytes; make the motion shorter")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", choices=("all", "portraits", "driver"), default="all")
    what = parser.parse_args().what
    ASSETS.mkdir(parents=True, exist_ok=True)
    if what in ("all", "portraits"):
        make_portraits()
    if what in ("all", "driver"):
        make_driver()


if __name__ == "__main__":
    main()
