"""The co-author's published layout of the paper's networks (github.com/shrubb/latent-pose-reenactment, embedders,
generators and discriminators named FSTH): names and shapes of its tensors, what it computes from them, and which of
ours each one is.

`embed`, `generate` and `judge` are written with torch's functions alone, so that they share nothing with
fewshot_reenact.models.
"""

import re
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewshot_reenact.models.dimensions import ModelDimensions
from fewshot_reenact.models.discriminator import DiscriminatorDimensions

_EPS = 1e-4
State = dict[str, Tensor]


@dataclass(frozen=True)
class Sizes:
    """What that code takes as options. The defaults are small; `PAPER` has its own."""

    size: int = 64
    channels: int = 8  # of the first block; each block has twice as many as the one before
    most: int = 32  # channels at most; also N, the embedding's numbers
    embedder: int = 4  # blocks down
    generator: int = 3
    residual: int = 2
    discriminator: int = 5  # blocks, of which those beyond 4 x 4 pixels keep the size
    videos: int = 6  # rows of W

    def wide(self, blocks: int) -> list[int]:
        """Channels after each of so many blocks."""
        return [min(self.channels * 2**i, self.most) for i in range(blocks)]

    def discriminator_down(self) -> int:
        """How many of D's blocks halve the size."""
        return min(self.size.bit_length() - 3, self.discriminator)

    def model(self, **change: bool) -> ModelDimensions:
        """Our E and G of these sizes."""
        down = tuple(self.wide(self.generator))
        return ModelDimensions(
            kind="paper", size=self.size, embedding=self.most, embedder_channels=tuple(self.wide(self.embedder)),
            down_channels=down, up_channels=down[::-1], residual_blocks=self.residual, attention=False, **change,
        )  # fmt: skip

    def opponent(self, **change: bool) -> DiscriminatorDimensions:
        """Our D of these sizes."""
        down = self.discriminator_down()
        return DiscriminatorDimensions(
            size=self.size, embedding=self.most, channels=tuple(self.wide(down)),
            residual_blocks=self.discriminator - down, attention=False, **change,
        )  # fmt: skip


PAPER = Sizes(256, 64, 512, embedder=6, generator=4, residual=4, discriminator=7)


# ---- names and shapes ----


Shapes = dict[str, tuple[int, ...]]


def _spectral(name: str, shape: tuple[int, ...], bias: bool = True) -> Shapes:
    """A weight with spectral norm: as learnt, and the two vectors of its power iteration."""
    columns = torch.Size(shape[1:]).numel()
    own = {f"{name}.weight_orig": shape, f"{name}.weight_u": (shape[0],), f"{name}.weight_v": (columns,)}
    return own | ({f"{name}.bias": (shape[0],)} if bias else {})


def _entry(seen: int, wide: int) -> Shapes:
    """The first block of each network, which sees pixels."""
    return {
        **_spectral("down_block.1", (wide, seen, 3, 3)),
        **_spectral("down_block.4", (wide, wide, 3, 3)),
        **_spectral("skip.0", (wide, seen, 1, 1)),
    }


def _plain(name: str, seen: int, wide: int, down: bool = True) -> Shapes:
    """A block without norms."""
    made = {
        **_spectral(f"{name}.block.2", (wide, seen, 3, 3)),
        **_spectral(f"{name}.block.5", (wide, wide, 3, 3)),
    }
    return made | (_spectral(f"{name}.skip.0", (wide, seen, 1, 1)) if down else {})


def embedder_shapes(sizes: Sizes) -> Shapes:
    """E."""
    wide = sizes.wide(sizes.embedder)
    made = _entry(6, wide[0])
    for i, (a, b) in enumerate(pairwise(wide)):
        made |= _plain(f"down_blocks.{i}", a, b)
    return made


def discriminator_shapes(sizes: Sizes) -> Shapes:
    """D with W."""
    wide = sizes.wide(sizes.discriminator_down())
    made = _entry(6, wide[0])
    for i, (a, b) in enumerate(pairwise(wide)):
        made |= _plain(f"blocks.{i}", a, b)
    for i in range(len(wide) - 1, sizes.discriminator - 1):
        made |= _plain(f"blocks.{i}", wide[-1], wide[-1], down=False)
    made |= _spectral("linear", (1, sizes.most))
    return made | _spectral("embed", (sizes.videos, sizes.most), bias=False)


