"""The matte network: a picture about a head -> where the person is."""

import torch.nn.functional as F
from torch import Tensor, nn

from fewshot_reenact.models.convolutions import ConvNorm, Thin

SIDE = 256  # of the pictures that it sees, pixels


class _Down(nn.Module):
    """Half the size: depthwise, then pointwise. (B, c_in, H, W) -> (B, c_out, H / 2, W / 2)."""

    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.a, self.b = ConvNorm(c_in, c_in, 5, 2, groups=c_in), ConvNorm(c_in, c_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return F.relu_(self.b(F.relu_(self.a(x))))


class MatteNet(nn.Module):
    """forward: pictures (B, 3, 256, 256) in -1..1 -> logits (B, 1, 256, 256): positive where a person is.

    From a quarter of the size down to 8 pixels and back up, with what each size saw on the way down. The finest step is
    left to a guided filter at the picture's own size (rendering.guided).
    """

    def __init__(self, widths: tuple[int, ...] = (32, 48, 80, 112), blocks: tuple[int, ...] = (1, 2, 2)):
        super().__init__()
        self.dims = {"widths": list(widths), "blocks": list(blocks)}
        self.stem = nn.Sequential(ConvNorm(12, widths[0], 3, 2), nn.ReLU(inplace=True), Thin(widths[0]))
        self.down = nn.ModuleList(
            nn.Sequential(_Down(c_in, c_out), *(Thin(c_out) for _ in range(count)))
            for c_in, c_out, count in zip(widths, widths[1:], blocks, strict=False)
        )
        self.everywhere = ConvNorm(widths[-1], widths[-1], 1)
        narrower = list(zip(widths[:0:-1], widths[-2::-1], strict=False))
        self.up = nn.ModuleList(ConvNorm(c_in, c_out, 1) for c_in, c_out in narrower)
        self.merge = nn.ModuleList(Thin(c_out) for _, c_out in narrower)
        self.out = nn.Conv2d(widths[0], 16, 3, padding=1)

    def forward(self, pictures: Tensor) -> Tensor:
        """See the class."""
        x = self.stem(F.pixel_unshuffle(pictures, 2))
        seen = [x]
        for stage in self.down:
            x = stage(x)
            seen.append(x)
        x = seen.pop()
        x = x + F.relu(self.everywhere(x.mean((2, 3), keepdim=True).expand(-1, -1, 1, 1)))
        for narrow, merge in zip(self.up, self.merge, strict=True):
            x = F.interpolate(narrow(x), scale_factor=2.0, mode="bilinear", align_corners=False) + seen.pop()
            x = merge(F.relu_(x))
        return F.pixel_shuffle(self.out(x), 4)
