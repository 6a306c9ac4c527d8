"""The one smooth ramp from 0 to 1."""

from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

Values = TypeVar("Values", float, np.ndarray, "Tensor")


def smoothstep(share: Values) -> Values:
    """3 x^2 - 2 x^3 of shares in 0..1: 0 and 1 at the ends, without slope there. Numbers, arrays or tensors."""
    return share * share * (3 - 2 * share)
