"""The jobs of a batch, out of JSON lines, CSV or a folder: read and checked before anything is done."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.inputs.grounds import TRANSPARENT
from fewshot_reenact.media.file_types import PICTURE_SUFFIXES, VIDEO_SUFFIXES
from fewshot_reenact.models.hub import is_on_hub
from fewshot_reenact.pipelines.animate_steps import output_kinds
from fewshot_reenact.pipelines.options import AnimateOptions
from fewshot_reenact.plain_json import read_json

_OWN = ("portrait", "driver", "output")
_OPTIONS = {one.name for one in fields(AnimateOptions)}


@dataclass(frozen=True)
class BatchJob:
    """One line: portraits, the driver, the output's path, and how it is animated."""

    portrait: list[str]
    driver: str
    output: str
    options: AnimateOptions

    @property
    def key(self) -> str:
        """What tells a job from another that would write the same file."""
        options = {name: value for name, value in self.options.as_data().items() if name != "keep_going"}
        text = json.dumps([self.portrait, self.driver, options], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_jobs(source: str | Path, folder: str | Path, options: AnimateOptions | None = None) -> list[BatchJob]:
    """The jobs of a file or folder, looked at before anything is done.

    source: JSON lines or CSV with `portrait`, `driver`, perhaps `output` and any of AnimateOptions (paths count from
    that file's folder; in JSON, `portrait` may be a list), or a folder with `portraits/` and `drivers/`, of which every
    one goes with every other. folder: where outputs go. options: what holds where a line says nothing else.
    Raises InputError: unreadable, no jobs. UsageError: an option that is not known, two jobs with one output.
    """
    source, folder, base = Path(source), Path(folder), options or AnimateOptions()
    try:
        rows, home = (list(_pairs(source)), Path()) if source.is_dir() else (list(_lines(source)), source.parent)
    except FileNotFoundError as error:
        raise InputError(f"{source}: no such file; check the name") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{source}: cannot be read ({error}); give JSON lines, CSV or a folder") from error
    jobs = [_job(row, where, home, folder, base) for where, row in rows]
    if not jobs:
        raise InputError(f"{source}: there are no jobs in it")
    taken: dict[str, int] = {}
    for number, job in enumerate(jobs, 1):
        if job.output in taken:
            raise UsageError(f"{source}: jobs {taken[job.output]} and {number} would both write {job.output}")
        taken[job.output] = number
    return jobs


def _lines(source: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where, what it says) of each line."""
    text = source.read_text("utf-8-sig")
    if source.suffix.lower() == ".csv":
        for number, row in enumerate(csv.DictReader(io.StringIO(text)), 2):
            yield f"{source}:{number}", {key: _value(value) for key, value in row.items() if value not in (None, "")}
        return
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = read_json(line)
        except ValueError as error:
            raise InputError(f"{source}:{number}: is no JSON ({error}); a job is one line in braces") from error
        if not isinstance(row, dict):
            raise InputError(f"{source}:{number}: is no job; a job is one line in braces")
        yield f"{source}:{number}", row


def _value(text: str) -> Any:
    """A CSV's number or truth value; anything else is text."""
    try:
        value = read_json(text.lower())
    except ValueError:
        return text
    return value if isinstance(value, int | float | bool) else text


def _pairs(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    inside = {}
    for name in ("portraits", "drivers"):
        if not (folder / name).is_dir():
            raise InputError(f"{folder}: has no folder {name!r}; it needs portraits/ and drivers/, or give a jobs file")
        inside[name] = sorted(one for one in (folder / name).iterdir() if not one.name.startswith("."))
    for portrait in inside["portraits"]:
        if portrait.is_dir() or portrait.suffix.lower() in (*PICTURE_SUFFIXES, *VIDEO_SUFFIXES, ".safetensors"):
            for driver in inside["drivers"]:
                yield str(folder), {"portrait": str(portrait), "driver": str(driver)}


def _job(row: dict[Any, Any], where: str, home: Path, folder: Path, base: AnimateOptions) -> BatchJob:
    unknown = [str(name) for name in row if name not in _OPTIONS and name not in _OWN]
    if unknown:
        raise UsageError(
            f"{where}: {unknown[0]!r} is not known; beside portrait, driver, output: the options of animate"
        )
    for name in ("portrait", "driver"):
        if not row.get(name):
            raise InputError(f"{where}: has no {name}")
    listed = row["portrait"] if isinstance(row["portrait"], list) else [row["portrait"]]
    portraits = [str(home / str(one)) for one in listed]
    driver = str(row["driver"])
    driver = driver if driver.startswith("motion:") else str(home / driver)
    more = {name: value for name, value in row.items() if name in _OPTIONS}
    for name in ("matte", "model", "sign_cert", "sign_key", "watermark_key", "consent_file"):
        if more.get(name) and not (name == "model" and is_on_hub(str(more[name]))):
            more[name] = str(home / str(more[name]))
    try:
        options = replace(base, **more)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error
    except TypeError as error:
        raise UsageError(f"{where}: an option has a value of the wrong kind ({error})") from error
    return BatchJob(
        portraits, driver, str(folder / str(row.get("output") or _name(portraits[0], driver, options))), options
    )


def _name(portrait: str, driver: str, options: AnimateOptions) -> str:
    still = Path(driver).suffix.lower() in PICTURE_SUFFIXES
    suffix = output_kinds(still, options.background == TRANSPARENT)[0]
    return f"{Path(portrait).stem}--{Path(driver.removeprefix('motion:')).stem}{suffix}"
