"""fewshot-reenact: animate a portrait with a driving video.

from fewshot_reenact import animate
made = animate("portrait.jpg", "driver.mp4", "out.mp4")
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from fewshot_reenact._version import __version__

if TYPE_CHECKING:
    from fewshot_reenact.pipelines.animate import Animation, animate

__all__ = ["Animation", "__version__", "animate"]


class _Package(ModuleType):
    """The API is imported when it is used: `reenact --help` must not wait for torch. And `animate` is the function,
    whatever was imported before: the submodule of that name does not take its place.
    """

    @property
    def animate(self) -> Any:
        return import_module("fewshot_reenact.pipelines.animate").animate

    @animate.setter
    def animate(self, submodule: Any) -> None:
        """Python's import sets a submodule here; it stays in sys.modules alone."""

    @property
    def Animation(self) -> Any:
        return import_module("fewshot_reenact.pipelines.animate").Animation


sys.modules[__name__].__class__ = _Package
