"""The paper's losses, and VGGs whose inputs are what their weights were made for."""

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from fewshot_reenact.errors import ModelError
from fewshot_reenact.models.backbones import load_backbone
from fewshot_reenact.models.losses import (
    PRESETS,
    LossWeights,
    content_l1,
    content_loss,
    face_square,
    feature_matching,
    hinge_discriminator,
    hinge_generator,
    match_loss,
)
from painted_clips import face_points

VGG19 = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, 256, "pool", 512, 512, 512, 512, "pool", 512, 512, 512, 512)
VGG16 = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool", 512, 512, 512, "pool", 512, 512, 512)


def thin(layers: tuple[int | str, ...], seed: int = 0) -> dict[str, Tensor]:
    """A VGG's state dict by torchvision's numbers, a sixteenth as wide; its first kernel only looks at the centre."""
    g, state, before, at = torch.Generator().manual_seed(seed), {}, 3, 0
    for layer in layers:
        if layer == "pool":
            at += 1
            continue
        wide = int(layer) // 16
        state[f"features.{at}.weight"] = torch.randn(wide, before, 3, 3, generator=g) * (2 / (9 * before)) ** 0.5
        state[f"features.{at}.bias"] = torch.zeros(wide)
        before, at = wide, at + 2
    first = torch.zeros_like(state["features.0.weight"])
    first[:3, :, 1, 1] = torch.eye(3)  # the first three features are the three inputs, where positive
    return state | {"features.0.weight": first}


def by_hand(state: dict[str, Tensor], x: Tensor, taps: tuple[int, ...], pools: tuple[int, ...]) -> list[Tensor]:
    """As torchvision's Sequential would do it: indices count convolutions, ReLUs and pools."""
    out = []
    for at in range(taps[-1] + 1):
        if f"features.{at}.weight" in state:
            x = F.conv2d(x, state[f"features.{at}.weight"], state[f"features.{at}.bias"], padding=1)
        elif at in pools:
            x = F.max_pool2d(x, 2)
        else:
            x = F.relu(x)
        if at in taps:
            out.append(x)
    return out


@pytest.mark.parametrize(
    ("inputs", "network", "want"),
    [
        # 0.25, 0.5, 1.0 in 0..1 RGB; what the first three features then are, in order, by hand.
        ("caffe", "vgg19", [255 - 103.939, 127.5 - 116.779, 0]),  # BGR; 63.75 - 123.68 is below zero
        ("caffe", "vggface", [255 - 93.594, 127.5 - 104.7624, 0]),
        ("caffe-rgb", "vggface", [0, 127.5 - 104.7624, 255 - 93.594]),
        ("imagenet", "vgg19", [0, (0.5 - 0.456) / 0.224 * 57.63, (1 - 0.406) / 0.225 * 57.63]),
    ],
)
def test_inputs_by_value(tmp_path, inputs, network, want):
    path = tmp_path / "net.pth"
    torch.save(thin(VGG19 if network == "vgg19" else VGG16), path)
    net = load_backbone(path, network, inputs)
    x = torch.tensor([0.25, 0.5, 1.0]).view(1, 3, 1, 1).expand(1, 3, 32, 32)
    assert net(x)[0][0, :3, 16, 16].tolist() == pytest.approx(want, rel=1e-3)
    assert not any(p.requires_grad for p in net.parameters())


def test_the_taps_are_the_papers(tmp_path):
    """Conv 1, 6, 11, 20, 29 of VGG19 and 1, 6, 11, 18, 25 of VGGFace, in torchvision's numbers."""
    x = torch.rand(1, 3, 32, 32)
    for network, layers, taps, pools in (
        ("vgg19", VGG19, (1, 6, 11, 20, 29), (4, 9, 18, 27)),
        ("vggface", VGG16, (1, 6, 11, 18, 25), (4, 9, 16, 23)),
    ):
        state = thin(layers)
        torch.save(state, tmp_path / "net.pth")
        net = load_backbone(tmp_path / "net.pth", network)
        for got, wanted in zip(net(x), by_hand(state, net.prepare(x), taps, pools), strict=True):
            assert torch.allclose(got, wanted, rtol=1e-4, atol=1e-3)


def test_names_of_caffe_and_safetensors_are_read_too(tmp_path):
    state = thin(VGG16)
    names = ["1_1", "1_2", "2_1", "2_2", "3_1", "3_2", "3_3", "4_1", "4_2", "4_3", "5_1", "5_2", "5_3"]
    old = list(dict.fromkeys(name.rsplit(".", 1)[0] for name in state))
    renamed = {f"conv{n}.{k}": state[f"{o}.{k}"] for n, o in zip(names, old, strict=True) for k in ("weight", "bias")}
    renamed["fc6.weight"] = torch.zeros(4, 4)
    save_file(dict(reversed(renamed.items())), tmp_path / "face.safetensors")
    torch.save(state, tmp_path / "face.pth")
    x = torch.rand(1, 3, 32, 32)
    a, b = (load_backbone(tmp_path / f"face.{kind}", "vggface")(x) for kind in ("safetensors", "pth"))
    assert all(torch.equal(p, q) for p, q in zip(a, b, strict=True))


