"""Frozen networks with which made pictures are compared with true ones: features of pictures, likeness of faces."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from fewshot_reenact.models.perceptual import FeatureNet
from fewshot_reenact.weights import WEIGHTS

TEACHER = WEIGHTS / "face_teacher.safetensors"  # made by scripts/build/distil_teacher.py


@dataclass(frozen=True)
class Teachers:
    """Frozen networks with which made and true pictures are compared: features (the paper's VGG19) and likeness of the
    person (its VGGFace). What is None is left out. content: the paper's own content networks by the names that
    LossWeights has for them, see models.backbones.load_content.
    """

    perceptual: FeatureNet | None = None
    identity: FeatureNet | None = None
    content: Mapping[str, nn.Module] = field(default_factory=dict)


def load_teachers(
    perceptual: Path | str | None = None, identity: Path | str | None = None, device: torch.device | str = "cpu"
) -> Teachers:
    """Those in these files; for None the built-in network: its maps, the vector that it ends in. Raises ModelError."""
    features = FeatureNet(perceptual) if perceptual is not None else FeatureNet(TEACHER, maps_only=True)
    return Teachers(features.to(device), FeatureNet(identity if identity is not None else TEACHER).to(device))
