"""The watermark's bits with a check and error correction: a convolutional code, decoded softly.

The code has constraint length 9 (generators 463, 535, 733, 745 octal, free distance 24). It is tail-biting: the encoder
starts in the state in which it ends, so that no bits are spent on reaching a known state. A payload has 64 bits at a
rate of 1/4, or 32 at a rate of 1/8 (each output twice), which is read at about two thirds of the amplitude.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

PAYLOAD_BITS, SHORT_BITS = 64, 32
CHECK_BITS = 8

_REPEATED = {PAYLOAD_BITS: 1, SHORT_BITS: 2}
_GENERATORS = (0o463, 0o535, 0o733, 0o745)
_MEMORY = 8  # bits of state; the register holds one more
_STATES = 1 << _MEMORY
_CHECK_POLYNOMIAL = 0x12F  # x^8 + x^5 + x^3 + x^2 + x + 1 (CRC-8/AUTOSAR)


def coded_bits(bits: int = PAYLOAD_BITS) -> int:
    """How many bits the code makes of a payload of 64 or 32."""
    return 4 * _REPEATED[bits] * (bits + CHECK_BITS)


def encode(payload: int, bits: int = PAYLOAD_BITS) -> NDArray[np.int8]:
    """The coded bits of a payload as signs, (coded_bits(bits),) of -1 and 1. Raises ValueError beyond `bits`, 64 or 32
    bits.
    """
    if not 0 <= payload < 1 << bits:
        raise ValueError(f"a watermark's payload has {bits} bits and is not negative, not {payload}")
    word = payload << CHECK_BITS | _check(payload, bits)
    length = bits + CHECK_BITS
    binary = [word >> (length - 1 - i) & 1 for i in range(length)]
    state, coded = 0, list[int]()
    for bit in binary[-_MEMORY:]:
        state = (state << 1 | bit) & (_STATES - 1)
    for bit in binary:
        coded.extend(np.tile(_outputs()[state, bit], _REPEATED[bits]))
        state = (state << 1 | bit) & (_STATES - 1)
    return np.array(coded, np.int8)


def decode(soft: NDArray[np.floating], bits: int = PAYLOAD_BITS) -> int | None:
    """The payload whose coded bits agree best with `soft` (coded_bits(bits),), positive for 1; None if its check fails.

    `soft` is proportional to log-likelihood ratios. Viterbi's algorithm goes round the word three times and keeps the
    middle one, where it has forgotten that it began in no particular state.
    """
    length = bits + CHECK_BITS
    received = soft.reshape(length, _REPEATED[bits], 4).sum(1)
    branch = np.einsum("tc,sbc->tsb", received, _outputs().astype(float))
    # State s is reached from s >> 1, with the oldest bit of the register either 0 or 1.
    now = np.arange(_STATES)
    before = np.stack([now >> 1, now >> 1 | _STATES >> 1])
    metric, choices = np.zeros(_STATES), []
    for step in range(3 * length):
        both = metric[before] + branch[step % length, before, now & 1]
        choice = both.argmax(0)
        choices.append(choice)
        metric = both[choice, now]
    state, found = int(metric.argmax()), []
    for choice in reversed(choices):
        found.append(state & 1)
        state = int(before[choice[state], state])
    word = int("".join(map(str, reversed(found[length : 2 * length]))), 2)
    payload, check = word >> CHECK_BITS, word & ((1 << CHECK_BITS) - 1)
    return payload if _check(payload, bits) == check else None


@lru_cache(maxsize=1)
def _outputs() -> NDArray[np.int8]:
    """(states, input bit, 4) signs that the encoder gives."""
    register = (np.arange(_STATES)[:, None] << 1 | np.arange(2))[..., None] & np.array(_GENERATORS)
    ones = sum((register >> i & 1) for i in range(_MEMORY + 1))
    return (2 * (ones % 2) - 1).astype(np.int8)


def _check(payload: int, bits: int) -> int:
    rest = payload << CHECK_BITS
    for i in range(bits - 1, -1, -1):
        if rest >> (i + CHECK_BITS) & 1:
            rest ^= _CHECK_POLYNOMIAL << i
    return rest
