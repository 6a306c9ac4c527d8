"""Grey and toned pictures stay so: networks that have seen colour film paint white teeth and red mouths into them."""

import torch
from torch import Tensor

WEIGHTS = (0.299, 0.587, 0.114)  # of red, green and blue in lightness (BT.601)
TONED, COLOURED = 0.012, 0.016
"""How much a face's colour may vary, on a scale of 0..1, for it to be of one tone, and from where on it is coloured.
What varies is what lightness does not explain, or a third of all if that is more: grey photographs have 0.000 to
0.006, a yellowed one 0.011; a painting whose skin is all of one brown 0.019, the greyest of other pictures 0.017.
"""


class Tone:
    """How colour goes with lightness in each of K faces, and how far that is all there is to it.

    faces: (K, 3, S, S), -1..1. share: (K,), 1 for a face of one tone, 0 for a coloured one, between them a few.
    """

    def __init__(self, faces: Tensor):
        light, colour = _split(faces[..., ::2, ::2])
        light, colour = light.flatten(2), colour.flatten(2)
        self.range = light.amin(2, keepdim=True)[..., None], light.amax(2, keepdim=True)[..., None]
        powers = torch.cat([torch.ones_like(light), light, light**2], 1)
        # Ridge, for a face of one lightness: its colour is then the constant.
        gram = powers @ powers.mT + 1e-3 * torch.eye(3, device=faces.device)
        self.fit = torch.linalg.solve(gram, powers @ colour.mT).mT  # (K, 2, 3)
        left = _spread(colour - self.fit @ powers)
        varies = torch.maximum(left, _spread(colour - colour.mean(2, keepdim=True)) / 3)
        self.share = ((COLOURED - varies) / (COLOURED - TONED)).clamp(0, 1)

    def keep(self, change: Tensor, seen: Tensor, own: list[int]) -> Tensor:
        """`change`, to be added to `seen`, in the tone of the face whose number is in `own`. All (B, 3, h, w), -1..1.

        Lightness changes as it did; colour follows it as it does in that face. Where nothing changes nothing does.
        """
        share = self.share[own][:, None, None, None]
        if not share.any():
            return change
        light, _ = _split(change)
        before, _ = _split(seen)
        red, blue = (self._colour(before + light, own) - self._colour(before, own)).unbind(1)
        red, blue = red[:, None] + light, blue[:, None] + light
        green = (light - WEIGHTS[0] * red - WEIGHTS[2] * blue) / WEIGHTS[1]
        return torch.lerp(change, torch.cat([red, green, blue], 1), share)

    def _colour(self, light: Tensor, own: list[int]) -> Tensor:
        """(B, 1, h, w) -> red and blue less lightness, (B, 2, h, w); outside what the face shows, that of its end."""
        low, high = (edge[own] for edge in self.range)
        light = light.clamp(low, high)
        fit = self.fit[own][..., None, None]
        return fit[:, :, 0] + fit[:, :, 1] * light + fit[:, :, 2] * light**2


def _spread(colour: Tensor) -> Tensor:
    """(K, 2, N), -1..1 -> (K,), root of the mean square, of a scale of 0..1."""
    return colour.square().mean((1, 2)).sqrt() / 2


def _split(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 3, h, w) -> lightness (B, 1, h, w), and red and blue less lightness (B, 2, h, w)."""
    light = torch.einsum("bchw,c->bhw", pictures, pictures.new_tensor(WEIGHTS))[:, None]
    return light, pictures[:, ::2] - light
