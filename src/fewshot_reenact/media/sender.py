"""Live pictures over the network, for a studio's mixer: H.264 by imageio-ffmpeg's ffmpeg, with little delay."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any
from urllib.parse import urlsplit

import av
import numpy as np
from av.error import FFmpegError
from av.video.frame import VideoFrame

from fewshot_reenact.errors import UsageError
from fewshot_reenact.media import timestamps

SCHEMES = ("udp", "rtmp")
_TICK = Fraction(1, 90_000)  # MPEG-TS's own
_PACKET = 1316  # bytes: seven packets of MPEG-TS, the most that goes through Ethernet whole
_SILENCE = 10  # seconds, after which an RTMP server that does not answer is given up
_END = 5.0  # seconds for the last pictures to be sent


@dataclass(frozen=True)
class StreamAddress:
    """Where a stream goes. url: as it was given. shown: for people and reports, without user, password and stream key.
    here: whether it stays on this machine.
    """

    url: str
    scheme: str
    shown: str
    here: bool

    @classmethod
    def parse(cls, given: str) -> StreamAddress:
        """udp://HOST:PORT, sent as MPEG-TS, or rtmp://HOST[:PORT]/APP/KEY. Raises UsageError: any other address."""
        try:
            parts = urlsplit(given)
            host, port = parts.hostname or "", parts.port
        except ValueError as error:
            raise UsageError(f"the address of the stream cannot be read ({error}); {_wanted()}") from error
        if parts.scheme not in SCHEMES or not given.startswith(f"{parts.scheme}://"):
            raise UsageError(f"{given.split('://')[0]!r}: streams are not sent there; {_wanted()}")
        if not host or not given.isprintable() or any(one.isspace() for one in given):
            raise UsageError(f"the {parts.scheme} address has no host, or spaces in it; {_wanted()}")
        if parts.scheme == "udp" and not port:
            raise UsageError(f"udp://{host}: has no port; {_wanted()}")
        if parts.scheme == "rtmp" and not parts.path.strip("/"):
            raise UsageError(f"rtmp://{host}: says no application; {_wanted()}")
        where = f"[{host}]" if ":" in host else host
        where += f":{port}" if port else ""
        if parts.scheme == "rtmp":
            application, _, key = parts.path.strip("/").partition("/")
            where += f"/{application}" + ("/..." if key else "")
        return cls(given, parts.scheme, f"{parts.scheme}://{where}", _is_here(host))

    @property
    def target(self) -> list[str]:
        """What ffmpeg is told of it: container and address, as arguments."""
        if self.scheme == "rtmp":
            return ["-rw_timeout", str(_SILENCE * 1_000_000), "-f", "flv", self.url]
        more = "" if "pkt_size=" in self.url else f"{'&' if '?' in self.url else '?'}pkt_size={_PACKET}"
        return ["-f", "mpegts", self.url + more]


