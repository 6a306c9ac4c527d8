"""From pictures and points to what the textured model sees: flow, warped portrait, face frames (DESIGN 4)."""

import torch.nn.functional as F
from torch import Tensor

from fewshot_reenact.models.warp import fit_warp, grid, sample

FLOW_SIZE = 32  # the flow is smooth: it is computed on a coarse grid of the frame and interpolated


def apply_affine(matrix: Tensor, points: Tensor) -> Tensor:
    """(B, 2, 3) matrices on (B or 1, M, 2) points -> (B, M, 2)."""
    return points @ matrix[:, :, :2].transpose(1, 2) + matrix[:, None, :, 2]


def face_flow(driver: Tensor, portrait: Tensor, driver_frame: Tensor, box: Tensor, size: int) -> Tensor:
    """Where in the portrait each pixel of the driver's face frame comes from.

    driver, portrait: (B, 83, 2) points in pixels of the portrait. driver_frame: (B, 2, 3), frame pixels -> picture
    pixels. box: (B, 4), see fit_warp. Returns (B, size, size, 2) portrait pixels.
    """
    spline = fit_warp(driver, portrait, box)
    coarse = grid(FLOW_SIZE, size, driver.device).to(driver.dtype)[None]
    flow = spline(apply_affine(driver_frame, coarse)).view(-1, FLOW_SIZE, FLOW_SIZE, 2)
    fine = F.interpolate(flow.permute(0, 3, 1, 2), size=(size, size), mode="bicubic", align_corners=True)
    return fine.permute(0, 2, 3, 1)


def to_signed(pictures: Tensor) -> Tensor:
    """uint8 0..255 -> float32 -1..1."""
    return pictures.float() / 127.5 - 1


def warp_faces(pictures: Tensor, driver: Tensor, portrait: Tensor, driver_frame: Tensor, size: int) -> Tensor:
    """Portraits warped to the drivers' poses, cut out in the drivers' face frames.

    pictures: (B, 3, H, W) float. driver, portrait: (B, 83, 2). driver_frame: (B, 2, 3). Returns (B, 3, size, size).
    """
    h, w = pictures.shape[-2:]
    box = driver.new_tensor([0, 0, w - 1, h - 1]).expand(len(driver), 4)
    return sample(pictures, face_flow(driver, portrait, driver_frame, box, size))
