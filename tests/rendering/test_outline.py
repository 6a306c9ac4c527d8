"""What a head's other side may add beyond its outline: nothing of a head that stays, a little of one that turns."""

import numpy as np
import torch

from fewshot_reenact.rendering.solid.outline import Outline
from fewshot_reenact.rendering.solid.splat import Grid
from painted_eyes import SIDE, face

SCALE = 60.0  # pixels an eye distance


def test_the_outline_grows_with_the_turn():
    onto = Grid.over((0, 0, SIDE - 1, SIDE - 1), (100, 100))
    points = face().numpy()
    row, left = int(points[0, 0, 1] / 4), points[0, :, 0].min() / float(onto.step[0])
    far = []
    for degrees in (-10, 0, 20, 40):
        outline = Outline.of(points, torch.deg2rad(torch.tensor([float(degrees)])), np.array([SCALE]), onto)
        there = outline.within(torch.zeros(1, 1, 100, 100))[0, 0]
        assert float(there[int(points[0, 27, 1] / 4), int(points[0, 27, 0] / 4)]) == 1, "a face is all there"
        assert float(there.min()) == 0
        far.append(left - float(torch.nonzero(there[row] > 0.5)[0]))
    assert abs(far[0] - far[1]) < 0.01 and far[1] < 3 < far[2] + 1 < far[3]
    assert abs(far[3] - far[1] - 1.3 * (1 - np.cos(np.deg2rad(40))) * SCALE / 4) < 1.5


def test_what_the_portrait_shows_of_the_person_counts_too():
    onto = Grid.over((0, 0, SIDE - 1, SIDE - 1), (100, 100))
    outline = Outline.of(face().numpy(), torch.zeros(1), np.array([SCALE]), onto)
    hair = torch.zeros(1, 1, 100, 100)
    hair[..., 2:5, 2:5] = 1
    before, after = outline.within(torch.zeros_like(hair)), outline.within(hair)
    assert float(before[..., 3, 3]) == 0 and float(after[..., 3, 3]) == 1


def test_there_is_no_bay_between_face_and_hair():
    onto = Grid.over((0, 0, SIDE - 1, SIDE - 1), (100, 100))
    points = face().numpy()
    outline = Outline.of(points, torch.zeros(1), np.array([SCALE]), onto)
    brow, left = (points[0, k] / float(onto.step[0]) for k in (21, 0))
    top = int(points[0, :, 1].min() / float(onto.step[0])) - 18  # hair that stands high above the right half
    hair = torch.zeros(1, 1, 100, 100)
    hair[..., top : int(brow[1]), int(brow[0]) : int(brow[0]) + 10] = 1
    there = outline.within(hair)[0, 0]
    bay = int((top + left[1]) / 2) + 3, int((brow[0] + left[0]) / 2) + 2
    assert float(hair[0, 0][bay]) == 0 and float(outline.within(torch.zeros_like(hair))[0, 0][bay]) == 0
    assert float(there[bay]) == 1
    beside = torch.zeros_like(hair)
    beside[..., -8:-4, 2:6] = 1  # a shoulder: no hull goes down to it
    assert float(outline.within(beside)[0, 0][-12, 8]) == 0
