"""Where the same skin is in two pictures of a face: optical flow, and the driver's dense motion made of it.

83 points say how a face moves to within a hundredth of its width, and nothing of cheeks. But the driver's own frames
show more: the frame in which the driver looks as the portrait does, warped by its points onto another frame, should
equal that one; where it does not, the points have missed some of the motion. What they missed is measured here, as a
shift over the face frame, which is the same for all faces, and given to the portrait.
Optical flow: DIS, Kroeger et al. 2016 (OpenCV's).
"""

from collections.abc import Callable

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fewshot_reenact.models.reenactor import REACH
from fewshot_reenact.rendering.flow import displace_flow
from fewshot_reenact.rendering.warp import sample

SMOOTH = 1 / 80  # of the side, standard deviation: what is finer in a flow is noise
_WINDOW = 1 / 25  # of the side, standard deviation: over so much the match of two pictures is judged
# A shift counts as a whole once it takes away 7 % of the difference, by 30 % when it changes nothing, and not at all
# once it adds 3 % to it.
_GAIN, _LEAST, _BENEFIT_OF_DOUBT = 0.1, 0.002, 0.3


def register(seen: Tensor, wanted: Tensor) -> Tensor:
    """The shift by which `seen` becomes `wanted`: what belongs at a place stands this far from it in `seen`.

    seen, wanted: (B, 3, S, S) in -1..1. Returns (B, 2, S, S), x and y in pixels, smooth, at most REACH of the side.
    """
    size = seen.shape[-1]
    finder = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    pairs = torch.cat([wanted, seen], 1).clamp(-1, 1).add(1).mul(127.5).byte().permute(0, 2, 3, 1).cpu().numpy()
    found = []
    for both in pairs:
        there, here = (cv2.cvtColor(np.ascontiguousarray(both[..., k : k + 3]), cv2.COLOR_RGB2GRAY) for k in (0, 3))
        flow = finder.calc(there, here, None)  # type: ignore[call-overload]  # no flow to begin with
        found.append(cv2.GaussianBlur(flow, (0, 0), SMOOTH * size))
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).to(seen.device).clamp(-REACH * size, REACH * size)


Registration = Callable[[Tensor, Tensor], Tensor]
"""`register`, or another that keeps its promise."""


def dense_motion(reference: Tensor, flow: Tensor, face: Tensor, register: Registration = register) -> Tensor:
    """What the points miss of the motion from a reference frame to another frame of the same video.

    reference: (B, 3, H, W), the reference frames whole, -1..1. flow: (B, S, S, 2), from the other frames' face frames
    to pixels of the reference (rendering.face_flow). face: (B, 3, S, S), the other frames in their face frames.
    Returns (B, 2, S, S), a shift as in models.reenactor.Correction. It counts less, down to nothing, where it does not
    bring the reference nearer to the frame: where a mouth opened, or a cheek turned away, there is nothing to register.
    """
    warped = sample(reference, flow)
    shift = register(warped, face)
    before = _difference(warped, face)
    after = _difference(sample(reference, displace_flow(flow, shift)), face)
    return shift * ((before - after) / (_GAIN * before + _LEAST) + _BENEFIT_OF_DOUBT).clamp(0, 1)


def _difference(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference about each place, (B, 1, S, S)."""
    size = a.shape[-1]
    reach = max(1, round(2.5 * _WINDOW * size))
    line = torch.arange(-reach, reach + 1, dtype=a.dtype, device=a.device) / (_WINDOW * size)
    kernel = torch.exp(-line.square() / 2)
    kernel = kernel / kernel.sum()
    away = (a - b).abs().mean(1, keepdim=True)
    if away.device.type == "cpu" and torch.is_inference_mode_enabled():  # training is on one device, all at once
        weights = kernel.numpy()
        maps = [
            cv2.sepFilter2D(one, -1, weights, weights, borderType=cv2.BORDER_REPLICATE) for one in away[:, 0].numpy()
        ]
        return torch.from_numpy(np.stack(maps))[:, None]
    away = F.pad(away, (reach,) * 4, "replicate")
    return F.conv2d(F.conv2d(away, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))
