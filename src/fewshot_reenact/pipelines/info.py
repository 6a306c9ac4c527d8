"""`reenact info`: what is installed, which device is used and why, which models are there and whole."""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fewshot_reenact._version import __version__
from fewshot_reenact.device import choose_device
from fewshot_reenact.errors import how_to_complete
from fewshot_reenact.pipelines.models import built_in
from fewshot_reenact.weights import WEIGHTS

_PACKAGES = ("torch", "torchvision", "numpy", "opencv-python", "av", "imageio-ffmpeg", "face-alignment", "safetensors")
# Other names under which a package may be installed.
_ALSO = {"opencv-python": ("opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")}
_LEFT_OUT = ("torchvision", "face-alignment")  # by scripts/setup.sh
_ENCODERS = ("libx264", "libopenh264", "h264_nvenc", "h264_videotoolbox", "mpeg4", "aac")


def gather(device: str = "auto") -> dict[str, Any]:
    """Everything that `reenact info` tells. Raises UsageError for a device that is not there."""
    where, why = choose_device(device)
    return {
        "version": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "packages": {name: _version(name) for name in _PACKAGES},
        "device": {"name": str(where), "why": why},
        "models": built_in(WEIGHTS),
        "left_out": [name for name in _LEFT_OUT if _version(name) is None],
        "ffmpeg": _ffmpeg(),
        "encoders": _encoders(),
    }


def in_words(facts: dict[str, Any]) -> str:
    """The same for people, a line each."""
    lines = [
        f"fewshot-reenact {facts['version']}, Python {facts['python']}, {facts['system']}",
        f"device: {facts['device']['name']} ({facts['device']['why']})",
        "packages: " + ", ".join(f"{name} {found or 'not installed'}" for name, found in facts["packages"].items()),
    ]
    if facts["left_out"]:
        names = " and ".join(facts["left_out"])
        lines.append(
            f"`pip check` says that {names} {'is' if len(facts['left_out']) == 1 else 'are'} missing: that is meant, "
            f"only --landmarks fan and torchvision's VGG19 want them; to add them: {how_to_complete()}"
        )
    lines += [
        f"model: {one['name']}, {one['bytes'] / 2**20:.2f} MiB, SHA-256 {one['sha256'][:12]}, {one['state']}"
        for one in facts["models"]
    ] or [f"model: none in {WEIGHTS}; install the package again"]
    lines.append(f"ffmpeg: {facts['ffmpeg'] or 'not found'}")
    lines.append(f"encoders: {', '.join(facts['encoders']) or 'none: no video can be written'}")
    return "\n".join(lines)


def _version(name: str) -> str | None:
    for candidate in (name, *_ALSO.get(name, ())):
        try:
            return version(candidate)
        except PackageNotFoundError:
            continue
    return None


def _ffmpeg() -> str | None:
    try:
        import imageio_ffmpeg

        return f"{imageio_ffmpeg.get_ffmpeg_exe()} ({imageio_ffmpeg.get_ffmpeg_version()})"
    except (ImportError, RuntimeError, OSError):
        return None


def _encoders() -> list[str]:
    """Encoders that PyAV, which writes the videos, has been built with."""
    try:
        from av.codec import Codec
    except ImportError:
        return []
    found = []
    for name in _ENCODERS:
        try:
            Codec(name, "w")
        except ValueError:  # av.codec.codec.UnknownCodecError is one
            continue
        found.append(name)
    return found
