"""Networks compiled for training, where a config says so."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch


def compile_networks(networks: Iterable[Any], how: bool | str, device: torch.device) -> None:
    """how: the config's `compile`: true, on any device; "graphs", on a GPU alone, with CUDA graphs. None among the
    networks stands for one that is not there.
    """
    if how is not True and not (how and device.type == "cuda"):
        return
    mode = "reduce-overhead" if how == "graphs" else None
    for network in networks:
        if network is not None:
            network.compile(mode=mode)


def begin_step(how: bool | str, device: torch.device) -> None:
    """Tell CUDA graphs, if there are any, that what the last step made may be written over."""
    if how == "graphs" and device.type == "cuda":
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