def generator_shapes(sizes: Sizes) -> Shapes:
    """G with P."""
    wide, psi = sizes.wide(sizes.generator), 0
    made = _entry(3, wide[0])
    for i, (a, b) in enumerate(pairwise(wide)):
        name = f"down_blocks.{i}"
        made |= {f"{name}.block.0.weight": (a,), f"{name}.block.0.bias": (a,)}
        made |= _spectral(f"{name}.block.3", (b, a, 3, 3), bias=False)
        made |= {f"{name}.block.4.weight": (b,), f"{name}.block.4.bias": (b,)}
        made |= _spectral(f"{name}.block.7", (b, b, 3, 3), bias=False)
        made |= _spectral(f"{name}.skip.0", (b, a, 1, 1))
    last = wide[-1]
    for i in range(sizes.residual):
        made |= _spectral(f"decoder_blocks.{i}.block.3", (last, last, 3, 3), bias=False)
        made |= _spectral(f"decoder_blocks.{i}.block.7", (last, last, 3, 3), bias=False)
        psi += 4 * last
    for i, b in enumerate(wide[::-1]):
        name, a = f"decoder_blocks.{sizes.residual + i}", last
        made |= _spectral(f"{name}.block.4", (b, a, 3, 3), bias=False)
        made |= _spectral(f"{name}.block.8", (b, b, 3, 3), bias=False)
        made |= _spectral(f"{name}.skip.1", (b, a, 1, 1))
        psi, last = psi + 2 * (a + b), b
    made |= _spectral(f"decoder_blocks.{sizes.residual + sizes.generator + 3}", (3, last, 3, 3))
    return made | _spectral("project", (psi + 2 * last, sizes.most))


def random_state(shapes: Shapes, seed: int) -> State:
    """Tensors of these shapes. Norms scale and shift, and no power iteration has come to its end: a network that
    computes its own spectral norms does not agree.
    """
    g = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        drawn = torch.randn(shape, generator=g)
        if name.endswith(".weight_u"):
            drawn = F.normalize(drawn, dim=0)
        elif name.endswith(".weight_v"):
            owner = name.removesuffix("v")
            drawn = F.normalize(state[owner + "orig"].flatten(1).T @ state[owner + "u"], dim=0)
        elif name.endswith(".bias"):
            drawn = 0.3 * drawn
        elif name.endswith(".weight"):
            drawn = 1 + 0.5 * drawn
        state[name] = drawn
    return state


# ---- what it computes ----


def _weight(state: State, name: str) -> Tensor:
    weight, u, v = (state[f"{name}.weight_{part}"] for part in ("orig", "u", "v"))
    return weight / (u @ (weight.flatten(1) @ v))