class StreamSender:
    """Sends pictures to an address, each with its own time, until `close`. It starts with the first picture.

    tags: of the stream, such as a comment. `send` never waits: where the network or the encoder is slow, the newest
    picture takes the place of the one before. sent, dropped: pictures so far.
    """

    def __init__(self, address: StreamAddress, tags: Mapping[str, str]) -> None:
        self.address, self._tags = address, dict(tags)
        self.sent = self.dropped = 0
        self._newest: tuple[np.ndarray, float] | None = None
        self._over, self._ended = False, False
        self._changed = threading.Condition()
        self._process: subprocess.Popen[bytes] | None = None
        self._said = tempfile.TemporaryFile()  # noqa: SIM115
        self._thread = threading.Thread(target=self._run, name="stream", daemon=True)

    def send(self, picture: np.ndarray, time: float) -> None:
        """A picture (H, W, 3) uint8 RGB, not to be changed afterwards, and its time in seconds, later than the last
        one's. Raises UsageError once nothing can be sent any more.
        """
        if self._process is None:
            self._start()
        with self._changed:
            if self._ended:
                raise UsageError(f"{self.address.shown}: {self._reason()}")
            self.dropped += self._newest is not None
            self._newest = (picture, time)
            self._changed.notify_all()

    def close(self) -> None:
        """Sends what is waiting and ends the stream; harmless when it has ended."""
        with self._changed:
            self._over = True
            self._changed.notify_all()
        if self._process is not None:
            self._thread.join(_END)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0 if self._thread.is_alive() else _END)
            if self._process.poll() is None:  # the other side takes nothing
                self._process.kill()
            self._process.wait()
            self._thread.join(_END)
        self._said.close()

    def _start(self) -> None:
        # A session of its own: Ctrl-C in a terminal is for this program, which ends the stream itself.
        own: dict[str, Any] = {"creationflags": 0x200} if os.name == "nt" else {"start_new_session": True}
        command = [_ffmpeg(), *_FROM_PIPE, *_CODING, *_tags(self._tags), *self.address.target]
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self._said, **own
            )
        except OSError as error:
            raise UsageError(f"{self.address.shown}: ffmpeg cannot be started ({error.strerror})") from error
        self._thread.start()

    def _run(self) -> None:
        assert self._process is not None and self._process.stdin is not None
        pipe, began = _Pipe(self._process.stdin), 0.0
        container: Any = None
        stream: Any = None
        try:
            while (waiting := self._next()) is not None:
                picture, time = waiting
                picture = np.pad(picture, ((0, picture.shape[0] % 2), (0, picture.shape[1] % 2), (0, 0)), mode="edge")
                if container is None:
                    began = time
                    container = av.open(pipe, "w", format="nut", options={"flush_packets": "1"})
                    stream = _raw_stream(container, picture)
                frame = VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p", dst_colorspace=1)
                frame.pts, frame.time_base = timestamps.to_ticks(time - began, _TICK), _TICK
                container.mux(stream.encode(frame))
                self.sent += 1
            if container is not None:
                container.close()
        except (FFmpegError, OSError, ValueError):
            pass  # ffmpeg has ended: why, it has said itself
        finally:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
            with self._changed:
                self._ended = True

    def _next(self) -> tuple[np.ndarray, float] | None:
        """The newest picture as soon as there is one; None when all is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._newest is not None or self._over)
            waiting, self._newest = self._newest, None
            return waiting

    def _reason(self) -> str:
        """What ffmpeg said last, without the address, in which there may be a key."""
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(1)
        self._said.seek(0)
        lines = self._said.read()[-4000:].decode(errors="replace").replace(self.address.url, self.address.shown)
        for secret in filter(None, {self.address.url.partition("://")[2], urlsplit(self.address.url).path}):
            lines = lines.replace(secret, "...")
        said = [line for line in lines.splitlines() if line.strip()]
        return f"nothing can be sent there any more ({said[0].strip()[:200] if said else 'ffmpeg ended'})"


class _Pipe:
    """ffmpeg's input, as PyAV wants a file to write to."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def write(self, data: bytes) -> int:
        """Waits while ffmpeg takes nothing."""
        return self._raw.write(data)


def _raw_stream(container: Any, picture: np.ndarray) -> Any:
    """Pictures as they are, each with its time: NUT carries both through a pipe."""
    stream: Any = container.add_stream("rawvideo", rate=25)
    stream.height, stream.width, stream.pix_fmt = picture.shape[0], picture.shape[1], "yuv420p"
    stream.codec_context.time_base = stream.time_base = _TICK
    stream.codec_context.colorspace, stream.codec_context.color_range = 1, 1  # BT.709, limited
    stream.codec_context.color_primaries, stream.codec_context.color_trc = 1, 1
    return stream


# Nothing is looked at ahead: the first picture is enough to know what comes.
_FROM_PIPE = ["-v", "error", "-probesize", "32", "-analyzeduration", "0"]
_FROM_PIPE += ["-protocol_whitelist", "pipe", "-f", "nut", "-i", "pipe:0"]
# No B-frames and no look ahead (zerolatency); a key picture each second, for whoever joins later; true times.
_CODING = ["-an", "-c:v", "libx264", "-preset", "veryfast", "-tune", "zerolatency", "-threads", "1"]
_CODING += ["-crf", "20", "-maxrate", "8M", "-bufsize", "8M", "-g", "250", "-force_key_frames", "expr:gte(t,n_forced)"]
_CODING += ["-pix_fmt", "yuv420p", "-fps_mode", "passthrough", "-enc_time_base", "1:90000"]
_CODING += ["-flush_packets", "1", "-muxdelay", "0"]
_CODING += ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv"]


def _tags(tags: Mapping[str, str]) -> list[str]:
    return [word for name, value in tags.items() for word in ("-metadata", f"{name}={value}")]


def _ffmpeg() -> str:
    import imageio_ffmpeg

    try:
        return imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise UsageError("there is no ffmpeg to send a stream with; reinstall imageio-ffmpeg") from error


def _is_here(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _wanted() -> str:
    return "give udp://HOST:PORT or rtmp://HOST/APPLICATION/KEY"
