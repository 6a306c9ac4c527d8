"""Who a face is, as numbers: faces aligned as face networks of the ArcFace kind want them, and embedded."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fewshot_reenact.geometry.topology import LEFT_IRIS, RIGHT_IRIS
from fewshot_reenact.models.perceptual import FeatureNet

SIDE = 112
# Both irises, the nose tip and the corners of the mouth, and where they stand in the 112 x 112 pixels that such
# networks are trained on.
_PLACES = [LEFT_IRIS, RIGHT_IRIS, 30, 48, 54]
_STANDARD = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)


def alignment(points: np.ndarray) -> np.ndarray:
    """The (2, 3) least-squares similarity from a picture to the aligned face. points: (83, 2) pixels of the picture."""
    here = np.asarray(points, np.float64)[_PLACES]
    a, b = (places[:, 0] + 1j * places[:, 1] for places in (here, _STANDARD))
    turn = np.vdot(a - a.mean(), b - b.mean()) / max(float((np.abs(a - a.mean()) ** 2).sum()), 1e-9)
    move = b.mean() - turn * a.mean()
    return np.array([[turn.real, -turn.imag, move.real], [turn.imag, turn.real, move.imag]])


def unlikeness(net: FeatureNet, faces: Tensor, truth: Tensor, points: Tensor) -> Tensor:
    """1 - cosine of the embeddings of faces and of what they should be, mean over the batch.

    faces, truth: (B, 3, S, S) in -1..1. points: (B, 83, 2) in their pixels. The truth's embedding is fixed.
    """
    size = faces.shape[-1]
    matrices = []
    for one in points.detach().cpu().numpy():
        forward = np.vstack([alignment(one), [0, 0, 1]])
        # grid_sample's -1..1 spans whole pixels: from the aligned face's to the picture's.
        matrices.append((_spanned(size) @ np.linalg.inv(forward) @ np.linalg.inv(_spanned(SIDE)))[:2])
    shape = [len(faces), 3, SIDE, SIDE]
    where = F.affine_grid(torch.from_numpy(np.stack(matrices)).to(faces), shape, align_corners=False)

    def embedding(pictures: Tensor) -> Tensor:
        aligned = F.grid_sample(pictures / 2 + 0.5, where, padding_mode="border", align_corners=False)
        return net(aligned)[-1]

    with torch.no_grad():
        wanted = embedding(truth)
    return (1 - (embedding(faces) * wanted).sum(1)).mean()


def _spanned(side: int) -> np.ndarray:
    """Pixels of a square -> -1..1 over its whole pixels, (3, 3)."""
    return np.array([[2 / side, 0, 1 / side - 1], [0, 2 / side, 1 / side - 1], [0, 0, 1]])
