"""fewshot-reenact: animate a portrait with a driving video. `from fewshot_reenact import animate`."""

from fewshot_reenact._version import __version__

__all__ = ["__version__"]
