"""Where the lids of a portrait's eyes are, by a network that sees nothing but the eyes.

The point network sees a face in 128 pixels. Of paintings, whose faces are not those that it has learnt, it may find
the eyes a quarter of their width beside their place; lids that close there leave white. This network looks about
each eye, finds it, and looks again.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import nn

from fewshot_reenact.geometry.affine import transform
from fewshot_reenact.geometry.smoothstep import smoothstep
from fewshot_reenact.geometry.topology import LEFT_EYE, LEFT_IRIS, RIGHT_EYE, RIGHT_IRIS
from fewshot_reenact.landmarks.eye_network import EyeNet, to_input

WIDTH, HEIGHT = 64, 48  # of an eye's crop, pixels
_EYE = 0.55  # the share of the crop's width between the corners
_LOOKS = 3
# Widths of the eye, by which two looks at it may differ to be believed wholly, and not at all; and pixels of its width.
_AGREE, _DIFFER, _PIXELS = 0.02, 0.06, (8.0, 14.0)
EYES = ((LEFT_EYE, LEFT_IRIS), (RIGHT_EYE, RIGHT_IRIS))


class LidNet(EyeNet):
    """The six points of the lids, (B, 6, 2): an EyeNet of six places."""

    size, points = (WIDTH, HEIGHT), LEFT_EYE.stop - LEFT_EYE.start

    def __init__(self, widths: tuple[int, ...] = (16, 32, 48, 64)):
        super().__init__(widths)


def lid_frame(lids: np.ndarray) -> np.ndarray:
    """Crop pixels -> picture pixels, (2, 3), about an eye with these lids, (6, 2): its axis lies level."""
    a, b = lids[0].astype(np.float64), lids[3].astype(np.float64)
    right = (b - a) / (_EYE * WIDTH)
    linear = np.array([[right[0], -right[1]], [right[1], right[0]]])
    middle = np.array([WIDTH - 1, HEIGHT - 1]) / 2
    return np.concatenate([linear, (lids.mean(0) - linear @ middle)[:, None]], 1)


def cut_eye(picture: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """The crop of an eye, (48, 64, 3) uint8; of a large picture each pixel is the mean of what it covers."""
    shrink = float(np.sqrt(abs(np.linalg.det(frame[:, :2]))))
    finer = max(1, round(shrink))
    size = (WIDTH * finer, HEIGHT * finer)
    matrix = frame.copy()
    matrix[:, :2] /= finer
    matrix[:, 2] -= matrix[:, :2] @ np.full(2, (finer - 1) / 2)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    crop = cv2.warpAffine(picture, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return cv2.resize(crop, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA) if finer > 1 else crop


@torch.inference_mode()
def place_lids(network: nn.Module, picture: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points of a face, (83, 2) float32 pixels of the picture (H, W, 3) uint8 RGB, with the lids where the network sees
    them, and irises as far along as the lids' middles.

    Tiny eyes keep what they have, and so do those of which looks do not agree.
    """
    made, device = points.copy(), next(network.parameters()).device
    for eye, iris in EYES:
        looks = [points[eye].astype(np.float64)]
        wide = np.linalg.norm(looks[0][3] - looks[0][0])
        if not np.isfinite(looks[0]).all() or wide < _PIXELS[0]:
            continue
        for _ in range(_LOOKS):
            frame = lid_frame(looks[-1])
            seen = network(to_input([cut_eye(picture, frame)]).to(device))[0].cpu().numpy()
            looks.append(transform(frame, seen + np.array([WIDTH - 1, HEIGHT - 1]) / 2))
        apart = np.abs(looks[-1] - looks[-2]).max() / wide
        shares = [(_DIFFER - apart) / (_DIFFER - _AGREE), (wide - _PIXELS[0]) / (_PIXELS[1] - _PIXELS[0])]
        share = float(np.prod(smoothstep(np.clip(shares, 0, 1))))
        moved = share * (looks[-1] - points[eye])
        made[eye] += moved.astype(np.float32)
        made[iris] += moved.mean(0).astype(np.float32)
    return made
