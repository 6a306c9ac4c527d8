"""FID, KID and LPIPS: as torchmetrics and the published networks have them, from files that are given or cached."""

import re

import numpy as np
import pytest
import torch
from torch import nn

from fewshot_reenact.errors import ModelError
from fewshot_reenact.evaluation.sets import FrameSets, frechet, kernel
from fewshot_reenact.models.inception import Inception, load_inception, resized
from fewshot_reenact.models.lpips import load_lpips

pytest.importorskip("torchmetrics")


class Passing(nn.Module):
    """Hands features through where torchmetrics wants a network for pictures."""

    num_features = 6

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def features(count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 6, generator=generator) * (1 + seed) + 0.3 * seed


@pytest.mark.parametrize("count", [4, 50], ids=["fewer frames than features", "more"])
def test_the_formulas_are_torchmetrics(count: int) -> None:
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.kid import KernelInceptionDistance

    made, true = features(count, 1), features(count + 3, 0)
    fid = FrechetInceptionDistance(feature=Passing()).set_dtype(torch.float64)
    kid = KernelInceptionDistance(feature=Passing(), subsets=1, subset_size=count)
    for metric, real in ((fid, true), (kid, true[:count])):
        metric.update(real, real=True)
        metric.update(made, real=False)
    assert frechet(made.double(), true.double()) == pytest.approx(float(fid.compute()), rel=1e-4)
    same_size = kernel(made.double(), true[:count].double())
    assert same_size == pytest.approx(float(kid.compute()[0]), rel=1e-4)


def test_a_set_is_not_apart_from_itself() -> None:
    one = features(40, 0).double()
    assert frechet(one, one) < 1e-9 and abs(frechet(one, one + 2) - 6 * 4) < 1e-9
    # Unbiased: two samples of one distribution are at 0 in the mean, and a single one may be below.
    halves = [kernel(features(30, 0).double() + 0 * k, torch.randn(30, 6).double()) for k in range(3)]
    assert np.mean(halves) < kernel(features(30, 0).double(), features(30, 1).double())


def test_resizing_is_tensorflows() -> None:
    picture = torch.arange(6.0).view(1, 1, 2, 3)
    # Output k lies at k * size / side: the last outputs reach beyond the last pixel and stay there.
    rows = torch.tensor([0, 0.5, 1, 1.5])
    wanted = torch.stack([torch.tensor([0, 0.75, 1.5, 2.0]) + 3 * min(row, 1.0) for row in rows.tolist()])
    assert torch.allclose(resized(picture, 4)[0, 0], wanted)


@pytest.fixture(scope="module")
def inception(tmp_path_factory: pytest.TempPathFactory):
    """Random weights under the published names, with what else is in such files."""
    torch.manual_seed(0)
    net = Inception()
    state = {**net.state_dict(), "fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    torch.save(state, path)
    return path


def test_the_inception_of_fid_is_read_by_its_published_names(inception, tmp_path) -> None:
    state = torch.load(inception, weights_only=True)
    # Facts of the published file (torch-fidelity, pytorch-fid).
    shapes = {
        "Conv2d_1a_3x3.conv.weight": (32, 3, 3, 3),
        "Mixed_5b.branch_pool.conv.weight": (32, 192, 1, 1),
        "Mixed_6c.branch7x7dbl_4.conv.weight": (160, 160, 7, 1),
        "Mixed_7a.branch7x7x3_2.conv.weight": (192, 192, 1, 7),
        "Mixed_7c.branch3x3dbl_3b.bn.running_var": (384,),
    }
    assert all(tuple(state[name].shape) == shape for name, shape in shapes.items())
    assert sum(name.endswith("conv.weight") for name in state) == 94
    net = load_inception(inception)
    assert not net.standard, "random weights"
    frames = [np.full((40, 56, 3), value, np.uint8) for value in (0, 255)]
    found = FrameSets(net, torch.device("cpu")).features(frames)
    assert found.shape == (2, 2048) and torch.isfinite(found).all() and not torch.equal(found[0], found[1])
    del state["Mixed_6a.branch3x3.conv.weight"]
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(ModelError, match=r"is not the InceptionV3 of FID: 1 tensors are missing, Mixed_6a.branch3x3"):
        load_inception(tmp_path / "other.pth")


@pytest.mark.parametrize(("load", "name"), [(load_inception, "--fid"), (load_lpips, "--lpips")], ids=["fid", "lpips"])
def test_nothing_is_downloaded(load, name, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(ModelError, match=rf"{name} cache: there is no {re.escape(str(tmp_path))}.*download https://"):
        load("cache")
    with pytest.raises(ModelError, match=f"no such network; give another with {name}"):
        load(tmp_path / "none.pth")
    (tmp_path / "text.pth").write_text("weights")
    with pytest.raises(ModelError, match="not a state dict"):
        load(tmp_path / "text.pth")
    torch.save({"features.0.weight": torch.zeros(4, 3, 3, 3)}, tmp_path / "small.pth")
    with pytest.raises(ModelError, match=r"is not the InceptionV3|is neither torchvision's"):
        load(tmp_path / "small.pth")
    assert not (tmp_path / "hub").exists()


def torchvisions(net: str) -> nn.Sequential:
    """The `features` of torchvision's AlexNet and VGG16, which LPIPS is made of."""
    if net == "alex":
        layers = [nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(64, 192, 5, padding=2)]
        layers += [nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()]
        layers += [nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(), nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()]
        return nn.Sequential(*layers, nn.MaxPool2d(3, 2))
    layers, before = [], 3
    for size in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0):
        layers += [nn.Conv2d(before, size, 3, padding=1), nn.ReLU()] if size else [nn.MaxPool2d(2, 2)]
        before = size or before
    return nn.Sequential(*layers)


@pytest.mark.parametrize(("net", "name"), [("alex", "alexnet-owt-7be5be79.pth"), ("vgg", "vgg16-397923af.pth")])
def test_lpips_is_torchmetrics(net, name, tmp_path, monkeypatch) -> None:
    from torchmetrics.functional.image import lpips

    torch.manual_seed(0)
    body = torchvisions(net)
    if not hasattr(lpips, "_get_tv_model_features"):
        pytest.skip("this torchmetrics has its networks elsewhere")
    monkeypatch.setattr(lpips, "_get_tv_model_features", lambda *_, **__: body)
    theirs = lpips._NoTrainLpips(net=net, pnet_rand=True)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    torch.save({f"features.{key}": value for key, value in body.state_dict().items()}, cache / name)
    ours = load_lpips("cache")
    one, other = torch.rand(2, 2, 3, 96, 80)
    with torch.no_grad():
        wanted = theirs(one, other, normalize=True).flatten()
        assert torch.allclose(ours(one, other), wanted, rtol=1e-4) and ours.net == net
        assert ours(one, one).abs().max() == 0 and ours(one[..., :20, :20], other[..., :20, :20]).min() > 0
