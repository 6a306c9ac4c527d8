"""`reenact extract`: the motion of the face in a video or a picture, as a file that can drive a portrait."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from fewshot_reenact.device import choose_device
from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.files import check_output
from fewshot_reenact.geometry.overlay import draw_points
from fewshot_reenact.landmarks.backend import LandmarkBackend
from fewshot_reenact.landmarks.registry import load_backend
from fewshot_reenact.landmarks.tracker import Progress, find_face, parse_face, track_video
from fewshot_reenact.media.marks import PlainNote
from fewshot_reenact.media.pictures import PICTURE_OUTPUTS, is_picture, read_picture, write_picture
from fewshot_reenact.media.reader import VideoReader
from fewshot_reenact.media.writer import VIDEO_OUTPUTS, VideoWriter
from fewshot_reenact.motion.files import SUFFIXES, save_motion
from fewshot_reenact.motion.motion import Motion
from fewshot_reenact.motion.smoothing import OneEuro, smooth_motion

# A picture is a motion of one frame; 25 frames a second is what the built-in motions have.
PICTURE_FPS = Fraction(25)


class _Overlay(PlainNote):
    """Points drawn over somebody's recording do not make it AI-generated, so the file does not say that it is."""

    def metadata(self) -> dict[str, str]:
        return {"comment": "Face landmarks drawn by fewshot-reenact over the original picture"}


def extract_motion(
    source: str | Path,
    output: str | Path,
    *,
    picture: str | Path | None = None,
    video: str | Path | None = None,
    landmarks: str | LandmarkBackend = "builtin",
    face: str | int = "largest",
    smooth: float = 0.0,
    start: float | None = None,
    end: float | None = None,
    device: str = "auto",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measures the motion of a face and writes it to `output` (.npz or .json).

    source: a video or a picture. picture: also write the first frame with a face, its points drawn on it. video: also
    write the whole video with the points drawn, grey where they are held over frames without a face. landmarks:
    "builtin", "fan", or a backend. face: "largest" or N from the left. smooth: 0 (as measured) to 1. start, end:
    seconds. device: "auto", "cpu", "cuda", "mps". progress: called with (frames done, frames expected or None).

    Returns the report: frames, found, missing, missing_spans, cuts, fps, duration, size, mean_confidence, warnings,
    device, landmarks, and the files written. Raises UsageError, InputError, ModelError; then `output` is not written.
    """
    source = Path(source)
    parse_face(face)
    OneEuro(smooth)
    outputs = {
        "output": (output, SUFFIXES),
        "picture": (picture, PICTURE_OUTPUTS),
        "video": (video, VIDEO_OUTPUTS),
    }
    files = {
        key: check_output(path, overwrite, (source,), suffixes)
        for key, (path, suffixes) in outputs.items()
        if path is not None
    }
    if len(set(files.values())) < len(files):
        raise UsageError("two outputs have the same name: give each its own")
    still = _is_still(source, video, start, end)
    where, why = choose_device(device)
    if still:
        shown = read_picture(source)
        backend = _backend(landmarks, where)
        motion = _of_picture(shown, backend, face, source.name)
    else:
        # The video is opened first: what is wrong with it is told before networks are loaded.
        with VideoReader(source, start, end) as reader:
            backend = _backend(landmarks, where)
            motion = track_video(reader, backend, face, progress)
            if reader.damaged:
                motion.notes.append(f"{source.name}: is damaged ({reader.damaged}); what could be read is used")
    if smooth:
        motion = _smoothed(motion, smooth)
    if "picture" in files:
        index = int(np.flatnonzero(motion.found)[0])
        if not still:
            shown = _frame(source, index, start, end)
        write_picture(picture, draw_points(shown, motion.points[index]), overwrite, marks=_Overlay())  # type: ignore[arg-type]
    if "video" in files:
        _write_overlay(source, files["video"], motion, start, end, overwrite, progress)
    # Last, so that whoever waits for the motion file finds everything in place.
    save_motion(motion, output, overwrite)
    return {
        **motion.report(),
        "device": f"{where} ({why})",
        "landmarks": backend.name,
        "smooth": smooth,
        "files": {key: str(path) for key, path in files.items()},
    }


def _backend(landmarks: str | LandmarkBackend, device: object) -> LandmarkBackend:
    return load_backend(landmarks, str(device)) if isinstance(landmarks, str) else landmarks


def _is_still(source: Path, video: str | Path | None, start: float | None, end: float | None) -> bool:
    """Whether the source is a picture; with one, what needs a video is a mistake."""
    if source.suffix.lower() in SUFFIXES and source.is_file():
        raise InputError(f"{source}: is a motion file already; use it as DRIVER, or give a video or a picture")
    if not is_picture(source):
        return False
    if video is not None:
        raise UsageError(f"{source}: is a picture, so there is no --video of it; use --picture")
    if start is not None or end is not None:
        raise UsageError(f"{source}: is a picture, which has no --start and --end")
    return True


def _of_picture(picture: np.ndarray, backend: LandmarkBackend, face: str | int, name: str) -> Motion:
    one = find_face(picture, backend, face, name)
    return Motion(
        points=np.asarray(one.points, np.float32)[None],
        confidence=np.array([min(max(one.confidence, 0.0), 1.0)]),
        times=np.zeros(1),
        pts=np.zeros(1),
        time_base=1 / PICTURE_FPS,
        fps=PICTURE_FPS,
        size=(picture.shape[1], picture.shape[0]),
        source=name,
    )


def _smoothed(motion: Motion, strength: float) -> Motion:
    """Smoothed over the gaps, which stay gaps: what was not seen is for whoever uses the motion to fill."""
    points = smooth_motion(motion.filled().points, motion.times, strength, motion.cuts)
    points[~motion.found] = np.nan
    motion.points = points
    return motion


def _frame(source: Path, index: int, start: float | None, end: float | None) -> np.ndarray:
    with VideoReader(source, start, end) as reader:
        for frame in reader:
            if frame.index == index:
                return frame.picture
    raise InputError(f"{source}: frame {index} could be read once but not again; is the file being written to?")


def _write_overlay(
    source: Path,
    path: Path,
    motion: Motion,
    start: float | None,
    end: float | None,
    overwrite: bool,
    progress: Progress | None,
) -> None:
    """A second pass through the video: smoothing looks ahead, so nothing could be drawn in the first."""
    points, found = motion.filled().points, motion.found
    with VideoReader(source, start, end) as reader:
        info = reader.info
        with VideoWriter(
            path,
            info.width,
            info.height,
            info.time_base,
            info.fps,
            audio_from=source if info.has_audio else None,
            audio_start=reader.audio_start,
            audio_end=reader.audio_end,
            marks=_Overlay(),
            inputs=(source,),
            overwrite=overwrite,
        ) as writer:
            for frame in reader:
                if frame.index >= len(points):
                    break
                writer.write(draw_points(frame.picture, points[frame.index], bool(found[frame.index])), frame.pts)
                if progress is not None:
                    progress(frame.index + 1, len(points))
