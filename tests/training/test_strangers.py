"""Training by somebody who has the package and a few videos: configs by name, no other file, the README's words."""

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import fewshot_reenact
from fewshot_reenact.cli import main
from fewshot_reenact.errors import UsageError
from fewshot_reenact.models.teachers import TEACHER
from fewshot_reenact.training.config import load_config
from fewshot_reenact.training.config_files import CONFIGS, find_config
from fewshot_reenact.training.trainers import load_any
from painted_clips import write_clip

NAMES = ("meta", "paper", "tiny")


def reenact(line: str, *more: object) -> Result:
    return CliRunner().invoke(main, [*shlex.split(line.removeprefix("reenact "), comments=True), *map(str, more)])


def test_the_configs_in_the_package_are_those_of_the_checkout(root: Path) -> None:
    assert sorted(path.stem for path in CONFIGS.iterdir()) == list(NAMES)
    for path in CONFIGS.iterdir():
        assert path.read_bytes() == (root / "configs" / path.name).read_bytes(), (
            f"cp configs/{path.name} src/fewshot_reenact/configs/"
        )


@pytest.mark.parametrize("name", NAMES)
def test_they_name_no_file_outside_the_package(name: str) -> None:
    config, package = load_config(find_config(name)), Path(fewshot_reenact.__file__).parent
    loss, weights = config.loss, config.weights()
    networks = [loss.network, loss.vgg19_network if weights.vgg19 else None]
    networks += [loss.vggface_network if weights.vggface else None, config.init]
    named = [Path(network) for network in networks if network is not None]
    assert named and all(path.is_file() and package in path.parents for path in named)
    assert str(config.data.clips) == "shards", "what `reenact prepare videos/ shards/` makes"


def test_networks_and_clips_by_option(tmp_path: Path) -> None:
    meta, _ = load_any("meta", clips="mine", perceptual="features.safetensors", steps=7)
    assert (meta.data.clips, str(meta.loss.network), meta.steps) == ("mine", "features.safetensors", 7)  # type: ignore[attr-defined]
    paper, _ = load_any("paper", perceptual="torchvision", identity="faces.pth")
    assert (paper.loss.vgg19_network, paper.loss.vggface_network) == ("torchvision", "faces.pth")  # type: ignore[attr-defined]
    again, _ = load_any("paper", perceptual="builtin")
    assert again.loss.vgg19_network == str(TEACHER)  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="no use for --identity"):
        load_any("meta", identity="faces.pth")
    other = tmp_path / "points.yaml"
    other.write_text("trainer: landmarks\n")
    with pytest.raises(UsageError, match="takes its clips from the config"):
        load_any(other, clips="mine")


def test_a_name_that_is_none_gets_those_that_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = reenact("reenact train --config tyny")
    assert result.exit_code == 2 and "tyny: no such config" in result.stderr and "meta, paper, tiny" in result.stderr
    Path("tiny").write_text("steps: soon\n")  # a file of one's own comes first
    assert "tiny: data: Field required" in reenact("reenact train --config tiny").stderr


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_the_readmes_words_from_videos_to_a_video(
    root: Path, assets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three painted clips, the real extractor; only the run is shortened."""
    section = (root / "README.md").read_text("utf-8").split("## Train, fine-tune, evaluate")[1]
    prepare, train, animate = re.findall(r"^    (reenact [^\n]*)", section, re.MULTILINE)[:3]
    assert prepare.startswith("reenact prepare videos/ shards/") and "--config tiny" in train and "--model" in animate
    monkeypatch.chdir(tmp_path)
    Path("videos").mkdir()
    for name, seed in (("ann", 0), ("bob", 2), ("eve", 3)):
        write_clip(Path("videos") / f"{name}.mp4", name, frames=30, size=256, seed=seed)
        Path("videos", f"{name}.npz").unlink()
    Path("portrait.jpg").write_bytes((assets / "astronaut.jpg").read_bytes())
    Path("driver.mp4").write_bytes(Path("videos/eve.mp4").read_bytes())

    done = reenact(prepare)
    assert done.exit_code == 0 and "3 clips of 3 people, 90 frames" in done.output, done.output
    done = reenact(train, "--steps", 2)
    assert done.exit_code == 0 and "3 clips of 3 people" in done.output, done.output
    assert "run/tiny/model.safetensors: step 2 of 2" in done.output
    done = reenact(animate, "--end", 0.2)
    assert done.exit_code == 0 and "portrait--driver.mp4: 5 frames, 64x64" in done.output, done.output
    assert reenact("reenact verify portrait--driver.mp4 --json").exit_code == 0
