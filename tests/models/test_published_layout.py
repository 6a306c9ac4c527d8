"""The paper's networks against its co-author's published code: random weights in that code's layout, put into ours,
give what that code computes.
"""

import pytest
import torch
from torch import Tensor, nn

import published_layout as published
from fewshot_reenact.models.discriminator import Discriminator
from fewshot_reenact.models.embedder import Embedder
from fewshot_reenact.models.generator import Generator

SIZES = published.Sizes()
VIDEO = torch.tensor([4, 1])
STATES = {
    kind: published.random_state(shapes(SIZES), seed)
    for seed, (kind, shapes) in enumerate(
        [
            ("generator", published.generator_shapes),
            ("embedder", published.embedder_shapes),
            ("discriminator", published.discriminator_shapes),
        ]
    )
}


def ours(kind: str, as_published: bool = True) -> nn.Module:
    """Our network with weights of that layout."""
    network: nn.Module
    if kind == "discriminator":
        network = Discriminator(SIZES.opponent(as_published=as_published))
    else:
        network = {"embedder": Embedder, "generator": Generator}[kind](SIZES.model(as_published=as_published))
    strict = as_published or kind != "generator"
    return published.load(network, STATES[kind], SIZES, kind, strict)


def seen(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Landmark pictures, pictures, embeddings."""
    g = torch.Generator().manual_seed(1)
    landmarks, pictures = (torch.rand(2, 3, SIZES.size, SIZES.size, generator=g).to(dtype) * 2 - 1 for _ in range(2))
    return landmarks, pictures, torch.rand(2, SIZES.most, generator=g).to(dtype)


def outputs(kind: str, network: nn.Module, state: published.State | None = None) -> list[Tensor]:
    """All that our network makes of `seen`, D with the state's W."""
    landmarks, pictures, embedding = seen(next(network.parameters()).dtype)
    if kind == "embedder":
        return [network(pictures, landmarks)]
    if kind == "generator":
        return [network(landmarks, embedding)]
    scores, features = network(pictures, landmarks, published.rows_of(state or STATES[kind])[VIDEO])
    return [scores[:, 0], *features]


def wanted(kind: str, state: published.State | None = None, in_place: bool = True) -> list[Tensor]:
    """All that the published code makes of it."""
    state = state or STATES[kind]
    landmarks, pictures, embedding = seen(next(iter(state.values())).dtype)
    if kind == "embedder":
        return [published.embed(state, landmarks, pictures, in_place)]
    if kind == "generator":
        return [published.generate(state, landmarks, embedding)]
    scores, features = published.judge(state, landmarks, pictures, VIDEO, in_place)
    return [scores, *features]


def apart(got: list[Tensor], want: list[Tensor]) -> float:
    """The largest difference, as a share of the largest value of what it belongs to."""
    assert [one.shape for one in got] == [one.shape for one in want]
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(got, want, strict=True))


KINDS = pytest.mark.parametrize("kind", list(STATES))


@KINDS
@pytest.mark.parametrize(
    ("dtype", "order", "bound"),
    [(torch.float64, torch.contiguous_format, 1e-10), (torch.float32, torch.channels_last, 1e-5)],
)
def test_the_same_weights_give_the_same(kind, dtype, order, bound):
    network = ours(kind).to(dtype=dtype, memory_format=order)
    state = {name: tensor.to(dtype) for name, tensor in STATES[kind].items()}
    want = wanted(kind, state)
    assert apart(outputs(kind, network, state), want) < bound
    assert all(one.std() > 0.1 for one in want), "or there were nothing to compare"
    if kind == "generator":
        assert (want[0].abs() > 0.99).float().mean() < 0.1, "tanh lets differences through"


@pytest.mark.parametrize("kind", ["embedder", "discriminator"])
def test_by_default_no_relu_works_in_place(kind):
    network = ours(kind, as_published=False)
    assert apart(outputs(kind, network), wanted(kind, in_place=False)) < 1e-5
    assert apart(outputs(kind, network), wanted(kind)) > 0.01


def test_by_default_the_generators_first_block_has_a_norm():
    network = ours("generator", as_published=False)
    assert apart(outputs("generator", network), wanted("generator")) > 0.01
    network.down[0].norm2 = nn.Identity()
    network.down[0].conv1.bias = nn.Parameter(STATES["generator"]["down_block.1.bias"], requires_grad=False)
    assert apart(outputs("generator", network), wanted("generator")) < 1e-5, "and differs in nothing else"


@KINDS
def test_every_tensor_counts(kind):
    """But biases that a norm takes away again, in their code as in ours."""
    state, want, network = STATES[kind], wanted(kind), ours(kind)
    for name in state:
        changed = {**state, name: state[name] + 0.3 * torch.sign(state[name])}
        published.load(network, changed, SIZES, kind)
        counts = kind != "generator" or not published.useless(name)
        for made in (wanted(kind, changed), outputs(kind, network, changed)):
            assert (apart(made, want) > 1e-4) is counts, name


@pytest.mark.slow
def test_the_layout_at_its_own_size_has_our_parameters():
    """All but the biases that nothing depends on, and W's rows."""

    def count(shapes: published.Shapes) -> int:
        learnt = [shape for name, shape in shapes.items() if not name.endswith(("_u", "_v"))]
        return sum(torch.Size(shape).numel() for shape in learnt)

    sizes, extra = published.PAPER, 128 + 256 + 512 + 512 + 256 + 128 + 64
    with torch.device("meta"):
        networks = [
            cls(sizes.model(as_published=True)) if cls is not Discriminator else cls(sizes.opponent(as_published=True))
            for cls in (Embedder, Generator, Discriminator)
        ]
    embedder, generator, discriminator = (sum(p.numel() for p in one.parameters()) for one in networks)
    assert embedder == count(published.embedder_shapes(sizes))
    assert generator + extra == count(published.generator_shapes(sizes))
    assert discriminator + sizes.videos * 512 == count(published.discriminator_shapes(sizes))
