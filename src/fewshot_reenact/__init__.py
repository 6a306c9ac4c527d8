"""fewshot-reenact: animate a portrait with a driving video.

from fewshot_reenact import animate
made = animate("portrait.jpg", "driver.mp4", "out.mp4")
"""

from typing import TYPE_CHECKING, Any

from fewshot_reenact._version import __version__

if TYPE_CHECKING:
    from fewshot_reenact.animate import Animation, animate

__all__ = ["Animation", "__version__", "animate"]


def __getattr__(name: str) -> Any:
    """The API is imported when it is used: `reenact --help` must not wait for torch."""
    if name in ("animate", "Animation"):
        from importlib import import_module

        value = getattr(import_module("fewshot_reenact.animate"), name)
        globals()[name] = value  # over the submodule of the same name, which the import has put there
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
