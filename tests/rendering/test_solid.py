"""The head as a solid: surfaces, the inverse of a turn that folds, the warp of portraits and of training pairs."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fewshot_reenact.geometry.face_frame import face_frame
from fewshot_reenact.geometry.rotation import angle_between, rotation_from
from fewshot_reenact.geometry.solid import HeadPose, fit_head, fit_track, head_shapes
from fewshot_reenact.geometry.topology import FLIP, eye_distance
from fewshot_reenact.motion.heads import HeadMotion, Lift, lift
from fewshot_reenact.rendering.solid.fit import fit_heads
from fewshot_reenact.rendering.solid.pairs import frames_of, solid_view
from fewshot_reenact.rendering.solid.portrait import SolidPortrait, moving_box
from fewshot_reenact.rendering.solid.splat import Grid, invert_map, refine_inverse
from fewshot_reenact.rendering.solid.surface import PIVOT

SIZE, SCALE = 400, 60.0
RNG = np.random.default_rng(0)


def head(
    angles: tuple[float, float, float], *, expression: float = 0.0, at: tuple[float, float] = (200, 180)
) -> HeadPose:
    shapes = head_shapes()
    who = np.random.default_rng(1).normal(0, 0.7, len(shapes.identity))
    does = expression * np.random.default_rng(2).normal(0, 1, len(shapes.expression))
    return HeadPose(rotation_from(np.array(angles, float)), np.float64(SCALE), np.array(at, float), who, does)


def points(angles: tuple[float, float, float] = (0, 0, 0), **more) -> np.ndarray:
    return head(angles, **more).placed()[:, :2].astype(np.float32)


def turned(own: Lift, angles: list[tuple[float, float, float]]) -> HeadMotion:
    """The portrait's head turned by these angles where it is."""
    count = len(angles)
    pose = replace(
        own.pose,
        rotation=rotation_from(np.array(angles, float)) @ own.pose.rotation,
        scale=np.full(count, float(own.pose.scale)),
        translation=np.tile(own.pose.translation, (count, 1)),
        expression=np.tile(own.pose.expression, (count, 1)),
    )
    return HeadMotion(pose, np.tile(own.solid, (count, 1, 1)))


def portrait(angles: tuple[float, float, float] = (0, 0, 0)) -> SolidPortrait:
    own = lift(points(angles))
    box = moving_box(own, None, (SIZE, SIZE))
    return SolidPortrait(own, box, box, 64)


# ---- heads on any device


def test_heads_fitted_in_batches_are_those_fitted_one_by_one():
    faces = np.stack([points((a, b, c), expression=1) for a, b, c in ((0, 0, 0), (25, -5, 10), (-40, 8, -20))])
    faces += RNG.normal(0, 0.6, faces.shape).astype(np.float32)
    found = fit_heads(torch.from_numpy(faces))
    for k, face in enumerate(faces):
        one = fit_head(face)
        assert angle_between(one.rotation, found.pose.rotation[k].double().numpy()) < 0.05
        assert np.allclose(found.rest[k], one.rest(), atol=1e-4)
        assert np.allclose(found.depth[k], one.placed()[:, 2] / one.scale, atol=1e-3)
        assert np.allclose(found.pose.translation[k], one.translation, atol=0.01)
    other = np.stack([points((10, 3, 0))])
    again, track = fit_heads(torch.from_numpy(other), found.rest[:1]), fit_track(other, fit_head(faces[0]).identity)
    assert angle_between(track.rotation[0], again.pose.rotation[0].double().numpy()) < 0.05


def test_face_frames_as_tensors():
    faces = np.stack([points((0, 0, 0)), points((30, 5, 25)), points((-20, -12, -40))])
    assert np.allclose(frames_of(torch.from_numpy(faces), 96), face_frame(faces, 96), atol=1e-3)
    with pytest.raises(ValueError, match="must be"):
        frames_of(torch.zeros(1, 68, 2), 96)


# ---- the inverse of a map


def grid_of(side: int = 21) -> Grid:
    return Grid.over((0.0, 0.0, side - 1.0, side - 1.0), (side, side))


def test_a_map_that_does_nothing_is_its_own_inverse():
    nodes = grid_of()
    there = torch.cat([nodes.places(), torch.zeros(1, 441, 1)], -1)
    seen = invert_map(there, nodes, nodes, torch.ones(1))
    assert torch.allclose(seen.where.view(1, -1, 2), nodes.places(), atol=1e-5)
    assert (seen.visible > 0.999).all() and (seen.covered > 0.999).all()


