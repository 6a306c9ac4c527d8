"""LPIPS (Zhang et al., CVPR 2018, version 0.1): how far apart two pictures look, by AlexNet or VGG16.

The convolutions are torchvision's for ImageNet, whose file is given by path or found in torch's cache; the weights of
their differences, some kilobytes, come in torchmetrics' package. Neither is downloaded.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewshot_reenact.errors import MissingExtra, ModelError
from fewshot_reenact.models.state_dicts import convolutions, find_weights, read_state_dict

_FILES = {"alex": "alexnet-owt-7be5be79.pth", "vgg": "vgg16-397923af.pth"}
_SMALLEST = 64  # pixels a side: AlexNet's last maps are of one pixel there
# (stride, padding) of each convolution; those before which a pooling (size, 2) stands; those after which is compared.
_STEPS = {
    "alex": ([(4, 2), (1, 2), (1, 1), (1, 1), (1, 1)], {1: 3, 2: 3}, (0, 1, 2, 3, 4)),
    "vgg": ([(1, 1)] * 13, {2: 2, 4: 2, 7: 2, 10: 2}, (1, 3, 6, 9, 12)),
}


class LPIPS(nn.Module):
    """forward: two (B, 3, H, W) RGB in 0..1 -> (B,) distances, 0 for equal pictures.

    net: "alex" or "vgg". weights: (kernel, bias) of its convolutions in order. heads: a (1, C, 1, 1) for each of the
    five that are compared. Pictures under 64 pixels a side are enlarged to that.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, net: str, weights: list[tuple[Tensor, Tensor]], heads: list[Tensor]):
        super().__init__()
        self.net = net
        for i, (kernel, bias) in enumerate(weights[: len(_STEPS[net][0])]):
            self.register_buffer(f"kernel{i}", kernel.float())
            self.register_buffer(f"bias{i}", bias.float())
        for i, head in enumerate(heads):
            self.register_buffer(f"head{i}", head.float())
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1))

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        """See the class."""
        taps = zip(self._features(one), self._features(other), strict=True)
        terms = [
            F.conv2d((_unit(a) - _unit(b)).square(), self.get_buffer(f"head{i}")).mean((1, 2, 3))
            for i, (a, b) in enumerate(taps)
        ]
        return torch.stack(terms).sum(0)

    def _features(self, x: Tensor) -> list[Tensor]:
        side = min(x.shape[2:])
        if side < _SMALLEST:
            x = F.interpolate(x, scale_factor=_SMALLEST / side, mode="bilinear", align_corners=False)
        x = (2 * x - 1 - self.shift) / self.scale
        steps, pools, tapped = _STEPS[self.net]
        taps = []
        for i, (stride, pad) in enumerate(steps):
            if i in pools:
                x = F.max_pool2d(x, pools[i], 2)
            x = F.relu(F.conv2d(x, self.get_buffer(f"kernel{i}"), self.get_buffer(f"bias{i}"), stride, pad))
            if i in tapped:
                taps.append(x)
        return taps


def _unit(x: Tensor) -> Tensor:
    return x / (x.square().sum(1, keepdim=True) + 1e-8).sqrt()


def load_lpips(given: str | Path, option: str = "--lpips") -> LPIPS:
    """LPIPS by torchvision's AlexNet or VGG16: a state dict by path, or for "cache" of torch's cache (AlexNet first).

    Raises ModelError: missing, damaged, another network; UsageError without torchmetrics.
    """
    name = _FILES["alex"]
    advice = f"download https://download.pytorch.org/models/{name} (233 MB) there yourself, or give its path"
    path = find_weights(given, tuple(_FILES.values()), option, advice)
    weights = convolutions(read_state_dict(path))
    net = next((net for net in _STEPS if _fits(weights, net)), None)
    if net is None:
        raise ModelError(f"{path}: is neither torchvision's AlexNet nor its VGG16, which LPIPS is made of")
    return LPIPS(net, weights, _heads(net)).eval().requires_grad_(False)


def _fits(weights: list[tuple[Tensor, Tensor]], net: str) -> bool:
    shapes = {"alex": [(64, 11), (192, 5), (384, 3), (256, 3), (256, 3)]}
    sizes = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
    wanted = shapes.get(net, [(channels, 3) for channels in sizes])
    return [(kernel.shape[0], kernel.shape[-1]) for kernel, _ in weights] == wanted


def _heads(net: str) -> list[Tensor]:
    try:
        import torchmetrics
    except ImportError as error:
        raise MissingExtra("torchmetrics is needed, which brings LPIPS's weights", "evaluate") from error
    path = Path(torchmetrics.__file__).parent / "functional" / "image" / "lpips_models" / f"{net}.pth"
    if not path.is_file():
        raise ModelError(
            f"{path}: LPIPS's weights are not in this version of torchmetrics; install another from 1.5 on"
        )
    state = read_state_dict(path)
    return [state[f"lin{i}.model.1.weight"] for i in range(5)]
