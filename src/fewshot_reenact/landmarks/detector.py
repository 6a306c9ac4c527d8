"""The face detector: a small one-stage network, run over a short pyramid of the picture.

For each 8 x 8 cell it says whether a face's centre is there, how large the face is, and where eyes and mouth are
(after CenterNet: Zhou et al. 2019, "Objects as Points").
"""

import math
import threading
from collections.abc import Callable

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewshot_reenact.models.convolutions import ConvNorm, Thin

STRIDE = 8
SIZE_UNIT = 32.0  # faces of this size (see `face_size`) have log-size 0
_AREA = 640 * 360  # pixels of the picture's finest level: a face of 5 % of its height is 18 pixels or more there
# Levels of the pyramid, and the smallest face that each answers for, in its own pixels. The second is for large faces:
# of small ones, which the first sees three times as large, it guesses place and size badly, however sure it is.
_LEVELS = ((1.0, 7.0), (1 / 3, 20.0))
_NARROWEST = 10  # pixels of a level: nothing narrower shows a face
_MAX_FACES = 64
_SEEN = np.arange(256, dtype=np.float32) / np.float32(127.5) - 1  # the bytes of a picture as the network sees them
_KEPT = threading.local()  # .room: the memory that the network's input had last


def face_size(three: np.ndarray) -> np.ndarray:
    """Size of a face in pixels from eyes and mouth: about brow to chin. (..., 3, 2) -> (...)."""
    across = np.linalg.norm(three[..., 1, :] - three[..., 0, :], axis=-1)
    down = np.linalg.norm(three[..., 2, :] - (three[..., 0, :] + three[..., 1, :]) / 2, axis=-1)
    return 2.0 * np.maximum(across, 0.9 * down)


class DetectorNet(nn.Module):
    """forward: (B, 3, H, W) in -1..1, sides multiples of 32 -> (B, 8, H / 8, W / 8): a logit, log-size, then left eye,
    right eye and mouth as offsets (x, y) from the cell's centre in face sizes.
    """

    def __init__(
        self, widths: tuple[int, ...] = (8, 16, 32, 64, 96), thin: tuple[int, ...] = (1, 2, 2), neck: int = 32
    ):
        super().__init__()
        self.dims = {"widths": list(widths), "thin": list(thin), "neck": neck}
        w = widths
        self.stem = nn.Sequential(
            ConvNorm(3, w[0], 3, 2), nn.ReLU(inplace=True), ConvNorm(w[0], w[1], 3, 2), nn.ReLU(inplace=True)
        )
        self.stages = nn.ModuleList(
            nn.Sequential(ConvNorm(a, b, 3, 2), nn.ReLU(inplace=True), *(Thin(b) for _ in range(n)))
            for a, b, n in zip(w[1:], w[2:], thin, strict=False)
        )
        self.lateral = nn.ModuleList([ConvNorm(c, neck, 1) for c in w[2:]])
        self.merge = Thin(neck)
        self.head = nn.Conv2d(neck, 8, 1)
        nn.init.constant_(self.head.bias[0], -4.0)  # type: ignore[index]  # hardly any cell holds a face

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        x = self.stem(x)
        maps = []
        for stage, lateral in zip(self.stages, self.lateral, strict=True):
            x = stage(x)
            maps.append(lateral(x))
        y = maps[-1]
        for finer in reversed(maps[:-1]):
            y = F.interpolate(y, scale_factor=2, mode="nearest").add_(finer)
        return self.head(self.merge(F.relu_(y)))


