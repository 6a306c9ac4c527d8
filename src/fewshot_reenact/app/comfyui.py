"""Nodes for ComfyUI, over `Session`: a portrait moved by a batch of frames, or by a file into a signed video.

ComfyUI loads what a folder under `custom_nodes/` exports. docs/comfyui.md says which one line goes there. This module
imports nothing of ComfyUI's before a node runs, and works without it.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor

from fewshot_reenact.motion.builtins import NAMES, PREFIX
from fewshot_reenact.motion.retarget import MOTIONS, REGION_CHOICES
from fewshot_reenact.pipelines.networks import Networks
from fewshot_reenact.pipelines.options import AUDIO, FRAMES, AnimateOptions
from fewshot_reenact.pipelines.session import Session

_CATEGORY = "video/reenact"
_loaded: dict[tuple[str, str], Networks] = {}  # networks of the last run, so that the next one need not load them

_default = AnimateOptions()
_OPTIONS: dict[str, tuple[Any, dict[str, Any]]] = {
    "motion": (
        list(MOTIONS),
        {"default": _default.motion, "tooltip": "relative: the driver's change; absolute: its place"},
    ),
    "region": (list(REGION_CHOICES), {"default": "all", "tooltip": "What is taken from the driver."}),
    "strength": ("FLOAT", {"default": _default.strength, "min": 0.0, "max": 2.0, "step": 0.05}),
    "smooth": ("FLOAT", {"default": _default.smooth, "min": 0.0, "max": 1.0, "step": 0.05}),
    "frame": (
        list(FRAMES),
        {"default": _default.frame, "tooltip": "All of the picture, or a square about the head."},
    ),
}
_COMPUTE: dict[str, tuple[Any, dict[str, Any]]] = {
    "model": (
        "STRING",
        {"default": "", "tooltip": "Other weights: a file, or hf:OWNER/NAME. Empty: built-in."},
    ),
    "device": (["auto", "cpu", "cuda", "mps"], {"default": "auto"}),
}


class ReenactFrames:
    """A portrait moved by a batch of frames; every picture that comes out is labelled and watermarked."""

    RETURN_TYPES: ClassVar = ("IMAGE", "STRING")
    RETURN_NAMES: ClassVar = ("frames", "watermark")
    FUNCTION: ClassVar = "run"
    CATEGORY: ClassVar = _CATEGORY
    DESCRIPTION: ClassVar = (
        "Moves a portrait as the frames of a driver do. Only with pictures of people who agreed. What comes out is "
        "labelled and watermarked as AI-generated; a file that another node writes of it is not signed."
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """What ComfyUI asks for."""
        fps = ("FLOAT", {"default": 25.0, "min": 1.0, "max": 240.0, "tooltip": "Frames a second of the driver."})
        required = {"portrait": ("IMAGE",), "driver": ("IMAGE",), "fps": fps, **_OPTIONS}
        return {"required": required, "optional": _COMPUTE}

    def run(
        self, portrait: Tensor, driver: Tensor, fps: float, model: str = "", device: str = "auto", **options: Any
    ) -> tuple[Tensor, str]:
        """portrait: (N, H, W, 3 or 4) in 0..1, N pictures of one person. driver: (T, H, W, 3 or 4). Returns (T, H, W,
        3) in 0..1 and the watermark's id.
        """
        tell = _progress(len(driver))
        with _session(portrait, AnimateOptions(model=model or None, device=device, **options)) as session:
            made = []
            for number, picture in enumerate(session.frames(arrays(driver), fps)):
                made.append(torch.from_numpy(picture[..., :3].astype(np.float32) / 255))
                tell(number + 1)
            return torch.stack(made), session.watermark


class ReenactVideo:
    """A portrait moved by a video, a motion file or a built-in motion, as a signed video in ComfyUI's output folder."""

    RETURN_TYPES: ClassVar = ("STRING",)
    RETURN_NAMES: ClassVar = ("path",)
    FUNCTION: ClassVar = "run"
    CATEGORY: ClassVar = _CATEGORY
    OUTPUT_NODE: ClassVar = True
    DESCRIPTION: ClassVar = (
        "Moves a portrait as a driver does, into a video with the driver's sound, signed, watermarked and labelled as "
        "AI-generated. Only with pictures of people who agreed."
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """What ComfyUI asks for."""
        motions = ", ".join(f"{PREFIX}{name}" for name in NAMES)
        required = {
            "portrait": ("IMAGE",),
            "driver": ("STRING", {"default": f"{PREFIX}{NAMES[0]}", "tooltip": f"A file, or {motions}."}),
            "name": ("STRING", {"default": "reenact", "tooltip": "Of the output; a number is added."}),
            **_OPTIONS,
            "audio": (list(AUDIO), {"default": "driver"}),
            "consent": ("STRING", {"default": "", "tooltip": "How the person agreed; goes into the signed manifest."}),
        }
        return {"required": required, "optional": _COMPUTE}

    def run(
        self,
        portrait: Tensor,
        driver: str,
        name: str,
        consent: str = "",
        model: str = "",
        device: str = "auto",
        **options: Any,
    ) -> dict[str, Any]:
        """portrait: as ReenactFrames has it. driver: a path or `motion:NAME`. Returns the path of the new .mp4."""
        chosen = AnimateOptions(
            model=model or None, device=device, consent=consent or None, keep_going=False, **options
        )
        tell, path = _progress(1000), _new_file(_output_folder(), name)
        with _session(portrait, chosen) as session:
            session.animate(driver, path, progress=lambda _, done, total: tell(1000 * done // total if total else 0))
        return {"ui": {"text": [str(path)]}, "result": (str(path),)}


NODE_CLASS_MAPPINGS = {"ReenactFrames": ReenactFrames, "ReenactVideo": ReenactVideo}
NODE_DISPLAY_NAME_MAPPINGS = {"ReenactFrames": "Reenact: frames", "ReenactVideo": "Reenact: signed video"}


def arrays(images: Tensor) -> list[np.ndarray]:
    """ComfyUI's IMAGE, (N, H, W, 3 or 4) in 0..1 -> N arrays (H, W, 3) uint8 RGB."""
    pictures = (images[..., :3].detach().float().clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    return [np.ascontiguousarray(picture) for picture in pictures]


def _session(portrait: Tensor, options: AnimateOptions) -> Session:
    key = (str(options.model), options.device)
    session = Session(cast(Any, arrays(portrait)), options, networks=_loaded.get(key))
    _loaded.clear()
    _loaded[key] = session.networks
    return session


def _progress(total: int) -> Callable[[int], None]:
    """ComfyUI's bar; each call also ends the node, by ComfyUI's own error, where the user asked for that."""
    try:
        bar = import_module("comfy.utils").ProgressBar(total)
        check = import_module("comfy.model_management").throw_exception_if_processing_interrupted
    except ImportError:
        return lambda done: None

    def tell(done: int) -> None:
        check()
        bar.update_absolute(done, total)

    return tell


def _output_folder() -> Path:
    """ComfyUI's, else the current one."""
    try:
        return Path(import_module("folder_paths").get_output_directory())
    except ImportError:
        return Path()


def _new_file(folder: Path, name: str) -> Path:
    """A name that is not taken, in this folder, whatever was typed."""
    stem = "".join(c if c.isalnum() or c in "-_ " else "_" for c in name)[:80].strip() or "reenact"
    numbers = iter(range(1, 1_000_000))
    return next(path for n in numbers if not (path := folder / f"{stem}_{n:05d}.mp4").exists())
