"""The other end of a stream: a socket on this machine, whose packets go into a file."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def receiving(path: Path) -> Iterator[int]:
    """Yields a UDP port of 127.0.0.1; what arrives there until the end, and half a second more, is the file."""
    over = threading.Event()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here, path.open("wb") as file:
        here.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        here.bind(("127.0.0.1", 0))
        here.settimeout(0.5)

        def receive() -> None:
            while True:
                try:
                    file.write(here.recv(65536))
                except TimeoutError:
                    if over.is_set():
                        return

        thread = threading.Thread(target=receive)
        thread.start()
        try:
            yield here.getsockname()[1]
        finally:
            over.set()
            thread.join()
