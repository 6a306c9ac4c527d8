"""Whole shards on a local disk, fetched ahead by several threads, for clips that would each be a request otherwise.

CACHE/0123456789abcdef/shard-000012.tar       the folder's name is made of the shards' address and index

All processes of a machine may share a cache: a shard is fetched by whoever is first, and the others wait for it.
"""

import contextlib
import hashlib
import logging
import os
import queue
import re
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

try:
    import fcntl
except ImportError:  # Windows: two processes may fetch the same shard
    fcntl = None  # type: ignore[assignment]

from fewshot_reenact.errors import InputError, ReenactError, UsageError
from fewshot_reenact.files import output_error, partial_file
from fewshot_reenact.training.data.order import ShardOrder
from fewshot_reenact.training.data.storage import Folder

THREADS = 4  # of each process: a store gives several shards at once faster than one
_TRIES = 5
_SHARD = re.compile(r"shard-\d{6}\.tar")
_log = logging.getLogger(__name__)


class ShardCache:
    """Shards of `source`, on the disk in `folder`; all caches there together hold `limit` bytes at most, besides what
    is being fetched.

    sizes: bytes of each shard, by name. identity: tells these shards from others that were at the same address.
    ordered: clips are asked for shard by shard. Then a shard is waited for, and the one that was used longest ago makes
    room. Else a clip whose shard is not there yet is read from the source alone, and a full cache stays as it is: of
    clips in random order none is more likely to be used again than another.
    """

    def __init__(
        self, source: Folder, sizes: dict[str, int], identity: str, folder: Path, limit: int, *, ordered: bool
    ) -> None:
        digest = hashlib.sha256(f"{source.name}\n{identity}".encode("utf-8", "surrogateescape")).hexdigest()
        self.source, self.sizes, self.root, self.folder = source, sizes, folder, folder / digest[:16]
        self.limit, self.ordered = limit, ordered
        self._asked: set[str] = set()
        self._full = False
        self._queue: queue.SimpleQueue[str] | None = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise output_error(self.folder, error) from error

    def read(self, name: str, offset: int, length: int) -> bytes:
        """Bytes of a shard. Raises InputError: they cannot be read; UsageError: the disk is full, the limit too low."""
        path = self.folder / name
        for _ in range(_TRIES):
            with contextlib.suppress(FileNotFoundError):
                return _read(path, offset, length)
            if not self.ordered:
                self.want([name])
                return self.source.read(name, offset, length)
            self._fetch(name, wait=True)
        raise UsageError(f"{self.root}: shards are dropped before they are used; raise data.cache_gb")

    def want(self, names: Iterable[str]) -> None:
        """Fetch shards in the background, in this order, where they are missing. What goes wrong, `read` tells."""
        if self._full:
            return
        missing = [name for name in names if name not in self._asked and not (self.folder / name).exists()]
        if missing and self._queue is None:
            self._queue = queue.SimpleQueue()
            for _ in range(THREADS):
                # Daemons: nobody waits at the end for shards that are not needed any more.
                threading.Thread(target=self._fetch_all, args=(self._queue,), daemon=True).start()
        for name in missing:
            self._asked.add(name)
            self._queue.put(name)  # type: ignore[union-attr]  # made above

    def __getstate__(self) -> dict[str, Any]:
        """Without its threads: each process has its own."""
        return {**self.__dict__, "_queue": None, "_asked": set()}

    def _fetch_all(self, names: queue.SimpleQueue[str]) -> None:
        while True:
            name = names.get()
            try:
                self._fetch(name, wait=False)
            except (ReenactError, OSError) as error:
                _log.info("%s: not fetched ahead (%s)", self.source / name, error)
            self._asked.discard(name)

    def _fetch(self, name: str, *, wait: bool) -> None:
        """Whole or not at all. wait: while another process or thread fetches it, else it is left to that one."""
        path = self.folder / name
        with _waited_for(self.folder / f".{name}.lock", wait) as mine:
            if not mine or path.exists() or not self._make_room(self.sizes[name]):
                return
            with partial_file(path, overwrite=True) as partial:
                self.source.fetch(name, partial)
                if (size := partial.stat().st_size) != self.sizes[name]:
                    where = f"{self.source / name}: has {size} bytes, not {self.sizes[name]} as its index says"
                    raise InputError(f"{where}; delete the shard and run prepare again")
            if not self._make_room(0):  # others were fetched meanwhile
                path.unlink(missing_ok=True)

    def _make_room(self, size: int) -> bool:
        """Whether there is room for so many bytes more; where clips come shard by shard, it is made, and a little more,
        because looking at thousands of files takes long.
        """
        with _waited_for(self.root / ".lock", wait=True):
            mine = sum(self.sizes.get(path.name, 0) for path in self.folder.iterdir())
            spare = self.limit - size - mine - sum(held for _, held, _ in _shards(self.root, but=self.folder))
            if spare < 0 and self.ordered:
                found = sorted(_shards(self.root))
                while spare < self.limit // 20 and found:
                    _, held, oldest = found.pop(0)
                    oldest.unlink(missing_ok=True)
                    spare += held
        self._full = spare < 0
        return not self._full


class ReadAhead(Dataset[dict[str, torch.Tensor]]):
    """Episodes in the order of shards; those of a lane's window and of its next one are fetched when it is entered.

    names: of the shards, by number.
    """

    def __init__(
        self, episodes: Dataset[dict[str, torch.Tensor]], order: ShardOrder, cache: ShardCache, names: list[str]
    ):
        self.episodes, self.order, self.cache, self.names = episodes, order, cache, names
        self._entered: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self.episodes)  # type: ignore[arg-type]  # torch's Dataset leaves __len__ to its children

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """The episode `index`."""
        window = self.order.window(index)
        if self._entered.get(window.lane) != window.first:
            self._entered[window.lane] = window.first
            numbers = [*window.shards, *self.order.after(window).shards]
            self.cache.want(self.names[number] for number in numbers)
        return self.episodes[index]


def _read(path: Path, offset: int, length: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read(length)
    os.utime(path)  # whoever makes room goes by it
    return data


def _shards(root: Path, but: Path | None = None) -> Iterator[tuple[float, int, Path]]:
    """(time of last use, bytes, path) of the shards in all caches of a folder, or in all but one."""
    for folder in root.glob("?" * 16):
        for path in folder.glob("shard-*.tar") if folder != but else ():
            with contextlib.suppress(FileNotFoundError):
                if _SHARD.fullmatch(path.name):
                    stat = path.stat()
                    yield stat.st_mtime, stat.st_size, path


@contextlib.contextmanager
def _waited_for(path: Path, wait: bool) -> Iterator[bool]:
    """Hold the lock that a file stands for, which is there meanwhile only. wait: until nobody else has it; else yields
    False where somebody has. Where the file system knows no locks, everybody has it.
    """
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
    except OSError as error:
        raise output_error(path, error) from error
    mine = True
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        mine = False
    except OSError:
        pass
    try:
        yield mine
    finally:
        if mine:
            path.unlink(missing_ok=True)  # who waits for it gets the lock all the same
        os.close(descriptor)
