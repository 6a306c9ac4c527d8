"""Where irises stand in their eyes, by a network that sees nothing but the eyes.

The point network sees a face in 128 pixels, an eye in twenty of them: of how far an iris goes to the sides it tells
little. So the place along each eye's axis is this network's; across the axis the lids tell as much, and the point
network's place stays.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from fewshot_reenact.geometry.affine import invert, transform
from fewshot_reenact.geometry.smoothstep import smoothstep
from fewshot_reenact.geometry.topology import LEFT_EYE, LEFT_IRIS, LEFT_LIDS, RIGHT_EYE, RIGHT_IRIS, RIGHT_LIDS, lid_gap
from fewshot_reenact.landmarks.eye_network import EyeNet, to_input

WIDTH, HEIGHT = 64, 32  # of an eye's crop, pixels
_EYE = 0.8  # the share of the crop's width between the corners
# Between the lids, in widths of the eye, and of the eye in pixels of the picture: up to the first nothing is believed,
# from the second on all.
_OPENING, _PIXELS = (0.08, 0.18), (6.0, 12.0)
EYES = tuple(
    (iris, (eye.start, eye.start + 3), lids)
    for iris, eye, lids in zip((LEFT_IRIS, RIGHT_IRIS), (LEFT_EYE, RIGHT_EYE), (LEFT_LIDS, RIGHT_LIDS), strict=True)
)


class IrisNet(EyeNet):
    """The iris' centre, (B, 2): an EyeNet of one place."""

    size, points = (WIDTH, HEIGHT), 1

    def __init__(self, widths: tuple[int, ...] = (16, 32, 48)):
        super().__init__(widths)

    def forward(self, eyes: Tensor) -> Tensor:
        """See the class."""
        return super().forward(eyes)[:, 0]


def eye_frame(points: np.ndarray, corners: tuple[int, int]) -> np.ndarray:
    """Crop pixels -> picture pixels, (2, 3), for the eye between two of the points (83, 2): its axis lies level."""
    a, b = (np.asarray(points[k], np.float64) for k in corners)
    right = (b - a) / (_EYE * WIDTH)
    linear = np.array([[right[0], -right[1]], [right[1], right[0]]])
    middle = np.array([WIDTH - 1, HEIGHT - 1]) / 2
    return np.concatenate([linear, ((a + b) / 2 - linear @ middle)[:, None]], 1)


def cut_eye(picture: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """The crop of an eye, (32, 64, 3) uint8."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(picture, frame, (WIDTH, HEIGHT), flags=flags, borderMode=cv2.BORDER_REPLICATE)


@torch.inference_mode()
def place_irises(network: nn.Module, picture: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points of a face, (83, 2) float32 pixels of the picture, with the irises where the network sees them.

    Shut eyes and tiny ones keep what they have; in between it goes over smoothly.
    """
    shares = np.array([_trust(points, corners, lids) for _, corners, lids in EYES])
    if not shares.any() or not np.isfinite(points).all():
        return points
    frames = [eye_frame(points, corners) for _, corners, _ in EYES]
    device = next(network.parameters()).device
    found = network(to_input([cut_eye(picture, frame) for frame in frames]).to(device)).cpu().numpy()
    made = points.copy()
    for (iris, _, _), frame, seen, share in zip(EYES, frames, found, shares, strict=True):
        own = transform(invert(frame), points[iris][None])[0]
        own[0] += share * ((WIDTH - 1) / 2 + seen[0] - own[0])
        made[iris] = transform(frame, own[None])[0]
    return made


def _trust(points: np.ndarray, corners: tuple[int, int], lids: tuple[tuple[int, int], ...]) -> float:
    wide = float(np.linalg.norm(points[corners[1]] - points[corners[0]]))
    gap = float(lid_gap(points, lids)) / max(wide, 1e-6)
    shares = [(gap - _OPENING[0]) / (_OPENING[1] - _OPENING[0]), (wide - _PIXELS[0]) / (_PIXELS[1] - _PIXELS[0])]
    return float(np.prod(smoothstep(np.clip(shares, 0, 1))))
