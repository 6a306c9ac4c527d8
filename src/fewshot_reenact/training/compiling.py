"""Networks compiled for training, where a config says so."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

import torch


def compile_networks(networks: Iterable[Any], how: bool | str, device: torch.device) -> None:
    """how: the config's `compile`: true, on any device; "graphs", on a GPU alone, with CUDA graphs. None among the
    networks stands for one that is not there. Every shape is compiled for itself: there are few, and networks for
    any shape take minutes to compile on a GPU and are slower.
    """
    if how is not True and not (how and device.type == "cuda"):
        return
    mode = "reduce-overhead" if how == "graphs" else None
    for network in networks:
        if network is not None:
            network.compile(mode=mode, dynamic=False)


def begin_step(how: bool | str, device: torch.device) -> None:
    """Tell CUDA graphs, if there are any, that what the last step made may be written over."""
    if how == "graphs" and device.type == "cuda":
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]


def uncompiled() -> AbstractContextManager[None]:
    """While it lasts, compiled networks run as they were written: a look now and then, at another batch size and
    without gradients, is not worth the minute that compiling them for it takes.
    """
    stance: AbstractContextManager[None] = torch.compiler.set_stance("force_eager")
    return stance
