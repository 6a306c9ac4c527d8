"""What can go wrong for a user, and the exit code of the command line that goes with it.

Every message is one line: what is wrong, where, and what to do about it. The command line prints it without a
traceback; the Python API raises it.
"""

import re
import sys
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parents[2]


class ReenactError(Exception):
    """Base class of every error that a user can cause and mend."""

    exit_code = 1


def brief(error: BaseException) -> str:
    """The first line of what a library says of a file that it cannot read, without its advice to trust the file."""
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return "it holds programs (pickles), which are never loaded" if "pickle" in text.lower() else text[:200]


def add_note(error: BaseException, text: str) -> None:
    """Adds a line that Python shows below an exception, from 3.11 on (PEP 678)."""
    error.__notes__ = [*notes_of(error), text]  # type: ignore[attr-defined]


def notes_of(error: BaseException) -> list[str]:
    """The lines that were added."""
    return list(getattr(error, "__notes__", []))


class UsageError(ReenactError):
    """An option that makes no sense, or an output that cannot be written there (exists, no such folder, disk full)."""

    exit_code = 2


class InputError(ReenactError):
    """A picture, video or motion file that cannot be used: missing, damaged, without a face."""

    exit_code = 3


class ModelError(ReenactError):
    """Weights that are missing, damaged or made for other networks."""

    exit_code = 4


class MissingExtra(UsageError):
    """A package of an extra (`ui`, `evaluate`, `train`, `cluster`, `onnx`, `hub`) is not there; says how to get it."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what}: {how_to_add(extra)}")


def how_to_add(extra: str) -> str:
    """The command that adds an extra to the environment in use, without changing what else is in it.

    In one that scripts/setup.sh made that is the script, elsewhere in a checkout pip with the checkout's name, else the
    extra's own packages: this package is not on the package index.
    """
    if is_light():
        return f"{_script()} {extra}"
    if _is_checkout():
        return f"pip install -e '{_CHECKOUT}[{extra}]'"
    try:
        stated = requires("fewshot-reenact") or []
    except PackageNotFoundError:
        stated = []
    wanted = [one.split(";")[0].strip() for one in stated if re.search(rf"""extra == ['"]{extra}['"]""", one)]
    return "pip install " + (" ".join(f"'{one}'" for one in wanted) or f"the packages of the extra {extra!r}")


def how_to_complete() -> str:
    """The command that adds torchvision and face-alignment, which scripts/setup.sh leaves out, to this environment."""
    return f"REENACT_FULL=1 {_script()}" if is_light() else "pip install face-alignment"


def is_light() -> bool:
    """Whether the environment in use is one that scripts/setup.sh made, of this checkout."""
    return _is_checkout() and any(Path(sys.prefix).glob("reenact-setup*"))


def _is_checkout() -> bool:
    return (_CHECKOUT / "scripts" / "setup.sh").is_file()


def _script() -> str:
    other = "" if Path(sys.prefix) == _CHECKOUT / ".venv" else f"REENACT_VENV={sys.prefix} "
    return f"{other}{_CHECKOUT / 'scripts' / 'setup.sh'}"
