"""Crops, and the script that trains the landmark networks: a few steps on made-up data, stopped and resumed."""

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from fewshot_reenact.geometry import align
from fewshot_reenact.geometry.affine import invert, transform
from fewshot_reenact.landmarks.network import PointNet, load_network, save_network
from fewshot_reenact.motion.builtins import load_builtin_motion


@pytest.fixture
def train(root: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(root / "scripts" / "measure"))
    module = importlib.import_module("fewshot_reenact.training.landmarks.train")
    # In place of scikit-image's photographs, which the tests do not need.
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    monkeypatch.setattr(importlib.import_module("fewshot_reenact.training.landmarks.augment"), "_bank", [noise])
    yield module
    for name in [name for name in sys.modules if name.startswith(("train_landmarks", "landmark_"))]:
        sys.modules.pop(name)


@pytest.fixture(scope="module")
def face() -> np.ndarray:
    return np.asarray(load_builtin_motion("blink").points[0], np.float64)


def test_a_crop_is_upright_and_of_one_size(face: np.ndarray) -> None:
    reference = transform(invert(align.crop_matrix(align.anchors(face))), face)
    assert (reference.min(0) > 0).all() and (reference.max(0) < align.CROP).all()
    for angle, scale in ((0.7, 0.3), (-0.5, 4.0)):
        turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        moved = face @ turn.T + [300, 20]
        matrix = align.crop_matrix(align.anchors(moved))
        assert np.allclose(transform(invert(matrix), moved), reference, atol=1e-6)


