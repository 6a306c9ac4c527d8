"""Losses: the textured model's and the paper's (Zakharov et al. 2019, section 3.3).

Textured: L1 weighted about mouth and eyes, and perceptual distance of face and mouth. Paper: L1 between features of
VGG19 and VGGFace, a hinge game with the discriminator, feature matching and the match loss of embeddings and rows of W.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewshot_reenact.geometry.face_frame import part_box
from fewshot_reenact.geometry.topology import CHIN, LEFT_EYE, MOUTH, NOSE_ROOT, RIGHT_EYE
from fewshot_reenact.models.perceptual import FeatureNet, relative_l1
from fewshot_reenact.plain_json import read_object

_MOUTH_ZOOM = 1.5
_FACE_MIDDLE = 0.635  # of the square that VGGFace sees: heights of the face above the chin, as in the co-author's code


@dataclass(frozen=True)
class LossWeights:
    """How much each part of the loss counts; 0 leaves it out."""

    l1: float = 4.0
    mouth: float = 4.0  # added to the weight of 1 about the mouth
    eyes: float = 3.0  # and about each eye
    perceptual: float = 0.25
    perceptual_mouth: float = 0.25
    vgg19: float = 0.0  # content, on features at Caffe's scale (models.backbones)
    vggface: float = 0.0
    vggface_square: float = 0.0  # no weight, but what it sees: see `face_square`; 0: the whole picture
    adversarial: float = 0.05
    feature_matching: float = 0.5
    match: float = 0.0
    pyramid: float = 0.0  # laplacian_l1, fine-tuning only: more sharpens edges, and the person's features get lost
    likeness: float = 0.0  # distance of a face network's vectors, fine-tuning only

    def to_json(self) -> str:
        """For a checkpoint's metadata: fine-tuning goes on with what the networks were trained by."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "LossWeights":
        """Raises ValueError: not weights of losses. Names that this version does not know are left out."""
        raw = read_object(text)
        known = {field.name for field in dataclasses.fields(cls)} & raw.keys()
        return cls(**{name: float(raw[name]) for name in known})


def _paper(vgg19: float, vggface: float, match: float) -> LossWeights:
    return LossWeights(0, 0, 0, 0, 0, vgg19, vggface, adversarial=1, feature_matching=10, match=match)


# The paper's two versions on arXiv differ (May and September 2019). "person": for fine-tuning the default model, chosen
# on two people of clips/val; its discriminator made nine others no better (docs/training-log.md).
PRESETS = {
    "textured": LossWeights(),
    "person": LossWeights(
        l1=2.0, perceptual=1.0, perceptual_mouth=0.5, pyramid=2.0, likeness=0.5, adversarial=0.0, feature_matching=0.0
    ),
    "paper-v1": _paper(1e-2, 2e-3, 80),
    "paper-v2": _paper(1.5e-1, 2.5e-2, 10),
}


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
        parts["perceptual_mouth"] = relative_l1(net, mouth_of(a, _MOUTH_ZOOM), mouth_of(b, _MOUTH_ZOOM))
        total = total + weights.perceptual * parts["perceptual"] + weights.perceptual_mouth * parts["perceptual_mouth"]
    return total, {name: value.detach() for name, value in parts.items()}


def shift_loss(shift: Tensor, seen: Tensor, points: Tensor, weights: LossWeights) -> Tensor:
    """L1 between the shifts predicted and seen, frame pixels, weighted as the colours are. Both (B, 2, S, S)."""
    return ((shift - seen).abs() * attention_map(points, shift.shape[-1], weights.mouth, weights.eyes)).mean()


def mouth_of(face: Tensor, zoom: float) -> Tensor:
    """The mouth's part of face frames (B, 3, S, S), enlarged: (B, 3, zoom * S / 2, zoom * S / 2)."""
    x0, y0, x1, y1 = part_box("mouth", face.shape[-1])
    return F.interpolate(face[..., y0:y1, x0:x1], scale_factor=zoom, mode="bilinear", align_corners=False)


