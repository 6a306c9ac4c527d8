#!/usr/bin/env python3
"""Label pictures of people with the teacher's mattes, for `reenact train` with configs/matte.yaml.

    python -m venv ENV && ENV/bin/pip install mediapipe==0.10.21
    ENV/bin/python scripts/build/label_mattes.py ../shared/data/stills ../shared/data/clips/train run/matte

The teacher is MediaPipe's selfie segmenter, which that package holds (Apache-2.0). Its labels are learnt from; nothing
of it is shipped. Writes OUT/NAME.npz, 512 crops each: pictures (N, 256, 256, 3) uint8 RGB, mattes (N, 256, 256) uint8,
names (N,). What is there already is kept.
"""

import argparse
import hashlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

SIDE, AT_ONCE = 256, 512
WIDTHS = (1.7, 2.6, 4.0)  # sides of the crops in face heights: a head, head and shoulders, a person
FRAMES = 4  # of each clip


def crops(picture: np.ndarray, points: np.ndarray, name: str, count: int) -> Iterator[tuple[np.ndarray, str]]:
    """Squares about the face, of different widths, not quite in the middle; within the picture."""
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big"))
    height, width = picture.shape[:2]
    low, high = points.min(0), points.max(0)
    for number in rng.permutation(len(WIDTHS))[:count]:
        side = int(min(WIDTHS[number] * (high - low)[1] * rng.uniform(0.85, 1.2), height, width))
        if side < SIDE // 3:
            continue
        middle = (low + high) / 2 + rng.uniform(-0.12, 0.12, 2) * side + [0, 0.05 * side]
        x, y = (int(np.clip(m - side / 2, 0, limit - side)) for m, limit in zip(middle, (width, height), strict=True))
        how = cv2.INTER_AREA if side > SIDE else cv2.INTER_CUBIC
        part = cv2.resize(picture[y : y + side, x : x + side], (SIDE, SIDE), interpolation=how)
        yield cv2.cvtColor(part, cv2.COLOR_BGR2RGB), f"{name}/{number}"


def of_stills(folder: Path) -> Iterator[tuple[np.ndarray, str]]:
    with np.load(folder / "stills.npz", allow_pickle=False) as known:
        names, points = known["names"], known["points"].astype(np.float32)
    for name, own in zip(names.tolist(), points, strict=True):
        path = folder / name if (folder / name).suffix else folder / f"{name}.jpg"
        picture = cv2.imread(str(path))
        if picture is not None:
            yield from crops(picture, own, Path(name).stem, 2)


def of_clips(folder: Path) -> Iterator[tuple[np.ndarray, str]]:
    for clip in sorted(folder.glob("*.mp4")):
        with np.load(clip.with_suffix(".npz"), allow_pickle=False) as known:
            points = known["points"].astype(np.float32)
        film = cv2.VideoCapture(str(clip))
        for at in np.linspace(0, len(points) - 1, FRAMES).astype(int):
            film.set(cv2.CAP_PROP_POS_FRAMES, int(at))
            ok, picture = film.read()
            if ok:
                yield from crops(picture, points[at], f"{clip.stem}-{at}", 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stills", type=Path)
    parser.add_argument("clips", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    from mediapipe.python.solutions.selfie_segmentation import SelfieSegmentation  # type: ignore[import-not-found]

    teacher = SelfieSegmentation(model_selection=0)
    given.out.mkdir(parents=True, exist_ok=True)
    for kind, source in (("stills", of_stills(given.stills)), ("clips", of_clips(given.clips))):
        for number in range(10**6):
            rows = [row for row, _ in zip(source, range(AT_ONCE), strict=False)]
            if not rows:
                break
            pictures = np.stack([picture for picture, _ in rows])
            mattes = [np.round(255 * teacher.process(picture).segmentation_mask) for picture in pictures]
            names = np.array([name for _, name in rows])
            np.savez(
                given.out / f"{kind}_{number:03d}.npz",
                pictures=pictures,
                mattes=np.stack(mattes).astype(np.uint8),
                names=names,
            )
            print(kind, number, len(rows), flush=True)


if __name__ == "__main__":
    main()
