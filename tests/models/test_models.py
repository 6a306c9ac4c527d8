"""The networks: the paper's sizes, what they start as, gradients, files."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

from fewshot_reenact.errors import ModelError
from fewshot_reenact.files import sha256
from fewshot_reenact.models.blocks import (
    NORM_EPS,
    AdaIN,
    ResidualBlock,
    SelfAttention,
    assign_style,
    make_norm,
    modulated_norm,
    style_length,
)
from fewshot_reenact.models.checkpoint import load_model, save_model
from fewshot_reenact.models.dimensions import ModelDimensions
from fewshot_reenact.models.embedder import Embedder
from fewshot_reenact.models.feather import feather
from fewshot_reenact.models.generator import Generator
from fewshot_reenact.models.reenactor import FaceInputs, Reenactor
from fewshot_reenact.models.resampling import convolved_larger, convolved_smaller

TINY = dataclasses.replace(
    ModelDimensions.textured(),
    size=32, embedding=8, embedder_channels=(8, 8), down_channels=(8, 8), up_channels=(8, 8), residual_blocks=1,
    embedder_unshuffle=2, stem=8,
)  # fmt: skip

PUBLISHED = dataclasses.replace(ModelDimensions.paper(), as_published=True, attention=False)
ORDERS = pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def inputs(batch: int = 2, size: int = 32) -> FaceInputs:
    g = torch.Generator().manual_seed(1)
    return FaceInputs(*(torch.rand(batch, 3, size, size, generator=g) * 2 - 1 for _ in range(4)))


def trained(dims: ModelDimensions = TINY) -> Reenactor:
    """Networks as after some training: nothing is zero, neither the change nor what P makes of e."""
    torch.manual_seed(0)
    model = Reenactor(dims)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return model


# ---- sizes ----


@pytest.mark.slow
def test_the_papers_networks_have_the_papers_sizes():
    dims = ModelDimensions.paper()
    with torch.device("meta"):  # counted, not filled
        embedder, generator = Embedder(dims), Generator(dims)
    # 14.83 M in convolutions and 82 k in attention at 256 channels; 31.21 + 6.70 (P) + 0.16 M.
    assert count(embedder) == 14_906_945
    assert count(generator) == 38_071_365
    # P is one linear layer to psi: a scale and a shift for the AdaINs of four blocks of 512 and the way up.
    on_the_way_up = [(512, 512), (512, 256), (256, 128), (128, 64)]
    assert generator.style_length == 2 * (4 * 2 * 512 + sum(a + b for a, b in on_the_way_up) + 64) == 13_056
    assert count(generator.project) == 512 * 13_056 + 13_056


@pytest.mark.slow
def test_attention_stands_where_the_paper_has_it():
    with torch.device("meta"):
        generator, embedder = Generator(ModelDimensions.paper()), Embedder(ModelDimensions.paper())
    names = [
        name for name, m in [*generator.named_modules(), *embedder.named_modules()] if isinstance(m, SelfAttention)
    ]
    # 256 -> 32 after three blocks down, 16 -> 64 after two up.
    assert names == ["down.2.1", "up.1.1", "blocks.3"]


@pytest.mark.parametrize(
    "change",
    [{}, {"flow": False}, {"skips": False, "stem": 0}, {"spectral_norm": True}, {"generator_unshuffle": 1}],
)
def test_shapes_and_a_start_that_changes_nothing(change):
    torch.manual_seed(0)
    model = Reenactor(dataclasses.replace(TINY, **change))
    e = model.embed(torch.rand(2, 3, 3, 32, 32), torch.rand(2, 3, 3, 32, 32))
    assert e.shape == (2, 8) and (model.embedder(torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32))).shape == (2, 8)
    out = model(inputs(), e)
    assert out.colour.shape == (2, 3, 32, 32) and (out.colour == 0).all(), "before training the portrait is only warped"
    if model.dims.flow:
        assert out.shift is not None and out.shift.shape == (2, 2, 32, 32) and (out.shift == 0).all()
    else:
        assert out.shift is None


def test_a_small_paper_model_draws_pictures():
    dims = dataclasses.replace(
        ModelDimensions.paper(), size=64, embedding=8, embedder_channels=(8, 8), down_channels=(8, 8),
        up_channels=(8, 8), residual_blocks=1,
    )  # fmt: skip
    generator, embedder = Generator(dims), Embedder(dims)
    assert any(isinstance(m, SelfAttention) for m in generator.modules())
    picture = generator(torch.rand(2, 3, 64, 64), embedder(torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64)))
    assert picture.shape == (2, 3, 64, 64) and picture.abs().max() <= 1 and picture.std() > 0


def test_the_embedding_is_the_mean_over_portraits():
    model, a, b = trained(), torch.rand(1, 2, 3, 32, 32), torch.rand(1, 2, 3, 32, 32)
    each = [model.embed(a[:, k : k + 1], b[:, k : k + 1]) for k in range(2)]
    assert torch.allclose(model.embed(a, b), (each[0] + each[1]) / 2, atol=1e-5)
    assert not torch.allclose(each[0], each[1], atol=1e-3)


# ---- dimensions ----


@pytest.mark.parametrize("dims", [ModelDimensions.paper(), ModelDimensions.textured(), TINY, PUBLISHED])
def test_dimensions_survive_json(dims):
    assert ModelDimensions.from_json(dims.to_json()) == dims
    assert ModelDimensions.from_dict(json.loads(dims.to_json())) == dims
    assert ("as_published" in json.loads(dims.to_json())) is dims.as_published, "runs older than it resume"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"kind": "cubist"}, "kind must be"),
        ({"up_channels": [8]}, "2 blocks down and 1 up"),
        ({"size": 36}, "size 36 must be divisible by 8"),
        ({"size": 0}, "size must be"),
        ({"size": "big"}, "size must be"),
        ({"size": 64.0}, "size must be"),
        ({"embedder_unshuffle": 64}, "must be divisible by 256"),
        ({"generator_unshuffle": 0}, "generator_unshuffle must be"),
        ({"residual_blocks": -1}, "residual_blocks must be"),
        ({"embedder_channels": []}, "embedder_channels must be"),
        ({"down_channels": [8, 0]}, "down_channels must be"),
        ({"stem": 0}, "skips need a stem"),
        ({"kind": "paper"}, "flow corrects a warp"),
        ({"as_published": True}, "as_published is about the paper's layout"),
        ({"raster_style": "oil"}, "raster_style must be"),
        ({"wings": 2}, "unknown dimension wings"),
        ({"size": None, "drop": "size"}, "incomplete.*size"),
    ],
)
def test_dimensions_that_make_no_sense(change, complaint):
    raw = {**json.loads(TINY.to_json()), **change}
    raw.pop(raw.pop("drop", ""), None)
    with pytest.raises(ValueError, match=complaint):
        ModelDimensions.from_json(json.dumps(raw))


# ---- blocks ----


@ORDERS
def test_a_block_down_is_its_definition(order):
    """The shortcut averages before its convolution, which is the same as after it."""
    torch.manual_seed(0)
    block, x = ResidualBlock(6, 10, norm="instance", resample="down"), torch.randn(2, 6, 8, 8).to(memory_format=order)
    body = block.conv2(F.relu(block.norm2(block.conv1(F.relu(block.norm1(x))))))
    assert torch.allclose(block(x), F.avg_pool2d(body + block.shortcut(x), 2), atol=1e-5)
    first = ResidualBlock(6, 10, norm="none", resample="down", first=True)
    body = first.conv2(F.relu(first.conv1(x)))
    assert torch.allclose(first(x), F.avg_pool2d(body + first.shortcut(x), 2), atol=1e-5)
    assert first.conv1.bias is not None and block.conv1.bias is None


@ORDERS
def test_a_block_up_is_its_definition(order):
    torch.manual_seed(0)
    block, x = ResidualBlock(6, 10, norm="instance", resample="up"), torch.randn(2, 6, 4, 4).to(memory_format=order)
    larger = F.interpolate(F.relu(block.norm1(x)), scale_factor=2, mode="nearest")
    body = block.conv2(F.relu(block.norm2(block.conv1(larger))))
    assert torch.allclose(block(x), body + block.shortcut(F.interpolate(x, scale_factor=2)), atol=1e-5)


@ORDERS
@pytest.mark.parametrize("change", [convolved_larger, convolved_smaller])
def test_a_convolution_and_its_change_of_size_are_the_two_steps_one_by_one(change, order):
    """At sides that two does not divide too, with a bias, spectral norm and gradients."""
    torch.manual_seed(0)
    conv = nn.utils.parametrizations.spectral_norm(nn.Conv2d(5, 7, 3, padding=1)).eval()
    x = torch.randn(2, 5, 7, 6).to(memory_format=order)

    def plain(x, conv):
        if change is convolved_smaller:
            return F.avg_pool2d(conv(x), 2)
        return conv(F.interpolate(x, scale_factor=2, mode="nearest"))

    found = []
    for how in (change, plain):
        own = x.clone().requires_grad_(True)
        made = how(own, conv)
        given = [own, *conv.parameters()]
        found.append([made, *torch.autograd.grad(made.square().sum(), given)])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("change", [convolved_larger, convolved_smaller])
@pytest.mark.parametrize("norm", [False, True])
def test_kept_weights_follow_those_that_they_were_made_of(change, norm):
    """After a step of an optimiser, other weights loaded, and a move to another type and back; with spectral norm."""
    torch.manual_seed(0)
    conv = nn.Conv2d(5, 7, 3, padding=1).eval()
    conv = nn.utils.parametrizations.spectral_norm(conv).eval() if norm else conv
    x, other = torch.randn(2, 5, 6, 6).to(memory_format=torch.channels_last), nn.Conv2d(5, 7, 3, padding=1)
    optimiser = torch.optim.AdamW(conv.parameters(), lr=0.5)

    def same() -> torch.Tensor:
        with torch.inference_mode():
            ours = [change(x, conv), change(x, conv)]
            large = conv(F.interpolate(x, scale_factor=2, mode="nearest"))
            theirs = large if change is convolved_larger else F.avg_pool2d(conv(x), 2)
        for made in ours:
            torch.testing.assert_close(made, theirs, rtol=1e-4, atol=1e-4)
        return ours[0]

    before = same()
    change(x, conv).square().sum().backward()
    optimiser.step()
    after = same()
    assert (after - before).abs().max() > 0.1
    if not norm:
        conv.load_state_dict(other.state_dict())
        loaded = same()
        assert (loaded - after).abs().max() > 0.1
        assert set(conv.state_dict()) == {"weight", "bias"}, "what is kept goes into no file"
        conv.weight = nn.Parameter(conv.weight.detach() * 3)
        assert (same() - loaded).abs().max() > 0.1


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("each", [False, True])
def test_a_norm_without_gradients_is_its_definition(batch, each):
    torch.manual_seed(0)
    x = (torch.randn(batch, 6, 9, 7) * 3 + 5).to(memory_format=torch.channels_last)
    scale, shift = torch.rand(2, batch, 6) if each else torch.rand(2, 6)
    want = F.instance_norm(x, eps=NORM_EPS) * scale[..., None, None] + shift[..., None, None]
    with torch.inference_mode():
        made = modulated_norm(x, scale, shift)
    assert made.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(made, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("part", ["generator", "embedder"])
def test_what_is_compiled_for_training_is_one_graph(part):
    """In pieces, block by block, it would be compiled anew for every block, and soon no more."""
    model = trained().to(memory_format=torch.channels_last)
    network, faces = getattr(model, part), torch.rand(2, 3, 32, 32)
    seen = torch.rand(2, 12 + model.dims.visible, 32, 32)
    given = [seen, torch.rand(2, 8)] if part == "generator" else [faces, faces + 0.1]
    given = [x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x for x in given]
    made = torch.compile(network, backend="eager", fullgraph=True)(*given)
    assert made.requires_grad and torch.allclose(made, network(*given), atol=1e-6)


def test_a_block_of_one_shape_adds_to_what_it_sees():
    block, x = ResidualBlock(6, 6, norm="none"), torch.randn(2, 6, 4, 4)
    nn.init.zeros_(block.conv2.weight)
    nn.init.zeros_(block.conv2.bias)
    assert torch.equal(block(x), x)
    with pytest.raises(ValueError, match="'batch' is not one of"):
        make_norm("batch", 3)


def test_attention_starts_closed_and_mixes_when_open():
    torch.manual_seed(0)
    layer, x = SelfAttention(16, spectral=False), torch.randn(1, 16, 4, 4)
    assert torch.equal(layer(x), x)
    layer.gate.data.fill_(1.0)
    q, k, v = (f(x).flatten(2)[0].T for f in (layer.query, layer.key, layer.value))
    by_hand = torch.softmax(q @ k.T, 1) @ v
    assert torch.allclose((layer(x) - x)[0].flatten(1).T, by_hand, atol=1e-5)


def test_adain_takes_shift_then_scale():
    layers = nn.Sequential(AdaIN(2), AdaIN(3))
    with pytest.raises(RuntimeError, match="assign_style first"):
        layers(torch.rand(1, 2, 4, 4))
    psi = torch.arange(10.0)[None]
    assign_style(layers, psi)
    assert style_length(layers) == 10
    assert layers[0].shift.tolist() == [[0, 1]] and layers[0].scale.tolist() == [[2, 3]]
    assert layers[1].shift.tolist() == [[4, 5, 6]] and layers[1].scale.tolist() == [[7, 8, 9]]
    out = layers[0](torch.rand(1, 2, 8, 8))
    assert torch.allclose(out.mean((2, 3)), torch.tensor([[0.0, 1.0]]), atol=1e-4)
    assert torch.allclose(out.std((2, 3), correction=0), torch.tensor([[2.0, 3.0]]), rtol=0.01)
    for wrong in (9, 11):
        with pytest.raises(ValueError, match=f"psi has {wrong} numbers, the AdaIN layers need 10"):
            assign_style(layers, torch.zeros(1, wrong))


# ---- the model ----


def test_the_change_is_zero_at_the_border_and_nowhere_else():
    made = trained()(inputs(), torch.rand(2, 8))
    assert made.shift is not None
    change = torch.cat([made.colour, made.shift], 1)
    edge = torch.ones(32, 32, dtype=torch.bool)
    edge[1:-1, 1:-1] = False
    assert (change[..., edge] == 0).all()
    assert (change[..., 4:-4, 4:-4].abs().amax((0, 1)) > 1e-4).all()
    mask = feather(64, 64)[0, 0]
    assert torch.equal(mask, mask.T) and torch.equal(mask, mask.flip(0)) and mask.max() == 1
    assert (mask[32, :7].diff() > 0).all() and (mask[8:-8, 8:-8] == 1).all()


def test_psi_takes_the_place_of_what_p_makes_of_e():
    model, e = trained(), torch.rand(2, 8)
    psi = model.generator.style(e)
    want = model(inputs(), e).colour
    assert psi.shape == (2, model.generator.style_length)
    assert torch.equal(model(inputs(), torch.zeros(2, 8), psi).colour, want), "e is not looked at"
    assert not torch.allclose(model(inputs(), torch.zeros(2, 8)).colour, want, atol=1e-4)
    assert not torch.allclose(model(inputs(), e, psi + 0.1).colour, want, atol=1e-4)


def test_the_picture_reaches_the_embedder_through_p():
    """The only way from the output back to E is e -> P -> psi -> AdaIN; E must learn through it."""
    model, faces = trained(), inputs()
    e = model.embed(faces.source[:, None], faces.source_raster[:, None])
    model(faces, e).colour.square().mean().backward()
    for name, p in [*model.embedder.named_parameters(), *model.generator.project.named_parameters()]:
        assert p.grad is not None and p.grad.abs().max() > 0, name


def test_the_first_step_already_moves_the_change():
    """At zero the output convolution alone has a gradient; that must be enough to leave zero."""
    torch.manual_seed(0)
    model, e = Reenactor(TINY), torch.rand(2, 8)
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    (model(inputs(), e).colour - 1).square().mean().backward()
    optimiser.step()
    assert model(inputs(), e).colour.abs().max() > 1e-3


# ---- files ----


@pytest.mark.parametrize(("half", "tolerance"), [(False, 0.0), (True, 1e-3)])
def test_a_model_survives_its_file(tmp_path, half, tolerance):
    model = trained()
    path = tmp_path / "m.safetensors"
    save_model(model, path, note="a note", half=half)
    loaded = load_model(path)
    assert loaded.dims == TINY and not loaded.training
    assert all(p.dtype == torch.float32 and not p.requires_grad for p in loaded.parameters())
    for name, value in model.state_dict().items():
        assert torch.allclose(loaded.state_dict()[name], value, rtol=tolerance, atol=tolerance), name
    with torch.no_grad():
        assert torch.allclose(
            loaded(inputs(), torch.ones(2, 8)).colour, model(inputs(), torch.ones(2, 8)).colour, atol=0.02
        )
    assert load_file(path)["generator.out.weight"].dtype == (torch.float16 if half else torch.float32)
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]
    save_model(model, path)  # a newer state takes the place of the old one
    assert len(sha256(path)) == 64


def test_a_save_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "m.safetensors"
    save_model(trained(), path)
    before = sha256(path)

    def full(self, data):
        with self.open("wb") as file:
            file.write(data[:9])
        raise RuntimeError("disk gone")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(RuntimeError, match="disk gone"):
        save_model(trained(), path)
    assert sha256(path) == before and [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]


def _write(path, kind):
    good = trained()
    if kind == "truncated":
        save_model(good, path)
        path.write_bytes(path.read_bytes()[:5000])
    elif kind == "header only":
        path.write_bytes(b"\x08")
    elif kind == "text":
        path.write_text("not weights at all " * 200)
    elif kind == "pointer":
        path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n")
    else:
        tensors = {k: v.contiguous() for k, v in good.state_dict().items()}
        meta = {"format": "fewshot-reenact/model/1", "dimensions": TINY.to_json()}
        if kind == "no metadata":
            meta = None
        elif kind == "other format":
            meta["format"] = "fewshot-reenact/model/9"
        elif kind == "no dimensions":
            del meta["dimensions"]
        elif kind == "dimensions are a list":
            meta["dimensions"] = "[1]"
        elif kind == "tensor missing":
            tensors.pop("generator.out.weight")
        elif kind == "tensor of another shape":
            tensors["generator.out.bias"] = torch.zeros(3)
        save_file(tensors, path, metadata=meta)


@pytest.mark.parametrize(
    ("kind", "complaint"),
    [
        ("missing", "no such model"), ("pointer", "git lfs pull"), ("truncated", "damaged"), ("header only", "damaged"),
        ("text", "damaged"), ("no metadata", "made for something else"), ("other format", "this version reads"),
        ("no dimensions", "damaged"), ("dimensions are a list", "damaged"), ("tensor missing", "generator.out.weight"),
        ("tensor of another shape", "generator.out.bias"),
    ],
)  # fmt: skip
def test_model_files_that_are_refused(tmp_path, kind, complaint):
    path = tmp_path / "m.safetensors"
    if kind != "missing":
        _write(path, kind)
    with pytest.raises(ModelError, match=complaint) as caught:
        load_model(path)
    assert caught.value.exit_code == 4 and str(path) in str(caught.value) and "\n" not in str(caught.value)
