"""The analytic warp: what it keeps, what it moves, that it does not fold; sampling."""

import itertools

import cv2
import numpy as np
import pytest
import torch

from fewshot_reenact.geometry.face_frame import face_frame
from fewshot_reenact.geometry.topology import INNER_LIP, LEFT_LIDS, LIP_PAIRS, MOUTH
from fewshot_reenact.models.reenactor import Correction
from fewshot_reenact.rendering.flow import apply_affine, displace, enlarge_flow, face_flow, to_signed
from fewshot_reenact.rendering.view import View
from fewshot_reenact.rendering.warp import fit_warp, grid, sample
from painted_clips import face_points, paint_face

SIZE = 128
BOX = torch.tensor([[0.0, 0.0, SIZE - 1, SIZE - 1]])


def points(**state: float) -> torch.Tensor:
    return torch.from_numpy(face_points(SIZE, **state))[None]  # type: ignore[arg-type]


def everywhere() -> torch.Tensor:
    return grid(SIZE, SIZE)[None]


def area_of_cells(flow: torch.Tensor) -> torch.Tensor:
    """Signed area in the portrait of each output pixel; negative where the warp folds."""
    along = flow[:, :-1, 1:] - flow[:, :-1, :-1]
    down = flow[:, 1:, :-1] - flow[:, :-1, :-1]
    return along[..., 0] * down[..., 1] - along[..., 1] * down[..., 0]


def test_equal_points_move_nothing():
    flow = fit_warp(points(), points(), BOX)(everywhere())
    assert (flow - everywhere()).abs().max() < 0.01


def test_the_border_of_the_box_stays():
    box = torch.tensor([[10.0, 4.0, 120.0, 125.0]])
    spline = fit_warp(points(opened=0.4, angle=0.2), points(), box)
    along = torch.linspace(0, 1, 50)[:, None]
    corners = torch.tensor([[10.0, 4.0], [120, 4], [120, 125], [10, 125], [10, 4]])
    edge = torch.cat([a + (b - a) * along for a, b in itertools.pairwise(corners)])[None]
    moved = (spline(edge) - edge).norm(dim=-1).max()
    inside = (spline(points()) - points()).norm(dim=-1).max()
    assert moved < 0.5 < 8 < inside


def test_the_face_goes_where_the_driver_is():
    """Backward: at the driver's points stand the portrait's."""
    there = points(at=(0.56, 0.40))
    spline = fit_warp(there, points(), BOX)
    error = (spline(there) - points()).norm(dim=-1)
    assert error[0, 17:68].max() < 0.3, "brows, eyes, nose, mouth"
    assert error.max() < 3, "the outline, which no detector knows well, may be missed"
    assert (spline(there) - there).norm(dim=-1).min() > 5
    portrait = paint_face(face_points(SIZE), SIZE)
    flow = spline(everywhere()).view(1, SIZE, SIZE, 2)
    seen = sample(torch.from_numpy(portrait).permute(2, 0, 1)[None].float(), flow)[0].permute(1, 2, 0).numpy()
    x, y = 46, 40  # the inner face, eyes to mouth
    dx, dy = round(0.06 * SIZE), round(-0.02 * SIZE)
    moved = np.abs(seen[y + dy : y + dy + 40, x + dx : x + dx + 36] - portrait[y : y + 40, x : x + 36]).mean()
    still = np.abs(seen[y : y + 40, x : x + 36] - portrait[y : y + 40, x : x + 36]).mean()
    assert moved < 0.3 * still


@pytest.mark.parametrize("state", [{"opened": 0.35}, {"closed": 0.8}, {"angle": 0.25}, {"scale": 0.22}, {"wide": 0.8}])
def test_landmarks_land_near_their_targets(state):
    driver, portrait = points(**state), points()
    missed = (fit_warp(driver, portrait, BOX)(driver) - portrait).norm(dim=-1)[0]
    eyes = 1.4 * 0.19 * SIZE  # outer corners, pixels
    assert missed[17:68].mean() < 0.015 * eyes and missed[17:68].max() < 0.08 * eyes


@pytest.mark.parametrize("opened", [0.1, 0.3])
def test_closing_lips_and_lids_do_not_fold(opened):
    """Points that were apart meet: an exact spline would turn the strip between them inside out."""
    portrait = points(opened=opened)
    driver = points(closed=1.0)
    for up, low in LIP_PAIRS:
        driver[:, up] = driver[:, low] = (driver[:, up] + driver[:, low]) / 2
    flow = fit_warp(driver, portrait, BOX)(everywhere()).view(1, SIZE, SIZE, 2)
    area = area_of_cells(flow)
    assert area.min() > -0.3 and (area < 0).float().mean() < 0.004
    lips = flow[0][tuple(driver[0, INNER_LIP].mean(0).round().long().flip(0))]
    assert portrait[0, MOUTH].amin(0)[1] < lips[1] < portrait[0, MOUTH].amax(0)[1]


