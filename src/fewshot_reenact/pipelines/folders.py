"""A folder of files that are written together, as `export` and `push` do: all of them, or none."""

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from fewshot_reenact.errors import UsageError
from fewshot_reenact.files import check_output, output_error, partial_file


def check_folder(folder: Path, names: Iterable[str], overwrite: bool, option: str) -> None:
    """Complain before the work about files that could not be written after it. UsageError."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: is a file; {option} wants a folder")
    if not folder.parent.is_dir():
        raise UsageError(f"{folder}: there is no folder {folder.parent}; make it first or write somewhere else")
    if folder.is_dir():
        for name in names:
            check_output(folder / name, overwrite)


def write_folder(folder: Path, made: Mapping[str, bytes], overwrite: bool, source: Path) -> None:
    """All files by name, or none: they get their names when all are on the disk. source: is never written over. The
    folder is made if it is not there; other files in it stay. UsageError.
    """
    new = not folder.exists()
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise output_error(folder, error) from error
    try:
        with contextlib.ExitStack() as stack:
            for name, data in made.items():
                stack.enter_context(partial_file(folder / name, overwrite, [source])).write_bytes(data)
    except BaseException:
        if new:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise
