"""A refiner whose clips are on the device: the same episodes and losses as from packs, exact resumption, no OpenCV."""

import json
import types
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner, Result

from fewshot_reenact.cli import main
from fewshot_reenact.models.checkpoint import load_model, save_model
from fewshot_reenact.models.reenactor import Reenactor
from fewshot_reenact.training.data.clips import load_clips
from fewshot_reenact.training.faults import Diverged
from fewshot_reenact.training.refiner.config import RefinerConfig, RefinerDataConfig
from fewshot_reenact.training.refiner.data import LargeItems, OpenItems, drop_jaw, pack
from fewshot_reenact.training.refiner.episodes import LargeBatches, part_rows, stretch
from fewshot_reenact.training.refiner.learner import RefinerLearner
from fewshot_reenact.training.refiner.packs import Packs
from fewshot_reenact.training.refiner.train import RefinerStage
from fewshot_reenact.training.resident import flow
from fewshot_reenact.training.resident.store import Store, build_store
from network_samples import feature_net
from painted_clips import write_clip, write_clips

CPU = torch.device("cpu")

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clips(tmp_path_factory.mktemp("data") / "clips", people=3, frames=9)


@pytest.fixture(scope="module")
def config(clips: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> RefinerConfig:
    network = feature_net(tmp_path_factory.mktemp("net") / "net.safetensors")
    raw = {
        "trainer": "refiner", "part": "mouth", "data": {"clips": clips, "frame_step": 1}, "held_out": clips,
        "model": tiny_model, "judged": 8, "faces": 16, "open_mouths": 16, "chunk": 8, "down_channels": [8],
        "up_channels": [8], "network": network, "skip_heads": 0, "batch": 4, "steps": 6, "log_every": 2,
        "save_every": 3, "adversarial": {"start": 1, "alone": 1, "wide": 4},
    }  # fmt: skip
    return RefinerConfig.model_validate(raw)


@pytest.fixture(scope="module")
def store(clips: Path) -> Store:
    return build_store(load_clips(clips, 1), None)


@pytest.fixture
def model(tiny_model: Path) -> Reenactor:
    return load_model(tiny_model)


def test_episodes_are_those_that_are_packed(config: RefinerConfig, clips: Path, store: Store, model: Reenactor) -> None:
    dims = model.dims
    batch = LargeBatches(store, config.data, dims, 5)[np.arange(40, 52)]
    kinds = [
        kind(load_clips(clips, 1), config.data, dims.size, dims.raster_style, 5, 100)
        for kind in (LargeItems, OpenItems)
    ]
    for kind in kinds:
        kind.large = dims.refined
    items = [kinds[k][number] for k in (0, 1) for number in range(20, 26)]
    dropped = [float(kinds[1]._plan(number)[1].drop[0, 1]) for number in range(20, 26)]  # type: ignore[index]
    assert min(dropped) == 1 < 1.1 <= max(dropped)
    assert batch.keys() == items[0].keys() and batch["large_target"].shape == (12, 3, dims.refined, dims.refined)
    for name in items[0]:
        single, ours = torch.stack([item[name] for item in items]).float(), batch[name].float()
        if items[0][name].dtype == torch.uint8:
            away = ((ours + 1) * 127.5 - single).abs().mean()
            assert away < (4 if "raster" in name else 1.5), f"{name}: {away} levels"
        else:
            torch.testing.assert_close(ours, single, rtol=0, atol=1e-3, msg=name)


def test_open_mouths_open_and_portraits_are_shut(config: RefinerConfig, store: Store, model: Reenactor) -> None:
    from fewshot_reenact.geometry.shape import openness, take_out

    batch = LargeBatches(store, config.data, model.dims, 0)[np.arange(200)]
    every, opened = slice(0, 100), slice(100, 200)
    gaps = {
        name: openness(take_out(batch[name].reshape(-1, 83, 2).numpy()).shape)[:, 0]
        for name in ("driver_points", "portrait_points")
    }
    assert gaps["driver_points"][opened].mean() > 1.5 * gaps["driver_points"][every].mean()
    assert gaps["portrait_points"][opened].mean() < 0.75 * gaps["portrait_points"][every].mean()


def test_jaws_drop_as_with_opencv() -> None:
    rng = np.random.default_rng(0)
    pictures = cv2.GaussianBlur(rng.uniform(0, 255, (64, 64, 6)).astype(np.uint8), (0, 0), 1.5)
    drops = [(30.3, 1.4), (41.0, 1.0)]
    theirs = [drop_jaw(np.ascontiguousarray(pictures[..., 3 * k : 3 * k + 3]), *drops[k]) for k in (0, 1)]
    signed = torch.from_numpy(pictures).permute(2, 0, 1).reshape(2, 3, 64, 64) / 127.5 - 1
    ours = (stretch(signed, torch.tensor(drops)) + 1) * 127.5
    away = (ours - torch.from_numpy(np.stack(theirs)).permute(0, 3, 1, 2)).abs()
    assert away[0].max() <= 2 and away[1].max() < 1e-3
    assert np.abs(theirs[0].astype(int) - pictures[..., :3]).mean() > 5


def test_first_losses_are_those_of_packs(config: RefinerConfig, store: Store, model: Reenactor, tmp_path: Path) -> None:
    how = {"chunk": 8, "seed": config.seed, "register": flow.register}
    pack(model, config.data, tmp_path / "faces", 16, **how)
    pack(model, config.data, tmp_path / "open", 16, open_mouths=True, **how)
    packs = Packs([tmp_path / "faces", tmp_path / "open"], "mouth", config.seed)
    resident = LargeBatches(store, config.data, model.dims, config.seed)
    losses = []
    for source in (resident, packs):
        learner = RefinerLearner(config, model, CPU)
        for batch in source.batches(np.arange(4 * step, 4 * step + 4) for step in range(6)):
            learner.advance(batch)
        losses.append(learner.read())
    assert ["adversarial" in row for row in losses[0]] == [False] * 2 + [True] * 4
    for name in ("l1", "perceptual", "discriminator"):
        ours, theirs = ([row[name] for row in rows if name in row] for rows in losses)
        assert np.ptp(theirs) > 0.05 * np.mean(theirs) or name == "discriminator"
        np.testing.assert_allclose(ours, theirs, rtol=0.03, err_msg=name)
    again = next(iter(packs.batches(iter([np.arange(32, 36)]))))  # seen to the end: in another order
    first = next(iter(packs.batches(iter([np.arange(4)]))))
    assert not torch.equal(again["truth"], first["truth"])


def test_bfloat16_leaves_places_as_they_are(config: RefinerConfig, store: Store, model: Reenactor) -> None:
    """A warp whose splines were solved in bfloat16 would be pixels off."""
    batch = LargeBatches(store, config.data, model.dims, 0)[np.arange(6)]
    rows = [part_rows(model, batch, "mouth", flow.register, amp) for amp in (False, True)]
    assert not torch.equal(rows[0]["embedding"], rows[1]["embedding"])
    assert (rows[0]["made"] - rows[1]["made"]).abs().mean() < 0.01
    learner = RefinerLearner(config.model_copy(update={"amp": True}), model, CPU)
    for _ in range(3):
        learner.advance(batch)
    numbers = learner.read()
    assert numbers[2]["l1"] == pytest.approx(numbers[0]["l1"], rel=0.2) and "adversarial" in numbers[2]


def test_a_step_calls_no_opencv(
    config: RefinerConfig, store: Store, model: Reenactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    episodes, learner = LargeBatches(store, config.data, model.dims, 0), RefinerLearner(config, model, CPU)

    def never(*_args: object, **_more: object) -> None:
        raise AssertionError("OpenCV in a step")

    for name, value in vars(cv2).items():
        if isinstance(value, types.BuiltinFunctionType):
            monkeypatch.setattr(cv2, name, never)
    for batch in episodes.batches(np.arange(4 * step, 4 * step + 4) for step in range(3)):
        learner.advance(batch)
    assert len(learner.read()) == 3


def test_what_is_no_number_leaves_the_refiner_as_it_was(config: RefinerConfig, store: Store, model: Reenactor) -> None:
    episodes, learner = LargeBatches(store, config.data, model.dims, 0), RefinerLearner(config, model, CPU)
    learner.advance(episodes[np.arange(4)])
    before = {name: value.clone() for name, value in learner.refiner.state_dict().items()}
    broken = episodes[np.arange(4, 8)]
    broken["large_target"][0, 0, 40:] = float("nan")
    learner.advance(broken)
    learner.advance(episodes[np.arange(8, 12)])
    with pytest.raises(Diverged, match=r"loss.* is nan at step 1 .*the refiner has not changed since"):
        learner.read()
    assert learner.step == 1
    assert all(torch.equal(value, before[name]) for name, value in learner.refiner.state_dict().items())


# ---- the command


def write(config: RefinerConfig, path: Path, **changes: object) -> Path:
    raw = json.loads(config.model_dump_json())
    path.write_text(yaml.safe_dump(raw | changes))
    return path


def go(config: Path, folder: Path, *more: object) -> Result:
    return CliRunner().invoke(main, [str(one) for one in ["train", "--config", config, "--run", folder, *more]])


def newest(folder: Path) -> dict:
    return torch.load(sorted((folder / "checkpoints").iterdir())[-1], weights_only=True)


@pytest.mark.slow
def test_a_run_that_was_stopped_equals_one_that_was_not(
    config: RefinerConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(config, tmp_path / "refiner.yaml")
    result = go(path, tmp_path / "whole")
    assert result.exit_code == 0 and "step 6 of 6" in result.output, result.output
    assert not (tmp_path / "whole" / "packs").exists()
    with monkeypatch.context() as m:
        real = RefinerStage.learn
        m.setattr(RefinerStage, "learn", lambda self: real(self) if self.step < 5 else 1 / 0)
        assert go(path, tmp_path / "halves").exit_code == 1
    assert newest(tmp_path / "halves")["step"] == 3
    assert go(path, tmp_path / "halves").exit_code == 0
    whole, halves = newest(tmp_path / "whole"), newest(tmp_path / "halves")
    for name in ("refiner", "averaged", "critic"):
        assert all(torch.equal(whole[name][key], halves[name][key]) for key in whole[name])
    for name in ("optimiser", "critic_optimiser"):
        for key, kept in whole[name]["state"].items():
            assert all(torch.equal(kept[one], halves[name]["state"][key][one]) for one in kept)
    rows = [
        [{k: v for k, v in json.loads(line).items() if k != "time"} for line in (folder / "metrics.jsonl").open()]
        for folder in (tmp_path / "whole", tmp_path / "halves")
    ]
    assert rows[0] == rows[1] and [row["step"] for row in rows[0]] == [2, 3, 4, 6, 6]


def test_another_model_and_other_clips_are_refused(config: RefinerConfig, tiny_model: Path, tmp_path: Path) -> None:
    clips = write_clips(tmp_path / "clips", people=1, frames=6)
    own = tmp_path / "model.safetensors"
    own.write_bytes(tiny_model.read_bytes())
    data = {"clips": str(clips), "frame_step": 1}
    path = write(config, tmp_path / "c.yaml", data=data, model=str(own), steps=1, judged=2)
    assert go(path, tmp_path / "run").exit_code == 0
    other = load_model(own)
    torch.nn.init.constant_(other.generator.out.bias, 0.3)
    save_model(other, own)
    result = go(path, tmp_path / "run", "--steps", 2)
    assert result.exit_code == 2 and "refines the faces of another model" in result.output, result.output
    own.write_bytes(tiny_model.read_bytes())
    write_clip(clips / "more.mp4", "more", 6)
    result = go(path, tmp_path / "run", "--steps", 2)
    assert result.exit_code == 2 and "other clips" in result.output, result.output


def test_clips_that_cannot_be_on_the_device(config: RefinerConfig, tmp_path: Path) -> None:
    data = RefinerDataConfig.model_validate({**config.data.model_dump(), "resident": True, "stream": True})
    path = write(config, tmp_path / "c.yaml", data=json.loads(data.model_dump_json()))
    result = go(path, tmp_path / "run")
    assert result.exit_code == 2 and "data.stream needs shards" in result.output, result.output