def test_what_is_nearer_hides_what_is_behind():
    """The right half is put over the left one: nearer it is seen there, farther the left one stays."""
    nodes = grid_of()
    places = nodes.places()
    right = (places[..., 0] > 10).float()
    for depth, wanted in ((1.0, 15.0), (-1.0, 5.0)):
        there = torch.cat([places - right[..., None] * torch.tensor([10.0, 0]), depth * right[..., None]], -1)
        seen = invert_map(there, nodes, nodes, torch.ones(1))
        assert float(seen.where[0, 10, 5, 0]) == pytest.approx(wanted, abs=0.2)
        assert float(seen.covered[0, 0, 10, 16]) == 0, "and where it was there is nothing"


def test_what_is_drawn_out_is_known_and_has_no_gaps():
    nodes = grid_of()
    there = torch.cat(
        [nodes.places() * torch.tensor([3.0, 1.0]) - torch.tensor([20.0, 0.0]), torch.zeros(1, 441, 1)], -1
    )
    seen = invert_map(there, nodes, nodes, torch.ones(1))
    inner = seen.visible[0, 0, 3:-3, 3:-3]
    assert (
        torch.allclose(inner, torch.full_like(inner, 1 / 3), atol=0.05) and (seen.covered[..., 3:-3, 3:-3] > 0.9).all()
    )
    forward = there[..., :2].view(1, 21, 21, 2).permute(0, 3, 1, 2)
    fine = refine_inverse(seen.where, nodes.places().view(1, 21, 21, 2), forward, nodes)
    assert torch.allclose(fine[0, 10, :, 0], (torch.arange(21.0) + 20) / 3, atol=1e-3)


def test_what_is_seen_from_behind_is_not_drawn():
    nodes = grid_of()
    there = torch.cat(
        [nodes.places() * torch.tensor([-1.0, 1.0]) + torch.tensor([20.0, 0.0]), torch.zeros(1, 441, 1)], -1
    )
    assert (invert_map(there, nodes, nodes, torch.ones(1)).covered == 0).all()
    assert (invert_map(there, nodes, nodes, torch.ones(1), torch.ones(1, 441)).covered > 0.99).all(), (
        "in a mirror it is"
    )


def test_the_inverse_is_made_exact():
    nodes = grid_of()
    forward = nodes.places() + 0.8 * torch.sin(nodes.places() / 3).flip(-1)
    values = forward.view(1, 21, 21, 2).permute(0, 3, 1, 2)
    wanted = torch.tensor([[[[9.3, 11.7], [5.5, 6.5]]]])
    found = refine_inverse(wanted.clone(), wanted, values, nodes, rounds=12)
    assert torch.allclose(nodes.look_up(values, found).permute(0, 2, 3, 1), wanted, atol=1e-3)


# ---- portraits


@pytest.mark.parametrize("angles", [(0, 0, 0), (-25, 6, 8)])
def test_at_rest_every_pixel_is_its_own(angles):
    one = portrait(angles)
    motion = turned(one.lift, [(0, 0, 0)])
    frame = face_frame(motion.points, 64)
    made = one.warp(motion, frame)
    y, x = np.mgrid[:64, :64]
    here = np.stack([x, y], -1).reshape(-1, 2) @ frame[0, :, :2].T + frame[0, :, 2]
    assert np.abs(made.face[0].numpy().reshape(-1, 2) - here).max() < 0.02
    assert float(made.visible.min()) > 0.97 and float(made.box.abs().max()) < 0.02 and made.mirror is None


@pytest.mark.parametrize("own", [(0, 0, 0), (-18, 0, 5)])
@pytest.mark.parametrize("turn", [(15, 0, 0), (-15, 5, 10), (25, -5, 0), (0, 12, 0)])
def test_the_points_go_where_the_turned_head_has_them(own, turn):
    one = portrait(own)
    motion = turned(one.lift, [turn])
    wanted = motion.points[0]
    made = one.warp(motion, face_frame(motion.points, 64))
    onto = one.onto
    visible = onto.look_up(made.covered, torch.from_numpy(wanted)[None, None])[0, 0, 0].numpy()
    away = onto.look_up(made.box, torch.from_numpy(wanted)[None, None])[0, :, 0].T.numpy()
    miss = np.linalg.norm(wanted + away - one.points[0].numpy(), axis=1) / eye_distance(one.points[0].numpy())
    inner = np.r_[17:68]  # brows, nose, eyes, mouth
    assert np.median(miss[inner]) < 0.02 and np.quantile(miss[inner], 0.8) < 0.08 and visible[inner].min() > 0.5


def test_outside_the_head_nothing_moves():
    one = portrait()
    made = one.warp(turned(one.lift, [(30, 0, 0)]), face_frame(turned(one.lift, [(30, 0, 0)]).points, 64))
    for edge in (made.box[..., 0, :], made.box[..., -1, :], made.box[..., 0], made.box[..., -1]):
        assert float(edge.abs().max()) < 0.1 * SCALE / 10


