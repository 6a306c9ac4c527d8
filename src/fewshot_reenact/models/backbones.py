"""VGG19 and VGGFace as the paper's content losses use them, from whatever weights there are.

The paper's weights of the content terms are for Caffe's VGGs, whose pictures are 0..255, BGR, minus the mean. A VGG
answers nearly in proportion to its input: at 0..1 the term would be some 255 times too weak, and nobody would notice.
So each file's convention is part of how it is read, and networks made for other inputs have their features brought to
the same scale.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewshot_reenact.errors import ModelError
from fewshot_reenact.models.losses import LossWeights
from fewshot_reenact.models.perceptual import FeatureNet
from fewshot_reenact.models.state_dicts import cache_folder, convolutions, read_state_dict
from fewshot_reenact.models.teachers import TEACHER
from fewshot_reenact.weights import open_weights

# After which convolution there is a pooling, counted from 1, and after which one is tapped (its ReLU is conv 1, 6, 11,
# 20, 29 of torchvision's numbering for VGG19; 1, 6, 11, 18, 25 for VGG16, which is VGGFace's body).
_POOLS = {"vgg19": (2, 4, 8, 12, 16), "vggface": (2, 4, 7, 10, 13)}
_TAPS = {"vgg19": (1, 3, 5, 9, 13), "vggface": (1, 3, 5, 8, 11)}
_CACHED = "vgg19-dcbb9e9d.pth"  # torchvision's name for VGG19 in torch's cache
CACHE = "torchvision"  # what a config says to have that file looked for


@dataclass(frozen=True)
class Convention:
    """How a network wants its pictures: RGB 0..1 -> (x * scale - mean) / std, channels reversed for BGR."""

    scale: float
    mean: tuple[float, float, float]  # RGB order
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    bgr: bool = False
    gain: float = 1.0  # on the features, to Caffe's scale


_IMAGENET_STD = (0.229, 0.224, 0.225)
_TO_CAFFE = 255 * sum(_IMAGENET_STD) / 3  # 57.6: how much larger Caffe's inputs are than ImageNet-normalised ones
_VGG_MEAN, _FACE_MEAN = (123.68, 116.779, 103.939), (129.1863, 104.7624, 93.594)


def convention(name: str, network: str) -> Convention:
    """ "caffe" (0..255 BGR minus mean), "caffe-rgb" (the same, RGB: VGGFace as converted from MatConvNet) or
    "imagenet" (torchvision: 0..1 RGB, mean and deviation of ImageNet).
    """
    mean = _FACE_MEAN if network == "vggface" else _VGG_MEAN
    if name == "caffe":
        return Convention(255.0, mean, bgr=True)
    if name == "caffe-rgb":
        return Convention(255.0, mean)
    if name == "imagenet":
        return Convention(1.0, (0.485, 0.456, 0.406), _IMAGENET_STD, gain=_TO_CAFFE)
    raise ValueError(f"convention {name!r} is not one of caffe, caffe-rgb, imagenet")


class VGG(nn.Module):
    """The convolutions of a VGG, frozen. forward: (B, 3, H, W) RGB in 0..1 -> five feature maps, shallow first."""

    mean: Tensor
    std: Tensor

    def __init__(self, weights: list[tuple[Tensor, Tensor]], network: str, wants: Convention):
        """weights: (kernel, bias) of each convolution in order. network: "vgg19" or "vggface"."""
        super().__init__()
        self.wants, self.pools, self.taps = wants, _POOLS[network], _TAPS[network]
        self.count = self.taps[-1]  # what lies deeper is not needed
        for i, (kernel, bias) in enumerate(weights[: self.count]):
            self.register_buffer(f"kernel{i}", kernel.float())
            self.register_buffer(f"bias{i}", bias.float())
        self.register_buffer("mean", torch.tensor(wants.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(wants.std).view(1, 3, 1, 1))

    def prepare(self, x: Tensor) -> Tensor:
        """RGB in 0..1 -> what the first convolution sees."""
        x = (x * self.wants.scale - self.mean) / self.std
        return x.flip(1) if self.wants.bgr else x

    def forward(self, x: Tensor) -> list[Tensor]:
        """See the class."""
        x = self.prepare(x)
        taps = []
        for i in range(self.count):
            x = F.relu(F.conv2d(x, self.get_buffer(f"kernel{i}"), self.get_buffer(f"bias{i}"), padding=1))
            if i + 1 in self.taps:
                taps.append(x * self.wants.gain)
            if i + 1 in self.pools:
                x = F.max_pool2d(x, 2)
        return taps


# The built-in network's maps are smaller: between a face and its blurred copy, or noise, VGG19's differ 5.9 and 4.7
# times as much (bundled portrait, 64 pixels).
_OF_TEACHER = 5.0


class _Scaled(nn.Module):
    """A self-describing network as a backbone: its features at Caffe's scale."""

    def __init__(self, net: FeatureNet, gain: float):
        super().__init__()
        self.net, self.gain = net, gain

    def forward(self, x: Tensor) -> list[Tensor]:
        return [tap * self.gain for tap in self.net(x)]


