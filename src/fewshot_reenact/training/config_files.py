"""Configs on disk: those that come with the package, and YAML that is read without trusting it."""

from pathlib import Path
from typing import Any

import yaml

from fewshot_reenact.errors import UsageError

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
"""The configs that come with the package: `reenact train --config meta`."""

_LARGEST, _MOST_VALUES = 1 << 20, 20_000  # bytes of a config; values in it, with what its aliases stand for


def find_config(name: str | Path) -> Path:
    """The file of a config: its path, or the name of one that comes with the package. Raises UsageError."""
    path, known = Path(name), sorted(one.stem for one in CONFIGS.glob("*.yaml"))
    if not path.exists() and str(name) in known:
        return CONFIGS / f"{name}.yaml"
    if not path.is_file():
        raise UsageError(f"{name}: no such config; give a YAML file, or one that comes with it: {', '.join(known)}")
    return path


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file's mapping. Raises UsageError."""
    try:
        if path.stat().st_size > _LARGEST:
            raise UsageError(f"{path}: is too large for a config ({_LARGEST >> 20} MiB at most)")
        raw = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot read the config ({error.strerror})") from error
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError) as error:  # dates, numbers, depth
        raise UsageError(f"{path}: not YAML that can be used ({' '.join(str(error).split())[:200]})") from error
    if not isinstance(raw, dict):
        raise UsageError(f"{path}: a config is a mapping of names to values")
    _refuse_bombs(path, raw)
    return raw


def _refuse_bombs(path: Path, raw: dict[str, Any]) -> None:
    """A few lines of aliases can stand for more values than there is memory, or for themselves. Raises UsageError."""
    waiting, seen = [raw], 0
    while waiting:
        one: Any = waiting.pop()
        seen += 1
        if isinstance(one, dict | list):
            waiting.extend(one.values() if isinstance(one, dict) else one)
        if seen + len(waiting) > _MOST_VALUES:
            raise UsageError(
                f"{path}: stands for over {_MOST_VALUES} values, which no config needs; write it without &"
            )