def test_a_cut_shows_what_its_matrix_says() -> None:
    y, x = np.mgrid[0:400, 0:500]
    picture = np.stack([x // 2, y // 2, np.zeros_like(x)], 2).astype(np.uint8)
    for matrix in (
        np.array([[1.0, 0, 50], [0, 1.0, 60]]),
        np.array([[0.5, 0.2, 90.5], [-0.2, 0.5, 120]]),
        np.array([[2.9, 0.3, 20], [-0.3, 2.9, 45]]),  # reduced
    ):
        crop = align.cut(picture, matrix)
        ys, xs = np.mgrid[8:120:8, 8:120:8]
        want = transform(matrix, np.stack([xs, ys], -1).astype(float))
        inside = (want > 4).all(-1) & (want < [495, 395]).all(-1)
        assert inside.sum() > 50
        assert np.abs(crop[8:120:8, 8:120:8, :2] * 2.0 + 0.5 - want)[inside].max() < 2.6


@pytest.mark.parametrize("shape", [(1, 1), (1, 40_000), (40_000, 2), (300, 300)])
def test_a_cut_of_any_picture_anywhere(shape: tuple[int, int]) -> None:
    picture = np.full((*shape, 3), 7, np.uint8)
    for matrix in (np.array([[300.0, 0, -500], [0, 300.0, 9]]), np.array([[0.01, 0, 1e6], [0, 0.01, -1e6]])):
        crop = align.cut(picture, matrix)
        assert crop.shape == (128, 128, 3) and (crop == 7).all()


@pytest.fixture
def data(tmp_path: Path, face: np.ndarray) -> Path:
    """Drawn faces, as the stills of a data folder."""
    folder = tmp_path / "data" / "stills"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    unit = (face - face.mean(0)) / np.ptp(face[:, 1])
    names, points = [], []
    for i in range(30):
        own = unit * rng.uniform(120, 150) + 128 + rng.normal(0, 6, 2)
        picture = np.full((256, 256, 3), rng.integers(0, 256, 3), np.uint8)
        cv2.fillConvexPoly(picture, cv2.convexHull(own.astype(np.int32)), (130, 160, 210))
        for x, y in own[17:68]:
            cv2.circle(picture, (int(x), int(y)), 1, (20, 20, 40), -1)
        cv2.imwrite(str(folder / f"f{i}.jpg"), picture)
        names.append(f"f{i}.jpg")
        points.append(own.astype(np.float16))
    np.savez(folder / "stills.npz", names=np.array(names), points=np.stack(points))
    return tmp_path / "data"


@pytest.mark.parametrize("part", ["points", "detector"])
def test_training_learns_saves_and_resumes(train: ModuleType, data: Path, tmp_path: Path, part: str) -> None:
    config, run = tmp_path / "c.yaml", tmp_path / "run"
    (tmp_path / "names.txt").write_text("# kept out of training\nf0.jpg\nf7.jpg  # these two\n")
    runner = CliRunner()

    def go(steps: int) -> list[dict[str, float]]:
        config.write_text(f"{part}: {{held_out: names.txt, batch: 4, steps: {steps}, rate: 1.0e-3, save_every: 2}}")
        options = [part, "--data", str(data), "--run", str(run), "--config", str(config)]
        result = runner.invoke(train.main, options, catch_exceptions=False)
        assert result.exit_code == 0 and f"step {steps} of {steps}" in result.output
        return [json.loads(line) for line in (run / f"{part}.jsonl").read_text().splitlines()]

    before = torch.get_num_threads()
    try:
        first = go(2)
        second = go(4)
    finally:
        torch.set_num_threads(before)
    assert [row["step"] for row in first] == [2]
    assert [row["step"] for row in second] == [2, 4]  # it went on, it did not start again
    assert all(np.isfinite(list(row["held_out"].values())).all() for row in second)
    assert not list(run.glob("*.partial"))
    assert np.flatnonzero(np.load(run / "packed" / "held.npy")).tolist() == [0, 7]  # by name
    if part == "points":
        points, sure = load_network(PointNet, run / "points.safetensors")(torch.zeros(1, 3, 128, 128))
        assert points.shape == (1, 83, 2) and sure.shape == (1,)


def test_a_stage_for_some_points_moves_no_other(train: ModuleType, data: Path, tmp_path: Path) -> None:
    config, run, start = tmp_path / "c.yaml", tmp_path / "run", tmp_path / "start.safetensors"
    (tmp_path / "names.txt").write_text("f0.jpg\n")
    torch.manual_seed(1)
    net = PointNet()
    save_network(net, start, net.dims, "")
    config.write_text(
        "points: {held_out: names.txt, batch: 4, only: [36, 48], lids: 1, steps: 3, rate: 1.0e-2, save_every: 3}"
    )
    options = ["points", "--data", str(data), "--run", str(run), "--config", str(config), "--start", str(start)]
    threads = torch.get_num_threads()
    try:
        CliRunner().invoke(train.main, options, catch_exceptions=False)
    finally:
        torch.set_num_threads(threads)
    x = torch.rand(2, 3, 128, 128)
    before, after = (load_network(PointNet, path)(x)[0] for path in (start, run / "points.safetensors"))
    moved = (before - after).abs().amax((0, 2)) > 0
    assert moved[36:48].all() and not moved[:36].any() and not moved[48:].any()


def test_the_ballot_is_least_where_the_point_is(train: ModuleType) -> None:
    from fewshot_reenact.training.landmarks import points as points

    want = torch.tensor([[[35.5, 67.5]]]).expand(1, 83, 2)
    right, wrong = torch.zeros(1, 83, 16, 16), torch.zeros(1, 83, 16, 16)
    right[:, :, 8, 4] = 20  # the cell whose centre is (35.5, 67.5)
    wrong[:, :, 4, 8] = 20
    assert points.ballot(right.flatten(2), want).max() < 1e-3 < 10 < points.ballot(wrong.flatten(2), want).min()


def test_the_wing_grows_with_the_error(train: ModuleType) -> None:
    from fewshot_reenact.training.landmarks import points as points

    x = torch.linspace(0, 20, 200)
    y = points.wing(x)
    assert y[0] == 0 and (y.diff() > 0).all() and y.diff()[:5].mean() > y.diff()[-5:].mean()


def test_pictures_without_faces_are_pictures(train: ModuleType) -> None:
    from fewshot_reenact.training.landmarks import augment as augment

    rng = np.random.default_rng(0)
    base = np.full((128, 128, 3), 120, np.uint8)
    for _ in range(40):
        for picture in (augment.animal(base, rng), augment.photograph(rng, 128), augment.shuffled(base, rng)):
            out = augment.photometric(augment.occlude(picture, rng), rng)
            assert out.shape == (128, 128, 3) and out.dtype == np.uint8
