"""Graphs whose convolutions compute in int8: smaller, faster on processors that multiply bytes, and a little coarser.

Static quantisation (Jacob et al. 2018): weights by the channel, activations by one range for each map, which example
inputs set. Instance norm, AdaIN and the enlarging convolutions stay in float32.
"""

import contextlib
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from fewshot_reenact.errors import MissingExtra
from fewshot_reenact.models.onnx_graphs import Graph


def in_int8(graph: Graph, rows: Sequence[Tensor]) -> bytes:
    """The graph with convolutions in int8. rows: example inputs, for each port a tensor of as many rows, as they are
    met in use. Raises MissingExtra.
    """
    try:
        from onnxruntime import quantization
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as error:
        raise MissingExtra("int8 needs onnx and ONNX Runtime, which are not installed", "onnx") from error
    with tempfile.TemporaryDirectory(prefix="reenact-int8-") as name, _quiet():
        plain, ready, made = (str(Path(name) / f"{one}.onnx") for one in ("plain", "ready", "made"))
        Path(plain).write_bytes(graph.to_onnx())
        quant_pre_process(plain, ready, skip_symbolic_shape=True)
        quantization.quantize_static(
            ready,
            made,
            _Rows(graph, rows),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            op_types_to_quantize=["Conv"],
            # Weights of 7 bits: processors without VNNI add products of bytes in 16 bits, where 8 would overflow. On 24
            # faces it cost nothing: 48.2 dB of the generator's change of colour either way.
            reduce_range=True,
        )
        return Path(made).read_bytes()


class _Rows:
    """A CalibrationDataReader: the rows one by one."""

    def __init__(self, graph: Graph, rows: Sequence[Tensor]):
        arrays = {port.name: one.numpy() for port, one in zip(graph.inputs, rows, strict=True)}
        count = min(len(one) for one in arrays.values())
        self._left = iter([{name: one[i : i + 1] for name, one in arrays.items()} for i in range(count)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next, or None."""
        return next(self._left, None)


def _quiet() -> Any:
    """Without advice to pre-process, which is done."""
    stack = contextlib.ExitStack()
    logger = logging.getLogger()
    before = logger.level
    logger.setLevel(logging.ERROR)
    stack.callback(logger.setLevel, before)
    return stack
