"""Files that appear whole or not at all: checks before the work, a hidden partial file during it, a rename after it."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote

try:
    import fcntl
except ImportError:  # Windows: leftovers stay, and two runs in one folder are not told apart
    fcntl = None  # type: ignore[assignment]

from fewshot_reenact.errors import InputError, UsageError

logger = logging.getLogger(__name__)

_FULL = {errno.ENOSPC, errno.EDQUOT}
_WRITING = {*_FULL, errno.EFBIG}
_LEFT_BEHIND = 600.0  # seconds without a change, after which a partial file that nobody holds is a killed run's


def as_paths(paths: str | Path | Sequence[str | Path]) -> list[Path]:
    """One path or several, as a list: a string is a sequence too, of its letters."""
    return [Path(paths)] if isinstance(paths, (str, Path)) else [Path(one) for one in paths]


def check_output(
    path: str | Path,
    overwrite: bool = False,
    inputs: Sequence[str | Path] = (),
    suffixes: Sequence[str] | None = None,
) -> Path:
    """Checks that a file can be written at `path`, before minutes of work go into it. Leaves nothing behind.

    `inputs` are files that must not be written over, whatever `overwrite` says. `suffixes` are those the format allows.
    Returns the absolute path. Raises UsageError with one line.
    """
    path = Path(path)
    try:
        path.lstat()
    except FileNotFoundError:
        pass
    except OSError as error:  # a name too long, a folder that may not be looked into, a file taken for a folder
        raise output_error(path, error) from error
    if path.is_dir():
        raise UsageError(f"{path}: is a folder; give a file name in it")
    if suffixes is not None and path.suffix.lower() not in suffixes:
        shown = path.suffix or "no suffix"
        raise UsageError(f"{path}: cannot write this kind of file ({shown}); use {', '.join(suffixes)}")
    folder = path.parent
    if not folder.is_dir():
        raise UsageError(f"{path}: there is no folder {folder}; make it first or write somewhere else")
    for other in inputs:
        with contextlib.suppress(OSError):
            if path.exists() and path.samefile(other):
                raise UsageError(f"{path}: is an input; the output must be another file")
    if path.exists() and not path.is_file():
        raise UsageError(f"{path}: is not an ordinary file; give another output")
    if not overwrite and os.path.lexists(path):
        raise UsageError(f"{path}: exists already; use --overwrite to replace it")
    trial = _partial_name(path)
    try:
        os.close(_create(trial))
        trial.unlink()
    except OSError as error:
        raise output_error(path, error) from error
    return path.absolute()


def output_error(path: Path, error: OSError) -> UsageError:
    """What the system said about writing `path`, as one line that says what to do."""
    if error.errno == errno.EDQUOT:
        return UsageError(f"{path}: this user's quota there is used up; free some space or write to another disk")
    if error.errno in _FULL:
        left = ""
        with contextlib.suppress(OSError):
            left = f" ({shutil.disk_usage(path.parent).free / 2**20:.0f} MiB left)"
        return UsageError(f"{path}: no room to write it{left}; free some space or write to another disk")
    if error.errno == errno.EFBIG:
        return UsageError(
            f"{path}: the file became larger than this file system, or a limit set for this user (ulimit -f), allows; "
            "write elsewhere, or raise the limit"
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return UsageError(f"{path}: the folder {path.parent} is not writable; write somewhere else")
    if error.errno == errno.ENAMETOOLONG:
        return UsageError(f"{path.parent}: the output's file name is too long; give a shorter one")
    reason = error.strerror or str(error)
    return UsageError(f"{path}: cannot be written ({reason}); write somewhere else")


class PartialFile:
    """A hidden file `.NAME.XXXX.partial` beside `path`; `publish` gives it that name, `discard` removes it.

    folder: it lies in this folder instead, on the same file system, which nobody else writes to.
    """

    def __init__(
        self,
        path: str | Path,
        overwrite: bool = False,
        inputs: Sequence[str | Path] = (),
        suffixes: Sequence[str] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.path = check_output(path, overwrite, inputs, suffixes)
        self.overwrite = overwrite
        self.inputs = tuple(inputs)
        self.partial = _partial_name(self.path) if folder is None else folder / "whole.partial"
        _remove_leftovers(self.path)
        if folder is not None:  # a killed run's: who holds the folder may
            self.partial.unlink(missing_ok=True)
        try:
            descriptor = _create(self.partial)
        except OSError as error:
            raise output_error(self.path, error) from error
        # Held until it has its name, so that another run tells it from a leftover.
        self._held = descriptor if _lock(descriptor) else None
        if self._held is None:
            os.close(descriptor)

    def publish(self) -> None:
        """Gives the file its name at once, for every reader; the file that stood there is replaced only if allowed."""
        try:
            with self.partial.open("r+b") as file:
                os.fsync(file.fileno())
            # The state may have changed since the start: an output that appeared meanwhile is somebody else's work.
            for other in self.inputs:
                with contextlib.suppress(OSError):
                    if self.path.samefile(other):
                        raise UsageError(f"{self.path}: is an input; the output must be another file")
            if self.overwrite:
                self.partial.replace(self.path)
            else:
                self._link()
            self._let_go()
        except OSError as error:
            self.discard()
            raise output_error(self.path, error) from error
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """Removes the partial file; harmless when there is none."""
        with contextlib.suppress(OSError):
            self.partial.unlink()
        self._let_go()

    def _let_go(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            os.close(held)

    def _link(self) -> None:
        try:
            # Unlike a rename, a hard link fails if the name is taken, without a moment between looking and writing.
            os.link(self.partial, self.path)
        except FileExistsError as error:
            raise UsageError(f"{self.path}: appeared meanwhile; use --overwrite to replace it") from error
        except (OSError, NotImplementedError, AttributeError):
            # exFAT, some network folders: no hard links, so look and then rename.
            if os.path.lexists(self.path):
                raise UsageError(f"{self.path}: appeared meanwhile; use --overwrite to replace it") from None
            self.partial.replace(self.path)
        else:
            self.partial.unlink()


@contextlib.contextmanager
def partial_file(
    path: str | Path,
    overwrite: bool = False,
    inputs: Sequence[str | Path] = (),
    suffixes: Sequence[str] | None = None,
) -> Iterator[Path]:
    """`with partial_file("out.json") as partial:` write to `partial`; on success it becomes the file, else it vanishes.

    Raises UsageError as `check_output` does, and for a full disk.
    """
    file = PartialFile(path, overwrite, inputs, suffixes)
    try:
        yield file.partial
    except BaseException as error:
        file.discard()
        # Other OSErrors (a missing input, say) are none of this file's business.
        if isinstance(error, OSError) and (error.errno in _WRITING or str(error.filename) == str(file.partial)):
            raise output_error(file.path, error) from error
        raise
    file.publish()


def _partial_name(path: Path) -> Path:
    # Names may hold 255 bytes: a long output name is shortened in its partial file.
    # fsencode: a name that is no text in the system's encoding is a name all the same.
    stem = os.fsdecode(os.fsencode(path.name)[:200])
    return path.absolute().parent / f".{stem}.{secrets.token_hex(4)}.partial"


def _remove_leftovers(path: Path) -> None:
    """What killed runs left of this very output: partial files that nobody holds, unchanged for ten minutes."""
    start = _partial_name(path).name[: -len("00000000.partial")]
    groups: dict[str, list[Path]] = {}  # by the run's random number: a partial file and what was made beside it
    with contextlib.suppress(OSError):
        for entry in os.scandir(path.absolute().parent):
            rest = entry.name.removeprefix(start)
            if rest != entry.name and re.fullmatch(r"[0-9a-f]{8}(\.\w+)?\.partial", rest):
                groups.setdefault(rest[:8], []).append(Path(entry.path))
    for files in groups.values():
        with contextlib.suppress(OSError):
            newest = max(file.stat().st_mtime for file in files)
            if time.time() - newest > _LEFT_BEHIND and not any(_is_held(file) for file in files):
                for file in files:
                    file.unlink()


def _lock(descriptor: int) -> bool:
    """Hold an open file until it is closed, by whatever end of this process. False: it is held, or cannot be here."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (OSError, AttributeError):
        return False
    return True


