"""Gaps of lids and lips: closed must come out closed, on any face.

Faces here are shapes in the face's own frame, flat or solid: (T, 83, 2) or (T, 83, 3), y down.
"""

import numpy as np

from fewshot_reenact.geometry.smoothstep import smoothstep
from fewshot_reenact.geometry.topology import LEFT_LIDS, LIP_PAIRS, REGIONS, RIGHT_LIDS

# Shares of an eye's opening at rest: up to the first it blinks, from the second on it is awake; and what is much.
_SHUT, _AWAKE, _MUCH = 0.45, 0.8, 0.3
_ASIDE = (8.0, 22.0)  # degrees of yaw from which an eye goes with the nearer one, and does so wholly
_WIDEST = 1.5  # lids open no wider than this many times the portrait's own opening

# Which other points of the lips go along with an inner pair, and how far: {pair number: {(upper, lower): share}}.
LIP_FOLLOWERS: dict[int, dict[tuple[int, int], float]] = {
    0: {(50, 58): 1.0, (49, 59): 0.5},
    1: {(51, 57): 1.0},
    2: {(52, 56): 1.0, (53, 55): 0.5},
}


def _gaps(shape: np.ndarray, pairs: tuple[tuple[int, int], ...]) -> np.ndarray:
    """Height of each gap, (T, 83, 2) -> (T, pairs); negative when the lids or lips cross."""
    return np.stack([shape[:, low, 1] - shape[:, up, 1] for up, low in pairs], -1)


def lid_shares(moved: np.ndarray, rest: np.ndarray, strength: float, yaw: np.ndarray | float = 0.0) -> np.ndarray:
    """How far each eye is open, as a share of its opening at rest, (T, 2), the left one first. yaw: (T,) degrees by
    which the head is turned to the picture's right side: of the eye that is turned away little is seen, and it goes
    with the other.
    """
    shares = []
    for pairs in (LEFT_LIDS, RIGHT_LIDS):
        rest_open = np.maximum(_gaps(rest, pairs).mean(1), 0.02)
        # The sockets' own tilt and the detector's noise move single pairs; the mean tells how open the eye is.
        shares.append(np.maximum(_gaps(moved, pairs).mean(1), 0) / rest_open)
    left, right = np.broadcast_arrays(*shares)
    aside = smoothstep(np.clip((np.abs(yaw) - _ASIDE[0]) / (_ASIDE[1] - _ASIDE[0]), 0, 1))
    to_left, to_right = np.where(np.asarray(yaw) < 0, aside, 0), np.where(np.asarray(yaw) > 0, aside, 0)
    share = np.stack([left + to_left * (right - left), right + to_right * (left - right)], -1)
    share = np.clip(1 + strength * (share - 1), 0, _WIDEST)
    # Detectors rarely say that a closed eye is quite closed.
    return np.where(share < 1, np.clip((share - 0.12) / 0.88, 0, 1), share)


def lid_targets(shares: np.ndarray, own: np.ndarray, eye: int) -> np.ndarray:
    """Gaps of the lids, as a share of the portrait's own opening: half closed is half closed on any face. shares:
    (T, 2), see `lid_shares`. eye: 0 the left one.
    """
    return np.maximum(_gaps(own, (LEFT_LIDS, RIGHT_LIDS)[eye]), 0) * shares[:, eye : eye + 1]


def blinking(shape: np.ndarray, own: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Eyes as a frame has them where it blinks: nobody sees what is behind its lids. Those that are to close do.

    shape: (T, 83, n), as it is to be. own: (T, 83, n), the frames as they are. rest: (T, 83, n), with open eyes.
    """
    out = shape.copy()
    for name, pairs in (("left_eye", LEFT_LIDS), ("right_eye", RIGHT_LIDS)):
        made, seen, usual = (np.maximum(_gaps(one, pairs).mean(1), 0) for one in (shape, own, rest))
        usual = np.maximum(usual, 0.02)
        shut = 1 - smoothstep(np.clip((seen / usual - _SHUT) / (_AWAKE - _SHUT), 0, 1))
        opened = np.clip((made - seen) / (_MUCH * usual), 0, 1)
        eye = REGIONS[name]
        out[:, eye] += (shut * opened)[:, None, None] * (own[:, eye] - shape[:, eye])
    return out


def lip_targets(moved: np.ndarray, rest: np.ndarray, own: np.ndarray, strength: float) -> np.ndarray:
    """Gaps of the lips: opening adds, in proportion to the mouths' widths; closing takes away the same share as the
    driver's.
    """
    mine_wide, theirs_wide = (float(np.linalg.norm(s[0, 54] - s[0, 48])) for s in (own, rest))
    width = mine_wide / max(theirs_wide, 1e-6)
    now, before, mine = (np.maximum(_gaps(s, LIP_PAIRS), 0) for s in (moved, rest, own))
    change = strength * (now - before)
    opened = mine + np.maximum(change, 0) * width
    closed = mine * np.clip(1 + np.minimum(change, 0) / np.maximum(before, 0.01), 0, 1)
    return np.where(change >= 0, opened, closed)


def fit_gaps(
    shape: np.ndarray,
    pairs: tuple[tuple[int, int], ...],
    target: np.ndarray,
    followers: dict[int, dict[tuple[int, int], float]],
) -> np.ndarray:
    """Move upper and lower points apart or together, evenly, until the gaps are as wanted. (T, 83, 2), (T, pairs)."""
    out = shape.copy()
    short = target - _gaps(shape, pairs)
    for i, (up, low) in enumerate(pairs):
        for (a, b), share in {(up, low): 1.0, **followers.get(i, {})}.items():
            out[:, a, 1] -= share * short[:, i] / 2
            out[:, b, 1] += share * short[:, i] / 2
    return out
