"""The losses, and the feature networks that describe themselves in their file."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from fewshot_reenact.errors import ModelError
from fewshot_reenact.geometry.affine import invert, transform
from fewshot_reenact.geometry.face_frame import face_frame
from fewshot_reenact.geometry.topology import LEFT_EYE, MOUTH
from fewshot_reenact.models.losses import LossWeights, attention_map, textured_loss
from fewshot_reenact.models.perceptual import FeatureNet, relative_l1
from painted_clips import face_points


def test_attention_has_mean_one_and_peaks_at_mouth_and_eyes():
    points = face_points(64)
    points = transform(invert(face_frame(points, 64)), points)[None]
    weight = attention_map(torch.from_numpy(points).float(), 64, mouth=4.0, eyes=3.0)
    assert weight.shape == (1, 1, 64, 64) and weight.mean().item() == pytest.approx(1, abs=1e-5)
    for part, others in ((MOUTH, 12), (LEFT_EYE, 6)):
        x, y = np.round(points[0, part].mean(0)).astype(int)
        here = weight[0, 0, y, x]
        assert here >= 0.97 * weight[0, 0, y - 2 : y + 3, x - others : x + others + 1].max()
        assert here > 3 * weight[0, 0, 2, 2]
    assert torch.allclose(attention_map(torch.zeros(1, 83, 2), 16, 0.0, 0.0), torch.ones(1, 1, 16, 16))


def test_the_loss_is_zero_for_equal_pictures_and_dearer_at_the_mouth():
    points = torch.from_numpy(transform(invert(face_frame(face_points(32), 32)), face_points(32))[None]).float()
    truth = torch.zeros(1, 3, 32, 32)
    loss, parts = textured_loss(truth, truth, points, None, LossWeights())
    assert loss == 0 and set(parts) == {"l1"}

    def error_at(y: int, x: int) -> float:
        face = truth.clone()
        face[..., y - 1 : y + 2, x - 1 : x + 2] = 1
        return float(textured_loss(face, truth, points, None, LossWeights())[0])

    x, y = (int(v) for v in points[0, MOUTH].mean(0).round())
    assert error_at(y, x) > 3 * error_at(2, 2)
    assert float(textured_loss(truth + 0.5, truth, points, None, LossWeights(l1=2.0))[0]) == pytest.approx(
        0.5, rel=1e-4
    )


CONV = {"op": "conv", "name": "a", "stride": 1, "pad": 0, "groups": 1, "act": "none"}


def feature_net(tmp_path, ops: list[dict], **tensors: torch.Tensor) -> FeatureNet:
    path = tmp_path / "net.safetensors"
    meta = {"ops": json.dumps(ops), "mean": "[0.5, 0.5, 0.5]", "std": "[0.5, 1.0, 2.0]"}
    named = {key.replace("_", "."): value for key, value in tensors.items()} or {"unused": torch.zeros(1)}
    save_file(named, path, metadata=meta)
    return FeatureNet(path)


def test_each_operation_of_a_feature_network(tmp_path):
    """One tap after each, with values worked out by hand."""
    x = torch.tensor([0.0, 1.0, 0.5]).view(1, 3, 1, 1).expand(1, 3, 3, 3)  # normalised: -1, 0.5, 0
    tap = {"op": "tap"}
    assert feature_net(tmp_path, [tap])(x)[0][0, :, 1, 1].tolist() == [-1, 0.5, 0]

    weight, bias = torch.tensor([1.0, 2.0, 4.0]).view(1, 3, 1, 1), torch.tensor([-0.5])  # -1 + 1 - 0.5 = -0.5
    for act, want in (("none", -0.5), ("relu", 0.0), ("relu6", 0.0), ("prelu", -0.125)):
        net = feature_net(
            tmp_path, [{**CONV, "act": act}, tap], a_weight=weight, a_bias=bias, a_slope=torch.tensor([0.25])
        )
        assert net(x)[0].unique().tolist() == [want], act
    net = feature_net(tmp_path, [{**CONV, "act": "relu6"}, tap], a_weight=20 - weight, a_bias=100 + bias)
    assert net(x)[0].unique().tolist() == [6]

    ones = {"a_weight": torch.ones(1, 3, 3, 3), "a_bias": torch.zeros(1)}  # a sum of 3 x 3 x 3 is 9 * -0.5
    padded = feature_net(tmp_path, [{**CONV, "pad": 1}, tap], **ones)(x)[0]
    mirrored = feature_net(tmp_path, [{**CONV, "pad": 1, "reflect": True}, tap], **ones)(x)[0]
    assert padded[0, 0].tolist() == [[-2, -3, -2], [-3, -4.5, -3], [-2, -3, -2]] and mirrored.unique().tolist() == [
        -4.5
    ]
    strided = feature_net(tmp_path, [{**CONV, "pad": 1, "stride": 2}, tap], **ones)(x)[0]
    assert strided[0, 0].tolist() == [[-2, -2], [-2, -2]]

    depthwise = feature_net(
        tmp_path,
        [{**CONV, "groups": 3}, tap],
        a_weight=torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1, 1),
        a_bias=torch.ones(3),
    )(x)[0]
    assert depthwise[0, :, 0, 0].tolist() == [0, 2, 1]

    head = [{**CONV, "op": "head"}, tap]
    taps = feature_net(tmp_path, head, a_weight=weight, a_bias=bias)(x)
    assert taps[0].unique().tolist() == [-0.5] and taps[1].shape == (1, 3, 3, 3), "a head is tapped, not passed on"
    assert len(FeatureNet(tmp_path / "net.safetensors", skip_heads=1)(x)) == 1

    doubled = feature_net(tmp_path, [{"op": "push"}, {"op": "add"}, tap])(x)[0]
    assert doubled[0, :, 1, 1].tolist() == [-2, 1, 0]
    assert feature_net(tmp_path, [{"op": "pool", "ceil": True}, tap])(x)[0].shape[-1] == 2
    assert feature_net(tmp_path, [{"op": "pool", "ceil": False}, tap])(x)[0].shape[-1] == 1
    unit = feature_net(tmp_path, [{"op": "flatten_normalise"}])(x)[0]
    assert unit.shape == (1, 27) and unit.norm().item() == pytest.approx(1, abs=1e-5)


def test_relative_l1_is_zero_for_equal_pictures_and_free_of_scale(tmp_path):
    weight = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    nets = [
        feature_net(tmp_path, [CONV, {"op": "tap"}], a_weight=weight * scale, a_bias=torch.zeros(4))
        for scale in (1, 100)
    ]
    a, b = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    assert relative_l1(nets[0], a, a) == 0
    assert relative_l1(nets[0], a, b).item() == pytest.approx(relative_l1(nets[1], a, b).item(), rel=1e-4)
    a.requires_grad_()
    relative_l1(nets[0], a, b).backward()
    assert a.grad.abs().max() > 0 and not any(p.requires_grad for p in nets[0].parameters())


def test_feature_networks_that_are_refused(tmp_path):
    with pytest.raises(ModelError, match="no such feature network"):
        FeatureNet(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("not weights" * 9)
    save_file({"a": torch.zeros(1)}, tmp_path / "plain.safetensors")
    for name in ("text", "plain"):
        with pytest.raises(ModelError, match="not a self-describing feature network"):
            FeatureNet(tmp_path / f"{name}.safetensors")
    with pytest.raises(ModelError, match="'dream'"):
        feature_net(tmp_path, [{"op": "dream"}])(torch.zeros(1, 3, 2, 2))


@pytest.mark.parametrize(
    ("ops", "says"),
    [
        ([], "operations are a list"),
        ({"op": "tap"}, "operations are a list"),
        ([{"op": "tap"}] * 1001, "operations are a list"),
        ([{"name": "c"}], "op"),
        ([{"op": "conv", "name": "a"}, {"op": "tap"}], "stride"),
        ([{**CONV, "name": "d"}, {"op": "tap"}], "d_weight"),
        ([{**CONV, "pad": 10**9}, {"op": "tap"}], "pad of a"),
        ([{**CONV, "groups": 2}, {"op": "tap"}], "group"),
        ([{"op": "add"}, {"op": "tap"}], "pop from empty list"),
        ([{"op": "pool", "ceil": False}], "no operation gives features"),
    ],
)
def test_feature_networks_that_do_not_fit_are_refused_when_loaded(tmp_path, ops, says):
    """Not after minutes, by an internal error."""
    with pytest.raises(ModelError, match=says) as caught:
        feature_net(tmp_path, ops, a_weight=torch.zeros(4, 3, 3, 3), a_bias=torch.zeros(4))
    assert "net.safetensors" in str(caught.value) and "\n" not in str(caught.value)


def test_a_network_without_maps_does_not_compare_pictures_of_any_size(tmp_path):
    feature_net(tmp_path, [{"op": "flatten_normalise"}])
    with pytest.raises(ModelError, match="no maps"):
        FeatureNet(tmp_path / "net.safetensors", maps_only=True)