def _is_held(path: Path) -> bool:
    """Whether a process that is alive holds a file; where that cannot be told, it does."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        return not _lock(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def held_folder(folder: Path, complaint: str) -> Iterator[None]:
    """While it is entered no other process may enter it for the same folder, which is made if it is not there.

    Raises UsageError with the complaint where another has it, and as `check_output` where nothing can be written. Left
    empty, a folder that was made here is removed. Where the file system knows no locks, nobody is refused.
    """
    path = folder / ".lock"
    try:
        made = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        while True:
            descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
            try:
                if fcntl is not None:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                raise UsageError(complaint) from None
            except OSError:
                pass
            with contextlib.suppress(OSError):
                if os.path.samestat(os.fstat(descriptor), path.stat()):
                    break
            os.close(descriptor)  # who had it has just removed it
    except OSError as error:
        raise output_error(path, error) from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(descriptor)
        if made:
            with contextlib.suppress(OSError):
                folder.rmdir()


def _create(path: Path) -> int:
    # Not tempfile.mkstemp, whose files only their owner may read: an output has the permissions of the user's umask.
    return os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        digest = hashlib.sha256()  # not hashlib.file_digest: Python 3.10 has none
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def as_file(name: str | Path) -> Path:
    """An input as a path; `file://` addresses are paths too.

    Raises InputError for what is neither a file nor a folder: an address (nothing is ever downloaded), or a pipe, which
    can be read once only and would be waited for for ever.
    """
    text = str(name)
    if re.match(r"file://(localhost)?/", text):
        path = Path(unquote(text.removeprefix("file://").removeprefix("localhost")))
        if re.match(r"/[A-Za-z]:/", path.as_posix()):  # file:///C:/...
            path = Path(path.as_posix()[1:])
    elif re.match(r"[a-z]+://", text):
        raise InputError(f"{name}: is an address on the net; download it first and give the file's name")
    else:
        path = Path(name)
    if path.exists() and not path.is_file() and not path.is_dir():
        raise InputError(f"{name}: is not an ordinary file (a pipe or a device); save it as a file first")
    return path
