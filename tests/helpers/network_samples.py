"""A feature network for tests, in the format of models.perceptual."""

import json

import torch
from safetensors.torch import save_file


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
