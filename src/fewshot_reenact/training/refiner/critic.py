"""The discriminator that a refiner learns against."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PatchCritic(nn.Module):
    """A discriminator of patches (Isola et al. 2017) that also sees the picture without its low frequencies: what a
    refiner is asked for is detail, and there it shows at once. With the paper's layout, without norms, hundreds of
    steps pass before blurred mouths are told from sharp ones.
    """

    def __init__(self, wide: int):
        super().__init__()
        a, b, c = wide, 2 * wide, 4 * wide
        self.blocks = nn.ModuleList(
            [
                nn.Conv2d(9, a, 4, 2, 1),
                nn.Sequential(nn.Conv2d(a, b, 4, 2, 1), nn.InstanceNorm2d(b, affine=True)),
                nn.Sequential(nn.Conv2d(b, c, 3, 1, 1), nn.InstanceNorm2d(c, affine=True)),
            ]
        )
        self.score = nn.Conv2d(c, 1, 3, 1, 1)

    def forward(self, pictures: Tensor, landmarks: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(B, 3, h, w) each, -1..1 -> scores (B, 1, h / 4, w / 4), larger for real, and the features on the way."""
        low = F.avg_pool2d(F.pad(pictures, (2,) * 4, "reflect"), 5, 1)
        x = torch.cat([pictures, 3 * (pictures - low), landmarks], 1)
        features = []
        for block in self.blocks:
            x = F.leaky_relu(block(x), 0.2)
            features.append(x)
        return self.score(x), features
