"""From pictures and points to what the textured model sees: flow, warped portrait, face frames."""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from fewshot_reenact.rendering.eyelids import Lids
from fewshot_reenact.rendering.warp import fit_warp, grid, sample

FLOW_SIZE = 32  # the flow is smooth: it is computed on a coarse grid of the frame and interpolated


def apply_affine(matrix: Tensor, points: Tensor) -> Tensor:
    """(B, 2, 3) matrices on (B or 1, M, 2) points -> (B, M, 2), in memory x before y, see warp.grid."""
    across, down = (points[:, None, :, k] for k in (0, 1))
    return torch.addcmul(matrix[:, :, 2:] + matrix[:, :, :1] * across, matrix[:, :, 1:2], down).transpose(1, 2)


def frame_places(frame: Tensor, size: int, count: int | None = None) -> Tensor:
    """Where a face frame (B, 2, 3) of side `size` has its pixels, or `count` places a side, its outer pixels among
    them: (B, count, count, 2) picture pixels.
    """
    count = size if count is None else count
    line = grid(count, size, frame.device)[:count, 0].to(frame.dtype)
    across, down = frame[:, :, :1] * line, frame[:, :, 1:2] * line + frame[:, :, 2:]
    return (across[:, :, None] + down[..., None]).permute(0, 2, 3, 1)


def face_flow(driver: Tensor, portrait: Tensor, driver_frame: Tensor, box: Tensor, size: int) -> Tensor:
    """Where in the portrait each pixel of the driver's face frame comes from.

    driver, portrait: (B, 83, 2) points in pixels of the portrait. driver_frame: (B, 2, 3), frame pixels -> picture
    pixels. box: (B, 4), see fit_warp. Returns (B, size, size, 2) portrait pixels.
    """
    spline = fit_warp(driver, portrait, box)
    coarse = grid(FLOW_SIZE, size, driver.device).to(driver.dtype)[None]
    flow = spline(apply_affine(driver_frame, coarse)).view(-1, FLOW_SIZE, FLOW_SIZE, 2)
    places = frame_places(driver_frame, size)
    away = (enlarge_flow(flow, driver_frame, size) - places).permute(0, 3, 1, 2)
    return places + Lids.between(driver, portrait).cover(away, places).permute(0, 2, 3, 1)


def enlarge_flow(flow: Tensor, frame: Tensor, size: int) -> Tensor:
    """A coarse flow over a face frame -> one for each of its pixels.

    flow: (B, g, g, 2), whose outer samples stand on the outer pixels. frame: (B, 2, 3), frame pixels -> the flow's
    pixels: what the flow differs from it by is smooth, and is what is interpolated. Returns (B, size, size, 2).
    """
    g = flow.shape[1]
    cubic = _cubic(g, size, flow.dtype, flow.device)
    fine = cubic @ (flow - frame_places(frame, size, g)).permute(0, 3, 1, 2) @ cubic.T
    return fine.permute(0, 2, 3, 1) + frame_places(frame, size)


@lru_cache(maxsize=64)
def _cubic(coarse: int, fine: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Bicubic interpolation along one side as a matrix (fine, coarse): two products, ten times faster than the general
    routine for few channels.
    """
    with torch.inference_mode(False):  # kept, so it must be of use to training too
        basis = torch.eye(coarse).view(1, coarse, coarse, 1)
        return (
            F.interpolate(basis, size=(fine, 1), mode="bicubic", align_corners=True)[0, :, :, 0]
            .T.contiguous()
            .to(device, dtype)
        )


def displace(values: Tensor, shift: Tensor) -> Tensor:
    """Values (B, C, S, S) over a face frame, looked up where `shift` (B, 2, S, S) frame pixels points from each
    place.
    """
    size = values.shape[-1]
    here = grid(size, size, values.device).to(values.dtype).view(1, size, size, 2)
    return sample(values, here + shift.permute(0, 2, 3, 1))


def displace_flow(flow: Tensor, shift: Tensor) -> Tensor:
    """The same for a flow, (B, S, S, 2)."""
    return displace(flow.permute(0, 3, 1, 2), shift).permute(0, 2, 3, 1)


def enlarge(pictures: Tensor, size: int) -> Tensor:
    """(B, C, S, S) -> (B, C, size, size): the same face frame at another side."""
    if pictures.shape[-1] == size:
        return pictures
    return F.interpolate(pictures, size=(size, size), mode="bilinear", align_corners=False)


def to_signed(pictures: Tensor) -> Tensor:
    """uint8 0..255 -> float32 -1..1."""
    return pictures.float() / 127.5 - 1


def picture_box(pictures: Tensor, count: int) -> Tensor:
    """The whole of pictures (B, C, H, W) as boxes for fit_warp, (count, 4)."""
    h, w = pictures.shape[-2:]
    return _box(w, h, pictures.dtype, pictures.device).expand(count, 4)


@lru_cache(maxsize=64)
def _box(width: int, height: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor([0, 0, width - 1, height - 1], dtype=dtype, device=device)


def one_after_the_other(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    """The one shift (B, 2, S, S) that does what correcting a flow by `first` and the result by `second` does."""
    if first is None or second is None:
        return second if first is None else first
    return second + displace(first, second)
