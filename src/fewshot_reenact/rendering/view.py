"""How portraits are seen in a face frame: through a flow, and, where they hide a side of the face, in a mirror."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fewshot_reenact.models.reenactor import Correction
from fewshot_reenact.rendering.flow import displace, displace_flow, enlarge
from fewshot_reenact.rendering.warp import sample

_NEAR = 16  # the side is this many times the reach over which light is compared
_DOUBT = 0.03  # of a weight: where so little is seen of both, nothing is known of how their light differs
_KNOWN = (0.02, 0.98)  # light, 0..1, whose odds are compared
_BRIGHTEST, _HUE = 2.6, 1.25  # the greatest ratio of odds, of all colours and of one against all


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

    def of(self, pictures: Tensor) -> Tensor:
        """The pictures (B, 3, P, P) so seen, (B, 3, S, S)."""
        seen = sample(pictures, self.flow)
        return seen if self.other is None else self.mixed(seen, sample(pictures, self.other))

    def corrected(self, pictures: Tensor, seen: Tensor, correction: Correction) -> Tensor:
        """The finished faces: pictures (B, 3, P, P) seen through the corrected view, plus the change of colour,
        (B, 3, S, S), about -1..1. seen: what `of` gives, used when nothing shifts.
        """
        if correction.shift is not None:
            seen = self.displaced(correction.shift).of(pictures)
        return seen + correction.colour

    def finished(self, pictures: Tensor, correction: Correction, size: int) -> tuple[Tensor, Tensor]:
        """The pictures seen through the corrected view, and the change of colour, both (B, 3, size, size)."""
        return self.displaced(correction.shift).enlarged(size).of(pictures), enlarge(correction.colour, size)

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
    """What has to be added to `other` to have the light of `seen`, both (B, 3, S, S), -1..1. visible: (B, 1, S, S). The
    two sides of a face are lit differently, and the colours of skin go on.

    Light x in 0..1 has the odds x / (1 - x). They are multiplied by a ratio that is smooth and is known where both
    are seen: black stays black and white white, and what is dark in a shadow, as an iris is, stays darker than by a
    gamma curve that lights the skin as much.
    """
    side, weight = seen.shape[-1], visible.square()
    light = other.clamp(-1, 1) / 2 + 0.5
    sums = torch.cat([(seen.clamp(-1, 1) / 2 + 0.5) * weight, light * weight, weight], 1)
    small = F.avg_pool2d(sums, max(1, side // 32))
    reach = max(1, small.shape[-1] // _NEAR)
    for _ in range(3):
        small = F.avg_pool2d(F.pad(small, (reach,) * 4, "replicate"), 2 * reach + 1, 1)
    own, there = ((small[:, k : k + 3] + _DOUBT / 2) / (small[:, 6:] + _DOUBT) for k in (0, 3))
    apart = own.clamp(*_KNOWN).logit() - there.clamp(*_KNOWN).logit()
    bright, most, hue = apart.mean(1, keepdim=True), math.log(_BRIGHTEST), math.log(_HUE)
    ratio = (bright.clamp(-most, most) + (apart - bright).clamp(-hue, hue)).exp()
    ratio = F.interpolate(ratio, size=seen.shape[-2:], mode="bilinear", align_corners=False)
    return 2 * (ratio * light / (1 + (ratio - 1) * light) - light)
