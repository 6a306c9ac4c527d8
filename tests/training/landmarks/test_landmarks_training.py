"""Crops, and the training of the landmark networks: a few steps on made-up data, stopped and resumed."""

import json
import os
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner, Result

from fewshot_reenact.cli import main
from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.geometry import align
from fewshot_reenact.geometry.affine import invert, transform
from fewshot_reenact.landmarks.irises import IrisNet
from fewshot_reenact.landmarks.lids import LidNet
from fewshot_reenact.landmarks.network import PointNet, load_network, save_network
from fewshot_reenact.motion.builtins import load_builtin_motion
from fewshot_reenact.training.landmarks import augment, points
from fewshot_reenact.training.landmarks import train as landmark_training
from fewshot_reenact.training.landmarks.config import LandmarkConfig
from fewshot_reenact.training.landmarks.data import pack, read_packed
from fewshot_reenact.training.landmarks.pairs import pack_pairs
from fewshot_reenact.training.trainers import load_any
from fewshot_reenact.weights import WEIGHTS
from painted_clips import write_clip


@pytest.fixture
def photographs(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of scikit-image's, which the tests do not need."""
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    monkeypatch.setattr(augment, "_bank", [noise])


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


def write_config(folder: Path, **settings: object) -> Path:
    """A config of landmark training beside the list of what is held out."""
    (folder / "names.txt").write_text("# kept out of training\nf0.jpg\nf7.jpg  # these two\n")
    raw = {"trainer": "landmarks", "part": "points", "held_out": "names.txt", "batch": 4, "rate": 1e-3, "save_every": 2}
    path = folder / "c.yaml"
    path.write_text(yaml.safe_dump({**raw, "log_every": 2, **settings}))
    return path


def go(config: Path, folder: Path, *more: object) -> Result:
    """`reenact train`."""
    line = ["train", "--config", config, "--run", folder, "--threads", 1, *more]
    return CliRunner().invoke(main, [str(one) for one in line])


def rows_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def newest(folder: Path) -> dict:
    return torch.load(sorted((folder / "checkpoints").iterdir())[-1], weights_only=True)


@pytest.mark.usefixtures("photographs", "one_thread")
@pytest.mark.parametrize("part", ["points", "detector", "irises", "lids"])
@pytest.mark.slow
def test_training_learns_saves_and_resumes_exactly(data: Path, tmp_path: Path, part: str) -> None:
    config, run = write_config(tmp_path, part=part, data=str(data), steps=4), tmp_path / "run"
    result = go(config, tmp_path / "whole")
    assert result.exit_code == 0 and "step 4 of 4" in result.output, result.output
    assert go(config, run, "--steps", 2).exit_code == 0
    assert [row["step"] for row in rows_of(run)] == [2, 2]
    assert go(config, run).exit_code == 0
    assert [row["step"] for row in rows_of(run)] == [2, 2, 4, 4], "it went on, it did not start again"
    figures = [row["held_out"] for row in rows_of(run) if "held_out" in row]
    assert all(np.isfinite(list(row.values())).all() for row in figures)
    assert not list(run.glob("*.partial"))
    assert np.flatnonzero(np.load(run / "packed" / "held.npy")).tolist() == [0, 7]  # by name
    whole, halves = newest(tmp_path / "whole"), newest(run)
    # The rate falls over the steps of the whole run, so the first half of the shorter call differs by it alone.
    assert whole["step"] == halves["step"] == 4 and whole["averaged"].keys() == halves["averaged"].keys()
    if part == "points":
        found, sure = load_network(PointNet, run / "points.safetensors")(torch.zeros(1, 3, 128, 128))
        assert found.shape == (1, 83, 2) and sure.shape == (1,)
    if part == "irises":
        assert load_network(IrisNet, run / "irises.safetensors")(torch.zeros(2, 1, 32, 64)).shape == (2, 2)
    if part == "lids":
        assert load_network(LidNet, run / "lids.safetensors")(torch.zeros(2, 1, 48, 64)).shape == (2, 6, 2)


@pytest.mark.usefixtures("photographs", "one_thread")
@pytest.mark.slow
def test_a_run_that_was_killed_equals_one_that_was_not(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write_config(tmp_path, data=str(data), steps=4)
    assert go(config, tmp_path / "whole").exit_code == 0
    with monkeypatch.context() as patch:
        learn = landmark_training._LandmarkStage.learn
        patch.setattr(landmark_training._LandmarkStage, "learn", lambda self: learn(self) if self.step < 3 else 1 / 0)
        assert go(config, tmp_path / "halves").exit_code == 1
    assert go(config, tmp_path / "halves").exit_code == 0
    whole, halves = newest(tmp_path / "whole"), newest(tmp_path / "halves")
    for name in ("network", "averaged"):
        assert all(torch.equal(whole[name][key], halves[name][key]) for key in whole[name])
    assert [row["step"] for row in rows_of(tmp_path / "halves")] == [row["step"] for row in rows_of(tmp_path / "whole")]


@pytest.mark.usefixtures("photographs", "one_thread")
@pytest.mark.slow
def test_a_run_belongs_to_its_config(data: Path, tmp_path: Path) -> None:
    assert go(write_config(tmp_path, data=str(data), steps=1), tmp_path / "run").exit_code == 0
    result = go(write_config(tmp_path, data=str(data), steps=1, batch=5), tmp_path / "run")
    assert result.exit_code == 2 and "started with another 'batch'" in result.output


@pytest.mark.usefixtures("photographs", "one_thread")
@pytest.mark.slow
def test_sigterm_saves_and_exits_with_75(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = write_config(tmp_path, data=str(data), steps=9, save_every=100)
    learn = landmark_training._LandmarkStage.learn

    def stopped(self: object) -> dict[str, float]:
        if self.step == 2:  # type: ignore[attr-defined]
            os.kill(os.getpid(), signal.SIGTERM)
        return learn(self)

    monkeypatch.setattr(landmark_training._LandmarkStage, "learn", stopped)
    result = go(config, tmp_path / "run")
    assert result.exit_code == 75 and "stopped by SIGTERM at step 3" in result.output
    assert all(row["step"] != 3 for row in rows_of(tmp_path / "run") if "held_out" in row), (
        "nobody who stops a run waits for figures"
    )
    assert newest(tmp_path / "run")["step"] == 3


@pytest.mark.parametrize(
    ("change", "code", "complaint"),
    [
        ({"rat": 1}, 2, "unknown key rat: did you mean rate?"),
        ({"trainer": "landmark"}, 2, "trainer: 'landmark' is not one of meta, landmarks, refiner"),
        ({"held_out": "nobody.txt"}, 2, "there is no such list"),
        ({"data": "nowhere"}, 3, "no such file; `data` is a folder of stills and clips"),
        ({"start": "nothing.safetensors"}, 4, "landmark weights are missing"),
        ({"start": str(WEIGHTS / "detector.safetensors")}, 4, "start: these are no weights of the points network"),
        ({"part": "detector", "only": [36, 48]}, 2, "only: is for part: points"),
        ({"pairs": 3}, 2, "pairs: 3 pairs are 6 crops, and batch is 4"),
        ({"apart": [[0, 17], [80, 90]]}, 2, "apart: [80, 90] is no range of points"),
    ],
)
def test_what_is_wrong_with_a_config(data: Path, tmp_path: Path, change: dict, code: int, complaint: str) -> None:
    config = write_config(tmp_path, **{"data": str(data), "steps": 1, **change})
    result = go(config, tmp_path / "run")
    assert result.exit_code == code and complaint in result.output, result.output


@pytest.mark.usefixtures("photographs", "one_thread")
@pytest.mark.slow
def test_a_stage_for_some_points_moves_no_other(data: Path, tmp_path: Path) -> None:
    run, start = tmp_path / "run", tmp_path / "start.safetensors"
    torch.manual_seed(1)
    net = PointNet()
    save_network(net, start, net.dims, "")
    options = {"only": [36, 48], "lids": 1, "steps": 3, "rate": 1e-2, "save_every": 3, "start": str(start)}
    assert go(write_config(tmp_path, data=str(data), **options), run).exit_code == 0
    x = torch.rand(2, 3, 128, 128)
    before, after = (load_network(PointNet, path)(x)[0] for path in (start, run / "points.safetensors"))
    moved = (before - after).abs().amax((0, 2)) > 0
    assert moved[36:48].all() and not moved[:36].any() and not moved[48:].any()


# ---- what is packed


@pytest.fixture
def clips(data: Path) -> Path:
    """The data folder, with two painted clips beside the stills; the second is held out by its name."""
    (data / "clips" / "train").mkdir(parents=True)
    for number in (0, 300):
        write_clip(data / "clips" / "train" / f"p{number:03d}_0.mp4", f"p{number}", frames=9, size=256)
    return data


def test_stills_and_clips_are_packed_once(clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "packed"
    assert pack(clips, out, frozenset({"f0.jpg"}))
    numbers, held = np.load(out / "clips.npy"), np.load(out / "held.npy")
    assert numbers.tolist() == [-1] * 30 + [0, 0, 1, 1], "frames 0 and 8 of each clip"
    assert np.flatnonzero(held).tolist() == [0, 32, 33]
    assert np.load(out / "pictures.npy").shape == (34, 256, 256, 3)
    before = (out / "pictures.npy").stat().st_mtime_ns
    assert pack(clips, out, frozenset({"f0.jpg"})) and (out / "pictures.npy").stat().st_mtime_ns == before


def test_what_was_packed_of_something_else_is_refused(clips: Path, tmp_path: Path) -> None:
    """Else a run would go on with the list of what is held out that an earlier one had."""
    out = tmp_path / "packed"
    pack(clips, out, frozenset({"f0.jpg"}))
    with pytest.raises(UsageError, match="packed with another held_out; delete"):
        pack(clips, out, frozenset({"f1.jpg"}))
    (clips / "clips" / "train" / "p300_0.npz").unlink()
    with pytest.raises(UsageError, match="packed with another clips; delete"):
        pack(clips, out, frozenset({"f0.jpg"}))
    (out / "packed.json").write_text("[]")
    with pytest.raises(UsageError, match="damaged"):
        pack(clips, out, frozenset({"f0.jpg"}))
    (out / "packed.json").unlink()
    with pytest.raises(UsageError, match="does not say what it was packed from"):
        pack(clips, out, frozenset({"f0.jpg"}))


def test_packing_that_is_stopped_leaves_nothing(clips: Path, tmp_path: Path) -> None:
    assert not pack(clips, tmp_path / "packed", frozenset(), stop=lambda: True)
    assert not (tmp_path / "packed").exists()
    assert pack(clips, tmp_path / "packed", frozenset())
    assert not pack_pairs(tmp_path / "packed", 4, stop=lambda: True)
    assert not (tmp_path / "packed" / "pairs.npz").exists()


def test_data_that_cannot_be_learnt_from(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="names and points of stills cannot be read"):
        pack(tmp_path / "nowhere", tmp_path / "none", frozenset())
    out = tmp_path / "packed"
    pack(data, out, frozenset())
    with pytest.raises(InputError, match="none of it is held out"):
        read_packed(out, False, 0)
    with pytest.raises(InputError, match="no two match; pairs need clips"):
        pack_pairs(out, 4)


@pytest.mark.usefixtures("photographs", "one_thread")
def test_sigterm_while_data_is_packed_is_heeded_too(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*given: object, **more: object) -> bool:
        os.kill(os.getpid(), signal.SIGTERM)
        return pack(*given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(landmark_training, "pack", slow)
    config = write_config(tmp_path, data=str(clips), steps=1)
    result = go(config, tmp_path / "run")
    assert result.exit_code == 75 and "stopped by SIGTERM at step 0" in result.output, result.output
    assert not (tmp_path / "run" / "packed").exists()


@pytest.mark.usefixtures("photographs", "one_thread")
@pytest.mark.slow
def test_stages_share_what_is_packed(clips: Path, tmp_path: Path) -> None:
    shared = {"data": str(clips), "packed": str(tmp_path / "all"), "steps": 1}
    for part in ("points", "detector", "irises", "lids"):
        assert go(write_config(tmp_path, part=part, **shared), tmp_path / part).exit_code == 0
        assert not (tmp_path / part / "packed").exists()
    assert (tmp_path / "all" / "packed.json").is_file()


@pytest.mark.parametrize("name", ["points", "detector", "agree", "blinks", "lids", "irises", "lids_alone"])
def test_the_shipped_configs_are_right(root: Path, name: str) -> None:
    config, _ = load_any(root / "configs" / f"landmarks_{name}.yaml")
    assert isinstance(config, LandmarkConfig) and (root / "configs" / config.held_out).is_file()


def test_the_ballot_is_least_where_the_point_is() -> None:
    want = torch.tensor([[[35.5, 67.5]]]).expand(1, 83, 2)
    right, wrong = torch.zeros(1, 83, 16, 16), torch.zeros(1, 83, 16, 16)
    right[:, :, 8, 4] = 20  # the cell whose centre is (35.5, 67.5)
    wrong[:, :, 4, 8] = 20
    assert points.ballot(right.flatten(2), want).max() < 1e-3 < 10 < points.ballot(wrong.flatten(2), want).min()


def test_the_wing_grows_with_the_error() -> None:
    x = torch.linspace(0, 20, 200)
    y = points.wing(x)
    assert y[0] == 0 and (y.diff() > 0).all() and y.diff()[:5].mean() > y.diff()[-5:].mean()


def test_pictures_without_faces_are_pictures(photographs: None) -> None:
    rng = np.random.default_rng(0)
    base = np.full((128, 128, 3), 120, np.uint8)
    for _ in range(40):
        for picture in (augment.animal(base, rng), augment.photograph(rng, 128), augment.shuffled(base, rng)):
            out = augment.photometric(augment.occlude(picture, rng), rng)
            assert out.shape == (128, 128, 3) and out.dtype == np.uint8
