"""How much of what the networks paint is taken: less of it the farther a head turns from its portrait's own view.

There the networks fill much in, and what they fill in is the people's whom they learnt from: likeness goes with it. The
warp alone is likelier to the portrait, but has no mouth's inside and no lids. So a mouth keeps all of theirs, in
profile the more the farther it is open, and an eye the more the farther it is shut.
"""

import torch
from torch import Tensor

from fewshot_reenact.geometry.smoothstep import smoothstep
from fewshot_reenact.geometry.topology import LEFT_EYE, LEFT_LIDS, LIP_PAIRS, MOUTH, RIGHT_EYE, RIGHT_LIDS

_FROM, _TO = 6.0, 22.0  # degrees of turning over which the change of colour fades
# Reach of mouth and eyes, in shares of the frame's side; how much of the change an open eye keeps at least, and one
# that is shut.
_MOUTH, _EYE = 0.2, 0.1
_OPEN_EYE, _SHUT_EYE = 0.15, 0.8
_SHUT, _OPEN = 0.1, 0.22  # between the lids, in widths of the eye
# Degrees over which a mouth comes into profile. There the networks take the ground beside it for its inside, and one
# that is shut keeps this much of theirs; between the lips, in distances of the eyes' outer corners.
_ASIDE, _PROFILE, _SHUT_MOUTH = 26.0, 40.0, 0.3
_LIPS_SHUT, _LIPS_OPEN = 0.02, 0.1
_PLATEAU = 1.6  # the bell about a part is cut off here: over its middle all is kept


def taken(points: Tensor, away: Tensor, side: int) -> Tensor:
    """Shares of the change of colour, 0..1, (B, 1, side, side) over face frames.

    points: (B, 83, 2) pixels of these frames. away: (B,) degrees, from the portrait's view, as by
    geometry.rotation.views_apart.
    """
    faded = 1 - smoothstep(((away - _FROM) / (_TO - _FROM)).clamp(0, 1))
    share = faded[:, None, None].expand(-1, side, side)
    sideways = smoothstep(((away - _ASIDE) / (_PROFILE - _ASIDE)).clamp(0, 1))
    shut = smoothstep(((_LIPS_OPEN - _between_lips(points)) / (_LIPS_OPEN - _LIPS_SHUT)).clamp(0, 1))
    kept = [(MOUTH, _MOUTH, 1 - (1 - _SHUT_MOUTH) * sideways * shut)]
    for eye, lids in ((LEFT_EYE, LEFT_LIDS), (RIGHT_EYE, RIGHT_LIDS)):
        shut = smoothstep(((_OPEN - _gap(points, eye, lids)) / (_OPEN - _SHUT)).clamp(0, 1))
        kept.append((eye, _EYE, _OPEN_EYE + (_SHUT_EYE - _OPEN_EYE) * shut))
    line = torch.arange(side, dtype=points.dtype, device=points.device)
    for part, reach, least in kept:
        away2 = ((line - points[:, part].mean(1)[..., None]) / (reach * side)).square()  # (B, 2, side)
        bell = (_PLATEAU * torch.exp(-(away2[:, 1, :, None] + away2[:, 0, None, :]))).clamp(max=1)
        share = torch.maximum(share, least[:, None, None] * bell)
    return share[:, None]


def _between_lips(points: Tensor) -> Tensor:
    """How far the lips are apart, in distances of the eyes' outer corners, (B,)."""
    upper, lower = ([pair[k] for pair in LIP_PAIRS] for k in (0, 1))
    eyes = (points[:, LEFT_EYE.start] - points[:, RIGHT_EYE.start + 3]).norm(dim=1)
    return (points[:, upper] - points[:, lower]).norm(dim=2).amax(1) / eyes.clamp(min=1e-6)


def _gap(points: Tensor, eye: slice, lids: tuple[tuple[int, int], ...]) -> Tensor:
    """How far an eye's lids are apart, in widths of the eye, (B,)."""
    upper, lower = ([pair[k] for pair in lids] for k in (0, 1))
    corner, other = points[:, eye.start], points[:, eye.start + 3]
    return (points[:, upper] - points[:, lower]).norm(dim=2).mean(1) / (corner - other).norm(dim=1).clamp(min=1e-6)
