"""Small synthetic videos for the tests: numbered frames, flashes and beeps."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import imageio_ffmpeg
import numpy as np

WIDTH, HEIGHT = 64, 48
RATE = 48_000
BEEP = 1_000  # Hz


def ffmpeg(*arguments: str | Path) -> str:
    """Runs ffmpeg, which is independent of the PyAV that the project reads and writes with; returns what it printed."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-y", "-v", "error", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def numbered(number: int, width: int = WIDTH, height: int = HEIGHT, flash: bool = False) -> np.ndarray:
    """A picture (height, width, 3) with a number in eight black or white bars below, and a white top if it flashes."""
    picture = np.full((height, width, 3), (60, 90, 120), np.uint8)
    for bit in range(8):
        picture[height // 2 :, bit * width // 8 : (bit + 1) * width // 8] = 235 if number >> bit & 1 else 20
    if flash:
        picture[: height // 2] = 255
    return picture


def number_of(picture: np.ndarray) -> int:
    """The number that `numbered` put in."""
    height, width = picture.shape[:2]
    return sum(1 << bit for bit in range(8) if picture[height * 3 // 4, (2 * bit + 1) * width // 16].mean() > 128)


def flashes(picture: np.ndarray) -> bool:
    return bool(picture[2 : picture.shape[0] // 3].mean() > 200)


def beeps(seconds: float, at: Sequence[float], rate: int = RATE) -> np.ndarray:
    """Mono sound (samples,) int16 with a tenth of a second of beep at each time."""
    time = np.arange(int(seconds * rate)) / rate
    sound = np.zeros_like(time)
    for start in at:
        here = (time >= start) & (time < start + 0.1)
        sound[here] = 0.8 * np.cos(2 * np.pi * BEEP * (time[here] - start))
    return (sound * 32_767).astype(np.int16)


def make_video(
    path: Path,
    pts: Sequence[int],
    time_base: Fraction,
    *,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    sound: np.ndarray | None = None,
    sound_codec: str = "aac",
    sound_rate: int = RATE,
    flash: Sequence[int] = (),
    aspect: Fraction | None = None,
) -> Path:
    """A video with numbered frames at the given timestamps (ticks), and sound (samples,) int16 from time 0 on."""
    if options is None:
        options = {"preset": "ultrafast", "crf": "10"} if codec == "libx264" else {}
    with av.open(str(path), "w") as out:
        rate = 1 / (time_base * max(1, pts[1] - pts[0])) if len(pts) > 1 else Fraction(25)
        video: Any = out.add_stream(codec, rate=Fraction(rate).limit_denominator(10_000), options=options)
        video.width, video.height, video.pix_fmt = *size, pix_fmt
        video.codec_context.time_base = time_base
        if aspect is not None:
            video.codec_context.sample_aspect_ratio = aspect
        audio: Any = None
        if sound is not None:
            audio = out.add_stream(sound_codec, rate=sound_rate, layout="mono")
        for number, tick in enumerate(pts):
            picture = numbered(number, *size, flash=number in flash)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = tick, time_base
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        if sound is not None:
            _add_sound(out, audio, sound, sound_rate)
    return path


def _add_sound(out: Any, stream: Any, sound: np.ndarray, rate: int) -> None:
    resampler = av.AudioResampler(
        stream.codec_context.format, "mono", rate, frame_size=stream.codec_context.frame_size or 1024
    )
    frame = av.AudioFrame.from_ndarray(sound[None], format="s16", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
    for part in [*resampler.resample(frame), *resampler.resample(None)]:
        out.mux(stream.encode(part))
    out.mux(stream.encode(None))


def steady(frames: int, fps: Fraction) -> tuple[list[int], Fraction]:
    """Timestamps and time base of a steady rate, one tick a frame."""
    return list(range(frames)), 1 / fps


def packets(path: Path, kind: str = "video") -> list[tuple[Fraction, bytes]]:
    """(time in seconds, bytes) of every packet of a file's first stream of a kind."""
    with av.open(str(path)) as container:
        stream: Any = getattr(container.streams, kind)[0]
        return [(Fraction(p.pts * p.time_base), bytes(p)) for p in container.demux(stream) if p.size]


def frame_times(path: Path) -> list[Fraction]:
    """Timestamps of a file's video packets in seconds, as ffmpeg reads them."""
    listing = ffmpeg("-i", path, "-map", "0:v:0", "-c", "copy", "-f", "framecrc", "-")
    base = next(Fraction(line.split(": ")[1]) for line in listing.splitlines() if line.startswith("#tb 0"))
    rows = [line.split(",") for line in listing.splitlines() if not line.startswith("#")]
    return sorted(int(row[2]) * base for row in rows)


def beep_times(path: Path) -> list[float]:
    """When beeps begin, in seconds of the file's clock, to about a millisecond."""
    samples: list[np.ndarray] = []
    rate, begin = RATE, None
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            rate = frame.sample_rate
            if begin is None:
                begin = float(frame.pts * frame.time_base)
            samples.append(frame.to_ndarray().reshape(len(frame.layout.channels), -1, order="F").astype(np.float64)[0])
    sound = np.abs(np.concatenate(samples))
    loud = sound > 0.3 * sound.max()
    times = np.flatnonzero(loud) / rate
    starts = [t for i, t in enumerate(times) if i == 0 or t - times[i - 1] > 0.05]
    return [float(t) + (begin or 0.0) for t in starts]
