"""Losses of the textured model (DESIGN 4): L1 weighted about mouth and eyes, and perceptual distance of face and
mouth.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fewshot_reenact.landmarks.topology import LEFT_EYE, MOUTH, RIGHT_EYE
from fewshot_reenact.models.perceptual import FeatureNet, relative_l1

# The mouth's part of the face frame, as shares of the side: x0, y0, x1, y1. It stands still there (see faces.frame).
_MOUTH_BOX = (0.25, 0.4375, 0.75, 0.9375)
_MOUTH_ZOOM = 1.5


@dataclass(frozen=True)
class LossWeights:
    l1: float = 4.0
    mouth: float = 4.0  # added to the weight of 1 about the mouth
    eyes: float = 3.0  # and about each eye
    perceptual: float = 0.25
    perceptual_mouth: float = 0.25


def attention_map(points: Tensor, size: int, mouth: float, eyes: float) -> Tensor:
    """Where errors matter: 1 + mouth exp(-r^2) + eyes exp(-r^2) for each eye.

    points: (B, 83, 2) driver points in the face frame. Returns (B, 1, size, size), mean 1.
    """
    line = torch.arange(size, dtype=points.dtype, device=points.device)
    weight = points.new_ones(len(points), size, size)
    for part, reach, gain in ((MOUTH, 0.17, mouth), (LEFT_EYE, 0.09, eyes), (RIGHT_EYE, 0.09, eyes)):
        centre = points[:, part].mean(1) / (reach * size)
        near = line / (reach * size)
        x2 = (near[None, :] - centre[:, :1]).square()
        y2 = (near[None, :] - centre[:, 1:]).square()
        weight = weight + gain * torch.exp(-(y2[:, :, None] + x2[:, None, :]))
    return (weight / weight.mean((1, 2), keepdim=True))[:, None]


def textured_loss(
    face: Tensor, truth: Tensor, points: Tensor, net: FeatureNet | None, weights: LossWeights
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of one batch.

    face, truth: (B, 3, S, S) in -1..1. points: (B, 83, 2) driver points in the face frame. net: perceptual features, or
    None for L1 alone. Returns the scalar to minimise, and its parts for the log.
    """
    size = face.shape[-1]
    attention = attention_map(points, size, weights.mouth, weights.eyes)
    l1 = ((face - truth).abs() * attention).mean() / 2  # on the 0..1 scale
    parts = {"l1": l1}
    total = weights.l1 * l1
    if net is not None:
        a, b = face / 2 + 0.5, truth / 2 + 0.5
        parts["perceptual"] = relative_l1(net, a, b)
        parts["perceptual_mouth"] = relative_l1(net, _mouth(a), _mouth(b))
        total = total + weights.perceptual * parts["perceptual"] + weights.perceptual_mouth * parts["perceptual_mouth"]
    return total, {name: value.detach() for name, value in parts.items()}


def shift_loss(shift: Tensor, seen: Tensor, points: Tensor, weights: LossWeights) -> Tensor:
    """L1 between the shifts predicted and seen, frame pixels, weighted as the colours are. Both (B, 2, S, S)."""
    return ((shift - seen).abs() * attention_map(points, shift.shape[-1], weights.mouth, weights.eyes)).mean()


def _mouth(face: Tensor) -> Tensor:
    size = face.shape[-1]
    x0, y0, x1, y1 = (round(v * size) for v in _MOUTH_BOX)
    return F.interpolate(face[..., y0:y1, x0:x1], scale_factor=_MOUTH_ZOOM, mode="bilinear", align_corners=False)
