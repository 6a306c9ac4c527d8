"""How near the places of a turned face are, and what stands for the side that it hides."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fewshot_reenact.geometry.face_frame import face_frame
from fewshot_reenact.geometry.rotation import rotation_from
from fewshot_reenact.geometry.solid import HeadPose, head_shapes
from fewshot_reenact.geometry.topology import LEFT_LIDS, RIGHT_LIDS
from fewshot_reenact.motion.heads import HeadMotion, Lift, lift
from fewshot_reenact.rendering.solid.portrait import SolidPortrait, moving_box, placing
from fewshot_reenact.rendering.solid.relief import Relief
from fewshot_reenact.rendering.view import match_light

SIDE, SCALE = 400, 110.0


def head(yaw: float, pitch: float = 0.0) -> Lift:
    shapes = head_shapes()
    pose = HeadPose(
        rotation_from(np.array([yaw, pitch, 0.0])),
        np.float64(SCALE),
        np.array([200.0, 170.0]),
        np.zeros(len(shapes.identity)),
        np.zeros(len(shapes.expression)),
    )
    return lift(pose.placed()[:, :2].astype(np.float32))


def relief(own: Lift) -> Relief:
    solid = torch.from_numpy(own.solid[None]).float()
    pose = placing(own.pose)
    depth = torch.from_numpy(own.pose.placed(own.solid)[None, :, 2] / own.pose.scale).float()
    return Relief.of(solid, depth, pose.rotation, head_shapes().nearness)


@pytest.mark.parametrize(("yaw", "pitch"), [(0, 0), (30, -8), (-35, 5)])
def test_points_that_are_seen_have_their_own_depth(yaw, pitch):
    own = head(yaw, pitch)
    placed = own.pose.placed(own.solid)
    units = torch.from_numpy((placed[None, :, :2] - own.pose.translation) / own.pose.scale).float()
    found = relief(own).depth(units)[0].numpy()
    missed = found - placed[:, 2] / own.pose.scale
    assert (missed > -0.03).all()  # what is before a point may hide it; nothing is behind one
    middle = [*range(27, 31), *range(36, 42 if yaw > 0 else 36), *range(42, 48 if yaw < 0 else 42), 8]
    assert np.abs(missed[middle]).max() < 0.03


@pytest.mark.parametrize("yaw", [25.0, -35.0])
def test_no_second_nose_beside_a_nose_that_is_seen_from_the_side(yaw):
    """Beside the ridge, on the side that is seen, skin lies below it by as much as in the face seen from the front."""
    own, front = head(yaw), head(0.0)
    side = np.sign(yaw)  # a head that is turned to the right shows its left side, left of the ridge
    ridge = front.solid[29]
    across = np.array([0.08, 0.16, 0.24])[:, None] * np.array([-side, 0, 0])
    flank = ridge + across
    flat = torch.from_numpy(flank[None, :, :2]).float()
    flank[:, 2] = relief(front).over.look_up(relief(front).heights, flat[:, None])[0, 0, 0].numpy()
    shown = own.pose.placed(flank)
    units = torch.from_numpy((shown[None, :, :2] - own.pose.translation) / own.pose.scale).float()
    found = relief(own).depth(units)[0].numpy()
    assert found == pytest.approx(shown[:, 2] / own.pose.scale, abs=0.03)


def turned(own: Lift, yaw: float) -> HeadMotion:
    pose = replace(
        own.pose,
        rotation=(rotation_from(np.array([yaw, 0.0, 0.0])) @ own.pose.rotation)[None],
        scale=np.full(1, SCALE),
        translation=own.pose.translation[None],
        expression=own.pose.expression[None],
    )
    return HeadMotion(pose, own.solid[None])


def shares(matte: np.ndarray | None) -> np.ndarray:
    """How much of the mirror image is drawn, over the box, of a head that looks aside and is turned to the front."""
    own = head(30.0)
    box = moving_box(own, None, (SIDE, SIDE))
    motion = turned(own, -30.0)
    solid = SolidPortrait(own, box, box, 64, matte)
    warp = solid.warp(motion, face_frame(motion.points, 64))
    assert warp.mirror is not None
    return warp.mirror.box_share[0, 0].numpy()


def disc(reach: float) -> np.ndarray:
    y, x = np.mgrid[:SIDE, :SIDE]
    return (np.hypot(x - 165, y - 190) < reach).astype(np.float32)


def test_hair_of_the_hidden_side_is_that_of_the_other():
    share = shares(disc(125))
    rows, columns = share.shape
    above = share[rows // 4 : rows // 2]
    assert above[:, columns // 2 :].max() > 0.9  # the side that was hidden, now at the right
    assert above[:, : columns // 3].max() < 0.1


def test_without_a_matte_only_the_face_is_mirrored():
    """Ground would be, too."""
    above = slice(0, 15)  # rows over the brow
    assert shares(None)[above].max() < 0.1
    assert shares(disc(125))[above].max() > 0.8


def test_a_mirror_image_ends_before_the_edge_of_its_picture():
    """The straight line would be seen in the middle of the output."""
    everywhere = np.ones((SIDE, SIDE), np.float32)
    share = shares(everywhere)
    assert share.max() > 0.9
    assert np.abs(np.diff(share, axis=1)).max() < 0.75


def test_light_is_matched_without_burning_out():
    seen, other = torch.full((1, 3, 32, 32), 0.3), torch.full((1, 3, 32, 32), 0.0)
    visible = torch.ones(1, 1, 32, 32)
    visible[..., 16:] = 0
    other[..., 20:] = torch.linspace(-1, 1, 12)
    lit = other + match_light(seen, other, visible)
    assert lit.min() >= -1.001
    assert lit.max() <= 1.001
    assert lit[..., :14].mean() == pytest.approx(0.3, abs=0.06)
    assert (lit[..., 20:].diff(dim=-1) > 0).all()  # what was darker stays darker


def test_what_is_dark_in_a_shadow_stays_dark_in_the_light():
    """Skin goes from 0.4 to 0.6 of the light; a gamma curve would light the iris in it from 0.1 to 0.28."""
    seen, other = torch.full((1, 3, 32, 32), 0.2), torch.full((1, 3, 32, 32), -0.2)
    other[..., 15:17, 15:17] = -0.8
    lit = (other + match_light(seen, other, torch.ones(1, 1, 32, 32))) / 2 + 0.5
    assert float(lit[0, 0, 4, 4]) == pytest.approx(0.6, abs=0.02)
    assert 0.1 < float(lit[0, 0, 16, 16]) < 0.22


def test_a_mirror_image_does_what_the_hidden_side_is_to_do():
    """Where the hidden eye is to be nearly shut, so is the mirror image that is drawn in its place."""
    own = head(35.0)
    box = moving_box(own, None, (SIDE, SIDE))
    solid = SolidPortrait(own, box, box, 96, np.ones((SIDE, SIDE), np.float32))
    motion = turned(own, -45.0)
    lids = own.solid.copy()
    for upper, lower in LEFT_LIDS if hidden_is_left(own) else RIGHT_LIDS:
        middle = (lids[upper] + lids[lower]) / 2
        for lid in (upper, lower):
            lids[lid] = middle + 0.3 * (lids[lid] - middle)
    found = []
    for solid_points in (own.solid, lids):
        warp = solid.warp(HeadMotion(motion.pose, solid_points[None]), face_frame(motion.points, 96))
        assert warp.mirror is not None
        found.append(warp.mirror.face[0])
    moved = (found[0] - found[1]).norm(dim=-1)
    assert moved.max() > 1.5  # pixels of the portrait: it is another place of it that is shown


def hidden_is_left(own: Lift) -> bool:
    """Whether the hidden eye is the one of LEFT_LIDS."""
    across = own.solid[[pair[0] for pair in LEFT_LIDS], 0].mean()
    return bool(across * own.pose.rotation[0, 2] > 0)
