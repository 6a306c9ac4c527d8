"""Irises go all of their way behind the lids, and the lids stay."""

import torch

from fewshot_reenact.geometry.topology import LEFT_EYE, LEFT_IRIS, RIGHT_IRIS
from fewshot_reenact.motion.heads import HeadMotion
from fewshot_reenact.rendering.flow import frame_places
from fewshot_reenact.rendering.solid.eyeballs import turn_eyeballs
from fewshot_reenact.rendering.solid.pairs import frames_of
from painted_eyes import EYES, SIZE, at, face, held, solid_of


def looking(points: torch.Tensor, by: float) -> torch.Tensor:
    """The same with both irises farther along their eyes by this share of their widths."""
    there = points.clone()
    for eye, iris in EYES:
        there[:, iris] += by * (points[:, eye][:, 3] - points[:, eye][:, 0])
    return there


def test_an_iris_comes_from_where_it_was_and_the_lids_do_not_move():
    points = face()
    there = looking(points, 0.18)
    frame = frames_of(there, SIZE)
    places = frame_places(frame, SIZE)
    away = turn_eyeballs(torch.zeros(1, 2, SIZE, SIZE), places, there, points)
    for eye, iris in EYES:
        width = float((points[0, eye][3] - points[0, eye][0]).norm())
        for across in (-0.1, 0.0, 0.1):  # the iris as it is, not drawn out
            along = points[0, eye][3] - points[0, eye][0]
            found = at(away, frame, there[0, iris] + across * along)
            assert torch.allclose(found, points[0, iris] - there[0, iris], atol=0.03 * width)
        for lid in there[0, eye]:
            assert float(at(away, frame, lid).norm()) < 0.05 * width
    outside = torch.ones(SIZE, SIZE, dtype=torch.bool)
    outside[int(0.15 * SIZE) : int(0.5 * SIZE)] = False
    assert not away[:, :, outside].any()


def test_what_the_spline_did_already_is_not_done_twice():
    points = face()
    there = looking(points, 0.12)
    frame = frames_of(there, SIZE)
    # All of the picture has moved as the irises have.
    gone = (points - there)[0, LEFT_IRIS].view(1, 2, 1, 1).expand(1, 2, SIZE, SIZE).contiguous()
    assert torch.allclose(turn_eyeballs(gone, frame_places(frame, SIZE), there, points), gone, atol=0.3)


def test_shut_eyes_keep_their_lids():
    points = face()
    shut = looking(points, 0.2)
    for eye, _ in EYES:
        a, b = shut[0, eye][0], shut[0, eye][3]
        for number, along in ((1, 0.3), (2, 0.7), (4, 0.7), (5, 0.3)):
            shut[0, eye.start + number] = a + along * (b - a)
    frame = frames_of(shut, SIZE)
    assert not turn_eyeballs(torch.zeros(1, 2, SIZE, SIZE), frame_places(frame, SIZE), shut, points).abs().gt(0.2).any()


def test_it_is_to_be_seen_in_the_flow_of_a_portrait():
    points = face()
    own, solid = solid_of(points)
    there = looking(points, 0.15)
    still = held(own.pose)
    moved = own.solid.copy()
    moved[[LEFT_IRIS, RIGHT_IRIS], :2] += (there - points)[0, [LEFT_IRIS, RIGHT_IRIS]].numpy() / float(own.pose.scale)
    frame = frames_of(there, SIZE)
    for solid_points, by in ((own.solid, 0.0), (moved, 0.15)):
        flow = solid.warp(HeadMotion(still, solid_points[None]), frame.numpy()).face.permute(0, 3, 1, 2)
        place = looking(points, by)[0, LEFT_IRIS]
        found = at(flow.float(), frame, place)
        width = float((points[0, LEFT_EYE][3] - points[0, LEFT_EYE][0]).norm())
        assert float((found - points[0, LEFT_IRIS]).norm()) < 0.03 * width
