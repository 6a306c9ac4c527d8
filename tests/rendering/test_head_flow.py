"""The flow at full resolution: where a head folds over what is behind it, a place is of the one or of the other."""

import numpy as np
import pytest

from fewshot_reenact.rendering.head_flow import HeadFlow, without_seams
from fewshot_reenact.rendering.paste import soften_leaps

SIZE, PLACES = 128, 17
CELL = (SIZE - 1) / (PLACES - 1)
NOWHERE = np.array([[1e-3, 0, -1e5], [0, 1e-3, -1e5]])  # a face frame outside of the picture


def flow_of(box: np.ndarray) -> np.ndarray:
    """The offsets that HeadFlow makes of a grid's, (SIZE, SIZE, 2)."""
    head = HeadFlow((0, 0, SIZE, SIZE), (SIZE, SIZE), np.zeros((16, 16), np.float32))
    return head.full(NOWHERE, np.zeros((8, 8, 2), np.float32), box.astype(np.float32), None) - head.here


@pytest.mark.parametrize("axis", [0, 1])
def test_what_lies_between_the_two_sides_is_not_drawn(axis: int) -> None:
    """Along x, or along y: an edge that bulges, before it an offset of -20 pixels, behind it 20."""
    side = np.arange(PLACES)
    behind = side[None, :] > 8 + 2 * np.sin(side / 5)[:, None]
    box = np.zeros((PLACES, PLACES, 2))
    box[..., 0] = np.where(behind, 20, -20)
    if axis:
        box = box.transpose(1, 0, 2)[..., ::-1]
    made = flow_of(box)[..., axis]
    between = np.abs(made) < 14
    assert between.mean() < 0.01, "hardly a pixel looks between the two sides"
    across = np.arange(SIZE) / CELL
    where = made > 0 if axis == 0 else (made > 0).T
    edge = SIZE - where.sum(1)
    assert np.abs(edge / CELL - 0.5 - 8 - 2 * np.sin(across / 5)).max() < 1.1, "and the edge is where it was"


def test_smooth_motion_stays_what_it_is() -> None:
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32) / SIZE
    moved = np.stack([20 * np.sin(3 * x) * np.cos(2 * y), 15 * x * y], -1)
    assert without_seams(moved, CELL) is moved
    stretched = np.stack([-40 * np.clip(4 * x - 1.5, 0, 1), 0 * x], -1)  # a place of the portrait drawn out over many
    assert without_seams(stretched, CELL) is stretched


def test_a_strand_between_two_leaps_stays() -> None:
    box = np.zeros((PLACES, PLACES, 2))
    box[:, :7, 0], box[:, 7:9, 0], box[:, 9:, 0] = -25, 0, 25
    made = flow_of(box)[SIZE // 2, :, 0]
    assert (np.abs(made) < 3).sum() >= 0.8 * CELL


def test_where_a_flow_leaps_the_picture_is_drawn_softly() -> None:
    """Two lids that meet in a slanted line: no stair, the same on average; beside the line nothing, nor without one."""
    y, x = np.mgrid[:60, :80].astype(np.float32)
    below = y > 20 + 0.25 * x
    flow = np.stack([x, np.where(below, y, y - 12)], -1)
    stair = np.where(below[..., None], np.uint8(220), np.uint8(20)).repeat(3, 2)
    made = stair.copy()
    soften_leaps(made, flow)
    middle = made[:, 2:-2, 0].astype(float)
    edge = 20 + 0.25 * np.arange(2, 78)
    levels = (220 - middle).sum(0) / 200  # how high the dark part is, in pixels
    old = (220 - stair[:, 2:-2, 0].astype(float)).sum(0) / 200
    assert np.abs(np.diff(old)).max() == 1, "a stair"
    assert np.abs(levels - edge - 0.5).mean() < 0.35 and np.abs(np.diff(levels)).max() < 0.5
    far = np.abs(y - 20 - 0.25 * x) > 6
    assert (made[far] == stair[far]).all() and ((made > 40) & (made < 200)).sum() > 100
    still = stair.copy()
    soften_leaps(still, np.stack([x, y], -1))
    assert (still == stair).all()
