"""A short slot on another machine: packed, run with few packages, merged, gone on with. At tiny size."""

import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner

from fewshot_reenact.cli import main
from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.models.checkpoint import load_model, save_model
from fewshot_reenact.models.dimensions import ModelDimensions
from fewshot_reenact.models.reenactor import Reenactor
from fewshot_reenact.training.config import load_config
from fewshot_reenact.training.data.clips import load_clips
from fewshot_reenact.training.data.codec import ClipEncoder
from fewshot_reenact.training.refiner.config import RefinerConfig
from fewshot_reenact.training.refiner.episodes import faces_of
from fewshot_reenact.training.refiner.train import join
from fewshot_reenact.training.resident.store import build_store
from fewshot_reenact.training.schedule import slot_share
from fewshot_reenact.training.slot import run as slot_run
from fewshot_reenact.training.slot.films import pack_films, unpack_films
from fewshot_reenact.training.slot.merge import merge
from fewshot_reenact.training.slot.opening import Packed
from fewshot_reenact.training.slot.pack import pack
from fewshot_reenact.training.slot.pieces import read_pieces, write_pieces
from fewshot_reenact.training.slot.run import split
from fewshot_reenact.training.slot.settings import PlainConfig
from fewshot_reenact.training.slot.state import decode_state, encode_state
from fewshot_reenact.training.trainers import load_any
from network_samples import feature_net
from painted_clips import write_clips

MODEL = {
    "kind": "textured", "size": 32, "embedding": 8, "embedder_channels": [8, 8], "down_channels": [8, 8],
    "up_channels": [8, 8], "residual_blocks": 1, "embedder_unshuffle": 2, "generator_unshuffle": 2, "stem": 8,
    "skips": True, "spectral_norm": False, "attention": False, "flow": True,
}  # fmt: skip
# What the machine does not have, refused as if it were not installed.
ALONE = """
import runpy, sys
for name in ("av", "pydantic", "tqdm", "click", "yaml", "scipy", "cryptography", "c2pa"):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A folder with clips, held_out, net.safetensors, slot.yaml and refiner.yaml."""
    folder = tmp_path_factory.mktemp("slot")
    write_clips(folder / "clips", people=2, frames=8)
    write_clips(folder / "held_out", people=1, frames=14)
    feature_net(folder / "net.safetensors")
    raw = {
        "model": MODEL,
        "data": {"clips": str(folder / "clips"), "frame_step": 1, "dense": 0.5},
        "loss": {"network": str(folder / "net.safetensors"), "shift": 0.05},
        "adversarial": {"dims": {"size": 32, "embedding": 8, "channels": [8, 8], "attention": False}, "rows": True},
        **{"batch": 2, "steps": 100000, "log_every": 2, "amp": True, "compile": "graphs"},
    }
    (folder / "slot.yaml").write_text(yaml.safe_dump(raw))
    raw = {
        "trainer": "refiner", "part": "mouth", "data": raw["data"], "held_out": str(folder / "held_out"),
        "network": str(folder / "net.safetensors"), "skip_heads": 0, "down_channels": [8], "up_channels": [8],
        "adversarial": {"start": 2, "alone": 2, "wide": 4}, "model": str(tiny_model), "judged": 4,
        "batch": 2, "steps": 100000, "log_every": 2, "amp": True, "compile": "graphs",
    }  # fmt: skip
    (folder / "refiner.yaml").write_text(yaml.safe_dump(raw))
    return folder


def _quiet(line: str) -> None:
    del line


