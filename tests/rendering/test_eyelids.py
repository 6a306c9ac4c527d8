"""Lids that shut cover the eyeball, lashes go along, and eyes that stay as they are stay so."""

import numpy as np
import pytest
import torch

from fewshot_reenact.geometry.topology import LEFT_EYE, LEFT_LIDS, RIGHT_EYE, RIGHT_LIDS
from fewshot_reenact.motion.heads import HeadMotion
from fewshot_reenact.rendering.eyelids import Closing, Lids, eye_boxes
from fewshot_reenact.rendering.flow import face_flow, frame_places
from fewshot_reenact.rendering.head_flow import HeadFlow
from fewshot_reenact.rendering.solid.pairs import frames_of
from fewshot_reenact.rendering.solid.portrait import moving_box
from painted_eyes import SIDE, SIZE, at, face, held, solid_of

EYES = ((LEFT_EYE, LEFT_LIDS), (RIGHT_EYE, RIGHT_LIDS))


def opened(points: torch.Tensor, share: float) -> torch.Tensor:
    """The same with lids that are this share of their gap apart; the upper ones move."""
    there = points.clone()
    for _, lids in EYES:
        for upper, lower in lids:
            there[:, upper] = points[:, lower] + share * (points[:, upper] - points[:, lower])
    return there


def covered(points: torch.Tensor, there: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What lids add to a flow that does nothing, and the face frame."""
    frame = frames_of(there, SIZE)
    lids = Lids.between(there, points)
    return lids.cover(torch.zeros(1, 2, SIZE, SIZE), frame_places(frame, SIZE)), frame


@pytest.mark.parametrize("gap", [1.0, 0.4, 0.2])
def test_eyes_that_stay_as_they_are_change_nothing(gap):
    points = opened(face(), gap)  # wide open, narrow, nearly shut
    away, _ = covered(points, points)
    assert float(away.abs().max()) < 0.01


def test_nothing_of_the_eyeball_is_seen_where_lids_meet():
    points = face()
    away, frame = covered(points, opened(points, 0.15))
    places = frame_places(frame, SIZE).permute(0, 3, 1, 2) + away
    for eye, _ in EYES:
        corner, width = points[0, eye][0], float((points[0, eye][3] - points[0, eye][0]).norm())
        inside = (places[0] - corner[:, None, None]) / width
        near_middle = (inside[0] - 0.5).abs() < 0.25
        ball = near_middle & (inside[1].abs() < 0.14)  # lids are 0.16 widths from the line between the corners
        assert not ball.any()
        assert (near_middle & (inside[1] < -0.14) & (inside[1] > -0.5)).any(), "the lid's own skin is"


def test_lashes_go_with_the_lid_and_brows_stay():
    points = face()
    there = opened(points, 0.65)
    moves = Lids.between(there, points)
    places, wanted, widths = [], [], []
    for (eye, lids), first in zip(EYES, (17, 22), strict=True):
        widths.append(float((points[0, eye][3] - points[0, eye][0]).norm()))
        upper = [pair[0] for pair in lids]
        lashes = there[0, upper] - torch.tensor([0.0, 0.05 * widths[-1]])
        places.append(torch.cat([lashes, points[0, first : first + 5]]))
        wanted.append(points[0, upper] - there[0, upper])
    away = moves.covered(torch.zeros(2, 2, 7), torch.stack(places)).mT
    for one, want, width in zip(away, wanted, widths, strict=True):
        assert torch.allclose(one[:2], want, atol=0.02 * width)
        assert float(one[2:].abs().max()) < 0.05 * width


def test_an_eye_that_opens_farther_than_the_portraits_is_drawn_out():
    points = opened(face(), 0.5)
    wide = opened(points, 1.6)
    away, frame = covered(points, wide)
    for _, lids in EYES:
        upper, lower = lids[0]
        middle = (wide[0, upper] + wide[0, lower]) / 2
        wanted = (points[0, upper] + points[0, lower]) / 2 - middle
        assert torch.allclose(at(away, frame, middle), wanted, atol=0.6)


def test_lids_of_a_single_eye():
    points = face()
    there = points.clone()
    there[:, LEFT_EYE] = opened(points, 0.0)[:, LEFT_EYE]
    lids = Lids.between(there, points)
    assert lids.shut.tolist() == [[1.0, 0.0]]
    away, _ = covered(points, there)
    (rows, columns), (_, others) = eye_boxes(SIZE)
    assert float(away[..., rows, columns].abs().max()) > 3 > 0.01 > float(away[..., rows, others].abs().max())


def test_dense_motion_is_measured_with_lids_too():
    """Or what a lid hides would be taken for skin that moved."""
    points = face()
    shut, box = opened(points, 0.1), torch.tensor([[0.0, 0.0, SIDE - 1, SIDE - 1]])
    frame = frames_of(shut, SIZE)
    flow = face_flow(shut, points, frame, box, SIZE).permute(0, 3, 1, 2)
    upper, _ = LEFT_LIDS[0]
    width = float((points[0, LEFT_EYE][3] - points[0, LEFT_EYE][0]).norm())
    above = at(flow, frame, shut[0, upper] - torch.tensor([0.0, 0.08 * width]))
    assert float(above[1] - points[0, upper, 1]) < 0.05 * width


def test_at_full_resolution_no_pixel_shows_the_white_between_lids_that_meet():
    points = face()
    own, solid = solid_of(points)
    shut = opened(points, 0.1)
    moved = own.solid.copy()
    moved[:, :2] += (shut - points)[0].numpy() / float(own.pose.scale)
    frame = frames_of(shut, SIZE)
    warp = solid.warp(HeadMotion(held(own.pose), moved[None]), frame.numpy())
    assert warp.eyes is not None and bool((warp.shut > 0.99).all())
    for fine, (rows, columns) in zip(warp.eyes, eye_boxes(SIZE), strict=True):
        assert torch.equal(fine[:, :: solid.finer, :: solid.finer], warp.face[:, rows, columns])
    full = HeadFlow(moving_box(own, None, (SIDE, SIDE)), (SIDE, SIDE), np.ones((SIZE, SIZE), np.float32))
    given = frame[0].numpy().astype(float), warp.face[0].numpy(), warp.box[0].permute(1, 2, 0).numpy()
    closing = Closing.of(points[0].numpy(), warp.shut[0].numpy())
    eyes = tuple(eye[0].numpy() for eye in warp.eyes)
    flow = full.full(*given, None, closing=closing, eyes=eyes)
    for eye, _ in EYES:
        corner, width = points[0, eye][0].numpy(), float((points[0, eye][3] - points[0, eye][0]).norm())
        inside = (flow - corner) / width
        ball = (np.abs(inside[..., 0] - 0.5) < 0.25) & (np.abs(inside[..., 1]) < 0.12)
        assert not ball.any()
    assert Closing.of(points[0].numpy(), np.zeros(2)) is None
