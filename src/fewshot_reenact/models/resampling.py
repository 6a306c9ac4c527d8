"""A 3x3 convolution and the change of size beside it as one convolution of 4x4 with a stride of 2.

Enlarged by repetition, three neighbours in a row hold two pixels; averaged in pairs, three taps at two places are four.
So the sums can be made of the weights, once, in place of the pixels: 16 products where there were 36. Zeros around the
picture mean the same in both. On a CPU and in ONNX graphs, which run on one; elsewhere, and in other orders of memory,
the two steps stay two.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Along one side: which of the three taps each of the four is made of.
_REPEATED = ((0, 0, 1), (0, 1, 1), (1, 1, 0), (1, 0, 0))  # of a transposed convolution
_AVERAGED = ((0.5, 0, 0), (0.5, 0.5, 0), (0, 0.5, 0.5), (0, 0, 0.5))
_KEPT = "_folded_weights"


def for_onnx() -> bool:
    """Whether a graph is traced now, which onnx_graphs does to write ONNX."""
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]


def fits_processor(x: Tensor) -> bool:
    """Whether a map is as the faster ways on a CPU want it: float32, channels last; not for ONNX, which knows
    one order only.
    """
    if for_onnx():
        return False
    return x.device.type == "cpu" and x.dtype == torch.float32 and x.is_contiguous(memory_format=torch.channels_last)


def _pays(x: Tensor) -> bool:
    """Whether one convolution in place of two steps is faster."""
    return for_onnx() or fits_processor(x)


def convolved_larger(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """conv of x enlarged twice, each pixel repeated. (B, c_in, H, W) -> (B, c_out, 2H, 2W). conv: 3x3, padding 1."""
    if not _pays(x):
        return conv(F.interpolate(x, scale_factor=2, mode="nearest"))
    return F.conv_transpose2d(x, _folded(conv, _REPEATED, True), conv.bias, stride=2, padding=1)


def convolved_smaller(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """conv of x, averaged over 2x2. (B, c_in, H, W) -> (B, c_out, H // 2, W // 2). conv: 3x3, padding 1."""
    if not _pays(x):
        return F.avg_pool2d(conv(x), 2)
    return F.conv2d(x, _folded(conv, _AVERAGED), conv.bias, stride=2, padding=1)


def _folded(conv: nn.Conv2d, taps: tuple[tuple[float, ...], ...], transposed: bool = False) -> Tensor:
    """The weights of the one convolution. Where nothing is learnt they are kept with `conv` until its own change; not
    weights that are made anew at each use, as spectral norm's are.
    """
    weight, known = conv.weight, conv.__dict__.get(_KEPT)
    # In this order: what is compiled for training stays one graph, for a compiler does not follow `is_inference`.
    traced = for_onnx() or torch.compiler.is_compiling()
    keeps = not (traced or torch.is_grad_enabled()) and isinstance(weight, nn.Parameter) and not weight.is_inference()
    state = (weight.data_ptr(), weight._version, taps) if keeps else None
    if keeps and known is not None and known[0] == state:
        return known[1]  # type: ignore[no-any-return]
    made = _of_four(weight, taps)
    made = made.transpose(0, 1) if transposed else made
    if keeps:
        made = made.contiguous(memory_format=torch.channels_last)
        conv.__dict__[_KEPT] = state, made
    return made


def _of_four(weight: Tensor, taps: tuple[tuple[float, ...], ...]) -> Tensor:
    """(c_out, c_in, 3, 3) -> (c_out, c_in, 4, 4)."""
    line = torch.tensor(taps, dtype=weight.dtype)
    return (weight.reshape(-1, 9) @ torch.kron(line, line).T).view(*weight.shape[:2], 4, 4)
