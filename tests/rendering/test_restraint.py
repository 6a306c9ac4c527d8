"""How much of what the networks paint is taken."""

import numpy as np
import pytest
import torch

from fewshot_reenact.geometry.affine import invert, transform
from fewshot_reenact.geometry.face_frame import face_frame
from fewshot_reenact.geometry.topology import LEFT_EYE, LEFT_LIDS, LIP_PAIRS, MOUTH
from fewshot_reenact.rendering.restraint import taken
from painted_clips import face_points

SIDE = 96


@pytest.fixture
def points() -> torch.Tensor:
    """A face in its own frame, (1, 83, 2)."""
    where = face_points(200)
    return torch.from_numpy(transform(invert(face_frame(where, SIDE)), where).astype(np.float32))[None]


def test_all_of_it_where_the_head_looks_as_in_the_portrait(points) -> None:
    assert torch.equal(taken(points, torch.zeros(1), SIDE), torch.ones(1, 1, SIDE, SIDE))


def test_less_of_it_the_farther_the_head_turns_but_for_the_mouth(points) -> None:
    shares = taken(points.expand(4, -1, -1), torch.tensor([5.0, 10.0, 18.0, 40.0]), SIDE)[:, 0]
    assert shares.mean((1, 2)).diff().lt(0)[1:].all() and shares[0].min() == 1
    assert shares[3].min() < 0.01
    x, y = points[0, MOUTH].mean(0).round().long().tolist()
    assert (shares[:3, y, x] == 1).all()


def test_in_profile_a_shut_mouth_keeps_less_than_an_open_one(points) -> None:
    """What is beside it is ground, and is taken for its inside."""
    x, y = points[0, MOUTH].mean(0).round().long().tolist()
    shut, opened = points.clone(), points.clone()
    for upper, lower in LIP_PAIRS:
        middle = points[:, [upper, lower]].mean(1)
        shut[:, [upper, lower]] = middle[:, None]
        opened[:, lower, 1] = opened[:, upper, 1] + 0.12 * SIDE
    closed, wide = (float(taken(one, torch.tensor([40.0]), SIDE)[0, 0, y, x]) for one in (shut, opened))
    assert closed == pytest.approx(0.3, abs=0.02) and wide == pytest.approx(1)


def test_shut_eyes_keep_theirs(points) -> None:
    """The lids that a portrait has open are the networks'; what an open eye shows is the portrait's."""
    x, y = points[0, LEFT_EYE].mean(0).round().long().tolist()
    shut = points.clone()
    for upper, lower in LEFT_LIDS:
        shut[:, [upper, lower]] = shut[:, [upper, lower]].mean(1, keepdim=True)
    opened, closed = (float(taken(one, torch.tensor([40.0]), SIDE)[0, 0, y, x]) for one in (points, shut))
    assert opened < 0.35 and closed > 0.75
    half = points + 0.4 * (shut - points)
    assert opened < float(taken(half, torch.tensor([40.0]), SIDE)[0, 0, y, x]) < closed
