#!/usr/bin/env python3
"""Label frames of clips with the teacher's 52 blendshape scores, for scripts/build/fit_blendshapes.py.

    python -m venv ENV && ENV/bin/pip install mediapipe==1.2.2
    ENV/bin/python scripts/build/label_blendshapes.py FACE.task ../shared/data/clips/train run/blendshapes_train.npz

The teacher is MediaPipe's face landmarker with blendshapes (Apache-2.0). Its scores are learnt from; nothing of it is
shipped. Writes clip (N,), frame (N,), names (52,) and scores (N, 52), of frames in which it finds a face.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", type=Path)
    parser.add_argument("clips", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--frames", type=int, default=6, help="of each clip, evenly spread")
    given = parser.parse_args()
    import mediapipe  # type: ignore[import-not-found]
    from mediapipe.tasks.python import BaseOptions, vision  # type: ignore[import-not-found]

    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=str(given.network)),
        output_face_blendshapes=True,
        min_face_detection_confidence=0.3,
        min_face_presence_confidence=0.3,
    )
    clips, frames, scores, names = [], [], [], []
    with vision.FaceLandmarker.create_from_options(options) as teacher:
        for clip in sorted(given.clips.glob("*.mp4")):
            film = cv2.VideoCapture(str(clip))
            count = int(film.get(cv2.CAP_PROP_FRAME_COUNT))
            wanted = set(np.linspace(0, count - 1, given.frames).round().astype(int).tolist())
            for at in range(count):  # one after the other: seeking in a film is not exact everywhere
                if at not in wanted:
                    film.grab()
                    continue
                ok, picture = film.read()
                if not ok:
                    break
                image = mediapipe.Image(
                    image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(picture[..., ::-1])
                )
                found = teacher.detect(image).face_blendshapes
                if found:
                    names = [one.category_name for one in found[0]]
                    clips.append(clip.stem)
                    frames.append(at)
                    scores.append([one.score for one in found[0]])
    np.savez_compressed(
        given.output, clip=np.array(clips), frame=np.array(frames), names=np.array(names),
        scores=np.array(scores, np.float32),
    )  # fmt: skip
    print(f"{given.output}: {len(scores)} frames of {len(set(clips))} clips")


if __name__ == "__main__":
    main()
