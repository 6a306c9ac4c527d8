"""What is painted in where something was taken out."""

import numpy as np
import pytest

from fewshot_reenact.rendering.completion import complete

SIZE = 128
MIDDLE = (slice(44, 84), slice(44, 84))


def holed(picture: np.ndarray) -> np.ndarray:
    hole = np.zeros(picture.shape[:2], bool)
    hole[MIDDLE] = True
    return hole


def none(picture: np.ndarray) -> np.ndarray:
    return np.zeros(picture.shape[:2], bool)


def stripes(period: int = 12) -> np.ndarray:
    x = np.arange(SIZE)
    level = np.where(x // (period // 2) % 2 == 0, 60, 190)
    picture = np.broadcast_to(level[None, :, None], (SIZE, SIZE, 3)).copy()
    return (picture + np.random.default_rng(0).integers(-6, 7, (SIZE, SIZE, 3))).astype(np.uint8)


def test_a_pattern_goes_on_through_the_hole():
    picture = stripes()
    hole = holed(picture)
    given = picture.copy()
    given[hole] = (255, 0, 0)  # what stood there leaves nothing
    made = complete(given, hole, none(picture))
    assert made.dtype == np.uint8 and np.array_equal(made[~hole], picture[~hole])
    off = np.abs(made[hole].astype(int) - picture[hole]).mean()
    assert off < 20, "a blur of both stripes would be off by 65"
    assert np.array_equal(made, complete(given, hole, none(picture))), "the same again"


def test_grain_stays_at_the_pictures_own_size():
    """A picture larger than the size at which patches are looked for."""
    grain = np.random.default_rng(1).normal(128, 25, (480, 480, 3)).clip(0, 255).astype(np.uint8)
    hole = np.zeros((480, 480), bool)
    hole[160:320, 160:320] = True
    made = complete(np.where(hole[..., None], 0, grain).astype(np.uint8), hole, hole & False)
    assert made[hole].std() > 0.45 * grain.std()
    assert abs(made[hole].mean() - 128) < 4


def test_nothing_is_learnt_from_what_is_barred():
    picture = np.full((SIZE, SIZE, 3), (90, 120, 90), np.uint8)
    barred = none(picture)
    barred[84:, 30:100] = True
    picture[barred] = (250, 20, 20)
    hole = holed(picture)
    made = complete(picture, hole, barred)
    assert np.abs(made[hole].astype(int) - (90, 120, 90)).max() <= 2
    assert np.array_equal(made[barred], picture[barred])


@pytest.mark.parametrize("side", [9, 40])
def test_with_too_little_to_learn_from_it_is_filled_smoothly(side):
    """Too few whole patches: small pictures, and those that are nearly all hole."""
    picture = np.full((side, side, 3), 77, np.uint8)
    hole = np.zeros((side, side), bool)
    hole[2:-2, 2:-2] = True
    picture[hole] = 255
    made = complete(picture, hole, hole & False)
    assert np.abs(made.astype(int) - 77).max() <= 2


def test_a_picture_that_is_all_hole_stays_finite():
    picture = np.full((30, 20, 3), 200, np.uint8)
    made = complete(picture, np.ones((30, 20), bool), np.zeros((30, 20), bool))
    assert made.shape == picture.shape
