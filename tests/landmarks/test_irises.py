"""Where irises stand in their eyes: painted eyes whose irises go from side to side."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fewshot_reenact.geometry.topology import LEFT_IRIS, LEFT_LIDS, RIGHT_IRIS, RIGHT_LIDS, mirror
from fewshot_reenact.landmarks.irises import IrisNet, place_irises
from fewshot_reenact.landmarks.network import load_network
from fewshot_reenact.weights import WEIGHTS
from looking_eyes import AXES, SIZE, looking


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    return load_network(IrisNet, WEIGHTS / "irises.safetensors")


def aside_of(points: np.ndarray) -> np.ndarray:
    """How far each iris is from its eye's middle, along and across, in widths of the eye: (2, 2)."""
    rows = []
    for iris, eye in AXES:
        a, b = points[eye.start], points[eye.start + 3]
        from_middle = points[iris] - (a + b) / 2
        along = (b - a) / np.linalg.norm(b - a)
        rows.append([from_middle @ along, from_middle @ [-along[1], along[0]]] / np.linalg.norm(b - a))
    return np.array(rows)


@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_irises_are_followed_along_the_eye_and_stay_across(network: torch.nn.Module, scale: float) -> None:
    went = np.linspace(-0.2, 0.2, 9)
    made = np.array([aside_of(place_irises(network, *looking(aside, scale))) for aside in went])
    for eye in (0, 1):
        assert np.corrcoef(went, made[:, eye, 0])[0, 1] > 0.97
        assert 0.6 < np.polyfit(went, made[:, eye, 0], 1)[0] < 1.4
    assert np.abs(made[..., 1]).max() < 1e-3


def test_nothing_else_moves(network: torch.nn.Module) -> None:
    picture, points = looking(0.15)
    before = points.copy()
    made = place_irises(network, picture, points)
    others = np.setdiff1d(np.arange(83), [LEFT_IRIS, RIGHT_IRIS])
    assert np.array_equal(points, before) and np.array_equal(made[others], points[others])
    assert made.dtype == points.dtype and not np.array_equal(made, points)


def test_a_mirrored_picture_has_mirrored_irises(network: torch.nn.Module) -> None:
    picture, points = looking(0.12)
    there = mirror(place_irises(network, picture, points), SIZE)
    back = place_irises(network, np.ascontiguousarray(picture[:, ::-1]), mirror(points, SIZE))
    wide = np.linalg.norm(points[39] - points[36])
    assert np.linalg.norm(there - back, axis=1).max() < 0.06 * wide


def test_shut_eyes_keep_what_they_have_and_it_goes_over_smoothly(network: torch.nn.Module) -> None:
    picture, points = looking(0.18)
    gone = []
    for shut in np.linspace(0, 1, 12):
        now = points.copy()
        for upper, lower in (*LEFT_LIDS, *RIGHT_LIDS):
            now[[upper, lower]] += shut * (points[[upper, lower]].mean(0) - points[[upper, lower]])
        gone.append(np.abs(aside_of(place_irises(network, picture, now))[:, 0]).mean())
    assert gone[0] > 0.1 and gone[-1] == pytest.approx(0, abs=1e-6)
    assert np.diff(gone).max() < 0.01 and np.abs(np.diff(gone)).max() < 0.08


def test_tiny_eyes_and_unknown_points_stay(network: torch.nn.Module) -> None:
    picture, points = looking(0.18)
    assert np.array_equal(place_irises(network, picture, points * 0.1), points * 0.1)
    unknown = np.full_like(points, np.nan)
    assert np.isnan(place_irises(network, picture, unknown)).all()


def test_the_shipped_weights_are_small() -> None:
    assert Path(WEIGHTS / "irises.safetensors").stat().st_size < 150_000