def test_torchvisions_cache_needs_no_torchvision(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(ModelError, match=r"vgg19-dcbb9e9d\.pth: there is no vgg19 here") as caught:
        load_backbone("torchvision", "vgg19")
    for way in ("loss.vgg19_network: torchvision", "a state dict of vgg19", "self-describing feature network"):
        assert way in str(caught.value)
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    torch.save(thin(VGG19), cache / "vgg19-dcbb9e9d.pth")
    assert len(load_backbone("torchvision", "vgg19")(torch.rand(1, 3, 32, 32))) == 5
    with pytest.raises(ModelError, match="torchvision has no vggface"):
        load_backbone("torchvision", "vggface")


@pytest.mark.parametrize("kind", ["missing", "text", "pickle", "no dict", "too short", "other order"])
def test_backbones_that_are_refused(tmp_path, kind):
    path, state = tmp_path / "net.pth", thin(VGG19)
    if kind == "text":
        path.write_text("no weights")
    elif kind == "pickle":
        path.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    elif kind == "no dict":
        torch.save([1, 2], path)
    elif kind == "too short":
        torch.save(dict(list(state.items())[:8]), path)
    elif kind == "other order":
        torch.save({**state, "features.2.weight": torch.zeros(4, 5, 3, 3)}, path)
    with pytest.raises(ModelError, match=r"net\.pth: ") as caught:
        load_backbone(path, "vgg19")
    assert caught.value.exit_code == 4 and "\n" not in str(caught.value)


def test_a_network_that_describes_itself(shared):
    net = load_backbone(shared / "data" / "nets" / "vgg19_distilled_relu1_to_5.safetensors", "vgg19")
    a, b = torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64)
    assert len(net(a)) == 5 and content_l1(net, a, a) == 0
    # At Caffe's scale: the paper's weight of 0.15 makes tens of it, not hundredths.
    assert 1 < 0.15 * float(content_l1(net, a, b)) < 1000


def test_the_square_about_the_face_by_hand():
    """Each pixel says where it is; the square's are as far apart as the square is smaller."""
    line = torch.arange(64.0)
    picture = torch.stack([line.expand(64, 64), line[:, None].expand(64, 64), torch.zeros(64, 64)])[None]
    points = torch.zeros(1, 83, 2) + torch.tensor([30.0, 30.0])
    points[0, 0, 0], points[0, 16, 0], points[0, 27, 1], points[0, 8, 1] = 22.0, 42.0, 20.0, 40.0  # 20 pixels high
    x, y = face_square(picture, points, 1.5)[0, :2]  # 30 of 64 pixels, about (32, 40 - 0.635 * 20)
    assert torch.allclose(x[0], 32 + (line - 31.5) * 30 / 64, atol=1e-3)
    assert torch.allclose(y[:, 0], 27.3 + (line - 31.5) * 30 / 64, atol=1e-3)
    moved = face_square(picture, points + torch.tensor([0.0, 30.0]), 1.5)[0, 1, :, 0]
    assert moved[-1] < moved.max() <= 63, "mirrored at the picture's edge"


class Pixels(torch.nn.Module):
    """A network whose only feature map is the picture."""

    def forward(self, x: Tensor) -> list[Tensor]:
        return [x]


@pytest.mark.parametrize(("square", "counts"), [(0.0, True), (1.67, False)])
def test_vggface_sees_the_face_and_vgg19_the_picture(square, counts):
    """An error in a corner; the same error in the face counts in both."""
    points = torch.from_numpy(face_points(64)).expand(2, -1, -1)
    truth = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    networks = {name: Pixels() for name in ("vgg19", "vggface")}
    weights = LossWeights(vgg19=1.0, vggface=1.0, vggface_square=square)

    def parts(y: int, x: int) -> dict[str, float]:
        made = truth.clone()
        made[..., y : y + 4, x : x + 4] += 0.5
        total, parts = content_loss(networks, made, truth, points, weights)
        assert float(total) == pytest.approx(sum(map(float, parts.values())), rel=1e-5)
        return {name: float(value) for name, value in parts.items()}

    corner, nose = parts(0, 0), parts(30, 30)
    assert corner["vgg19"] > 0 and nose["vgg19"] > 0 and nose["vggface"] > 0
    assert (corner["vggface"] > 1e-6) is counts


def test_the_presets_are_the_papers():
    v1, v2 = PRESETS["paper-v1"], PRESETS["paper-v2"]
    assert (v1.vgg19, v1.vggface, v1.feature_matching, v1.match, v1.adversarial) == (1e-2, 2e-3, 10, 80, 1)
    assert (v2.vgg19, v2.vggface, v2.feature_matching, v2.match, v2.adversarial) == (0.15, 0.025, 10, 10, 1)
    assert v1.l1 == v2.l1 == 0 and PRESETS["textured"].l1 == 4 and PRESETS["textured"].vgg19 == 0


def test_the_game_by_hand():
    real, fake = torch.tensor([[2.0], [0.5]]), torch.tensor([[-3.0], [0.0]])
    assert hinge_discriminator(real, fake) == (0 + 0.5) / 2 + (0 + 1) / 2
    assert hinge_generator(fake) == 1.5
    made, true = [torch.ones(1, 2), torch.zeros(3)], [torch.zeros(1, 2), torch.full((3,), 0.5)]
    assert feature_matching(made, true) == 0.75


def test_embeddings_follow_the_rows_and_not_the_reverse():
    e, rows = torch.tensor([[1.0, 2.0]], requires_grad=True), torch.tensor([[0.0, 5.0]], requires_grad=True)
    loss = match_loss(e, rows)
    loss.backward()
    assert loss == 2 and rows.grad is None and e.grad is not None and e.grad.tolist() == [[0.5, -0.5]]
