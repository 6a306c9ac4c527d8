"""Where the person is in a portrait: the matte network about the head, refined to hair at the picture's own size."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import torch

from fewshot_reenact.geometry.smoothstep import smoothstep
from fewshot_reenact.geometry.topology import eye_distance
from fewshot_reenact.inputs.portrait import Portrait
from fewshot_reenact.landmarks.network import load_network
from fewshot_reenact.models.matte import SIDE, MatteNet
from fewshot_reenact.rendering.guided import guided_filter
from fewshot_reenact.weights import WEIGHTS

WEIGHTS_FILE = WEIGHTS / "matte.safetensors"
_REACH = 3.1  # eye distances from the head's middle to the sides of the square that the network sees
_MIDDLE = 0.35  # eye distances from between the eyes down to that middle
_HAIR, _SOFTNESS = 0.04, 1e-3  # of the guided filter: eye distances; variance of brightness
# Shares of the mask that count as none and as all, for the filter leaves a veil: first linearly, then eased.
_LOW, _HIGH, _EASED = 0.15, 0.85, 0.04
# The cut by colour (Rother, Kolmogorov, Blake 2004, "GrabCut"): the longer side at which it is made, pixels; a matte's
# share from which and up to which a place is surely the person's or the ground's, once so many eye distances within.
_CUT_SIDE, _CUT_OWN, _CUT_NONE, _CUT_BAND, _CUT_ROUNDS = 384, 0.99, 0.02, 0.08, 3
OWN = 0.05  # a matte's share from which on a pixel is of the person at all, and no ground
# What only the network takes for the person: the share from which it does, and what is left of that, just so much that
# it is no ground.
_RATHER, _DOUBTFUL = 0.9, 1.2 * OWN
_EDGE = 0.08  # of the square's side, over which the whole picture's mask takes over
# A usable matte holds the face's points, and leaves some ground beside or above the head.
_FACE, _GROUND = 0.9, 0.02
# And it ends where the head ends. From between the eyes outwards, to the sides and up, it falls once; what it rises by
# after a fall is another person, a wall, a hole in the hair. In the mean over the directions it rose by 0.09 to 0.30 in
# four wrong mattes (Klimt's Adele, Einstein at the blackboard, American Gothic, a clip with half a forehead), and by
# 0.024 at most in 75 others: portraits and first frames of clips, all looked at. The share of soft pixels does not tell
# them apart: 0.15 to 0.48 in the four, up to 0.37 in the others.
_RISE = 0.05
_DIRECTIONS, _FAR, _STEP = np.arange(-200, 21, 4), 3.0, 0.06  # degrees from the line of the eyes; eye distances


def with_matte(portrait: Portrait) -> tuple[Portrait, list[str]]:
    """The portrait with its matte, and what the user should know: where that is from, or that none could be used.

    A portrait that has a matte keeps it. One that is transparent about the head has that as its matte.
    Raises ModelError: the network's weights are missing or damaged.
    """
    if portrait.matte is not None:
        return portrait, []
    if portrait.alpha is not None and _fits(portrait.alpha, portrait.points):
        said = "the portrait's own transparency is its matte; --matte FILE takes another"
        return replace(portrait, matte=portrait.alpha), [said]
    matte = find_matte(portrait.picture, portrait.points)
    if matte is None:
        return portrait, [
            "the person in the portrait cannot be told from the ground: a soft part of the picture moves with the "
            "head; --matte FILE takes a mask of yours"
        ]
    return replace(portrait, matte=matte), []


def find_matte(
    picture: np.ndarray, points: np.ndarray, weights: Path = WEIGHTS_FILE, *, by_colour: bool = True
) -> np.ndarray | None:
    """picture: (H, W, 3) uint8 RGB. points: (83, 2) pixels. by_colour: with its edge where colours change; without it
    is quicker, and steadier from frame to frame. Returns (H, W) float32, 1 where the person is; None where that cannot
    be right: the face is not in it, there is no ground, or it holds more than a head.
    """
    height, width = picture.shape[:2]
    unit = float(eye_distance(points))
    middle = points[[36, 45]].mean(0) + np.array([0, _MIDDLE * unit])
    side = max(8.0, 2 * _REACH * unit)
    # What is far from the head is seen in the whole picture, coarsely; about it in a square of its own.
    mask = _look(picture, ((width - 1) / 2, (height - 1) / 2), float(max(width, height)), weights)
    near = _look(picture, (float(middle[0]), float(middle[1])), side, weights)
    share = _square((height, width), (float(middle[0]), float(middle[1])), side)
    mask += share * (near - mask)
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    seen = _refined(grey, mask, unit)
    if not _fits(seen, points) or _rise(seen, points) > _RISE:
        return None
    if not by_colour:
        return seen
    matte = _refined(grey, cut_by_colour(picture, seen, unit), unit)
    if not _fits(matte, points):
        return None
    # A wisp of hair that only the network takes for the person hardly moves along, but is no ground that stays either.
    return np.maximum(matte, _DOUBTFUL * (seen > _RATHER)).astype(np.float32)


def cut_by_colour(picture: np.ndarray, matte: np.ndarray, unit: float) -> np.ndarray:
    """Where the person's colours end and the ground's begin, in the band in which a matte is not sure: (H, W) float32,
    nearly 0 or 1. The network sees a head in 128 pixels, and before busy ground its edge is wide and wanders.

    picture: (H, W, 3) uint8 RGB. matte: (H, W) float32. unit: pixels an eye distance.
    """
    h, w = matte.shape
    shrink = min(1.0, _CUT_SIDE / max(h, w))
    size = (max(8, round(w * shrink)), max(8, round(h * shrink)))
    small = np.ascontiguousarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA)[..., ::-1])
    rough = cv2.resize(matte, size, interpolation=cv2.INTER_AREA)
    reach = max(1, round(_CUT_BAND * unit * shrink))
    round_about = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1,) * 2)
    parts = np.where(rough > 0.5, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    parts[cv2.erode((rough > _CUT_OWN).astype(np.uint8), round_about) > 0] = cv2.GC_FGD
    parts[cv2.dilate((rough > _CUT_NONE).astype(np.uint8), round_about) == 0] = cv2.GC_BGD
    if not {cv2.GC_FGD, cv2.GC_BGD} <= set(np.unique(parts).tolist()):
        return matte
    cv2.setRNGSeed(1)  # of the colours' clusters: the same picture gives the same matte
    colours = np.zeros((1, 65)), np.zeros((1, 65))  # of the ground and of the person
    cv2.grabCut(small, parts, None, *colours, _CUT_ROUNDS, cv2.GC_INIT_WITH_MASK)  # type: ignore[call-overload]  # no box
    own = ((parts == cv2.GC_FGD) | (parts == cv2.GC_PR_FGD)).astype(np.float32)
    return cv2.resize(own, (w, h), interpolation=cv2.INTER_LINEAR)


def _refined(grey: np.ndarray, mask: np.ndarray, unit: float) -> np.ndarray:
    """A mask with the edges of the picture, hair and all: (H, W) float32."""
    fine = guided_filter(grey, mask, max(1, round(_HAIR * unit)), _SOFTNESS)
    matte = np.clip((fine - _LOW) / (_HIGH - _LOW), 0, 1)
    return smoothstep(np.clip((matte - _EASED) / (1 - 2 * _EASED), 0, 1)).astype(np.float32)


@cache
def _network(weights: Path) -> torch.nn.Module:
    return load_network(MatteNet, weights)


@torch.inference_mode()
def _look(picture: np.ndarray, middle: tuple[float, float], side: float, weights: Path) -> np.ndarray:
    """What the network sees in a square of the picture, over the whole picture: (H, W) float32."""
    scale = side / SIDE
    place = np.array([[scale, 0, middle[0] - side / 2 + scale / 2], [0, scale, middle[1] - side / 2 + scale / 2]])
    # Far smaller squares are averaged first, or fine patterns would alias.
    small = picture if scale < 1.5 else cv2.blur(picture, (round(scale), round(scale)))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    seen = cv2.warpAffine(small, place, (SIDE, SIDE), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    signed = torch.from_numpy(seen).permute(2, 0, 1)[None].float() / 127.5 - 1
    found = _network(weights)(signed.contiguous(memory_format=torch.channels_last)).sigmoid()[0, 0].numpy()
    size = (picture.shape[1], picture.shape[0])
    return cv2.warpAffine(found, place, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _square(size: tuple[int, int], middle: tuple[float, float], side: float) -> np.ndarray:
    """(H, W) float32: 1 in a square, 0 outside, softly."""
    ramps = []
    for count, at in zip(size, (middle[1], middle[0]), strict=True):
        away = np.abs(np.arange(count, dtype=np.float32) - at) / side
        ramps.append(smoothstep(np.clip((0.5 - away) / _EDGE, 0, 1)))
    return (ramps[0][:, None] * ramps[1][None, :]).astype(np.float32)


def _fits(matte: np.ndarray, points: np.ndarray) -> bool:
    """Whether the face is in a matte, and some ground about it is not."""
    height, width = matte.shape
    inner = np.round(points[17:68]).astype(int)
    inner = inner[((inner >= 0) & (inner < [width, height])).all(1)]
    if not len(inner) or matte[inner[:, 1], inner[:, 0]].mean() < _FACE:
        return False
    room = 1.2 * float(eye_distance(points))
    (x0, y0), (x1, y1) = points.min(0) - room, points.max(0) + room
    about = matte[max(0, int(y0)) : max(1, int(y1)), max(0, int(x0)) : max(1, int(x1))]
    return bool((about < 0.5).mean() > _GROUND)


def _rise(matte: np.ndarray, points: np.ndarray) -> float:
    """By how much a matte rises outwards from between the eyes, added up along a line, in the mean over the lines."""
    unit, (x, y) = float(eye_distance(points)), points[[36, 45]].mean(0)
    right = points[45] - points[36]
    angles = np.radians(_DIRECTIONS)[:, None] + np.arctan2(right[1], right[0])
    away = np.arange(0, _FAR, _STEP) * unit
    columns, rows = x + np.cos(angles) * away, y + np.sin(angles) * away
    smooth = cv2.GaussianBlur(matte, (0, 0), _STEP * unit)
    along = cv2.remap(smooth, columns.astype(np.float32), rows.astype(np.float32), cv2.INTER_LINEAR)
    height, width = matte.shape
    inside = (columns >= 0) & (columns <= width - 1) & (rows >= 0) & (rows <= height - 1)
    rises = np.diff(along, axis=1).clip(0, None) * (inside[:, 1:] & inside[:, :-1])
    return float(rises.sum(1).mean())
