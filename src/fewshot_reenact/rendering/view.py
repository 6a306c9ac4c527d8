"""How portraits are seen in a face frame: through a flow, and, where they hide a side of the face, in a mirror."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fewshot_reenact.rendering.flow import displace, displace_flow, enlarge

_NEAR = 16  # the side is this many times the reach over which light is compared
_LEAST = 1e-3


@dataclass(frozen=True)
class View:
    """flow: (B, S, S, 2), where each pixel of the face frames comes from, pixels of the portraits. other: the same in
    the mirror, or None; share: (B, 1, S, S), how much of it is seen; tone: (B, 3, S, S), what its light lacks, in units
    of the -1..1 scale.
    """

    flow: Tensor
    other: Tensor | None = None
    share: Tensor | None = None
    tone: Tensor | None = None

    def displaced(self, shift: Tensor | None) -> View:
        """The view corrected by a shift (B, 2, S, S) of frame pixels, see models.reenactor.Correction."""
        if shift is None:
            return self
        flow = displace_flow(self.flow, shift)
        if self.other is None or self.share is None or self.tone is None:
            return View(flow)
        return View(flow, displace_flow(self.other, shift), displace(self.share, shift), displace(self.tone, shift))

    def enlarged(self, size: int) -> View:
        """The same frames at another side."""

        def larger(flow: Tensor) -> Tensor:
            return enlarge(flow.permute(0, 3, 1, 2), size).permute(0, 2, 3, 1)

        if self.other is None or self.share is None or self.tone is None:
            return View(larger(self.flow))
        return View(larger(self.flow), larger(self.other), enlarge(self.share, size), enlarge(self.tone, size))

    def mixed(self, seen: Tensor, other: Tensor) -> Tensor:
        """Portraits seen through `flow` and through `other`, as one, (B, 3, S, S)."""
        assert self.share is not None and self.tone is not None
        return seen + self.share * (other + self.tone - seen)

    @classmethod
    def joined(cls, views: Sequence[View]) -> View:
        """Views of single faces as one of all."""
        flow = torch.cat([view.flow for view in views])
        if all(view.other is None for view in views):
            return cls(flow)
        channels = (2, 1, 3)
        parts = []
        for k, name in enumerate(("other", "share", "tone")):
            rows = []
            for view in views:
                value = getattr(view, name)
                if value is None:
                    b, s = view.flow.shape[:2]
                    value = view.flow if name == "other" else view.flow.new_zeros(b, channels[k], s, s)
                rows.append(value)
            parts.append(torch.cat(rows))
        return cls(flow, *parts)


def match_light(seen: Tensor, other: Tensor, visible: Tensor) -> Tensor:
    """What has to be added to `other` to have the light of `seen`, both (B, 3, S, S): smooth, from where both are seen.
    visible: (B, 1, S, S). The two sides of a face are lit differently, and the colours of skin go on.
    """
    side = seen.shape[-1]
    weight = visible.square() + _LEAST
    sums = torch.cat([(seen - other) * weight, weight], 1)
    small = F.avg_pool2d(sums, max(1, side // 32))
    reach = max(1, small.shape[-1] // _NEAR)
    for _ in range(3):
        small = F.avg_pool2d(F.pad(small, (reach,) * 4, "replicate"), 2 * reach + 1, 1)
    return F.interpolate(small[:, :-1] / small[:, -1:], size=seen.shape[-2:], mode="bilinear", align_corners=False)
