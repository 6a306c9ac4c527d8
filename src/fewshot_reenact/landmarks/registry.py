"""The landmark backends by name. A further one is one module with a class that has `name`, `detect` and `refine`, and
one line each in `Landmarks` and `BACKENDS`.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Literal, TypeAlias

from fewshot_reenact.errors import UsageError
from fewshot_reenact.landmarks.backend import LandmarkBackend

Landmarks: TypeAlias = Literal["builtin", "fan"]
"""The names in BACKENDS, for type checkers."""


def _builtin(device: str) -> LandmarkBackend:
    return import_module("fewshot_reenact.landmarks.builtin").BuiltinLandmarks(device=device)


def _fan(device: str) -> LandmarkBackend:
    return import_module("fewshot_reenact.landmarks.fan").FanLandmarks(device=device)


BACKENDS: dict[str, Callable[[str], LandmarkBackend]] = {"builtin": _builtin, "fan": _fan}


def load_backend(name: str = "builtin", device: str = "cpu", runtime: str = "torch") -> LandmarkBackend:
    """The backend of that name, ready for use. runtime: "torch" or "onnx", of the built-in one, see builtin.

    Raises UsageError for an unknown name, MissingExtra.
    """
    if name not in BACKENDS:
        raise UsageError(f"landmarks backend {name!r} is not known: choose one of {', '.join(BACKENDS)}")
    if name == "builtin" and runtime != "torch":
        return import_module("fewshot_reenact.landmarks.builtin").BuiltinLandmarks(device, runtime)
    return BACKENDS[name](device)
