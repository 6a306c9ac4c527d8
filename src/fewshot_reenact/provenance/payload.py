"""The watermark's 64 bits with a check and error correction: a convolutional code, decoded softly.

The code has rate 1/4 and constraint length 9 (generators 463, 535, 733, 745 octal, free distance 24). It is
tail-biting: the encoder starts in the state in which it ends, so that no bits are spent on reaching a known state.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

PAYLOAD_BITS = 64
CHECK_BITS = 8
CODED_BITS = 4 * (PAYLOAD_BITS + CHECK_BITS)

_GENERATORS = (0o463, 0o535, 0o733, 0o745)
_MEMORY = 8  # bits of state; the register holds one more
_STATES = 1 << _MEMORY
_CHECK_POLYNOMIAL = 0x12F  # x^8 + x^5 + x^3 + x^2 + x + 1 (CRC-8/AUTOSAR)


def encode(payload: int) -> NDArray[np.int8]:
    """The coded bits of a payload as signs, (CODED_BITS,) of -1 and 1. Raises ValueError beyond 64 bits."""
    if not 0 <= payload < 1 << PAYLOAD_BITS:
        raise ValueError(f"a watermark's payload has {PAYLOAD_BITS} bits and is not negative, not {payload}")
    word = payload << CHECK_BITS | _check(payload)
    length = PAYLOAD_BITS + CHECK_BITS
    bits = [word >> (length - 1 - i) & 1 for i in range(length)]
    state, coded = 0, []
    for bit in bits[-_MEMORY:]:
        state = (state << 1 | bit) & (_STATES - 1)
    for bit in bits:
        coded.extend(_outputs()[state, bit])
        state = (state << 1 | bit) & (_STATES - 1)
    return np.array(coded, np.int8)


def decode(soft: NDArray[np.floating]) -> int | None:
    """The payload whose coded bits agree best with `soft` (CODED_BITS,), positive for 1; None if its check fails.

    `soft` is proportional to log-likelihood ratios. Viterbi's algorithm goes round the word three times and keeps the
    middle one, where it has forgotten that it began in no particular state.
    """
    length = PAYLOAD_BITS + CHECK_BITS
    branch = np.einsum("tc,sbc->tsb", soft.reshape(length, 4), _outputs().astype(float))
    # State s is reached from s >> 1, with the oldest bit of the register either 0 or 1.
    now = np.arange(_STATES)
    before = np.stack([now >> 1, now >> 1 | _STATES >> 1])
    metric, choices = np.zeros(_STATES), []
    for step in range(3 * length):
        both = metric[before] + branch[step % length, before, now & 1]
        choice = both.argmax(0)
        choices.append(choice)
        metric = both[choice, now]
    state, bits = int(metric.argmax()), []
    for choice in reversed(choices):
        bits.append(state & 1)
        state = int(before[choice[state], state])
    word = int("".join(map(str, reversed(bits[length : 2 * length]))), 2)
    payload, check = word >> CHECK_BITS, word & ((1 << CHECK_BITS) - 1)
    return payload if _check(payload) == check else None


@lru_cache(maxsize=1)
def _outputs() -> NDArray[np.int8]:
    """(states, input bit, 4) signs that the encoder gives."""
    register = (np.arange(_STATES)[:, None] << 1 | np.arange(2))[..., None] & np.array(_GENERATORS)
    ones = sum((register >> i & 1) for i in range(_MEMORY + 1))
    return (2 * (ones % 2) - 1).astype(np.int8)


def _check(payload: int) -> int:
    rest = payload << CHECK_BITS
    for i in range(PAYLOAD_BITS - 1, -1, -1):
        if rest >> (i + CHECK_BITS) & 1:
            rest ^= _CHECK_POLYNOMIAL << i
    return rest
