"""A feature network for tests, in the format of models.perceptual."""

import dataclasses
import json

import torch
from safetensors.torch import save_file

from fewshot_reenact.models.dimensions import ModelDimensions
from fewshot_reenact.models.reenactor import Reenactor


def model(trained: bool = False) -> Reenactor:
    """Textured networks of random weights, tiny. trained: with an output that changes something."""
    dims = dataclasses.replace(
        ModelDimensions.textured(), size=32, embedding=8, embedder_channels=(8, 8), down_channels=(8, 8),
        up_channels=(8, 8), residual_blocks=1, embedder_unshuffle=2, stem=8,
    )  # fmt: skip
    torch.manual_seed(0)
    net = Reenactor(dims)
    if trained:
        torch.nn.init.normal_(net.generator.out.weight, std=0.3)
    return net.eval().requires_grad_(False)


def feature_net(path, columns=None, embedding=False):
    """A feature network of one convolution; with `embedding` it ends in a vector of length 1."""
    torch.manual_seed(1)
    ops = [{"op": "conv", "name": "c", "pad": 1, "stride": 1, "groups": 1, "act": "relu"}]
    ops += [{"op": "flatten_normalise"}] if embedding else [{"op": "tap"}]
    meta = {"ops": json.dumps(ops), "mean": "[0.5, 0.5, 0.5]", "std": "[0.5, 0.5, 0.5]"}
    if columns:
        meta["columns"] = json.dumps(columns)
    save_file({"c.weight": torch.randn(4, 3, 3, 3), "c.bias": torch.zeros(4)}, str(path), metadata=meta)
    return path