def test_a_batch_is_the_same_as_one_by_one():
    drivers = torch.cat([points(opened=0.3), points(angle=0.2), points(closed=1.0)])
    portraits = torch.cat([points(), points(scale=0.17), points(opened=0.1)])
    boxes = torch.tensor([[0.0, 0, 127, 127], [5, 5, 120, 120], [0, 0, 100, 127]])
    together = fit_warp(drivers, portraits, boxes)(everywhere().expand(3, -1, -1))
    for i in range(3):
        one = slice(i, i + 1)
        assert torch.allclose(
            fit_warp(drivers[one], portraits[one], boxes[one])(everywhere()), together[one], atol=1e-3
        )


def test_lids_are_where_they_should_be_at_every_scale():
    """The system is solved in units of the box: a picture ten times as large has the same warp, ten times as large."""
    small = fit_warp(points(closed=0.5), points(), BOX)(points())
    large = fit_warp(10 * points(closed=0.5), 10 * points(), 10 * BOX)(10 * points())
    assert torch.allclose(large / 10, small, atol=1e-3)
    assert (small - points())[0, LEFT_LIDS[0][0]].norm() > 0.3


@pytest.mark.parametrize("shape", [(1, 68, 2), (83, 2), (1, 83, 3)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"points must both be \(B, 83, 2\)"):
        fit_warp(torch.zeros(shape), torch.zeros(shape), BOX)
    with pytest.raises(ValueError, match="points must both be"):
        fit_warp(points(), points()[0], BOX)


def test_sampling_is_opencvs():
    rng = np.random.default_rng(0)
    picture = rng.uniform(0, 255, (20, 30, 3)).astype(np.float32)
    where = rng.uniform(-5, 35, (9, 7, 2)).astype(np.float32)
    where = np.round(where * 32) / 32  # OpenCV knows a 32nd of a pixel
    want = cv2.remap(picture, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    got = sample(torch.from_numpy(picture).permute(2, 0, 1)[None], torch.from_numpy(where)[None])
    assert got.shape == (1, 3, 9, 7) and np.abs(got[0].permute(1, 2, 0).numpy() - want).max() < 0.02


def test_grids_and_matrices():
    assert grid(3, 5).tolist()[:4] == [[0, 0], [2, 0], [4, 0], [0, 2]]
    matrix = torch.tensor([[[2.0, 0, 1], [0, 3, -1]], [[1, 0, 0], [0, 1, 0]]])
    assert apply_affine(matrix, torch.tensor([[[1.0, 1.0]]])).tolist() == [[[3, 2]], [[1, 1]]]
    assert to_signed(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1, 1]


def test_the_flow_of_the_face_frame_is_the_warp_in_that_frame():
    """It is computed on a coarse grid and enlarged; that must not cost more than a fraction of a pixel."""
    driver, portrait = points(opened=0.3, angle=0.1), points()
    frame = torch.from_numpy(face_frame(driver[0].numpy(), 64)).float()[None]
    flow = face_flow(driver, portrait, frame, BOX, 64)
    exact = fit_warp(driver, portrait, BOX)(apply_affine(frame, grid(64, 64)[None])).view(1, 64, 64, 2)
    # Cubic convolution ripples by a twentieth of a cell; lips that part between two cells are known less well.
    assert (flow - exact).norm(dim=-1).mean() < 0.15 and (flow - exact).norm(dim=-1).max() < 1.5


def test_an_affine_flow_is_enlarged_exactly():
    frame = torch.tensor([[[1.5, -0.3, 7.0], [0.3, 1.5, -2.0]]])
    coarse = apply_affine(frame, grid(9, 64)[None]).view(1, 9, 9, 2)
    assert torch.allclose(
        enlarge_flow(coarse, frame, 64).reshape(1, -1, 2), apply_affine(frame, grid(64, 64)[None]), atol=1e-4
    )


def test_a_shift_moves_what_is_seen_and_colour_is_added():
    """What belongs at a place stands `shift` from it in the uncorrected warp; the picture is sampled once."""
    picture = torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    frame = torch.tensor([[[1.5, 0.0, 10.25], [0.0, 1.5, 12.25]]])
    flow = apply_affine(frame, grid(64, 64)[None]).view(1, 64, 64, 2)
    warped, shift = sample(picture, flow), torch.zeros(1, 2, 64, 64)
    shift[:, 0], shift[:, 1] = 2.5, -1.0
    out = View(flow).corrected(picture, warped, Correction(torch.full((1, 3, 64, 64), 0.25), shift))
    want = sample(picture, flow + torch.tensor([1.5 * 2.5, 1.5 * -1.0])) + 0.25
    inner = (..., slice(4, -4), slice(4, -4))
    assert torch.allclose(out[inner], want[inner], atol=1e-4)
    assert not torch.allclose(displace(warped, shift)[inner] + 0.25, want[inner], atol=0.02), "twice sampled is blurred"
    assert torch.equal(View(flow).corrected(picture, warped, Correction(torch.zeros_like(warped), None)), warped)