def _conv(state: State, name: str, x: Tensor) -> Tensor:
    weight = _weight(state, name)
    return F.conv2d(x, weight, state.get(f"{name}.bias"), padding=weight.shape[-1] // 2)


def _first(state: State, x: Tensor) -> Tensor:
    y = _conv(state, "down_block.4", F.relu(_conv(state, "down_block.1", x)))
    return F.avg_pool2d(y, 2) + F.avg_pool2d(_conv(state, "skip.0", x), 2)


def _block(state: State, name: str, x: Tensor, in_place: bool) -> Tensor:
    y = torch.relu_(x) if in_place else torch.relu(x)
    y = _conv(state, f"{name}.block.5", F.relu(_conv(state, f"{name}.block.2", y)))
    if f"{name}.skip.0.weight_orig" not in state:
        return y + x
    return F.avg_pool2d(y, 2) + F.avg_pool2d(_conv(state, f"{name}.skip.0", x), 2)


def _numbers(state: State, prefix: str) -> list[int]:
    """Of the blocks whose names begin so."""
    return sorted({int(found[1]) for name in state if (found := re.match(rf"{prefix}\.(\d+)\.", name))})


def _norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Instance norm; weight and bias: (C,) or (B, C)."""
    return F.instance_norm(x, eps=_EPS) * weight[..., None, None] + bias[..., None, None]


def embed(state: State, landmarks: Tensor, portrait: Tensor, in_place: bool = True) -> Tensor:
    """Embeddings (B, N) of portraits and their landmark pictures, both (B, 3, S, S).

    in_place: as published, the ReLU that a block begins with changes what the shortcut sees.
    """
    x = _first(state, torch.cat([landmarks, portrait], 1))
    for i in _numbers(state, "down_blocks"):
        x = _block(state, f"down_blocks.{i}", x, in_place)
    return F.relu(x).flatten(2).sum(2)


def judge(
    state: State, landmarks: Tensor, picture: Tensor, video: Tensor, in_place: bool = True
) -> tuple[Tensor, list[Tensor]]:
    """Scores (B,) and the features that are matched. video: (B,), which row of W."""
    x = _first(state, torch.cat([landmarks, picture], 1))
    features = [x]
    for i in _numbers(state, "blocks"):
        x = _block(state, f"blocks.{i}", x, in_place)
        features.append(x)
    v = F.relu(x).flatten(2).sum(2)
    rows = _weight(state, "embed")[video]
    return F.linear(v, _weight(state, "linear"), state["linear.bias"])[:, 0] + (v * rows).sum(1), features


def generate(state: State, landmarks: Tensor, embedding: Tensor) -> Tensor:
    """Pictures (B, 3, S, S) of landmark pictures (B, 3, S, S) and embeddings (B, N)."""
    psi = F.linear(embedding, _weight(state, "project"), state["project.bias"])

    def adain(x: Tensor) -> Tensor:  # takes the next numbers: shift, then scale
        nonlocal psi
        shift, scale, psi = psi.split([x.shape[1], x.shape[1], psi.shape[1] - 2 * x.shape[1]], 1)
        return _norm(x, scale, shift)

    x = _first(state, landmarks)
    for i in _numbers(state, "down_blocks"):
        name = f"down_blocks.{i}"
        y = F.relu(_norm(x, state[f"{name}.block.0.weight"], state[f"{name}.block.0.bias"]))
        y = _norm(_conv(state, f"{name}.block.3", y), state[f"{name}.block.4.weight"], state[f"{name}.block.4.bias"])
        y = _conv(state, f"{name}.block.7", F.relu(y))
        x = F.avg_pool2d(y, 2) + F.avg_pool2d(_conv(state, f"{name}.skip.0", x), 2)
    *blocks, last = _numbers(state, "decoder_blocks")
    for i in blocks:
        name = f"decoder_blocks.{i}"
        if f"{name}.skip.1.weight_orig" not in state:
            y = _conv(state, f"{name}.block.3", F.relu(adain(x)))
            x = x + _conv(state, f"{name}.block.7", F.relu(adain(y)))
            continue
        y = F.interpolate(F.relu(adain(x)), scale_factor=2, mode="nearest")
        y = _conv(state, f"{name}.block.8", F.relu(adain(_conv(state, f"{name}.block.4", y))))
        x = y + _conv(state, f"{name}.skip.1", F.interpolate(x, scale_factor=2, mode="nearest"))
    made = _conv(state, f"decoder_blocks.{last}", F.relu(adain(x)))
    assert not psi.shape[1], "every number of psi has its place"
    return torch.tanh(made)


# ---- which of ours each is ----

_PARTS = {
    "weight_orig": "parametrizations.weight.original",
    "weight_u": "parametrizations.weight.0._u",
    "weight_v": "parametrizations.weight.0._v",
}
_PLAIN = {"block.2": "conv1", "block.5": "conv2", "skip.0": "shortcut"}
_DOWN = {"block.0": "norm1", "block.3": "conv1", "block.4": "norm2", "block.7": "conv2", "skip.0": "shortcut"}
_MIDDLE = {"block.3": "conv1", "block.7": "conv2"}
_UP = {"block.4": "conv1", "block.8": "conv2", "skip.1": "shortcut"}
_ENTRY = {"down_block.1": "conv1", "down_block.4": "conv2", "skip.0": "shortcut"}


def _owners(names: set[str], sizes: Sizes, network: str) -> dict[str, str]:
    """Their layers -> ours. network: "embedder", "generator" or "discriminator"."""
    ours: dict[str, str] = {}
    for name in names:
        stack, number, layer = (*name.split(".", 2), "", "")[:3]
        if name in _ENTRY:
            ours[name] = f"{'down' if network == 'generator' else 'blocks'}.0.{_ENTRY[name]}"
        elif stack == "down_blocks" and network == "generator":
            ours[name] = f"down.{int(number) + 1}.{_DOWN[layer]}"
        elif stack in ("down_blocks", "blocks"):
            ours[name] = f"blocks.{int(number) + 1}.{_PLAIN[layer]}"
        elif stack == "decoder_blocks" and not layer:
            ours[name] = "out"
        elif stack == "decoder_blocks" and int(number) < sizes.residual:
            ours[name] = f"middle.{number}.{_MIDDLE[layer]}"
        elif stack == "decoder_blocks":
            ours[name] = f"up.{int(number) - sizes.residual}.{_UP[layer]}"
        else:
            ours[name] = {"linear": "score", "project": "project"}[name]
    return ours


def useless(name: str) -> bool:
    """Whether a tensor of G is a bias that nothing depends on: it adds a constant to a channel, and the norm that
    comes next takes constants away.
    """
    return name == "down_block.4.bias" or bool(re.search(r"skip\.\d\.bias$", name))


def to_ours(state: State, sizes: Sizes, network: str) -> State:
    """The state dict of our network. What E and D see stands in another order: pictures come first here. W is left
    out, see `rows_of`.
    """
    named = {name.rpartition(".") for name in state if not name.startswith("embed.")}
    owners = _owners({owner for owner, _, _ in named}, sizes, network)
    ours: State = {}
    for owner, _, part in named:
        value = state[f"{owner}.{part}"]
        if network == "generator" and useless(f"{owner}.{part}") and owner not in _ENTRY:
            continue
        if network != "generator" and owner in ("down_block.1", "skip.0") and part in ("weight_orig", "weight_v"):
            kernel = state[f"{owner}.weight_orig"].shape[1:]
            by_channel = value.view(-1, *kernel).roll(3, 1)
            value = by_channel.reshape(value.shape)
        ours[f"{owners[owner]}.{_PARTS.get(part, part)}"] = value
    return ours


def rows_of(state: State) -> Tensor:
    """W as it counts, (videos, N): theirs is divided by its spectral norm, ours is not."""
    return _weight(state, "embed")


def load(network: nn.Module, state: State, sizes: Sizes, kind: str, strict: bool = True) -> nn.Module:
    """Our network with their weights. strict: every tensor has one place, and every place its tensor."""
    network.load_state_dict(to_ours(state, sizes, kind), strict=strict)
    return network.eval().requires_grad_(False)