def find(
    net: Callable[[Tensor], Tensor], picture: np.ndarray, threshold: float, device: torch.device
) -> tuple[np.ndarray, np.ndarray]:
    """Candidates, best first: eyes and mouth (N, 3, 2) in pixels, scores (N,) 0..1. picture: (H, W, 3) uint8 RGB. net:
    a DetectorNet, or what computes the same.
    """
    found, scores = [], []
    # Level by area, not by side: a face of a twentieth of a very wide picture's height must not vanish.
    # Small pictures are not enlarged beyond twice: there is nothing to see that was not there.
    finest = min(2.0, math.sqrt(_AREA / (picture.shape[0] * picture.shape[1])))
    full, level = np.array(picture.shape[1::-1]), picture
    for share, smallest in _LEVELS:
        level = _resize(level, full * finest * share)
        # A margin of grey about the coarse level, so that a face that fills the picture is seen whole.
        three, score = _find_at(net, level, smallest, 0 if share == 1.0 else 16, threshold, device)
        found.append((three + 0.5) * (full / level.shape[1::-1]) - 0.5)
        scores.append(score)
    three, score = np.concatenate(found), np.concatenate(scores)
    keep = _suppress(three, score)[:_MAX_FACES]
    return three[keep], score[keep]


def _resize(picture: np.ndarray, size: np.ndarray) -> np.ndarray:
    """To (width, height), which need not be whole numbers."""
    w, h = (max(1, round(side)) for side in size)
    # Halved, then interpolated between four pixels: cv2's exact averages of areas take four times as long.
    while picture.shape[1] >= 2 * w and picture.shape[0] >= 2 * h:
        picture = cv2.resize(picture, (picture.shape[1] // 2, picture.shape[0] // 2), interpolation=cv2.INTER_LINEAR)
    if (h, w) == picture.shape[:2]:
        return picture
    return cv2.resize(picture, (w, h), interpolation=cv2.INTER_LINEAR)


@torch.inference_mode()
def _find_at(
    net: Callable[[Tensor], Tensor],
    picture: np.ndarray,
    smallest: float,
    pad: int,
    threshold: float,
    device: torch.device,
) -> tuple[np.ndarray, np.ndarray]:
    """Candidates of one level, in its own pixels: eyes and mouth (N, 3, 2), scores (N,)."""
    h, w = picture.shape[:2]
    if min(h, w) < _NARROWEST:
        return np.zeros((0, 3, 2)), np.zeros(0)
    right, below = (-(w + 2 * pad) % 32 + pad, -(h + 2 * pad) % 32 + pad)
    canvas = cv2.copyMakeBorder(picture, pad, below, pad, right, cv2.BORDER_CONSTANT, value=(128, 128, 128))
    x = torch.from_numpy(cv2.LUT(canvas, _SEEN, _room(canvas.shape))).to(device)
    # Seen as (1, 3, H, W) the picture already is in channels-last order: no copies.
    out = net(x[None].permute(0, 3, 1, 2))[0].float().cpu().numpy()
    logit = np.ascontiguousarray(out[0])
    likely = (logit > math.log(threshold / (1 - threshold))) & (out[1] > math.log(smallest / SIZE_UNIT))
    ys, xs = (likely & (logit == cv2.dilate(logit, np.ones((3, 3), np.uint8)))).nonzero()
    values = out[:, ys, xs]
    size = SIZE_UNIT * np.exp(np.clip(values[1], -3, 4))
    centre = np.stack([xs, ys], 1) * STRIDE + (STRIDE - 1) / 2
    three = centre[:, None] + values[2:].T.reshape(-1, 3, 2) * size[:, None, None]
    return three - pad, 1 / (1 + np.exp(-values[0]))


def _room(shape: tuple[int, ...]) -> np.ndarray:
    """Floats to write to, this thread's own: memory asked for anew each time can cost a quarter of the whole."""
    count, room = math.prod(shape), getattr(_KEPT, "room", None)
    if room is None or room.size < count:
        room = _KEPT.room = np.empty(count, np.float32)
    return room[:count].reshape(shape)


def _suppress(three: np.ndarray, score: np.ndarray) -> list[int]:
    """Of candidates nearer than half a face and of about one size keep the best. Best first.

    Of two sizes at one place both stay: the point network tells which one is right, the scores do not.
    """
    centre, size = three.mean(1), face_size(three)
    keep: list[int] = []
    for i in np.argsort(-score):
        larger = np.maximum(size[i], size[keep])
        near = np.linalg.norm(centre[i] - centre[keep], axis=-1) < 0.5 * larger
        alike = larger < 1.5 * np.minimum(size[i], size[keep])
        if not (near & alike).any():
            keep.append(int(i))
    return keep
