"""How much of what the networks paint is taken: less of it the farther a head turns from its portrait's own view.

There the networks fill much in, and what they fill in is the people's whom they learnt from: likeness goes with it. The
warp alone is likelier to the portrait, but has no mouth's inside and no lids. So mouth and eyes keep theirs.
"""

import torch
from torch import Tensor

from fewshot_reenact.geometry.smoothstep import smoothstep
from fewshot_reenact.geometry.topology import LEFT_EYE, MOUTH, RIGHT_EYE

_FROM, _TO = 6.0, 22.0  # degrees of turning over which the change of colour fades
_LEFT = 0.15  # what is left of it beyond these, on cheeks, temples, nose and forehead
# Reach of a part, in shares of the frame's side, and how much of the change it keeps at least.
_PARTS = ((MOUTH, 0.2, 1.0), (LEFT_EYE, 0.1, 0.6), (RIGHT_EYE, 0.1, 0.6))
_PLATEAU = 1.6  # the bell about a part is cut off here: over its middle all is kept


def taken(points: Tensor, away: Tensor, side: int) -> Tensor:
    """Shares of the change of colour, 0..1, (B, 1, side, side) over face frames.

    points: (B, 83, 2) pixels of these frames. away: (B,) degrees, from the portrait's view, as by
    geometry.rotation.views_apart.
    """
    share = 1 - (1 - _LEFT) * smoothstep(((away - _FROM) / (_TO - _FROM)).clamp(0, 1))
    share = share[:, None, None].expand(-1, side, side)
    line = torch.arange(side, dtype=points.dtype, device=points.device)
    for part, reach, least in _PARTS:
        away2 = ((line - points[:, part].mean(1)[..., None]) / (reach * side)).square()  # (B, 2, side)
        bell = (_PLATEAU * torch.exp(-(away2[:, 1, :, None] + away2[:, 0, None, :]))).clamp(max=1)
        share = torch.maximum(share, least * bell)
    return share[:, None]