def run_alone(root: Path, out: Path, parts: list[Path | str]) -> dict:
    """What a slot reports, in a process that has few packages."""
    script = root / "scripts" / "build" / "gpu_slot.py"
    words = [sys.executable, "-c", ALONE, script, "run", "--minutes", "0.25", "--timed", "2", "--looks", "4"]
    done = subprocess.run(
        [*words, "--device", "cpu", "--out", out, *parts],
        capture_output=True,
        text=True,
        cwd=out.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((out / "report.json").read_text())


def test_a_slot_is_packed_run_with_few_packages_merged_and_gone_on_with(
    setting: Path, tmp_path: Path, root: Path
) -> None:
    said: list[str] = []
    config = load_config(setting / "slot.yaml")
    parts = pack(config, tmp_path / "parts", held_out=setting / "held_out", part=60_000, tell=said.append)
    assert len(parts) > 1 and all(sum(f.stat().st_size for f in part.iterdir()) < 70_000 for part in parts)
    (tmp_path / "elsewhere").mkdir()  # parts come one by one, and not all to the same folder
    parts[0].rename(tmp_path / "elsewhere" / parts[0].name)
    report = run_alone(root, tmp_path / "out", [tmp_path / "elsewhere", *parts[1:]])
    assert report["step"] > 8 and report["episodes_a_second"] > 0 and report["compile"] is False
    assert report["gflop_an_episode"] > 0 and report["held_out_after"].keys() == report["held_out_before"].keys()
    assert report["held_out_after"] != report["held_out_before"]
    assert len(list((tmp_path / "out").iterdir())) <= 8

    assert merge(tmp_path / "out", tmp_path / "run") == report["step"]
    with pytest.raises(UsageError, match="already"):
        merge(tmp_path / "out", tmp_path / "run")
    more = report["step"] + 2
    gone_on = CliRunner().invoke(
        main, ["train", "--config", str(setting / "slot.yaml"), "--run", str(tmp_path / "run"), "--steps", str(more)]
    )
    assert gone_on.exit_code == 0, gone_on.output
    assert f"resumed at step {report['step']}" in gone_on.output
    films = tmp_path / "films"
    films.mkdir()
    for part in (tmp_path / "elsewhere" / parts[0].name, *parts[1:]):
        part.rename(films / part.name)
    how = {"held_out": setting / "held_out", "begin": tmp_path / "run", "films": films, "tell": said.append}
    again = pack(config, tmp_path / "again", **how)
    assert f"begun from step {more}" in " ".join(said) and len(again) == 1
    before, after = read_pieces([films]), read_pieces(again)
    assert all(after[name] == blob for name, blob in before.items() if name.endswith((".films", ".points", ".index")))
    other = config.model_copy(update={"data": config.data.model_copy(update={"frame_step": 2})})
    with pytest.raises(UsageError, match=r"data\.frame_step: 1, not 2"):
        pack(other, tmp_path / "other", **how)


def test_a_slot_saves_again_and_again_and_is_gone_on_with(
    setting: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state on the other machine is replaced at every save, and a second process goes on from it."""
    monkeypatch.setattr(slot_run, "_SAVE_EVERY", 0.0)
    parts = pack(load_config(setting / "slot.yaml"), tmp_path / "parts", held_out=setting / "held_out", tell=_quiet)
    packed, said = Packed(parts), list[str]()
    monkeypatch.setattr(slot_run, "_say", said.append)
    how = {"device": torch.device("cpu"), "timed": 1, "looks": 2, "keep": tmp_path / "keep"}
    for _ in range(2):
        slot_run.run(packed, tmp_path / "out", minutes=0.08, **how)
    reached = json.loads((tmp_path / "out" / "report.json").read_text())["step"]
    begun = [int(line.split()[-1]) for line in said if line.startswith("gone on from step")]
    assert len(begun) == 1 and 8 < begun[0] < reached


def test_a_refiner_is_trained_on_what_the_slot_made_first(setting: Path, tmp_path: Path, root: Path) -> None:
    first = pack(load_config(setting / "slot.yaml"), tmp_path / "first", held_out=setting / "held_out", tell=_quiet)
    made = tmp_path / "made.safetensors"
    run_alone(root, tmp_path / "out", [*first, "--save-model", made])
    config, _ = load_any(setting / "refiner.yaml")
    assert isinstance(config, RefinerConfig)
    save_model(Reenactor(ModelDimensions.from_dict(MODEL)), tmp_path / "before.safetensors")
    config = config.model_copy(update={"model": tmp_path / "before.safetensors"})
    how = {"held_out": setting / "held_out", "second": True, "tell": _quiet}
    with pytest.raises(UsageError, match="films"):
        pack(config, tmp_path / "second", **how)
    second = pack(config, tmp_path / "second", films=tmp_path / "first", **how)
    assert not {"model", "train.films"} & read_pieces(second).keys()
    words = [*second, "--films", first[0], "--model", made, "--batch", "4"]
    report = run_alone(root, tmp_path / "out2", words)
    assert report["step"] > 8 and report["batch"] == 4
    blobs = split(read_pieces([tmp_path / "out2"])["slot"])
    assert json.loads(blobs["about"])["base"] == faces_of(load_model(made))
    assert json.loads(blobs["config"])["batch"] == 4


def test_a_refiner_goes_into_a_slot_too(setting: Path, tiny_model: Path, tmp_path: Path, root: Path) -> None:
    config, _ = load_any(setting / "refiner.yaml")
    assert isinstance(config, RefinerConfig)
    parts = pack(config, tmp_path / "parts", held_out=setting / "held_out", tell=lambda _: None)
    report = run_alone(root, tmp_path / "out", parts)
    assert report["step"] > 8 and report["trainer"] == "refiner" and report["gflop_an_episode"] > 0
    assert report["held_out_after"] != report["held_out_before"]
    assert merge(tmp_path / "out", tmp_path / "run") == report["step"]
    more = report["step"] + 2
    gone_on = CliRunner().invoke(
        main, ["train", "--config", str(setting / "refiner.yaml"), "--run", str(tmp_path / "run"), "--steps", str(more)]
    )
    assert gone_on.exit_code == 0, gone_on.output
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open()]
    assert any("slot" in row for row in rows) and rows[-1]["step"] == more
    assert any("adversarial" in row for row in rows)
    model, note = join(load_model(tiny_model), [tmp_path / "run"])
    assert note == f"mouth {more} steps" and model.dims.refiners[0].part == "mouth"
    pack(config, tmp_path / "again", held_out=setting / "held_out", begin=tmp_path / "run", tell=lambda _: None)


def test_the_rate_rises_stays_and_falls() -> None:
    share = [slot_share(step, 1 - step / 100, rise=10, final=0.1) for step in range(101)]
    assert share[0] == 0.1 and share[4] == 0.5 and share[9:71] == [1.0] * 62
    assert abs(share[85] - 0.55) < 1e-9 and abs(share[100] - 0.1) < 1e-9
    assert slot_share(500, -0.2, rise=10, final=0.1) == 0.1  # the time is over


def test_pieces_come_back_whole_or_say_what_is_missing(tmp_path: Path) -> None:
    blobs = {"a": bytes(range(256)) * 40, "b": b"", "c": b"xyz"}
    parts = write_pieces(tmp_path / "pack", blobs, piece=4000, part=9000)
    assert len(parts) == 2 and read_pieces(reversed(parts)) == blobs
    with pytest.raises(InputError, match="part 1 is in none"):
        read_pieces(parts[:1])
    damaged = parts[0] / "a.00"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    with pytest.raises(InputError, match="damaged"):
        read_pieces(parts)
    other = write_pieces(tmp_path / "other", {"a": b"1"}, piece=10)
    with pytest.raises(InputError, match="different packs"):
        read_pieces([*parts, *other])
    with pytest.raises(InputError, match="no pack here"):
        read_pieces([tmp_path])
    with pytest.raises(UsageError, match="cannot hold"):
        write_pieces(tmp_path / "x", blobs, piece=10, part=5)


def test_frames_and_points_travel(setting: Path) -> None:
    store = build_store(load_clips(setting / "clips", 1), None)
    back = unpack_films(pack_films(store, crf=10))
    assert back.frames.shape == store.frames.shape and back.people == store.people
    assert float((back.frames.float() - store.frames.float()).abs().mean()) < 4
    assert np.abs(back.table.points - store.table.points).max() <= 1 / 128
    assert np.array_equal(back.first, store.first) and back.fingerprint == store.fingerprint


@pytest.mark.parametrize("colour", [(200, 40, 30), (30, 180, 60), (40, 60, 210)])
def test_opencv_sees_the_colours_that_were_packed(colour: tuple[int, int, int], tmp_path: Path) -> None:
    encoder = ClipEncoder(64, Fraction(25), 10, 250, "bt601")
    for _ in range(2):
        encoder.add(np.full((64, 64, 3), colour, np.uint8))
    (tmp_path / "film.mp4").write_bytes(encoder.finish())
    read, picture = cv2.VideoCapture(str(tmp_path / "film.mp4")).read()
    assert read and np.abs(picture[20:40, 20:40, ::-1].astype(int) - colour).max() <= 4


def test_state_travels_in_fewer_bytes() -> None:
    network = torch.nn.Linear(300, 200)
    optimiser = torch.optim.Adam(network.parameters())
    for _ in range(3):
        network(torch.randn(4, 300)).square().sum().backward()
        optimiser.step()
    averaged = {name: value + 0.1 for name, value in network.state_dict().items()}
    state = {
        "step": 7,
        "model": network.state_dict(),
        "averaged": averaged,
        "optimiser": optimiser.state_dict(),
        "adversary": None,
        "random": {"cpu": torch.get_rng_state()},
    }
    blob, moments = encode_state(state)
    back = decode_state(blob, torch.device("cpu"))
    assert moments and len(blob) < 0.65 * 16 * 300 * 200 + 20_000
    assert back["step"] == 7 and back["adversary"] is None and "random" not in back
    assert torch.equal(back["model"]["weight"], network.weight)
    torch.testing.assert_close(back["averaged"]["weight"], averaged["weight"], rtol=1e-3, atol=1e-4)
    own, came = (one["state"][0] for one in (optimiser.state_dict(), back["optimiser"]))
    torch.testing.assert_close(came["exp_avg_sq"], own["exp_avg_sq"], rtol=0.02, atol=0)
    torch.testing.assert_close(came["exp_avg"], own["exp_avg"], rtol=0.01, atol=0)
    optimiser.load_state_dict(back["optimiser"])
    less, moments = encode_state(state, limit=len(blob) - 1)
    assert not moments and len(less) < len(blob)
    optimiser.load_state_dict(decode_state(less, torch.device("cpu"))["optimiser"])
    assert not optimiser.state_dict()["state"]


def test_a_plain_config_answers_as_the_checked_one(setting: Path) -> None:
    config = load_config(setting / "slot.yaml")
    plain = PlainConfig.loads(config.model_dump_json())
    assert plain.dimensions() == config.dimensions() and plain.weights() == config.weights()
    assert plain.loss.network == config.loss.network
    assert plain.optimiser.rate == config.optimiser.rate  # type: ignore[attr-defined]


def test_pack_says_what_is_wrong_before_it_works(setting: Path, tmp_path: Path) -> None:
    config = load_config(setting / "slot.yaml")
    with pytest.raises(UsageError, match="is there already"):
        pack(config, tmp_path, held_out=setting / "held_out")
    with pytest.raises(UsageError, match="no checkpoint"):
        pack(config, tmp_path / "x", held_out=setting / "held_out", begin=tmp_path, tell=lambda _: None)
