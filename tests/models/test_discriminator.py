"""The discriminator: the paper's size, the projection by hand, rows of W that nobody else moves."""

import pytest
import torch
from torch import nn

from fewshot_reenact.models.blocks import SelfAttention
from fewshot_reenact.models.discriminator import Discriminator, DiscriminatorDimensions, Rows

TINY = DiscriminatorDimensions(size=32, embedding=8, channels=(8, 8), unshuffle=2, attention=False)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def pictures(batch: int = 2, size: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(1)
    return tuple(torch.rand(batch, 3, size, size, generator=g) * 2 - 1 for _ in range(2))  # type: ignore[return-value]


@pytest.mark.slow
def test_the_papers_discriminator_has_the_papers_size():
    with torch.device("meta"):
        d = Discriminator(DiscriminatorDimensions.paper())
    # The embedder's 14,906,945, a block of two 512 -> 512 convolutions, w0 and b. W is extra.
    assert count(d) == 14_906_945 + 2 * (9 * 512 * 512 + 512) + 512 + 1 == 19_627_074
    assert [name for name, m in d.named_modules() if isinstance(m, SelfAttention)] == ["blocks.3"]
    plain = [m for m in d.modules() if isinstance(m, nn.Conv2d | nn.Linear) and not hasattr(m, "parametrizations")]
    assert not plain, "spectral norm everywhere"
    assert Rows(7, 512).weight.shape == (7, 512)


def test_every_blocks_features_come_out():
    d = Discriminator(DiscriminatorDimensions(size=64, embedding=16, channels=(8, 16, 16)))
    assert any(isinstance(m, SelfAttention) for m in d.modules())
    scores, features = d(*pictures(3, 64))
    assert scores.shape == (3, 1)
    assert [tuple(f.shape[1:]) for f in features] == [(8, 32, 32), (16, 16, 16), (16, 8, 8), (16, 8, 8)]


def test_the_score_is_the_projection():
    torch.manual_seed(0)
    d, rows = Discriminator(TINY).eval(), Rows(5, 8)
    x, y = pictures()
    number = torch.tensor([3, 1])
    scores, features = d(x, y, rows(number))
    v = features[-1].relu().sum((2, 3))
    by_hand = (v * (rows.weight[number] + d.own_row())).sum(1) + d.score.bias
    assert torch.allclose(scores[:, 0], by_hand, atol=1e-5)
    assert torch.allclose(d(x, y)[0][:, 0], v @ d.own_row() + d.score.bias, atol=1e-5), "without a row: w0 alone"
    assert not torch.allclose(d(x, y.flip(0))[0], d(x, y)[0], atol=1e-4), "the pose is looked at"


def test_patches_are_judged_one_by_one():
    dims = DiscriminatorDimensions.light()
    d = Discriminator(dims).eval()
    x, y = pictures(1, 128)
    before = d(x, y)[0]
    x[..., 100:, 100:] += 0.5
    moved = (d(x, y)[0] - before)[0].view(4, 4).abs() > 1e-7
    assert before.shape == (1, 16) and moved[3, 3] and not moved[0, 0]


def test_only_the_rows_of_the_batch_move():
    rows = Rows(1000, 8)
    optimiser = torch.optim.SparseAdam(rows.parameters(), lr=0.01)
    start = rows.weight.detach().clone()
    for number in (7, 7, 12):  # 7 gathers momentum, then 12 alone is seen
        optimiser.zero_grad()
        rows(torch.tensor([number])).square().sum().backward()
        assert rows.weight.grad is not None and rows.weight.grad.is_sparse
        seven = rows.weight[7].clone()
        optimiser.step()
    moved = (rows.weight != start).any(1).nonzero().flatten().tolist()
    assert moved == [7, 12] and torch.equal(rows.weight[7], seven)


def test_dimensions_that_make_no_sense():
    with pytest.raises(ValueError, match="must be divisible by 16"):
        DiscriminatorDimensions(size=40, embedding=8, channels=(8, 8), unshuffle=4)
    with pytest.raises(ValueError, match="unknown dimension wings"):
        DiscriminatorDimensions.from_dict({"size": 32, "embedding": 8, "channels": [8], "wings": 2})
    with pytest.raises(ValueError, match="incomplete: embedding"):
        DiscriminatorDimensions.from_dict({"size": 32, "channels": [8]})
    assert DiscriminatorDimensions.from_dict({"size": 64, "embedding": 8, "channels": [8, 8]}).channels == (8, 8)
