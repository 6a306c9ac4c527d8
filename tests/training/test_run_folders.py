"""Run folders that were killed, damaged or shared, configs that attack, and how a run is interrupted."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from click.testing import CliRunner, Result

from fewshot_reenact.cli import main
from fewshot_reenact.errors import UsageError
from fewshot_reenact.training.checkpoints import newest_checkpoint
from fewshot_reenact.training.config import load_config
from fewshot_reenact.training.loop import train
from fewshot_reenact.training.trainer import Trainer
from killed_runs import dies_at
from painted_clips import write_clips

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("one_thread")
MODEL = {
    "kind": "textured", "size": 32, "embedding": 8, "embedder_channels": [8, 8], "down_channels": [8, 8],
    "up_channels": [8, 8], "residual_blocks": 1, "embedder_unshuffle": 2, "generator_unshuffle": 2, "stem": 8,
    "skips": True, "spectral_norm": False, "attention": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with clips, c.yaml and a run of two steps, each saved. Not to be changed: copy it."""
    folder = tmp_path_factory.mktemp("trained")
    write_clips(folder / "clips", people=2, frames=6)
    raw = {"model": MODEL, "data": {"clips": str(folder / "clips"), "frame_step": 1}, "batch": 2, "steps": 2}
    (folder / "c.yaml").write_text(yaml.safe_dump({**raw, "save_every": 1, "log_every": 1}))
    (folder / "rare.yaml").write_text(yaml.safe_dump({**raw, "save_every": 9, "log_every": 1, "steps": 4}))
    assert go(folder / "c.yaml", folder / "run").exit_code == 0
    return folder


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained / "run", tmp_path / "run"))


def go(config: Path | str, folder: Path, *more: object) -> Result:
    line = ["train", "--config", config, "--run", folder, "--device", "cpu", *more]
    return CliRunner().invoke(main, [str(one) for one in line])


def steps_in(folder: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_run_killed_before_it_saved_logs_no_step_twice(trained: Path, tmp_path: Path) -> None:
    config = load_config(trained / "rare.yaml")
    with dies_at(3):
        train(config, tmp_path / "run", device=CPU)
    assert steps_in(tmp_path / "run") == [1, 2, 3] and config.save_every == 9
    assert go(trained / "rare.yaml", tmp_path / "run").exit_code == 0
    assert steps_in(tmp_path / "run") == [1, 2, 3, 4]


def test_a_flipped_bit_in_a_checkpoint_is_noticed(trained: Path, copied: Path, capsys: pytest.CaptureFixture) -> None:
    newest = copied / "checkpoints" / "step_0000002.pt"
    data = bytearray(newest.read_bytes())
    at = data.index(b"PK\x01\x02") // 2  # among the numbers, before the list of what is in it
    data[at] ^= 4
    newest.write_bytes(bytes(data))
    state = newest_checkpoint(copied, Trainer(load_config(trained / "c.yaml"), copied, CPU).device, None)
    assert state is not None and state["step"] == 1
    assert "step_0000002.pt: cannot be read, trying the one before" in capsys.readouterr().out


def test_other_files_among_the_checkpoints_are_no_checkpoints(trained: Path, copied: Path) -> None:
    shutil.copy(copied / "checkpoints" / "step_0000002.pt", copied / "checkpoints" / "step_best.pt")
    result = go(trained / "c.yaml", copied, "--steps", 3)
    assert result.exit_code == 0 and "step 3 of 3" in result.output
    assert (copied / "checkpoints" / "step_best.pt").exists()


@pytest.mark.parametrize("text", ["", "[]", "{", '{"fingerprint"', "null", "[" * 100_000])
@pytest.mark.parametrize("name", ["clips.json", "config.json"])
def test_a_damaged_list_of_what_a_run_is(trained: Path, copied: Path, name: str, text: str) -> None:
    (copied / name).write_text(text)
    result = go(trained / "c.yaml", copied)
    assert result.exit_code == 2 and f"{name}: damaged" in result.stderr and "use another --run" in result.stderr


def test_damaged_lines_of_the_log_are_dropped(trained: Path, copied: Path) -> None:
    with (copied / "metrics.jsonl").open("ab") as file:
        file.write(b'\xff\xfe\n[]\n{"step": "x"}\n{"step"\nnull\n')
    assert go(trained / "c.yaml", copied, "--steps", 3).exit_code == 0
    assert steps_in(copied) == [1, 2, 3]


def test_ctrl_c_says_what_is_kept(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "advance", interrupted)
    result = go(trained / "c.yaml", tmp_path / "run")
    assert result.exit_code == 130 and "the same command to go on from there" in result.stderr
    assert "nothing" not in result.stderr


def test_no_bar_where_nobody_watches(trained: Path, tmp_path: Path) -> None:
    result = go(trained / "c.yaml", tmp_path / "run")
    assert result.exit_code == 0 and "step/s" not in result.output and "\r" not in result.output


# ---- configs


BILLION = "a0: &a0 [1,2,3,4,5,6,7,8,9,0]\n" + "".join(f"a{n}: &a{n} [{f'*a{n - 1},' * 10}]\n" for n in range(1, 10))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: " + "[" * 5000, "not YAML that can be used"),
        ("a: " + "{a: " * 3000, "not YAML that can be used"),
        ("steps: 2001-13-45\n", "not YAML that can be used"),
        ("steps: " + "9" * 5000, "not YAML that can be used"),
        (BILLION, "stands for over"),
        ("a: &a [*a]\n", "stands for over"),
        ("#" * (1 << 20) + "\na: 1\n", "too large"),
        ("model: {refiners: 5}\n", "model: refiners must be a list"),
        ("adversarial: {dims: {size: 128, embedding: 256, channels: 5}}\n", "channels must be a list of whole numbers"),
        ("adversarial: {dims: {size: 128, embedding: 256, channels: [x]}}\n", "channels must be a list"),
        ("adversarial: {dims: {size: 128, embedding: 256, channels: [8], unshuffle: 0}}\n", "unshuffle must be"),
        ("adversarial: {dims: {size: x, embedding: 256, channels: [8]}}\n", "size must be a whole number"),
        ("model: {1: 2, null: 3}\n", "model"),
        ("data: 5\n", "data"),
        ("loss: [1]\n", "loss"),
    ],
)
def test_configs_that_attack_are_one_line(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text if text.startswith(("data:", "a: ", "a0: ")) else f"{text}data: {{clips: x}}\nsteps: 1\n")
    with pytest.raises(UsageError, match=r"c\.yaml: ") as caught:
        load_config(path)
    assert says in str(caught.value) and "\n" not in str(caught.value)
    result = go(path, tmp_path / "run", "--dry-run")
    assert result.exit_code == 2 and "internal error" not in result.output
