"""What people wear, drawn over a face by its 83 points: glasses, beards, coverings of the head."""

import cv2
import numpy as np

from fewshot_reenact.geometry.topology import LEFT_EYE, MOUTH, RIGHT_EYE

_SMOOTH = 4  # cv2 draws to 1 / 16 of a pixel


def _colour(rng: np.random.Generator, low: int = 0, high: int = 256) -> np.ndarray:
    return rng.integers(low, high, 3).astype(np.float32)


def _blend(picture: np.ndarray, colour: np.ndarray, mask: np.ndarray, strength: float) -> np.ndarray:
    """Lay a colour, (3,) or (H, W, 3), over a picture where mask (H, W) is 255."""
    share = mask[..., None].astype(np.float32) * (strength / 255)
    return (picture + share * (colour - picture)).round().clip(0, 255).astype(np.uint8)


def _fixed(points: np.ndarray) -> np.ndarray:
    return np.round(points * 2**_SMOOTH).astype(np.int32)


def _axes(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Unit vectors from eye to eye and from eyes to mouth, and the outer corners' distance."""
    across = points[45] - points[36]
    size = float(np.hypot(*across))
    across = across / max(size, 1e-3)
    down = points[MOUTH].mean(0) - (points[36] + points[45]) / 2
    return across, down / max(float(np.hypot(*down)), 1e-3), size


def glasses(picture: np.ndarray, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Frames of random shape, thickness and colour with clear, tinted or black lenses."""
    across, down, size = _axes(points)
    lenses, frame = np.zeros(picture.shape[:2], np.uint8), np.zeros(picture.shape[:2], np.uint8)
    width, height = rng.uniform(0.19, 0.26) * size, rng.uniform(0.12, 0.24) * size
    power = rng.uniform(2, 6)  # of the superellipse: 2 is round, 6 nearly a rectangle
    turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    x, y = (np.sign(f(turn)) * np.abs(f(turn)) ** (2 / power) for f in (np.cos, np.sin))
    thick = max(1, round(rng.uniform(0.012, 0.05) * size))
    centres = [points[part].mean(0) + rng.uniform(0, 0.06) * size * down for part in (LEFT_EYE, RIGHT_EYE)]
    for centre in centres:
        rim = _fixed(centre + x[:, None] * width * across + y[:, None] * height * down)
        cv2.fillPoly(lenses, [rim], 255, cv2.LINE_AA, _SMOOTH)
        cv2.polylines(frame, [rim], True, 255, thick, cv2.LINE_AA, _SMOOTH)
    bridge = [centres[0] + width * across, centres[1] - width * across]
    arms = [[centres[0] - width * across, points[0]], [centres[1] + width * across, points[16]]]
    for a, b in (bridge, *arms):
        cv2.line(frame, _fixed(a).tolist(), _fixed(b).tolist(), 255, thick, cv2.LINE_AA, _SMOOTH)
    tint = rng.choice([rng.uniform(0, 0.15), rng.uniform(0.2, 0.6), rng.uniform(0.7, 0.97)], p=[0.6, 0.25, 0.15])
    out = _blend(picture, _colour(rng, 0, 90), lenses, tint)
    if rng.random() < 0.4:  # something mirrored in them
        at = centres[int(rng.integers(2))] + rng.uniform(-0.5, 0.5, 2) * [width, height]
        glare = np.zeros_like(lenses)
        axes = (max(1, int(0.5 * width)), max(1, int(0.2 * height)))
        cv2.ellipse(glare, at.round().astype(int).tolist(), axes, float(rng.uniform(0, 180)), 0, 360, 255, -1)
        out = _blend(out, np.full(3, 255, np.float32), cv2.min(glare, lenses), rng.uniform(0.2, 0.8))
    return _blend(out, _colour(rng, 0, 256 if rng.random() < 0.3 else 80), frame, rng.uniform(0.8, 1))


def _hair(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    strands: np.ndarray = cv2.GaussianBlur(rng.normal(0, 1, shape[:2]).astype(np.float32), (0, 0), 0.5, sigmaY=2.0)
    strands *= rng.uniform(10, 50) / max(float(strands.std()), 1e-3)
    return (
        _colour(rng, 0, 60) * rng.uniform(0.3, 1.5) + strands[..., None] + rng.choice([0, 20, 120], p=[0.5, 0.3, 0.2])
    )


def beard(picture: np.ndarray, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Hair over jaw, chin and upper lip; the lips stay free."""
    _, down, size = _axes(points)
    mask: np.ndarray = np.zeros(picture.shape[:2], np.uint8)
    jaw = points[2:15] + rng.uniform(0, 0.25) * size * down * np.sin(np.linspace(0, np.pi, 13))[:, None]
    top = rng.uniform(0, 1)
    upper = [(1 - top) * points[48] + top * points[31], points[33], (1 - top) * points[54] + top * points[35]]
    upper[1] = upper[1] + 0.04 * size * down
    cv2.fillPoly(mask, [_fixed(np.concatenate([jaw, upper[::-1]]))], 255, cv2.LINE_AA, _SMOOTH)
    mask = cv2.GaussianBlur(mask, (0, 0), max(0.5, 0.03 * size))
    cv2.fillPoly(mask, [_fixed(points[48:60])], 0, cv2.LINE_AA, _SMOOTH)
    return _blend(picture, _hair(rng, picture.shape), mask, rng.uniform(0.5, 1))


def covering(picture: np.ndarray, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A hat, a scarf or hair that comes down over the forehead and, for half of them, beside the face."""
    across, down, size = _axes(points)
    mask = np.zeros(picture.shape[:2], np.uint8)
    brow = (points[17:27]).mean(0)
    low = brow - rng.uniform(0.12, 0.4) * size * down
    brim = [low + side * across * size - rng.uniform(-0.1, 0.25) * size * down * abs(side) for side in (-1.3, 0, 1.3)]
    over = [low + side * across * size - 2.5 * size * down for side in (1.6, -1.6)]
    cv2.fillPoly(mask, [_fixed(np.array([*brim, *over]))], 255, cv2.LINE_AA, _SMOOTH)
    if rng.random() < 0.5:
        for outline, side in ((points[:6], -1), (points[11:17], 1)):
            edge = outline + side * rng.uniform(-0.1, 0.1) * size * across
            far = edge[::-1] + side * size * across
            cv2.fillPoly(mask, [_fixed(np.concatenate([edge, far]))], 255, cv2.LINE_AA, _SMOOTH)
    cloth = (
        _hair(rng, picture.shape) if rng.random() < 0.4 else _colour(rng) + rng.normal(0, 6, (*picture.shape[:2], 1))
    )
    return _blend(picture, cloth.astype(np.float32), mask, rng.uniform(0.9, 1))


WORN = {"glasses": glasses, "beard": beard, "covering": covering}
