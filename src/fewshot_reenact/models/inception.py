"""InceptionV3 as it measures FID and KID everywhere: Szegedy et al., CVPR 2016, in the layout of TensorFlow's release
of 2015, with the names of the PyTorch port that torch-fidelity and pytorch-fid load.

Two things of that release differ from torchvision's network, and change every figure: average poolings inside the
blocks leave the border out of their counts, and the last block has a maximum in place of its average.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewshot_reenact.errors import ModelError
from fewshot_reenact.files import sha256
from fewshot_reenact.models.state_dicts import find_weights, read_state_dict

FEATURES = 2048
_SIDE = 299
_DIGEST = "6726825d"  # of the file that everybody uses
_NAMES = (f"weights-inception-2015-12-05-{_DIGEST}.pth", f"pt_inception-2015-12-05-{_DIGEST}.pth")
_ADDRESS = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{_NAMES[0]}"


class _Conv(nn.Module):
    """Convolution, batch norm with fixed statistics, ReLU."""

    def __init__(self, a: int, b: int, size: int | tuple[int, int], stride: int = 1, pad: int | tuple[int, int] = 0):
        super().__init__()
        self.conv = nn.Conv2d(a, b, size, stride, pad, bias=False)
        self.bn = nn.BatchNorm2d(b, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


def _across(a: int, b: int) -> _Conv:
    return _Conv(a, b, (1, 7), pad=(0, 3))


def _along(a: int, b: int) -> _Conv:
    return _Conv(a, b, (7, 1), pad=(3, 0))


def _average(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


class _A(nn.Module):
    def __init__(self, a: int, pool: int):
        super().__init__()
        self.branch1x1 = _Conv(a, 64, 1)
        self.branch5x5_1, self.branch5x5_2 = _Conv(a, 48, 1), _Conv(48, 64, 5, pad=2)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = _Conv(a, 64, 1), _Conv(64, 96, 3, pad=1)
        self.branch3x3dbl_3 = _Conv(96, 96, 3, pad=1)
        self.branch_pool = _Conv(a, pool, 1)

    def forward(self, x: Tensor) -> Tensor:
        fives = self.branch5x5_2(self.branch5x5_1(x))
        threes = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch1x1(x), fives, threes, self.branch_pool(_average(x))], 1)


class _B(nn.Module):
    def __init__(self, a: int):
        super().__init__()
        self.branch3x3 = _Conv(a, 384, 3, 2)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = _Conv(a, 64, 1), _Conv(64, 96, 3, pad=1)
        self.branch3x3dbl_3 = _Conv(96, 96, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        threes = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), threes, F.max_pool2d(x, 3, 2)], 1)


class _C(nn.Module):
    def __init__(self, a: int, c: int):
        super().__init__()
        self.branch1x1, self.branch_pool = _Conv(a, 192, 1), _Conv(a, 192, 1)
        self.branch7x7_1, self.branch7x7_2, self.branch7x7_3 = _Conv(a, c, 1), _across(c, c), _along(c, 192)
        self.branch7x7dbl_1, self.branch7x7dbl_2, self.branch7x7dbl_3 = _Conv(a, c, 1), _along(c, c), _across(c, c)
        self.branch7x7dbl_4, self.branch7x7dbl_5 = _along(c, c), _across(c, 192)

    def forward(self, x: Tensor) -> Tensor:
        once = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        twice = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        twice = self.branch7x7dbl_5(self.branch7x7dbl_4(twice))
        return torch.cat([self.branch1x1(x), once, twice, self.branch_pool(_average(x))], 1)


class _D(nn.Module):
    def __init__(self, a: int):
        super().__init__()
        self.branch3x3_1, self.branch3x3_2 = _Conv(a, 192, 1), _Conv(192, 320, 3, 2)
        self.branch7x7x3_1, self.branch7x7x3_2 = _Conv(a, 192, 1), _across(192, 192)
        self.branch7x7x3_3, self.branch7x7x3_4 = _along(192, 192), _Conv(192, 192, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        threes = self.branch3x3_2(self.branch3x3_1(x))
        sevens = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return torch.cat([threes, sevens, F.max_pool2d(x, 3, 2)], 1)


class _E(nn.Module):
    def __init__(self, a: int, last: bool = False):
        super().__init__()
        self.last = last
        self.branch1x1, self.branch_pool = _Conv(a, 320, 1), _Conv(a, 192, 1)
        self.branch3x3_1, self.branch3x3dbl_1 = _Conv(a, 384, 1), _Conv(a, 448, 1)
        self.branch3x3dbl_2 = _Conv(448, 384, 3, pad=1)
        for name in ("branch3x3_2", "branch3x3dbl_3"):
            self.add_module(f"{name}a", _Conv(384, 384, (1, 3), pad=(0, 1)))
            self.add_module(f"{name}b", _Conv(384, 384, (3, 1), pad=(1, 0)))

    def forward(self, x: Tensor) -> Tensor:
        once = self.branch3x3_1(x)
        twice = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        both = [self.get_submodule(f"branch3x3_2{k}")(once) for k in "ab"]
        both += [self.get_submodule(f"branch3x3dbl_3{k}")(twice) for k in "ab"]
        pooled = F.max_pool2d(x, 3, 1, 1) if self.last else _average(x)
        return torch.cat([self.branch1x1(x), *both, self.branch_pool(pooled)], 1)


class Inception(nn.Module):
    """forward: (B, 3, H, W) RGB in 0..1, as 8 bits have it -> (B, 2048) features, the means of its last maps.

    standard: whether these are the weights that published figures rest on.
    """

    def __init__(self) -> None:
        super().__init__()
        self.standard = False
        self.Conv2d_1a_3x3, self.Conv2d_2a_3x3 = _Conv(3, 32, 3, 2), _Conv(32, 32, 3)
        self.Conv2d_2b_3x3 = _Conv(32, 64, 3, pad=1)
        self.Conv2d_3b_1x1, self.Conv2d_4a_3x3 = _Conv(64, 80, 1), _Conv(80, 192, 3)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = _A(192, 32), _A(256, 64), _A(288, 64)
        self.Mixed_6a, self.Mixed_6b, self.Mixed_6c = _B(288), _C(768, 128), _C(768, 160)
        self.Mixed_6d, self.Mixed_6e = _C(768, 160), _C(768, 192)
        self.Mixed_7a, self.Mixed_7b, self.Mixed_7c = _D(768), _E(1280), _E(2048, last=True)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        x = (resized(x * 255, _SIDE) - 128) / 128
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(F.max_pool2d(x, 3, 2))))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
        return self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x))).mean((2, 3))


def resized(x: Tensor, side: int) -> Tensor:
    """TensorFlow 1's bilinear resizing, (B, C, H, W) -> (B, C, side, side): pixels have no width there, so that output
    k is read at k * size / side. Other resizings change the figures by more than methods differ.
    """
    for axis in (2, 3):
        size = x.shape[axis]
        at = torch.arange(side, device=x.device, dtype=torch.float32) * (size / side)
        low = at.floor().long()
        share = (at - low).view(-1, *[1] * (3 - axis))
        high = (low + 1).clamp(max=size - 1)
        x = torch.lerp(x.index_select(axis, low), x.index_select(axis, high), share)
    return x


def load_inception(given: str | Path, option: str = "--fid") -> Inception:
    """The network of a state dict by path, or for "cache" of torch's cache; frozen. Raises ModelError."""
    advice = f"download {_ADDRESS} (95 MB) there yourself, or give its path"
    path = find_weights(given, _NAMES, option, advice)
    net, state = Inception(), read_state_dict(path)
    wanted = {name for name in net.state_dict() if not name.endswith("num_batches_tracked")}
    if not wanted <= state.keys():
        lacks = sorted(wanted - state.keys())
        raise ModelError(f"{path}: is not the InceptionV3 of FID: {len(lacks)} tensors are missing, {lacks[0]} first")
    try:
        net.load_state_dict({name: state[name] for name in wanted}, strict=False)
    except RuntimeError as error:  # shapes
        raise ModelError(f"{path}: is not the InceptionV3 of FID: its tensors are of other shapes") from error
    net.standard = sha256(path).startswith(_DIGEST)
    return net.eval().requires_grad_(False)
