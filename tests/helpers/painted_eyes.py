"""A head of 83 points with eyes that are open by a third of their width, and what is asked about it."""

from dataclasses import replace

import numpy as np
import torch

from fewshot_reenact.geometry.rotation import rotation_from
from fewshot_reenact.geometry.solid import HeadPose, head_shapes
from fewshot_reenact.geometry.topology import LEFT_EYE, LEFT_IRIS, RIGHT_EYE, RIGHT_IRIS
from fewshot_reenact.motion.heads import Lift, lift
from fewshot_reenact.rendering.solid.portrait import SolidPortrait, moving_box
from fewshot_reenact.rendering.warp import sample

SIDE, SIZE = 400, 128
EYES = ((LEFT_EYE, LEFT_IRIS), (RIGHT_EYE, RIGHT_IRIS))


def face() -> torch.Tensor:
    """(1, 83, 2) pixels, with eyes that are open by a third of their width."""
    shapes = head_shapes()
    pose = HeadPose(
        rotation_from(np.zeros(3)), np.float64(60.0), np.array([200.0, 180.0]),
        np.zeros(len(shapes.identity)), np.zeros(len(shapes.expression)),
    )  # fmt: skip
    points = pose.placed()[None, :, :2].astype(np.float32)
    for eye, iris in EYES:
        a, b = points[0, eye][0], points[0, eye][3]
        across, down = b - a, np.array([-(b - a)[1], (b - a)[0]])
        for at, height in ((1, -0.16), (2, -0.16), (4, 0.16), (5, 0.16)):
            along = {1: 0.3, 2: 0.7, 4: 0.7, 5: 0.3}[at]
            points[0, eye.start + at] = a + along * across + height * down
        points[0, iris] = (a + b) / 2
    return torch.from_numpy(points)


def at(field: torch.Tensor, frame: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    """A field (1, 2, S, S) over a face frame at a place (2,) of the picture."""
    linear, shift = frame[0, :, :2], frame[0, :, 2]
    inside = torch.linalg.solve(linear, place - shift)
    return sample(field, inside.view(1, 1, 1, 2))[0, :, 0, 0]


def solid_of(points: torch.Tensor) -> tuple[Lift, SolidPortrait]:
    """The portrait's head, and the portrait with a box that may move about it."""
    own = lift(points[0].numpy())
    box = moving_box(own, None, (SIDE, SIDE))
    return own, SolidPortrait(own, box, box, SIZE)


def held(pose: HeadPose) -> HeadPose:
    """A pose of one picture as a motion of one frame."""
    return replace(
        pose,
        rotation=pose.rotation[None],
        scale=np.full(1, float(pose.scale)),
        translation=pose.translation[None],
        expression=pose.expression[None],
    )
