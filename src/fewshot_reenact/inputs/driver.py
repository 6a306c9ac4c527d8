"""DRIVER, whatever it is (video, picture, motion file, built-in motion): parsed once, then measured as a motion."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np

from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.files import as_file
from fewshot_reenact.landmarks.backend import LandmarkBackend
from fewshot_reenact.landmarks.selection import LARGEST, FaceChoice, find_face, parse_face
from fewshot_reenact.landmarks.upright import how_it_lies, quarter_turns, turned
from fewshot_reenact.landmarks.video import track_video
from fewshot_reenact.media.picture_source import numbered_frames
from fewshot_reenact.media.pictures import is_picture, read_picture
from fewshot_reenact.media.reader import VideoReader
from fewshot_reenact.media.timestamps import rate_of_frames
from fewshot_reenact.motion.builtins import PREFIX, is_builtin_motion, load_builtin_motion
from fewshot_reenact.motion.files import READ, load_motion
from fewshot_reenact.motion.motion import Motion
from fewshot_reenact.progress import Count

# Frames that are looked at to see how a video lies: every so many of the first ones, until so many showed a face.
_LOOK_EVERY, _LOOK_UP_TO, _LOOKS = 10, 60, 3
_PICTURE_FPS = Fraction(25)  # a picture is a motion of one frame; 25 frames a second is what the built-in motions have


@dataclass(frozen=True)
class DriverSource:
    """DRIVER as it was given, looked at once: what it is and which part of it counts. Nothing is measured yet.

    kind: "video", "picture" (a pose), "motion" (a file, also another program's) or "builtin". name: without folders
    and suffix. path: the file, None for a built-in motion. start, end: seconds, None for all. face: "largest" or N from
    the left. option: how the user chooses a face of it, for messages. fps: of a folder of numbered frames. mirror: left
    and right are exchanged. any_size: see VideoReader. turn: quarter turns, counterclockwise, by which its pictures
    stand upright; known when it is measured.
    """

    kind: Literal["video", "picture", "motion", "builtin"]
    name: str
    path: Path | None
    start: float | None = None
    end: float | None = None
    face: FaceChoice = LARGEST
    option: str = "--driver-face"
    fps: Fraction | None = None
    mirror: bool = False
    any_size: bool = False
    turn: int = 0

    @classmethod
    def parse(
        cls,
        driver: str | Path,
        *,
        face: str | int = "largest",
        start: float | None = None,
        end: float | None = None,
        option: str = "--driver-face",
        fps: float | None = None,
        mirror: bool = False,
        any_size: bool = False,
    ) -> DriverSource:
        """What can be said at once, before networks are loaded and portraits measured; by name and first bytes.

        Raises InputError: none given, an address, no such file, a folder. UsageError: no built-in motion of that name,
        a bad choice of face, a part of a picture.
        """
        chosen, rate = parse_face(face), rate_of_frames(fps)
        if not str(driver):
            raise InputError("no driver was given")
        if is_builtin_motion(driver):
            load_builtin_motion(str(driver))
            source = cls("builtin", str(driver).removeprefix(PREFIX), None)
        else:
            path = as_file(driver)
            if not path.exists():
                raise InputError(f"{path}: no such file; check the name")
            source = cls(_kind(path, rate), path.stem, path)
        if rate is not None and (source.path is None or not source.path.is_dir()):
            raise UsageError(f"{source.given}: has a frame rate of its own; --fps is for a folder of numbered frames")
        if source.is_still and (start is not None or end is not None):
            raise UsageError(f"{source.given}: is a picture, which has no --start and --end")
        return replace(
            source, start=start, end=end, face=chosen, option=option, fps=rate, mirror=mirror, any_size=any_size
        )

    @property
    def is_builtin(self) -> bool:
        """Whether it comes with the package; then there is no file."""
        return self.kind == "builtin"

    @property
    def is_still(self) -> bool:
        """Whether it is a picture: one pose."""
        return self.kind == "picture"

    @property
    def is_video(self) -> bool:
        """Whether it has pictures that move, and perhaps sound."""
        return self.kind == "video"

    @property
    def given(self) -> str:
        """As it was given, for people."""
        return f"{PREFIX}{self.name}" if self.path is None else str(self.path)

    @property
    def file(self) -> Path:
        """The file. Raises ValueError for a built-in motion."""
        if self.path is None:
            raise ValueError(f"{PREFIX}{self.name} is no file")
        return self.path

    def measure(self, backend: LandmarkBackend, progress: Count | None = None) -> Driver:
        """The face's points over time. progress: called with (frames done, frames expected or None).

        Raises InputError when the file cannot be read or shows no face, UsageError for a bad start or end.
        """
        if self.is_builtin or self.kind == "motion":
            motion = (
                load_builtin_motion(self.name) if self.is_builtin else load_motion(self.file, self.face, self.option)
            )
            motion = _cut(motion, self.start, self.end)
            return Driver(self, motion.mirrored() if self.mirror else motion)
        source = self.upright(backend)
        if source.is_still:
            motion = motion_of_picture(source.picture(), backend, source.face, source.file.name, source.option)
            return Driver(source, source.told(motion))
        with source.open() as reader:
            motion = measure_video(reader, backend, source.face, progress, source.option)
            sound = source.path if reader.info.has_audio else None
            return Driver(
                source,
                source.told(motion),
                sound,
                reader.audio_start,
                reader.audio_end,
                tuple(reader.jumps),
                hdr=reader.hdr,
            )

    def upright(self, backend: LandmarkBackend) -> DriverSource:
        """The same with its pictures turned upright, if they lie otherwise; looks at a few frames with a face."""
        if self.is_still:
            looks = [self._turn_of(read_picture(self.file), backend)]
        else:
            looks = []
            for number, picture in self.frames():
                look = self._turn_of(picture, backend) if number % _LOOK_EVERY == 0 else None
                looks += [] if look is None else [look]
                if looks.count(0) or len(looks) == _LOOKS or number >= _LOOK_UP_TO:
                    break
        turns = [look for look in looks if look]
        return replace(self, turn=turns[0]) if turns and set(looks) == set(turns[:1]) else self

    def _turn_of(self, picture: np.ndarray, backend: LandmarkBackend) -> int | None:
        """Quarter turns that stand a picture upright; None where no face is seen either way."""
        faces = backend.detect(picture)
        turn = quarter_turns(picture, faces, backend, self.face)
        return turn if faces or turn else None

    def told(self, motion: Motion) -> Motion:
        """The motion, with a note where the pictures were turned."""
        if self.turn:
            motion.notes.insert(0, f"{self.file.name}: {how_it_lies(self.turn)}; it is used turned upright")
        return motion

    def frames(self) -> Iterator[tuple[int, np.ndarray]]:
        """The frames of a video in order, decoded anew: number within the part that counts, (H, W, 3) uint8 RGB."""
        with self.open() as reader:
            for frame in reader:
                yield frame.index, frame.picture

    def pictures_at(self, wanted: np.ndarray) -> Iterator[np.ndarray]:
        """Frames of a video by their numbers, (N,), (H, W, 3) uint8 RGB; where the numbers fall it is read anew.

        Raises InputError: it has fewer frames than it had.
        """
        numbers, done = wanted.tolist(), 0
        while done < len(numbers):
            for at, picture in self.frames():
                while done < len(numbers) and numbers[done] == at:
                    yield picture
                    done += 1
                if done == len(numbers) or numbers[done] <= at:
                    break
            else:
                raise InputError(
                    f"{self.file.name}: gave fewer frames when it was read again; is something changing the file?"
                )

    def picture(self) -> np.ndarray:
        """The picture of a pose, upright, (H, W, 3) uint8 RGB."""
        picture = turned(read_picture(self.file), self.turn)
        return np.ascontiguousarray(picture[:, ::-1]) if self.mirror else picture

    def open(self) -> VideoReader:
        """Its pictures as a stream. Raises InputError when they cannot be read, UsageError for a bad start or end."""
        return VideoReader(
            self.file, self.start, self.end, fps=self.fps, turn=self.turn, mirror=self.mirror, any_size=self.any_size
        )


@dataclass(frozen=True)
class Driver:
    """A driver, measured.

    motion: of the part that counts, with NaN where no face was found. audio_from, audio_start, audio_end, audio_jumps:
    where its sound is, for VideoWriter; None without sound. audio_tempo: how much faster it goes. shown: (T,), which of
    the source's frames each of the motion is; None: they go together one by one. hdr: what the user should know where
    its colours are shown.
    """

    source: DriverSource
    motion: Motion
    audio_from: Path | None = None
    audio_start: Fraction = Fraction(0)
    audio_end: Fraction | None = None
    audio_jumps: tuple[Fraction, ...] = ()
    audio_tempo: Fraction = Fraction(1)
    shown: np.ndarray | None = None
    hdr: str | None = None

    def pictures(self) -> Iterator[np.ndarray] | None:
        """Its pictures in order, (H, W, 3) uint8 RGB, one for each frame of the motion; None where there are none."""
        if self.source.is_video and self.shown is not None:
            return self.source.pictures_at(self.shown)
        if self.source.is_video:
            return (picture for _, picture in self.source.frames())
        return iter([self.source.picture()]) if self.source.is_still else None


def measure_video(
    reader: VideoReader,
    backend: LandmarkBackend,
    face: FaceChoice = LARGEST,
    progress: Count | None = None,
    option: str = "--face",
) -> Motion:
    """The face's points in every frame of an open video; what is damaged in it becomes one of the motion's notes."""
    motion = track_video(reader, backend, face, progress, option=option)
    if reader.damaged:
        motion.notes.append(f"{reader.path.name}: is damaged ({reader.damaged}); what could be read is used")
    return motion


def motion_of_picture(
    picture: np.ndarray, backend: LandmarkBackend, face: FaceChoice, name: str, option: str = "--face"
) -> Motion:
    """A motion of one frame: the face in a picture (H, W, 3) uint8 RGB. Raises InputError when there is none."""
    found = find_face(picture, backend, face, name, option)
    return Motion(
        points=np.asarray(found.points, np.float32)[None],
        confidence=np.array([min(max(found.confidence, 0.0), 1.0)]),
        times=np.zeros(1),
        pts=np.zeros(1),
        time_base=1 / _PICTURE_FPS,
        fps=_PICTURE_FPS,
        size=(picture.shape[1], picture.shape[0]),
        source=name,
    )


def _kind(path: Path, rate: Fraction | None) -> Literal["video", "picture", "motion"]:
    """What a file is; a folder is a video when a frame rate goes with it."""
    if path.is_dir():
        if rate is None:
            raise InputError(
                f"{path}: is a folder; DRIVER is a video, a picture, a motion file or motion:talk (or a folder of "
                "numbered frames, with --fps)"
            )
        numbered_frames(path)
        return "video"
    if path.suffix.lower() in READ:
        return "motion"
    return "picture" if is_picture(path) else "video"


def _cut(motion: Motion, start: float | None, end: float | None) -> Motion:
    """Part of a motion, beginning at time zero."""
    if start is None and end is None:
        return motion
    if start is not None and end is not None and end <= start:
        raise UsageError(f"--end ({end} s) must lie after --start ({start} s)")
    part = motion.slice(start, end)
    part.pts = part.pts - part.pts[0]
    part.times = part.times - part.times[0]
    return part
