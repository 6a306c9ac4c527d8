"""Hair that stands out beyond a matte: it goes with the head, and leaves no ghost on the ground."""

import cv2
import numpy as np
import pytest

from fewshot_reenact.motion.heads import lift
from fewshot_reenact.rendering.layers import Layers
from fewshot_reenact.rendering.strands import find_strands
from painted_clips import face_points

SIZE, HAIR, SKY = 320, (60, 40, 30), (150, 190, 230)


def head(strands: bool = True, grain: float = 2.0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A dark head before the sky with strands above it, its matte, which knows nothing of these, its points, and the
    places of the strands.
    """
    points = face_points(SIZE, scale=0.12)
    unit, middle = float(np.ptp(points[[36, 45], 0])), points.mean(0)
    picture = np.full((SIZE, SIZE, 3), SKY, np.uint8)
    matte, drawn = np.zeros((SIZE, SIZE), np.uint8), np.zeros((SIZE, SIZE), np.uint8)
    axes = (int(1.2 * unit), int(1.6 * unit))
    at = (int(middle[0]), int(middle[1]))
    cv2.ellipse(matte, at, axes, 0, 0, 360, 255, -1, cv2.LINE_AA)
    for degrees in range(200, 341, 10) if strands else ():
        way = np.array([np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))])
        begin, end = (middle + way * (np.array(axes) + far) for far in (-4, 0.35 * unit))
        cv2.line(drawn, *(tuple(int(16 * v) for v in p) for p in (begin, end)), 255, 1, cv2.LINE_AA, 4)
    for mask in (matte, drawn):
        share = mask[..., None] / 255
        picture = np.round(share * HAIR + (1 - share) * picture).astype(np.uint8)
    noise = np.random.default_rng(0).normal(0, grain, picture.shape)
    picture = np.clip(picture + noise, 0, 255).astype(np.uint8)
    return picture, matte.astype(np.float32) / 255, points, (drawn > 100) & (matte == 0)


def found(picture: np.ndarray, matte: np.ndarray, points: np.ndarray) -> np.ndarray:
    return find_strands(picture, matte, np.ones(matte.shape, bool), float(lift(points).pose.scale))


def test_strands_are_found_and_nothing_else():
    picture, matte, points, strands = head()
    share = found(picture, matte, points)
    assert strands.sum() > 150 and share[strands].mean() > 0.5
    assert not share[matte > 0.5].any()
    beside = cv2.dilate(strands.astype(np.uint8), np.ones((7, 7))) == 0
    assert share[beside & (matte == 0)].max() < 0.1
    assert not found(*head(strands=False)[:3]).any()


def test_lines_of_the_ground_stay():
    """A wire before which a head stands, and one beside it."""
    picture, matte, points, _ = head(strands=False)
    plain = picture.copy()
    y = int(points[:, 1].mean())
    cv2.line(picture, (0, y - 60), (SIZE, y - 70), HAIR, 1, cv2.LINE_AA)
    cv2.line(picture, (10, 10), (90, 14), HAIR, 1, cv2.LINE_AA)
    picture[matte > 0] = plain[matte > 0]
    assert found(picture, matte, points).max() < 0.1


def test_large_pictures_are_looked_at_smaller():
    picture, matte, points, strands = head()
    size = (6 * SIZE, 6 * SIZE)
    large = [cv2.resize(one, size, interpolation=cv2.INTER_LINEAR) for one in (picture, matte)]
    share = found(*large, points * 6)
    there = cv2.resize(strands.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    assert share.shape == large[1].shape and share.dtype == np.float32
    assert share[there & (large[1] < 0.5)].mean() > 0.35 and not share[large[1] >= 0.5].any()


def test_on_a_busy_ground_none_are_sought():
    picture, matte, points, _ = head()
    rng = np.random.default_rng(1)
    for _ in range(250):
        a, b = rng.integers(0, SIZE, 2), rng.integers(-25, 25, 2)
        cv2.line(picture, tuple(map(int, a)), tuple(map(int, a + b)), HAIR, 1, cv2.LINE_AA)
    assert not found(picture, matte, points).any()


@pytest.mark.parametrize("behind", [None, (0, 0, 0)])
def test_they_go_with_the_head(behind: tuple[int, int, int] | None):
    picture, matte, points, strands = head()
    ground = None if behind is None else np.full_like(picture, behind)
    layers = Layers.of(picture, matte, lift(points), ground)
    assert layers.person[..., 3][strands].mean() > 120
    away = np.linalg.norm(layers.ground[strands].astype(float) - (SKY if behind is None else behind), axis=1)
    assert away.mean() < 12, "the ground is without them"
    if behind is None:
        assert np.abs(layers.whole()[strands].astype(float) - picture[strands]).mean() < 8
