"""Streams: addresses, true times, H.264 at the other end, and an end that is told. Loopback only."""

import subprocess
import threading
import time
from pathlib import Path

import imageio_ffmpeg
import pytest

from fewshot_reenact.errors import UsageError
from fewshot_reenact.media.reader import VideoReader
from fewshot_reenact.media.sender import StreamAddress, StreamSender
from local_ports import free_port
from stream_receivers import receiving
from video_samples import number_of, numbered


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("udp://127.0.0.1:5000", "udp://127.0.0.1:5000"),
        ("udp://[::1]:5000?ttl=3", "udp://[::1]:5000"),
        ("rtmp://live.example.org/app/secret-key", "rtmp://live.example.org/app/..."),
        ("rtmp://ann:word@studio:1936/app", "rtmp://studio:1936/app"),
    ],
)
def test_addresses(given: str, shown: str) -> None:
    address = StreamAddress.parse(given)
    assert address.shown == shown and address.here == ("127" in given or "::1" in given)
    assert address.target[-1].startswith(given)


@pytest.mark.parametrize(
    "given",
    [
        "http://host/x", "file:///etc/passwd", "rtsp://host:5000/x", "tcp://host:5000", "srt://host:5000", "host:5000",
        "udp://host", "udp://:5000", "udp://host:no", "udp://host:99999", "rtmp://host", "rtmp:///app/key", "", "-y",
        "udp:host:5000", "udp://host:5000 -f null", "UDP://host:5000", "udp://ho\nst:5000", "tee:udp://host:5000",
        "rtmp://host/app live=1",
    ],
)  # fmt: skip
def test_addresses_of_other_kinds_are_refused(given: str) -> None:
    with pytest.raises(UsageError, match=r"give udp://HOST:PORT or rtmp://HOST/"):
        StreamAddress.parse(given)


def test_pictures_arrive_in_order_at_their_own_times(tmp_path: Path) -> None:
    """What is dropped leaves the times of what is sent as they are."""
    times = [10.0, 10.033, 10.081, 10.36, 10.4, 10.95, 11.0]
    with receiving(tmp_path / "got.ts") as port:
        sender = StreamSender(StreamAddress.parse(f"udp://127.0.0.1:{port}"), {"service_name": "AI-generated: yes"})
        for number, moment in enumerate(times):
            sender.send(numbered(number, 161, 119), moment)
            deadline = time.monotonic() + 20
            while sender.sent + sender.dropped <= number and time.monotonic() < deadline:
                time.sleep(0.002)
        sender.close()
        assert (sender.sent, sender.dropped) == (len(times), 0)
    with VideoReader(tmp_path / "got.ts") as reader:
        got = list(reader)
        assert (reader.info.width, reader.info.height) == (162, 120)
    assert [number_of(frame.picture) for frame in got] == list(range(len(times)))
    assert [frame.time - got[0].time for frame in got] == pytest.approx([one - 10 for one in times], abs=1e-4)
    assert b"AI-generated: yes" in (tmp_path / "got.ts").read_bytes()


def test_a_slow_encoder_gets_the_newest_picture(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    goes = threading.Semaphore(0)
    before = StreamSender._next

    def waits(self: StreamSender):
        goes.acquire(timeout=20)
        return before(self)

    monkeypatch.setattr(StreamSender, "_next", waits)
    with receiving(tmp_path / "got.ts") as port:
        sender = StreamSender(StreamAddress.parse(f"udp://127.0.0.1:{port}"), {})
        for number in range(5):
            sender.send(numbered(number), number / 25)
        assert sender.dropped == 4
        goes.release(3)
        sender.close()
    with VideoReader(tmp_path / "got.ts") as reader:
        assert [number_of(frame.picture) for frame in reader] == [4]


def test_rtmp(tmp_path: Path) -> None:
    port = free_port()
    url = f"rtmp://127.0.0.1:{port}/live/secret"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-listen", "1", "-i", url, "-c", "copy"]
    server = subprocess.Popen([*command, str(tmp_path / "got.flv")], stdin=subprocess.DEVNULL)
    try:
        wait_for(port)
        sender = StreamSender(StreamAddress.parse(url), {"comment": "AI-generated"})
        for number in range(5):
            sender.send(numbered(number), number / 10)
            time.sleep(0.05)
        sender.close()
        assert server.wait(20) == 0
    finally:
        server.kill()
    with VideoReader(tmp_path / "got.flv") as reader:
        numbers = [number_of(frame.picture) for frame in reader]
    assert numbers and numbers[-1] == 4 and numbers == sorted(numbers)


def wait_for(port: int) -> None:
    """Until a server listens; without connecting, which would be its one connection."""
    wanted = f":{port:04X} 00000000:0000 0A"
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        table = Path("/proc/net/tcp")
        if not table.exists():
            pytest.skip("there is no /proc/net/tcp to see when the server listens")
        if wanted in table.read_text():
            return
        time.sleep(0.02)
    raise AssertionError("the server does not listen")


def test_nobody_there_is_told_without_the_key() -> None:
    sender = StreamSender(StreamAddress.parse(f"rtmp://127.0.0.1:{free_port()}/live/secret"), {})
    with pytest.raises(UsageError, match=r"^rtmp://127.0.0.1:\d+/live/\.\.\.: nothing can be sent") as told:
        for number in range(2000):
            sender.send(numbered(number % 200), number / 25)
            time.sleep(0.01)
    sender.close()
    assert "secret" not in str(told.value) and "refused" in str(told.value)