def load_backbone(source: str | Path, network: str, inputs: str = "caffe") -> nn.Module:
    """A content network, frozen: RGB in 0..1 -> feature maps at Caffe's scale.

    source: "torchvision" (VGG19 in torch's cache), a state dict (.pth, .pt, .safetensors) or a self-describing
    .safetensors (models.perceptual). network: "vgg19" or "vggface". inputs: the state dict's convention, see
    `convention`; the other two kinds know their own. Raises ModelError: missing or not such a network.
    """
    if str(source) == CACHE:
        path, inputs = cached_vgg19(), "imagenet"
        if network != "vgg19":
            raise ModelError(f"torchvision has no {network}; {_three_ways(network)}")
    else:
        path = Path(source)
    if not path.is_file():
        raise ModelError(f"{path}: there is no {network} here; {_three_ways(network)}")
    if path.suffix == ".safetensors" and _describes_itself(path):
        gain = _TO_CAFFE * (_OF_TEACHER if path == TEACHER else 1)
        return _Scaled(FeatureNet(path, maps_only=True), gain).requires_grad_(False)
    wants, weights = convention(inputs, network), convolutions(read_state_dict(path))
    needed = _TAPS[network][-1]
    shapes = [tuple(kernel.shape) for kernel, _ in weights[:needed]]
    fits = all(shape[2:] == (3, 3) for shape in shapes) and all(
        shape[1] == before for shape, before in zip(shapes, [3, *(s[0] for s in shapes)], strict=False)
    )
    if len(weights) < needed or not fits:
        raise ModelError(f"{path}: is no {network}: {needed} convolutions of 3x3 in a row are wanted")
    return VGG(weights, network, wants).requires_grad_(False)


def load_content(
    weights: LossWeights, vgg19: str | Path | None = None, vggface: str | Path | None = None
) -> dict[str, nn.Module]:
    """The content networks that are weighed, by name; None: the built-in network stands in. Raises ModelError."""
    named = {"vgg19": vgg19, "vggface": vggface}
    return {name: load_backbone(source or TEACHER, name) for name, source in named.items() if getattr(weights, name)}


def cached_vgg19() -> Path:
    """Where torchvision keeps VGG19 once it has been downloaded. torchvision itself is not needed."""
    return cache_folder() / _CACHED


def _three_ways(network: str) -> str:
    cache = f"let torchvision download VGG19 once ({os.fspath(cached_vgg19())}) and say loss.vgg19_network: torchvision"
    own = f"give loss.{network}_network a state dict of {network} (.pth, .safetensors)"
    first = f"{cache}; or {own}" if network == "vgg19" else f"torchvision has none: {own}"
    return f"{first}; or a self-describing feature network (.safetensors). loss.{network}: 0 leaves it out"


def _describes_itself(path: Path) -> bool:
    with open_weights(path, "missing") as file:
        return "ops" in file.meta
