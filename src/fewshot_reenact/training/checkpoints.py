"""What a run keeps on disk: the config it was started with, where its code stood, checkpoints."""

from __future__ import annotations

import json
import platform
import re
import subprocess
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import torch

from fewshot_reenact._version import __version__
from fewshot_reenact.errors import ModelError, UsageError
from fewshot_reenact.files import output_error, partial_file
from fewshot_reenact.training.log import say

if TYPE_CHECKING:
    from pydantic import BaseModel


# Of `data`: where clips are does not say what is learnt, and how many may be damaged is the user's to raise.
_FREE = ("resident", "cache", "cache_gb", "damaged")


def remember_config(config: BaseModel, folder: Path, fixed: Sequence[str], *, write: bool = True) -> None:
    """Keep the config in the run folder; refuse to go on there where one of these keys is another.

    write: False only refuses, so that a start that fails leaves the folder free.
    """
    path = folder / "config.json"
    written = json.loads(config.model_dump_json())
    now: dict[str, Any] = json.loads(config.model_dump_json())
    if path.is_file():
        _same_trainer(path, now)
        try:
            # By way of the class, so that options which are newer than the run have their defaults.
            then: dict[str, Any] = json.loads(type(config).model_validate_json(path.read_text()).model_dump_json())
        except (ValueError, OSError, RecursionError) as error:
            raise UsageError(f"{path}: damaged, so what this run trained is not known; use another --run") from error
        for one in (then, now):
            if isinstance(one.get("data"), dict):
                for key in _FREE:
                    one["data"].pop(key, None)
        for key in fixed:
            if then.get(key) != now.get(key):
                raise UsageError(f"{path}: this run was started with another '{key}'; use another --run folder")
        if _opponent(then) != _opponent(now):
            raise UsageError(f"{path}: this run was started with another 'adversarial'; use another --run folder")
    if write:
        with partial_file(path, overwrite=True) as partial:
            partial.write_text(json.dumps(written, indent=2) + "\n")


def refuse_foreign(folder: Path, *names: str) -> None:
    """What the run would write over must be its own: weights in a folder that no run was begun in are somebody's.

    Raises UsageError.
    """
    for name in names:
        if (folder / name).exists() and not (folder / "config.json").is_file():
            raise UsageError(f"{folder / name}: is there already and not from a run here; use another --run folder")


def _same_trainer(path: Path, now: dict[str, Any]) -> None:
    """Runs that are older than the key are of meta-learning."""
    try:
        then = json.loads(path.read_text()).get("trainer", "meta")
    except (ValueError, AttributeError, OSError, RecursionError):
        return  # damaged, as the caller finds too
    if then != now.get("trainer", then):
        raise UsageError(f"{path}: this run was started with trainer: {then}; use another --run folder")


def remember_clips(fingerprint: str, folder: Path) -> None:
    """Keep which clips a run learns from; refuse to go on with others: episodes and rows of W are counted by them."""
    path = folder / "clips.json"
    if not path.is_file():
        with partial_file(path) as partial:
            partial.write_text(json.dumps({"fingerprint": fingerprint}) + "\n")
        return
    try:
        then = json.loads(path.read_text())["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(f"{path}: damaged, so what this run learnt from is not known; use another --run") from error
    if then != fingerprint:
        raise UsageError(f"{path}: this run was started with other clips than data.clips holds now; use another --run")


def _opponent(config: dict[str, Any]) -> Any:
    """What decides which tensors D and W have."""
    adversarial = config.get("adversarial")
    return adversarial and [adversarial.get(key) for key in ("dims", "rows", "wide")]


def remember_code(folder: Path) -> None:
    """Append to code.jsonl which code runs: versions and, in a git checkout, the commit and what was changed since."""
    line: dict[str, Any] = {"version": __version__, "python": platform.python_version(), "torch": torch.__version__}
    commit = _git("rev-parse", "HEAD")
    if commit is not None:
        line |= {"commit": commit.strip(), "changed": (_git("status", "--porcelain") or "").splitlines()}
        if line["changed"] and (diff := _git("diff", "HEAD")):
            (folder / "code.diff").write_text(diff)
    with (folder / "code.jsonl").open("a") as log:
        log.write(json.dumps(line) + "\n")


def _git(*arguments: str) -> str | None:
    """What git says about the checkout that this code is in; None where there is no git or no checkout."""
    here = Path(__file__).resolve().parent
    try:
        done = subprocess.run(["git", "-C", str(here), *arguments], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def write_checkpoint(folder: Path, state: dict[str, Any], keep: int) -> Path:
    """Write atomically, drop checkpoints beyond the last `keep`. Raises UsageError for a full disk; the last good one
    is kept then.
    """
    path = folder / "checkpoints" / f"step_{state['step']:07d}.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    with partial_file(path, overwrite=True) as partial, partial.open("wb") as file:
        watched = _Watched(file)
        try:
            torch.save(state, watched)  # type: ignore[arg-type]
        except (OSError, RuntimeError) as error:
            raise output_error(path, watched.error) if watched.error else error from error
    for old in _checkpoints(folder)[:-keep]:
        old.unlink()
    return path


class _Watched:
    """A file whose first write error is remembered: torch tells of a full disk as of a broken archive."""

    def __init__(self, file: IO[bytes]):
        self._file = file
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = self.error or error
            raise

    def flush(self) -> None:
        self._file.flush()


def _checkpoints(folder: Path) -> list[Path]:
    """Oldest first, by number: as text step_10000000 would stand before step_9999999."""
    found = (folder / "checkpoints").glob("step_*.pt")
    ours = [path for path in found if re.fullmatch(r"step_[0-9]{1,15}", path.stem)]
    return sorted(ours, key=lambda path: int(path.stem.removeprefix("step_")))


def newest_checkpoint(folder: Path, device: torch.device, dimensions: str | None) -> dict[str, Any] | None:
    """The newest checkpoint that can be read. None when there is none at all. dimensions: None for any.

    Raises ModelError when none can be read, or when it is of another architecture.
    """
    paths = _checkpoints(folder)[::-1]
    for path in paths:
        try:
            _check_sums(path)
            state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
            made_with, _step = state["dimensions"], int(state["step"])
        # torch.load raises whatever its reader and its unpickler do.
        except Exception:
            say(f"{path}: cannot be read, trying the one before")
            continue
        if dimensions is not None and made_with != dimensions:
            raise ModelError(f"{path}: made with other model dimensions than the config's; use another --run folder")
        return state
    if paths:
        raise ModelError(f"{paths[0].parent}: no checkpoint can be read; use another --run folder to start over")
    return None


def _check_sums(path: Path) -> None:
    """torch.save keeps a checksum of each tensor; torch.load looks at none. Raises ValueError, and as zipfile."""
    with zipfile.ZipFile(path) as archive:
        if (damaged := archive.testzip()) is not None:
            raise ValueError(f"{damaged} is damaged")


def random_state() -> dict[str, Any]:
    """Torch's random states. Episodes have none: they are functions of (seed, index)."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def restore_random_state(state: dict[str, Any]) -> None:
    """Take over what `random_state` gave."""
    torch.set_rng_state(state["cpu"].cpu())
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([one.cpu() for one in state["cuda"]])
