"""Output files that appear whole or not at all, and never in place of something the user did not offer.

A file is written under a hidden name in the folder where it will lie (a rename within one file system is atomic) and
renamed when it is complete; whatever goes wrong before, Ctrl-C included, the hidden file is removed.
"""

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fewshot_reenact.errors import UsageError

# What the operating system says, in words that tell what to do.
_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EACCES: "the folder is not writable",
    errno.EPERM: "the folder is not writable",
    errno.EROFS: "the file system is read-only",
    errno.ENAMETOOLONG: "the name is too long",
}


def write_error(path: Path, error: OSError) -> UsageError:
    """The one-line error for an output that could not be written."""
    reason = _REASONS.get(error.errno or 0) or error.strerror or str(error)
    return UsageError(f"cannot write {path}: {reason}")


def check_output(path: str | Path, overwrite: bool, inputs: tuple[str | Path, ...] = ()) -> Path:
    """The output path, checked before any work is done.

    Raises UsageError when it exists and `overwrite` is False, when it is a folder, when its folder does not exist,
    or when it is one of `inputs`: those are never written to, whatever is asked for.
    """
    path = Path(path)
    if path.is_dir():
        raise UsageError(f"output {path} is a folder: name a file")
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent} for the output {path.name}: make it first")
    if path.exists():
        for given in inputs:
            if Path(given).exists() and path.samefile(given):
                raise UsageError(f"output {path} is an input too: choose another name")
        if not overwrite:
            raise UsageError(f"output {path} exists: choose another name or add --overwrite")
    return path


@contextlib.contextmanager
def whole_file(path: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """Yields a temporary path in the same folder, with the same suffix; renames it to `path` on success.

    Raises UsageError as `check_output` does, and for every OSError while writing (disk full, not writable).
    """
    path = check_output(path, overwrite)
    try:
        # mkstemp makes files that only the owner reads; a rename would keep that, so the name is taken and freed.
        handle, name = tempfile.mkstemp(prefix=f".{path.stem[:40]}-", suffix=path.suffix, dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise write_error(path, error) from error
    temporary = Path(name)
    try:
        temporary.unlink()
        yield temporary
        check_output(path, overwrite)  # it may have appeared during a long job
        temporary.replace(path)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)