def test_the_mirror_image_stands_for_the_hidden_side_alone():
    """A head that looks to the left turns to the right: the side that comes into view is mirrored."""
    one = portrait((-25, 0, 0))
    motion = turned(one.lift, [(40, 0, 0)])
    made = one.warp(motion, face_frame(motion.points, 64))
    assert made.mirror is not None
    share = made.mirror.face_share[0, 0].numpy()
    assert share[24:44, 4:20].mean() > 0.3 > 0.1 > share[24:44, 40:60].mean()
    # It shows what is on the other side: near the mirrored points.
    cheek = motion.points[0, [3, 4]].mean(0)
    where = one.onto.look_up(made.mirror.box, torch.from_numpy(cheek)[None, None, None])[0, :, 0, 0].numpy() + cheek
    other = one.points[0].numpy()[FLIP[[3, 4]]].mean(0)
    assert np.linalg.norm(where - other) < 0.25 * SCALE


def test_the_box_holds_the_head_wherever_it_goes():
    own = lift(points())
    x0, y0, x1, y1 = moving_box(own, None, (SIZE, SIZE))
    assert x0 < 100 and x1 > 300 and 0 <= y0 < 60 and y1 <= SIZE
    motion = turned(own, [(0, 0, 0)])
    gone = HeadMotion(replace(motion.pose, translation=motion.pose.translation + np.array([100, 0])), motion.solid)
    assert moving_box(own, gone, (1000, 1000))[2] > x1 + 90
    away = HeadMotion(replace(motion.pose, translation=motion.pose.translation + np.array([9000, 0])), motion.solid)
    x0, y0, x1, y1 = moving_box(own, away, (SIZE, SIZE))
    assert 0 <= x0 < x1 <= SIZE and 0 <= y0 < y1 <= SIZE


# ---- pairs of training


def test_pairs_see_what_portraits_see():
    """The same head by points alone, on tensors: the same flow as by the portrait's own class."""
    own, wanted = points((-10, 0, 0)), points((12, 3, 5), expression=0.3)
    driver, face = torch.from_numpy(wanted)[None], torch.from_numpy(own)[None]
    frame = frames_of(driver, 64)
    pictures = torch.rand(1, 3, SIZE, SIZE) * 2 - 1
    view, visible = solid_view(driver, face, frame, pictures, 64)
    assert view.flow.shape == (1, 64, 64, 2) and visible.shape == (1, 1, 64, 64) and float(visible.mean()) > 0.8
    one = lift(own)
    box = (0, 0, SIZE, SIZE)
    motion = HeadMotion.of(wanted[None], one)
    same = SolidPortrait(one, box, box, 64).warp(motion, face_frame(wanted, 64)[None])
    apart = (view.flow - same.face).norm(dim=-1)[0].numpy() / SCALE
    assert np.median(apart) < 0.01 and np.quantile(apart, 0.95) < 0.05


def test_a_pair_of_one_picture_is_that_picture():
    own = torch.from_numpy(points((20, 0, 0)))[None]
    frame = frames_of(own, 48)
    view, visible = solid_view(own, own, frame, torch.rand(1, 3, SIZE, SIZE), 48)
    y, x = torch.meshgrid(torch.arange(48.0), torch.arange(48.0), indexing="ij")
    here = torch.stack([x, y], -1) @ frame[0, :, :2].T + frame[0, :, 2]
    assert float((view.flow[0] - here).norm(dim=-1).max()) < 0.6 and float(visible.min()) > 0.9


# ---- below the chin


def test_shoulders_go_a_part_of_the_heads_way_and_do_not_turn_with_it():
    one = portrait()
    own = one.lift
    motion = turned(own, [(0, 0, 0), (0, 0, 0), (30, 0, 0)])
    motion.pose.translation[1] += (0.5 * SCALE, 0)
    motion.pose.translation[2] += SCALE * ((own.pose.rotation - motion.pose.rotation[2]) @ PIVOT)[:2]
    frames = one.warp(motion, face_frame(motion.points, 64))
    chin = own.points[8]
    for below, least, most in ((0.5, 0.55, 0.95), (0.8, 0.3, 0.95), (1.7, -0.01, 0.1)):
        place = torch.tensor([[[[chin[0] + 0.35 * SCALE, chin[1] + below * SCALE]]]], dtype=torch.float32)
        offset = one.onto.look_up(frames.box, place.expand(3, -1, -1, -1))[:, 0, 0, 0] / SCALE
        assert abs(float(offset[0])) < 0.01
        assert least * 0.5 <= -float(offset[1]) <= most * 0.5, below
        assert abs(float(offset[2])) < 0.02, "a turn about the neck's top"
