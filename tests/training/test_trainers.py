"""What the three trainers have in common: whose a run folder is, where they run, what they keep, how they stop."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from click.testing import CliRunner, Result
from torch import nn

from fewshot_reenact.cli import main
from fewshot_reenact.errors import UsageError
from fewshot_reenact.training.averaging import average
from fewshot_reenact.training.checkpoints import remember_config
from fewshot_reenact.training.config import StageConfig, TrainConfig
from fewshot_reenact.training.stage import learning_rate, run_stage

pytestmark = pytest.mark.usefixtures("one_thread")


def go(config: Path, folder: Path, *more: object, **environment: str) -> Result:
    line = ["train", "--config", config, "--run", folder, *more]
    return CliRunner(env=environment).invoke(main, [str(one) for one in line])


@pytest.fixture(params=["landmarks", "refiner"])
def small(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A config of one of the smaller trainers, whose data is not there."""
    raw = {
        "landmarks": {"part": "points", "data": "nowhere", "held_out": "names.txt", "batch": 4, "rate": 1e-3},
        "refiner": {
            "part": "mouth",
            "data": {"clips": "nowhere"},
            "held_out": "nowhere",
            "network": "none.safetensors",
        },
    }[request.param]
    (tmp_path / "names.txt").write_text("")
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"trainer": request.param, "steps": 2, **raw}))
    return tmp_path / "c.yaml"


def test_a_start_that_failed_leaves_the_run_folder_free(small: Path, tmp_path: Path) -> None:
    result = go(small, tmp_path / "run")
    assert result.exit_code == 3 and "nowhere" in result.output and not (tmp_path / "run").exists()


def test_a_dry_run_looks_for_the_data(small: Path, tmp_path: Path) -> None:
    result = go(small, tmp_path / "run", "--dry-run")
    assert result.exit_code == 3 and "nowhere" in result.output and not (tmp_path / "run").exists()


def test_the_smaller_trainers_say_where_they_run(small: Path, tmp_path: Path) -> None:
    """Not "device cuda" above work that the processor does; and not two processes in one folder."""
    if "trainer: landmarks" in small.read_text():
        assert "device cpu (landmarks are trained on the processor)" in go(small, tmp_path / "run").output
        other = go(small, tmp_path / "run", "--device", "cuda")
        assert other.exit_code == 2 and "--device cuda: landmarks are trained on the processor" in other.output
    else:
        assert "device cpu (asked for)" in go(small, tmp_path / "run", "--device", "cpu").output
    many = go(small, tmp_path / "run", WORLD_SIZE="2")
    assert many.exit_code == 2 and "start reenact train without torchrun" in many.output


# ---- the loop of the smaller trainers


class Counter:
    """A trainer of one number."""

    signature = "counter"

    def __init__(self) -> None:
        self.step, self.spent, self.value = 0, 0.0, 0

    def learn(self) -> dict[str, float]:
        self.step, self.value = self.step + 1, self.value + self.step
        return {"value": float(self.value)}

    def score(self) -> dict[str, float]:
        return {"error": 1.0 / (1 + self.value)}

    def state(self) -> dict[str, int]:
        return {"value": self.value}

    def restore(self, state: dict) -> None:
        self.step, self.spent, self.value = state["step"], state["spent"], state["value"]

    def export(self, folder: Path, figures: dict[str, float]) -> None:
        (folder / "value.json").write_text(json.dumps({"value": self.value, **figures}))


def counting(**settings: object) -> StageConfig:
    raw = {"batch": 1, "rate": 1e-3, "steps": 5, "log_every": 1, "save_every": 2}
    return StageConfig.model_validate({**raw, **settings})


def count(folder: Path, minutes: float | None = None, **settings: object) -> int:
    return run_stage(lambda _stop: True, Counter, counting(**settings), ("batch",), folder, minutes)


def test_a_stage_keeps_what_its_config_says(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs the extra train")
    assert count(tmp_path / "run", keep=1, tensorboard=True) == 5
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step_0000005.pt"]
    assert json.loads((tmp_path / "run" / "value.json").read_text())["value"] == 10
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "held_out" in row] == [2, 4, 5]
    events = list((tmp_path / "run" / "tensorboard").iterdir())
    assert len(events) == 1 and b"held_out/error" in events[0].read_bytes()


def test_a_stage_that_is_stopped_goes_on(tmp_path: Path) -> None:
    assert count(tmp_path / "run", minutes=1e-9) == 0
    assert count(tmp_path / "run", steps=3) == 3
    assert count(tmp_path / "run") == 5
    assert json.loads((tmp_path / "run" / "value.json").read_text())["value"] == 10


def test_a_run_of_another_trainer_is_named(tmp_path: Path) -> None:
    """Not called damaged because its config has other keys."""
    config = TrainConfig.model_validate({"data": {"clips": "clips"}, "steps": 1})
    (tmp_path / "config.json").write_text(json.dumps({"trainer": "landmarks", "part": "points"}))
    with pytest.raises(UsageError, match="this run was started with trainer: landmarks; use another --run folder"):
        remember_config(config, tmp_path, ("data",))
    (tmp_path / "config.json").write_text(json.dumps({"data": {"clips": "clips"}, "steps": 1}))
    remember_config(config, tmp_path, ("data",))  # of a time when there was one trainer
    assert json.loads((tmp_path / "config.json").read_text())["trainer"] == "meta"


def test_the_rate_of_a_stage_rises_and_falls_by_what_ends_first() -> None:
    config = counting(rate=1.0, steps=1000, minutes=10)
    by_steps = [learning_rate(config, step, 0, rise=100, least=0.02) for step in range(1001)]
    assert by_steps[0] == 0.01 and by_steps.index(max(by_steps)) == 99 and by_steps[-1] == 0.02
    assert learning_rate(config, 500, 0, rise=100, least=0.02) == pytest.approx(0.5)
    assert learning_rate(config, 500, 600, rise=100, least=0.02) == 0.02


def test_the_one_average() -> None:
    """Weights follow, sooner in the beginning; buffers are copied, or averaged where they are statistics."""
    for buffers, want in (("copy", 4.0), ("average", 4.0 * 10 / 11)):
        mine, theirs = nn.BatchNorm1d(1), nn.BatchNorm1d(1)
        for values in (theirs.weight, theirs.running_mean):
            nn.init.constant_(values, 4.0)
        nn.init.zeros_(mine.weight)
        theirs.num_batches_tracked += 7
        average(mine, theirs, 1, 0.998, buffers)  # type: ignore[arg-type]
        assert mine.weight.item() == pytest.approx(4.0 * 10 / 11) and mine.running_mean.item() == pytest.approx(want)
        assert mine.num_batches_tracked == 7
    late = nn.Linear(1, 1)
    before = late.weight.clone()
    average(late, nn.Linear(1, 1), 10**6, 0.998)
    assert torch.allclose(late.weight, before, atol=0.01)
