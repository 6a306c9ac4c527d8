"""Putting trained landmark weights into the package: the cards, and the figures that they show."""

import importlib
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from click.testing import CliRunner, Result

from fewshot_reenact.landmarks.network import PointNet, load_network, save_network
from fewshot_reenact.weights import WEIGHTS


@pytest.fixture
def ship(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The script, as it is run: nothing but its own folder is added to what can be imported."""
    monkeypatch.syspath_prepend(str(root / "scripts" / "build"))
    before = list(sys.path)
    module = importlib.import_module("ship_landmarks")
    assert sys.path == before
    folder = tmp_path / "weights"
    folder.mkdir()
    for path in WEIGHTS.iterdir():
        if path.stem in (*module.ABOUT, "README"):
            shutil.copyfile(path, folder / path.name)
    monkeypatch.setattr(module, "WEIGHTS", folder)
    yield module
    sys.modules.pop("ship_landmarks")


def run(ship: ModuleType, *line: object) -> Result:
    return CliRunner().invoke(ship.main, [str(one) for one in line])


def test_the_cards_in_the_package_are_what_the_script_writes(ship: ModuleType) -> None:
    assert run(ship).exit_code == 0
    for name in ("README.md", *(f"{name}.md" for name in ship.ABOUT)):
        assert (ship.WEIGHTS / name).read_text() == (WEIGHTS / name).read_text(), f"{name}: ship_landmarks.py"


def test_what_the_card_says_can_be_run(ship: ModuleType, root: Path) -> None:
    configs = re.findall(r"reenact train --config (\S+)", (WEIGHTS / "README.md").read_text())
    assert len(configs) == 4 and all((root / name).is_file() for name in configs)


def test_new_weights_have_no_old_figures(ship: ModuleType, tmp_path: Path) -> None:
    for seed in (0, 1):
        torch.manual_seed(seed)
        net = PointNet()
        save_network(net, tmp_path / f"{seed}.safetensors", net.dims, f"stage {seed}")
    assert run(ship, "--points", tmp_path / "0.safetensors", "--points", tmp_path / "1.safetensors").exit_code == 0
    card = (ship.WEIGHTS / "README.md").read_text()
    assert "Not measured yet." in card and "the mean of stages" in card.replace("\n", " ")
    assert "the mean of two stages, stage 0 and stage 1" in (ship.WEIGHTS / "landmarks.md").read_text()
    load_network(PointNet, ship.WEIGHTS / "landmarks.safetensors")
    (tmp_path / "figures.json").write_text(json.dumps({"card": "| figure |\n|---|\n| 7 |"}))
    assert run(ship, "--figures", tmp_path / "figures.json").exit_code == 0
    assert "<!-- figures -->\n| figure |\n|---|\n| 7 |\n<!-- /figures -->" in (ship.WEIGHTS / "README.md").read_text()
    (tmp_path / "figures.json").write_text("{}")
    refused = run(ship, "--figures", tmp_path / "figures.json")
    assert (
        refused.exit_code == 2 and "not what `scripts/measure/benchmark.py landmarks --json` writes" in refused.output
    )