def face_square(pictures: Tensor, points: Tensor, heights: float) -> Tensor:
    """The square about each face, enlarged to the picture's size: (B, 3, S, S) -> the same.

    points: (B, 83, 2) in the pictures' pixels. heights: the square's side, in heights of the face from the nose's root
    to the chin. Beyond the picture's edge it shows the picture mirrored.
    """
    size = pictures.shape[-1]
    height = (points[:, CHIN] - points[:, NOSE_ROOT]).norm(dim=1).clamp(min=1.0)
    x = (points[..., 0].amin(1) + points[..., 0].amax(1)) / 2
    y = points[:, CHIN, 1] - _FACE_MIDDLE * height
    share, none = heights * height / size, torch.zeros_like(height)
    # grid_sample's -1..1 spans whole pixels.
    rows = [
        torch.stack([share, none, (2 * x + 1) / size - 1], 1),
        torch.stack([none, share, (2 * y + 1) / size - 1], 1),
    ]
    where = F.affine_grid(torch.stack(rows, 1), list(pictures.shape), align_corners=False)
    return F.grid_sample(pictures, where.to(pictures), padding_mode="reflection", align_corners=False)


def content_l1(net: nn.Module, output: Tensor, truth: Tensor) -> Tensor:
    """Sum over the taps of the mean absolute difference of features. output, truth: (B, 3, H, W) RGB in 0..1."""
    with torch.no_grad():
        wanted = net(truth)
    return torch.stack([(a - b).abs().mean() for a, b in zip(net(output), wanted, strict=True)]).sum()


def content_loss(
    networks: Mapping[str, nn.Module], output: Tensor, truth: Tensor, points: Tensor, weights: LossWeights
) -> tuple[Tensor, dict[str, Tensor]]:
    """The paper's content terms, each by the weight of its network's name (section 3.3, equation 3).

    output, truth: (B, 3, S, S) in -1..1. points: (B, 83, 2), the truth's, in their pixels. Returns the sum to minimise,
    0 without networks, and its parts for the log.
    """
    parts = {}
    for name, net in networks.items():
        side = weights.vggface_square if name == "vggface" else 0.0
        a, b = (face_square(seen, points, side) if side else seen for seen in (output, truth))
        parts[name] = content_l1(net, a / 2 + 0.5, b / 2 + 0.5)
    total = sum((getattr(weights, name) * part for name, part in parts.items()), output.new_zeros(()))
    return total, {name: value.detach() for name, value in parts.items()}


def hinge_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """What D minimises: scores of real pictures above 1, of made ones below -1. Scores of any shape."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def hinge_generator(fake: Tensor) -> Tensor:
    """The generator's hinge loss of D's scores, any shape (section 3.3, equation 4)."""
    return -fake.mean()


def feature_matching(fake: list[Tensor], real: list[Tensor]) -> Tensor:
    """Mean over D's blocks of the L1 between their features of made and real pictures; those of the real are fixed."""
    return torch.stack([(a - b.detach()).abs().mean() for a, b in zip(fake, real, strict=True)]).mean()


def match_loss(embeddings: Tensor, rows: Tensor) -> Tensor:
    """|e - W_i|, mean over numbers: embeddings (B, N) follow the rows (B, N) that D has learnt, not the reverse."""
    return (embeddings - rows.detach()).abs().mean()


def laplacian_l1(output: Tensor, truth: Tensor, levels: int = 3) -> Tensor:
    """L1 between Laplacian pyramids (Burt and Adelson 1983), mean over the levels: errors of edges and texture, which a
    plain L1 would rather blur. output, truth: (B, 3, S, S).
    """
    left, terms = output - truth, []  # the pyramid is linear: that of the difference is the difference
    for _ in range(levels):
        small = F.avg_pool2d(left, 2)
        terms.append((left - F.interpolate(small, size=left.shape[-2:], mode="bilinear")).abs().mean())
        left = small
    return torch.stack(terms).mean()
