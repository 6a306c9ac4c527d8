"""A folder of files, on a disk or behind an fsspec address (s3://, gs://, memory://): whole files or none."""

import contextlib
import errno
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import fsspec

from fewshot_reenact.errors import InputError, MissingExtra, ReenactError, UsageError
from fewshot_reenact.files import output_error, partial_file

# Object stores have no folders: names begin to be there when something is written. Asked for one, they make a bucket.
_NO_FOLDERS = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl"}

T = TypeVar("T")
TRIES, FIRST_WAIT = 6, 0.5  # waits of 0.5 s, doubled each time: 15 s in all, as long as a store is often busy or away
# What is no better a moment later: not there, not allowed, not known.
_FINAL = (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError)
FULL = {errno.ENOSPC, errno.EDQUOT}  # of a disk here
_NO_KEYS = {"NoCredentialsError", "PartialCredentialsError"}
_log = logging.getLogger(__name__)


def retried(action: Callable[[], T], what: str) -> T:
    """What a remote store answers; asked again, ever later, while it fails for reasons that pass. what: for the log.

    Raises what the last try raised.
    """
    for number in range(1, TRIES + 1):
        try:
            return action()
        except (ReenactError, NotImplementedError, TypeError, ValueError, *_FINAL):
            raise
        except Exception as error:  # each kind of store has errors of its own
            if number == TRIES or type(error).__name__ in _NO_KEYS or getattr(error, "errno", None) in FULL:
                raise
            wait = FIRST_WAIT * 2 ** (number - 1)
            _log.info("%s: %s; asking again in %g s (%d of %d)", what, _reason(error), wait, number, TRIES - 1)
            time.sleep(wait)
    raise AssertionError("unreachable")


def is_url(name: str | Path) -> bool:
    """Whether this names something behind fsspec rather than a path."""
    return "://" in str(name)


def open_filesystem(url: str) -> tuple[Any, str]:
    """The file system of an address, and the path in it. Raises UsageError: unknown kind, missing package."""
    try:
        return fsspec.core.url_to_fs(url)
    except ImportError as error:
        kind = url.split("://")[0]
        if kind in ("s3", "s3a"):
            raise MissingExtra(f"{url}: {kind}:// needs s3fs, which is not installed", "cluster") from error
        raise UsageError(f"{url}: {kind}:// needs a package that is missing ({error}); pip install it") from error
    except (ValueError, OSError) as error:
        raise UsageError(f"{url}: is no address that can be used ({error})") from error


class Folder:
    """One folder, local or remote. Every file in it appears whole, under its name, or not at all.

    Remote stores publish an upload only when it is complete; locally a hidden partial file is renamed. A remote store
    that fails for a reason that passes is asked again, see `retried`. What goes wrong in reading raises InputError, in
    writing UsageError.
    """

    def __init__(self, name: str | Path) -> None:
        self.name = str(name)
        self.local: Path | None = None
        if is_url(name) and not self.name.startswith("file://"):
            self.fs, self.root = open_filesystem(self.name.rstrip("/"))
        else:
            self.local = Path(self.name.removeprefix("file://"))

    def __truediv__(self, name: str) -> str:
        """How a file in it is called in messages."""
        return f"{self.name.rstrip('/')}/{name}"

    def make(self) -> None:
        """Make the folder, and those above it."""
        with self._writing(""):
            if self.local is not None:
                self.local.mkdir(parents=True, exist_ok=True)
            elif self.name.split("://")[0] not in _NO_FOLDERS:
                self.fs.makedirs(self.root, exist_ok=True)

    def sizes(self) -> dict[str, int]:
        """Name -> bytes of every file directly in it, hidden ones too; empty when there is no such folder."""
        if self.local is not None:
            if self.local.exists() and not self.local.is_dir():
                raise UsageError(f"{self.local}: is a file; give a folder")
            found = self.local.iterdir() if self.local.is_dir() else []
            return {path.name: path.stat().st_size for path in found if path.is_file()}
        with self._reading(""):
            self.fs.invalidate_cache(self.root)
            try:
                entries = retried(lambda: self.fs.ls(self.root, detail=True), self.name)
            except FileNotFoundError:
                return {}
            return {e["name"].rsplit("/", 1)[-1]: e["size"] or 0 for e in entries if e["type"] == "file"}

    def read(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """A file, or `length` bytes of it from `start` on."""
        with self._reading(name):
            if self.local is None:
                end = None if length is None else start + length
                return retried(lambda: self.fs.cat_file(f"{self.root}/{name}", start=start, end=end), self / name)
            with (self.local / name).open("rb") as file:
                file.seek(start)
                return file.read(-1 if length is None else length)

    def fetch(self, name: str, path: Path) -> None:
        """Copy a file to a local path. A disk that is full there raises OSError."""
        try:
            if self.local is None:
                retried(lambda: self.fs.get_file(f"{self.root}/{name}", str(path)), self / name)
            else:
                shutil.copyfile(self.local / name, path)
        except Exception as error:
            if isinstance(error, OSError) and error.errno in FULL:
                raise
            raise InputError(f"{self / name}: cannot be read ({_reason(error)})") from error

    def lines(self, name: str) -> Iterator[bytes]:
        """A file line by line, never all of it in memory."""
        with self._reading(name):
            file = self.fs.open(f"{self.root}/{name}", "rb") if self.local is None else (self.local / name).open("rb")
            with file:
                yield from file

    def write(self, name: str, data: bytes) -> None:
        """Write a file, whole or not at all."""
        with self.partial(name) as path:
            path.write_bytes(data)

    @contextlib.contextmanager
    def partial(self, name: str) -> Iterator[Path]:
        """A local file to write to; it becomes `name` here when the block is left without an error."""
        if self.local is not None:
            with partial_file(self.local / name, overwrite=True) as path:
                yield path
            return
        with tempfile.TemporaryDirectory(prefix="reenact-") as folder:
            path = Path(folder) / name
            yield path
            with self._writing(name):
                retried(lambda: self.fs.put_file(str(path), f"{self.root}/{name}"), self / name)

    def remove(self, names: list[str]) -> None:
        """Remove files; those that are not there are passed over."""
        with self._writing(""):
            for name in names:
                if self.local is not None:
                    (self.local / name).unlink(missing_ok=True)
                else:
                    with contextlib.suppress(FileNotFoundError):
                        retried(partial(self.fs.rm_file, f"{self.root}/{name}"), self / name)

    @contextlib.contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        try:
            yield
        except ReenactError:
            raise
        except Exception as error:  # each kind of store has errors of its own
            raise InputError(f"{self / name}: cannot be read ({_reason(error)})") from error

    @contextlib.contextmanager
    def _writing(self, name: str) -> Iterator[None]:
        try:
            yield
        except ReenactError:
            raise
        except Exception as error:
            if self.local is not None and isinstance(error, OSError):
                raise output_error(self.local / name, error) from error
            raise UsageError(f"{self / name}: cannot be written ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text.splitlines()[0]
