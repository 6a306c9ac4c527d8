"""Where the lids of a portrait's eyes are: painted eyes, of which the points know roughly where they are."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fake_face import PaintedFaces
from fewshot_reenact.geometry.topology import LEFT_EYE, LEFT_IRIS, RIGHT_EYE, RIGHT_IRIS, mirror
from fewshot_reenact.inputs.portrait_files import PortraitSource
from fewshot_reenact.landmarks.backend import look_closely
from fewshot_reenact.landmarks.builtin import BuiltinLandmarks
from fewshot_reenact.landmarks.lids import LidNet, place_lids
from fewshot_reenact.landmarks.network import load_network
from fewshot_reenact.weights import WEIGHTS
from looking_eyes import SIZE, looking

LIDS = [*range(LEFT_EYE.start, RIGHT_EYE.stop)]
EYES = [*LIDS, LEFT_IRIS, RIGHT_IRIS]


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    return load_network(LidNet, WEIGHTS / "lids.safetensors")


def wide(points: np.ndarray) -> float:
    return float(np.linalg.norm(points[39] - points[36]))


def apart(one: np.ndarray, other: np.ndarray) -> float:
    """Mean distance of the lids in widths of an eye."""
    return float(np.linalg.norm(one[LIDS] - other[LIDS], axis=1).mean() / wide(other))


@pytest.mark.parametrize("scale", [1.0, 3.0])
@pytest.mark.parametrize("way", [(0.0, 0.25), (0.25, 0.0), (-0.2, -0.15), (0.0, 0.0)])
def test_eyes_that_were_missed_are_found(network: torch.nn.Module, way: tuple[float, float], scale: float) -> None:
    picture, points = looking(0.1, scale)
    astray = points.copy()
    astray[EYES] += np.float32(way) * wide(points)
    found = place_lids(network, picture, astray)
    assert apart(found, points) < 0.1
    assert sum(way) == 0 or apart(found, points) < 0.5 * apart(astray, points)
    moved = found[[LEFT_IRIS, RIGHT_IRIS]] - astray[[LEFT_IRIS, RIGHT_IRIS]]
    assert np.abs(moved + np.float32(way) * wide(points)).max() < 0.12 * wide(points), "irises go along"


def test_nothing_else_moves(network: torch.nn.Module) -> None:
    picture, points = looking(0.1)
    before = points.copy()
    found = place_lids(network, picture, points)
    others = np.setdiff1d(np.arange(83), EYES)
    assert np.array_equal(points, before) and np.array_equal(found[others], points[others])
    assert found.dtype == points.dtype


def test_a_mirrored_picture_has_mirrored_lids(network: torch.nn.Module) -> None:
    picture, points = looking(0.12)
    there = mirror(place_lids(network, picture, points), SIZE)
    back = place_lids(network, np.ascontiguousarray(picture[:, ::-1]), mirror(points, SIZE))
    assert apart(there, back) < 0.06


def test_tiny_eyes_and_what_is_no_eye_stay(network: torch.nn.Module) -> None:
    picture, points = looking(0.1)
    assert np.array_equal(place_lids(network, picture, points * 0.1), points * 0.1)
    unknown = np.full_like(points, np.nan)
    assert np.isnan(place_lids(network, picture, unknown)).all()


def test_portraits_are_looked_at_closely(assets: Path) -> None:
    backend = BuiltinLandmarks()
    (portrait,), _ = PortraitSource([assets / "astronaut.jpg"]).load(backend)
    (face, *_) = backend.detect(portrait.picture)
    plain = backend.refine(portrait.picture, face.points)
    assert plain is not None
    assert np.array_equal(portrait.points, backend.look_closely(portrait.picture, plain.points))
    assert 0 < apart(portrait.points, plain.points) < 0.12, "of a photograph the points are right already"
    assert np.array_equal(look_closely(PaintedFaces(), portrait.picture, plain.points), plain.points)


def test_the_shipped_weights_are_small() -> None:
    assert Path(WEIGHTS / "lids.safetensors").stat().st_size < 300_000
