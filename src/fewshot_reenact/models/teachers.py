"""Frozen networks with which made pictures are compared with true ones: features of pictures, likeness of faces."""

from dataclasses import dataclass
from pathlib import Path

import torch

from fewshot_reenact.models.perceptual import FeatureNet
from fewshot_reenact.weights import WEIGHTS

TEACHER = WEIGHTS / "face_teacher.safetensors"  # made by scripts/build/distil_teacher.py


@dataclass(frozen=True)
class Teachers:
    """Frozen networks with which made and true pictures are compared: features (the paper's VGG19) and likeness of the
    person (its VGGFace). What is None is left out.
    """

    perceptual: FeatureNet | None = None
    identity: FeatureNet | None = None


def load_teachers(
    perceptual: Path | str | None = None, identity: Path | str | None = None, device: torch.device | str = "cpu"
) -> Teachers:
    """Those in these files; for None the built-in network: its maps, the vector that it ends in. Raises ModelError."""
    features = FeatureNet(perceptual) if perceptual is not None else FeatureNet(TEACHER, maps_only=True)
    return Teachers(features.to(device), FeatureNet(identity if identity is not None else TEACHER).to(device))
