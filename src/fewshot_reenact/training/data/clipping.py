"""One video -> clips: pieces of one shot with one face, cut out as a square that does not move, with their points."""

import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from fewshot_reenact.errors import InputError
from fewshot_reenact.geometry.affine import transform
from fewshot_reenact.geometry.head_crop import cut_square, square_about
from fewshot_reenact.inputs.driver import DriverSource
from fewshot_reenact.landmarks.backend import LandmarkBackend
from fewshot_reenact.landmarks.video import track_video
from fewshot_reenact.media.reader import VideoReader
from fewshot_reenact.motion.motion import Motion
from fewshot_reenact.provenance.protect import why_refused
from fewshot_reenact.training.data.codec import ClipEncoder

MAX_SIDE = 512  # float16 still tells an eighth of a pixel there


@dataclass(frozen=True)
class ClipOptions:
    """What `prepare` makes of a video. size: side of a clip in pixels, even, 64 to 512. min_seconds, max_seconds: how
    long a clip is; longer shots are cut into equal pieces. min_face: height of a face, forehead to chin, in pixels of
    the video; pieces with a smaller one are left out. any_size: videos beyond the limits of size too.
    """

    size: int = 256
    min_seconds: float = 1.0
    max_seconds: float = 10.0
    min_face: int = 64
    any_size: bool = False


@dataclass(frozen=True)
class CutClip:
    """film: MP4. labels: npz with points (T, 83, 2) float16 in pixels of the clip, confidence (T,), timestamps (T,)
    seconds in the video, fps, identity. facts: what the index says of it.
    """

    film: bytes
    labels: bytes
    facts: dict[str, Any]


@dataclass
class CutVideo:
    """frames, seconds: of the whole video. notes: what its user should know (damaged parts)."""

    clips: list[CutClip]
    frames: int
    seconds: float
    notes: list[str] = field(default_factory=list)


@dataclass
class TrackedVideo:
    """A video's face over time, and which pieces of it become clips. turn: see DriverSource. notes: see CutVideo."""

    motion: Motion
    spans: list[tuple[int, int]]
    turn: int
    notes: list[str]


def cut_video(path: Path, person: str, backend: LandmarkBackend, options: ClipOptions) -> CutVideo:
    """Track the largest face of a video and cut it into clips. No more than their films is held in memory.

    Raises InputError when the video cannot be read, shows no face, or has no piece that can be used (and says why).
    """
    return cut_tracked(path, person, find_clips(path, backend, options), options)


def find_clips(path: Path, backend: LandmarkBackend, options: ClipOptions) -> TrackedVideo:
    """The first half of it: networks, which may be on a graphics card. Raises InputError as `cut_video`."""
    refuse = why_refused(path, "train")
    if refuse is not None:
        raise InputError(f"must not be used for training, it says so: {refuse}")
    source = DriverSource("video", path.stem, path, any_size=options.any_size).upright(backend)
    with source.open() as reader:
        motion = source.told(track_video(reader, backend))
        notes = [note.removeprefix(f"{path.name}: ") for note in motion.notes[: bool(source.turn)]]
        notes += [f"is damaged ({reader.damaged}); what could be read is used"] if reader.damaged else []
        notes += [reader.hdr] if reader.hdr else []
    spans, refused = choose_spans(motion, options)
    if not spans:
        raise InputError("no piece can be used: " + ", ".join(refused))
    return TrackedVideo(motion, spans, source.turn, notes)


def cut_tracked(path: Path, person: str, found: TrackedVideo, options: ClipOptions) -> CutVideo:
    """The second half: a second pass, and films. Raises InputError: the video can be read no more."""
    motion = found.motion
    source = DriverSource("video", path.stem, path, any_size=options.any_size, turn=found.turn)
    with source.open() as reader:
        clips = list(_cut(reader, motion, found.spans, person, options))
    length = float(motion.times[-1] - motion.times[0] + 1 / motion.fps)
    return CutVideo(clips, len(motion), round(length, 3), found.notes)


def choose_spans(motion: Motion, options: ClipOptions) -> tuple[list[tuple[int, int]], list[str]]:
    """(first frame, one past the last) of each clip, and what was left out, as phrases.

    A clip lies in one shot, shows its face in every frame and is at least two frames long.
    """
    found, step = motion.found, float(1 / motion.fps)
    ends = np.append(motion.times[1:], motion.times[-1] + step)
    spans: list[tuple[int, int]] = []
    refused: Counter[str] = Counter()
    for first, last in motion.shots:
        for begin, end in _runs(found[first:last], first):
            seconds = ends[end - 1] - motion.times[begin]
            height = float(np.median(np.ptp(motion.points[begin:end, :, 1], axis=1)))
            if seconds < options.min_seconds - 1e-6 or end - begin < 2:
                refused[f"shorter than {options.min_seconds:g} s"] += 1
            elif height < options.min_face:
                refused[f"face of under {options.min_face} pixels"] += 1
            else:
                pieces = int(np.ceil(seconds / options.max_seconds - 1e-6))
                edges = np.round(np.linspace(begin, end, max(1, pieces) + 1)).astype(int).tolist()
                spans += [(a, b) for a, b in pairwise(edges) if b - a >= 2]
    return spans, [f"{count} {what}" for what, count in sorted(refused.items())]


def _runs(found: np.ndarray, offset: int) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], found, [False]]).astype(np.int8))) + offset
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _cut(
    reader: VideoReader, motion: Motion, spans: list[tuple[int, int]], person: str, options: ClipOptions
) -> Iterator[CutClip]:
    """A second pass through the video: the square of a clip is known only when its last frame is."""
    waiting = iter(spans)
    begin, end = next(waiting)
    encoder: ClipEncoder | None = None
    for frame in reader:
        if frame.index < begin:
            continue
        if encoder is None:
            square = square_about(motion.points[begin:end], motion.size)
            encoder = ClipEncoder(options.size, motion.fps)
        picture, matrix = cut_square(frame.picture, square, options.size)
        encoder.add(picture)
        if frame.index + 1 < end:
            continue
        yield _labelled(
            encoder.finish(), motion, begin, end, person, square, transform(matrix, motion.points[begin:end])
        )
        encoder = None
        following = next(waiting, None)
        if following is None:
            return
        begin, end = following
    raise InputError("could be read once but not again; is the file being written to?")


def _labelled(
    film: bytes,
    motion: Motion,
    begin: int,
    end: int,
    person: str,
    square: tuple[float, float, float],
    points: np.ndarray,
) -> CutClip:
    labels = io.BytesIO()
    # Zip entries made from arrays carry no time of day, so the same arrays give the same bytes.
    np.savez_compressed(
        labels,
        points=points.astype(np.float16),
        confidence=motion.confidence[begin:end],
        timestamps=motion.times[begin:end],
        fps=np.array(float(motion.fps)),
        identity=np.array(person),
    )
    facts = {
        "person": person,
        "frames": end - begin,
        "fps": str(motion.fps),
        "start": round(float(motion.times[begin]), 6),
        "square": [round(value, 3) for value in square],
        "face": round(float(np.median(np.ptp(motion.points[begin:end, :, 1], axis=1))), 1),
        "confidence": round(float(motion.confidence[begin:end].mean()), 3),
    }
    return CutClip(film, labels.getvalue(), facts)
