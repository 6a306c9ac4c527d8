"""Meta-learning: config, episodes, the loop, what survives a kill. On painted clips, with tiny networks."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner
from safetensors import safe_open
from torch.utils.data import DataLoader

from fewshot_reenact.cli import main
from fewshot_reenact.errors import InputError, ModelError, UsageError
from fewshot_reenact.models.checkpoint import load_model
from fewshot_reenact.rendering.registration import register
from fewshot_reenact.training import content_loss as content
from fewshot_reenact.training.batch import make_faces, make_inputs
from fewshot_reenact.training.checkpoints import newest_checkpoint, write_checkpoint
from fewshot_reenact.training.config import OptimiserConfig, TrainConfig, load_config
from fewshot_reenact.training.data.clips import LoadedClips, load_clips
from fewshot_reenact.training.data.episodes import Episodes
from fewshot_reenact.training.faults import Diverged
from fewshot_reenact.training.loop import Preempted, train
from fewshot_reenact.training.trainer import Trainer, learning_rate
from killed_runs import dies_at
from painted_clips import face_points, write_clip, write_clips

CPU = torch.device("cpu")
MODEL = {
    "kind": "textured", "size": 32, "embedding": 8, "embedder_channels": [8, 8], "down_channels": [8, 8],
    "up_channels": [8, 8], "residual_blocks": 1, "embedder_unshuffle": 2, "generator_unshuffle": 2, "stem": 8,
    "skips": True, "spectral_norm": False, "attention": False,
}  # fmt: skip


try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    return write_clips(tmp_path_factory.mktemp("data") / "clips", people=2, frames=8)


def config(clips: Path, **changes: object) -> TrainConfig:
    raw = {"model": MODEL, "data": {"clips": clips, "frame_step": 1}, "batch": 2, "steps": 6, "save_every": 2}
    return TrainConfig.model_validate({**raw, "log_every": 2, "keep": 9, **changes})


def episodes(clips: Path, seed: int = 0, **data: object) -> Episodes:
    settings = config(clips, data={"clips": clips, "frame_step": 1, **data})
    return Episodes(load_clips(clips, 1), settings.data, 32, "filled", seed, 50)


def state(folder: Path) -> dict:
    newest = sorted((folder / "checkpoints").glob("step_*.pt"))[-1]
    return torch.load(newest, weights_only=True)


def same(a: object, b: object, where: str = "") -> None:
    """Equal to the last bit, all the way down."""
    if isinstance(a, dict):
        assert isinstance(b, dict) and a.keys() == b.keys(), where
        for key in a:
            same(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, list | tuple):
        assert isinstance(b, type(a)) and len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            same(x, y, f"{where}[{i}]")
    else:
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b, where  # type: ignore[arg-type]


def metrics(folder: Path) -> list[dict]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "time"} for row in rows]


# ---- config ----


def write_config(folder: Path, clips: Path, text: str | None = None, **changes: object) -> Path:
    path = folder / "c.yaml"
    raw = {"model": MODEL, "data": {"clips": str(clips), "frame_step": 1}, "batch": 2, "steps": 4, **changes}
    path.write_text(yaml.safe_dump(raw) if text is None else text)
    return path


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"stepz": 3}, "unknown key stepz: did you mean steps"),
        ({"optimiser": {"rates": 1}}, "unknown key optimiser.rates: did you mean rate"),
        ({"data": {"clips": "x", "portrait": 1}}, "unknown key data.portrait: did you mean portraits"),
        ({"steps": None}, "steps: Input should be a valid integer"),
        ({"batch": 0}, "batch: Input should be greater than or equal to 1"),
        ({"data": {}}, "data.clips: Field required"),
        ({"optimiser": {"ema": 1.0}}, "optimiser.ema: Input should be less than 1"),
        ({"model": "huge"}, "model"),
        ({"model": {**MODEL, "size": 33}}, "model: size 33 must be divisible by 8"),
        ({"model": {**MODEL, "wings": 1}}, "model: unknown dimension wings"),
        ({"model": {**MODEL, "sizes": 32}}, "model: unknown dimension sizes: did you mean size"),
        ({"model": {"size": 32}}, "model: dimensions incomplete"),
        ({5: 1}, "5"),
    ],
)
def test_configs_that_are_refused(tmp_path, clips, changes, complaint):
    path = write_config(tmp_path, clips, **{} if 5 in changes else changes)
    if 5 in changes:
        path.write_text(path.read_text() + "5: 1\n")
    with pytest.raises(UsageError, match=complaint) as caught:
        load_config(path)
    assert caught.value.exit_code == 2 and str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("model: [", "not YAML .* line 1, column 9"),
        ("just words", "a mapping of names"),
        ("", "a mapping of names"),
        ("- 1", "a mapping"),
    ],
)
def test_files_that_are_no_config(tmp_path, clips, text, complaint):
    with pytest.raises(UsageError, match=complaint):
        load_config(write_config(tmp_path, clips, text))
    with pytest.raises(UsageError, match=r"cannot read the config \(No such file"):
        load_config(tmp_path / "none.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00\x81" * 20)
    with pytest.raises(UsageError, match=r"bytes\.yaml"):
        load_config(tmp_path / "bytes.yaml")


def test_the_config_in_the_repository_and_overrides(root, tmp_path, clips):
    shipped = load_config(root / "configs" / "meta.yaml")
    assert shipped.dimensions().size == 128 and shipped.dimensions().kind == "textured"
    path = write_config(tmp_path, clips)
    assert (
        load_config(path).steps == 4
        and load_config(path, steps=9).steps == 9
        and load_config(path, steps=None).steps == 4
    )


def test_the_rate_rises_and_falls():
    c = OptimiserConfig(rate=1.0, warmup=10, final=0.1)
    rates = [learning_rate(t, 100, c) for t in range(101)]
    assert rates[0] == pytest.approx(0.1, abs=0.01) and rates[9] == max(rates) and rates[100] == pytest.approx(0.1)
    assert (np.diff(rates[:10]) > 0).all() and (np.diff(rates[9:]) < 0).all()


# ---- episodes ----


def test_an_episode_is_a_function_of_seed_and_index(clips):
    one, other = episodes(clips), episodes(clips)
    ahead = [one[i] for i in range(6)]
    same([other[i] for i in (3, 5, 0)], [ahead[i] for i in (3, 5, 0)])
    assert any((episodes(clips, seed=1)[i]["target"] != ahead[i]["target"]).any() for i in range(3))
    assert any((ahead[i]["target"] != ahead[0]["target"]).any() for i in range(1, 6))


def test_what_an_episode_holds(clips):
    item = episodes(clips, portraits=3)[4]
    shapes = {name: (tuple(value.shape), value.dtype) for name, value in item.items()}
    assert shapes == {
        "portraits": ((3, 3, 64, 64), torch.uint8), "portrait_points": ((3, 83, 2), torch.float32),
        "driver_points": ((83, 2), torch.float32), "driver_frame": ((2, 3), torch.float32),
        "target": ((3, 32, 32), torch.uint8), "sources": ((3, 3, 32, 32), torch.uint8),
        "source_rasters": ((3, 3, 32, 32), torch.uint8), "driver_raster": ((3, 32, 32), torch.uint8),
        "driver_face_points": ((83, 2), torch.float32), "clip": ((), torch.int64),
    }  # fmt: skip
    frame, face = item["driver_frame"].numpy(), item["driver_face_points"].numpy()
    assert np.allclose(face @ frame[:, :2].T + frame[:, 2], item["driver_points"].numpy(), atol=1e-3)
    assert item["target"].float().std() > 5 and item["driver_raster"].float().std() > 5


def test_points_and_pictures_belong_together_also_when_mirrored(clips, tmp_path):
    """A target drawn as its own portrait must be what the warp makes of it."""
    write_clip(tmp_path / "a.mp4", "a", points=[face_points(64), face_points(64)])
    still = episodes(tmp_path, point_noise=0.0, colour=0.0)
    seen = set()
    for i in range(8):
        x = make_inputs({k: v[None] for k, v in still[i].items()}, 32, CPU)
        assert (x.faces.warped - x.truth).abs().mean() < 0.03
        seen.add(float(x.truth[..., :16].sum().round()))
    assert len(seen) == 2, "as it is and mirrored"


def test_all_portraits_are_embedded(clips, tmp_path):
    trainer = Trainer(config(clips), tmp_path, CPU)
    batch = {k: v[None] for k, v in episodes(clips, portraits=3)[0].items()}
    x = make_inputs(batch, 32, CPU)
    assert x.portraits.shape == x.rasters.shape == (1, 3, 3, 32, 32) and torch.equal(x.portraits[:, 0], x.faces.source)
    assert torch.isfinite(torch.tensor(trainer.train_step(batch)["loss"]))
    seen = []
    trainer.model.embedder.register_forward_hook(lambda _m, given, _out: seen.append(len(given[0])))
    trainer.train_step(batch)
    assert seen == [3]


@pytest.mark.parametrize("kind", ["nothing", "no labels", "not npz", "no identity", "68 points", "nan"])
def test_folders_that_are_refused(tmp_path, kind):
    if kind != "nothing":
        write_clip(tmp_path / "a.mp4", "a", frames=3)
        labels = tmp_path / "a.npz"
        labels.unlink()
        if kind == "not npz":
            labels.write_text("no")
        elif kind != "no labels":
            points = np.full((3, 68 if kind == "68 points" else 83, 2), np.nan if kind == "nan" else 1.0)
            np.savez(labels, points=points, **{} if kind == "no identity" else {"identity": "a"})
    with pytest.raises(InputError, match="no clips" if kind == "nothing" else r"a\.npz"):
        load_clips(tmp_path, 1)


# ---- the loop ----


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.slow
def test_a_resumed_run_equals_one_that_was_not(clips, tmp_path, workers):
    """Killed after step 5: logged to 4, saved at 2 and 4, and the log's mean of step 5 lost with it. log_every and
    save_every have no common rhythm.
    """
    settings = config(clips, workers=workers, log_every=3, steps=6)
    train(settings, tmp_path / "whole", device=CPU)

    with dies_at(5):
        train(settings, tmp_path / "parts", device=CPU)
    with (tmp_path / "parts" / "metrics.jsonl").open("a") as log:
        log.write(json.dumps({"step": 5, "loss": 9}) + '\n{"step": 6, "lo')  # logged, not saved; and cut in the middle
    assert state(tmp_path / "parts")["step"] == 4
    assert train(settings, tmp_path / "parts", device=CPU) == 6
    same(state(tmp_path / "parts"), state(tmp_path / "whole"))
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole") and len(metrics(tmp_path / "whole")) == 2


def test_it_learns(clips, tmp_path):
    """Overfits one batch: the error falls clearly below the plain warp's, and the averaged weights follow."""
    optimiser = {"rate": 1e-3, "warmup": 1, "final": 1.0, "ema": 0.5}
    trainer = Trainer(config(clips, optimiser=optimiser), tmp_path, CPU)
    items = [episodes(clips)[i] for i in range(2)]
    batch = {k: torch.stack([item[k] for item in items]) for k in items[0]}
    rows = [trainer.train_step(batch) for _ in range(50)]
    assert rows[0]["l1_over_warp"] == pytest.approx(1, abs=1e-5), "it starts as the plain warp"
    assert rows[-1]["l1_over_warp"] < 0.75 and rows[-1]["loss"] < 0.75 * rows[0]["loss"]
    trainer.write_pictures(batch)
    sheet = cv2.imread(str(tmp_path / "pictures" / "step_0000050.png"))
    _, _, warp, output, truth = np.split(sheet.astype(float), 5, axis=1)
    assert np.abs(output - truth).mean() < 0.9 * np.abs(warp - truth).mean()


def test_the_averaged_weights_are_what_is_shipped(clips, tmp_path):
    train(config(clips, steps=4), tmp_path, device=CPU)
    shipped, kept = load_model(tmp_path / "model.safetensors").state_dict(), state(tmp_path)
    assert shipped.keys() == kept["averaged"].keys()
    assert all(torch.equal(value, kept["averaged"][name]) for name, value in shipped.items())
    assert any((kept["averaged"][name] != kept["model"][name]).any() for name in shipped)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert file.metadata()["note"] == "step 4"


def test_only_the_last_checkpoints_are_kept(clips, tmp_path):
    train(config(clips, keep=2, save_every=1, steps=5), tmp_path, device=CPU)
    assert [p.name for p in sorted((tmp_path / "checkpoints").iterdir())] == ["step_0000004.pt", "step_0000005.pt"]


@pytest.mark.parametrize("damage", ["truncated", "text", "empty", "pickle"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(clips, tmp_path, damage):
    train(config(clips, steps=4), tmp_path, device=CPU)
    whole, newest = state(tmp_path), tmp_path / "checkpoints" / "step_0000004.pt"
    if damage == "truncated":
        newest.write_bytes(newest.read_bytes()[:3000])
    else:
        newest.write_bytes({"text": b"not a checkpoint", "empty": b"", "pickle": b"cos\nsystem\n(S'true'\ntR."}[damage])
    trainer = Trainer(config(clips, steps=4), tmp_path, CPU)
    assert trainer.resume() and trainer.step == 2
    train(config(clips, steps=4), tmp_path, device=CPU)
    same(state(tmp_path), whole)
    for path in (tmp_path / "checkpoints").iterdir():
        path.write_bytes(b"gone")
    with pytest.raises(ModelError, match="no checkpoint can be read"):
        Trainer(config(clips), tmp_path, CPU).resume()


def test_another_config_needs_another_folder(clips, tmp_path):
    train(config(clips, steps=1), tmp_path, device=CPU)
    for change in ({"model": {**MODEL, "stem": 16}}, {"seed": 1}, {"batch": 4}, {"data": {"clips": clips}}):
        with pytest.raises(UsageError, match=f"started with another '{next(iter(change))}'; use another --run"):
            train(config(clips, steps=1, **change), tmp_path, device=CPU)
    assert train(config(clips, steps=2, save_every=5), tmp_path, device=CPU) == 2, "a longer run is the same run"
    (tmp_path / "config.json").write_text('{"mod')
    with pytest.raises(UsageError, match="damaged"):
        train(config(clips, steps=2), tmp_path, device=CPU)


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_divergence_changes_nothing_and_says_what_to_do(clips, tmp_path, monkeypatch, where):
    trainer = Trainer(config(clips), tmp_path, CPU)
    items = [episodes(clips)[i] for i in range(2)]
    batch = {k: torch.stack([item[k] for item in items]) for k in items[0]}
    trainer.train_step(batch)
    before = {k: v.clone() for k, v in (trainer.model.state_dict() | trainer.averaged.state_dict()).items()}
    real = content.textured_loss
    if where == "loss":
        monkeypatch.setattr(content, "textured_loss", lambda *a: (real(*a)[0] * float("nan"), real(*a)[1]))
    else:
        trainer.model.generator.out.weight.register_hook(lambda g: g * float("inf"))
    with pytest.raises(Diverged, match=r"at step 1 \(episodes 2 to 3 of seed 0\); it changed nothing"):
        trainer.train_step(batch)
    same(dict(trainer.model.state_dict() | trainer.averaged.state_dict()), before)
    assert trainer.step == 1


# ---- stopping ----


def test_max_minutes_stops_saved(clips, tmp_path):
    reached = train(config(clips, steps=100_000, save_every=100_000), tmp_path, device=CPU, max_minutes=0.5 / 60)
    assert reached < 1000 and state(tmp_path)["step"] == reached


def test_sigterm_saves_and_says_so(clips, tmp_path, monkeypatch):
    step = Trainer.advance

    def signalled(self, batch):
        if self.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, batch)

    monkeypatch.setattr(Trainer, "advance", signalled)
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Preempted, match="stopped by SIGTERM at step 3; saved") as caught:
        train(config(clips, steps=9, save_every=100), tmp_path, device=CPU)
    assert caught.value.exit_code == 75 and state(tmp_path)["step"] == 3 and signal.getsignal(signal.SIGTERM) == handler


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="process groups are POSIX")
@pytest.mark.slow
def test_a_scheduler_that_signals_the_whole_group_gets_75(clips, tmp_path):
    """As a user would see it: the command, with worker processes, stopped from outside."""
    path = write_config(tmp_path, clips, steps=100_000, workers=1, log_every=1, save_every=100_000)
    command = [
        sys.executable,
        "-c",
        "from fewshot_reenact.cli import main; main()",
        "train",
        "--threads",
        "1",
        "--config",
        path,
        "--run",
        tmp_path / "run",
        "--device",
        "cpu",
    ]
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True)
    log, deadline = tmp_path / "run" / "metrics.jsonl", time.monotonic() + 120
    while not (log.is_file() and log.read_text()) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 75, said
    assert "saved: run the same command to go on" in said and "Traceback" not in said
    assert state(tmp_path / "run")["step"] > 0


# ---- the command ----


def test_the_command(clips, tmp_path):
    path, run = write_config(tmp_path, clips), tmp_path / "run"
    dry = CliRunner().invoke(main, ["train", "--config", str(path), "--run", str(run), "--device", "cpu", "--dry-run"])
    assert dry.exit_code == 0 and json.loads(dry.stdout)["steps"] == 4 and not run.exists()
    done = CliRunner().invoke(
        main, ["train", "--config", str(path), "--run", str(run), "--device", "cpu", "--steps", "1"]
    )
    assert done.exit_code == 0 and "model.safetensors: step 1 of 1" in done.stdout, done.output
    assert load_model(run / "model.safetensors").dims.size == 32
    again = ["train", "--config", str(path), "--run", str(run), "--device", "cpu", "--steps", "1"]
    second = CliRunner(env={"RANK": "1"}).invoke(main, again)
    assert second.exit_code == 0 and "step 1 of 1" not in second.stdout, "of torchrun's processes one speaks"
    missing = write_config(tmp_path, clips, loss={"network": "nowhere.safetensors"})
    lost = CliRunner().invoke(main, ["train", "--config", str(missing), "--run", str(tmp_path / "b"), "--dry-run"])
    assert lost.exit_code == 4 and "nowhere.safetensors: no such feature network" in lost.stderr
    wrong = CliRunner().invoke(main, ["train", "--config", str(write_config(tmp_path, clips, stepz=1)), "--dry-run"])
    assert wrong.exit_code == 2 and "did you mean steps?" in wrong.stderr


def test_training_can_begin_from_given_weights(clips, tmp_path):
    train(config(clips, steps=2), tmp_path / "a", device=CPU)
    given = tmp_path / "a" / "model.safetensors"
    trainer = Trainer(config(clips, seed=5), tmp_path / "b", CPU)
    trainer.begin_from(given)
    for model in (trainer.model, trainer.averaged):
        for mine, theirs in zip(model.state_dict().values(), load_model(given).state_dict().values(), strict=True):
            assert torch.equal(mine, theirs)
    with pytest.raises(ModelError, match="other model dimensions"):
        Trainer(config(clips, model={**MODEL, "stem": 4}), tmp_path / "c", CPU).begin_from(given)


def test_a_model_without_flow_can_begin_one_with_it_and_not_the_other_way(clips, tmp_path):
    before = config(clips, steps=2, model={**MODEL, "flow": False})
    train(before, tmp_path / "a", device=CPU)
    given = tmp_path / "a" / "model.safetensors"
    after = Trainer(config(clips, model={**MODEL, "flow": True}), tmp_path / "b", CPU)
    after.begin_from(given)
    batch = next(iter(DataLoader(episodes(clips), 2)))
    x = make_inputs(batch, 32, CPU)
    with torch.no_grad():
        assert torch.allclose(make_faces(after.model, x)[0], make_faces(load_model(given), x)[0], atol=1e-5)
    after.train_step(batch)
    assert after.model.generator.out.weight[-2:].abs().sum() > 0, "the shift is trained"
    after.save()
    with pytest.raises(ModelError, match="other model dimensions"):
        Trainer(before, tmp_path / "c", CPU).begin_from(tmp_path / "b" / "model.safetensors")


def test_optical_flow_sees_which_way_the_warp_must_be_corrected():
    """The truth is the warp, looked up two pixels further right and one up: that is the shift that is learnt."""
    rng = np.random.default_rng(0)
    noise = cv2.GaussianBlur(rng.uniform(-1, 1, (70, 70, 3)).astype(np.float32), (0, 0), 2.0) * 4
    warped, truth = (
        torch.from_numpy(noise[a : a + 64, b : b + 64]).permute(2, 0, 1)[None] for a, b in ((3, 3), (2, 5))
    )
    seen = register(warped, truth)[0, :, 16:-16, 16:-16]
    assert seen.shape == (2, 32, 32)
    assert torch.allclose(seen.mean((1, 2)), torch.tensor([2.0, -1.0]), atol=0.2)
    assert register(warped, warped).abs().max() < 0.1


# ---- what a run remembers ----


def test_checkpoints_are_ordered_by_number_also_beyond_ten_million(tmp_path):
    """As text step_10000000 stands before step_9999999, and the newest would be thrown away as the oldest."""
    for step in (9_999_998, 9_999_999, 10_000_000, 10_000_001):
        write_checkpoint(tmp_path, {"step": step, "dimensions": "x"}, keep=2)
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2
    found = newest_checkpoint(tmp_path, CPU, "x")
    assert found is not None and found["step"] == 10_000_001


def test_a_start_that_failed_leaves_the_run_folder_free(clips, tmp_path):
    wrong = config(clips, data={"clips": tmp_path / "nope", "frame_step": 1})
    with pytest.raises(InputError):
        train(wrong, tmp_path / "run", device=CPU)
    assert train(config(clips, steps=1), tmp_path / "run", device=CPU) == 1


def test_other_clips_in_the_same_folder_are_refused(clips, tmp_path):
    mine = write_clips(tmp_path / "clips", people=2)
    train(config(mine, steps=1), tmp_path / "run", device=CPU)
    write_clip(mine / "person9_0.mp4", "person9", 8)
    with pytest.raises(UsageError, match=r"other clips than data\.clips holds now"):
        train(config(mine, steps=2), tmp_path / "run", device=CPU)


def test_sigterm_while_clips_are_loaded_is_heeded_too(clips, tmp_path, monkeypatch):
    def slow(data: object) -> LoadedClips:
        os.kill(os.getpid(), signal.SIGTERM)
        return load_clips(clips, 1)

    monkeypatch.setattr("fewshot_reenact.training.resident.opening.open_clips", slow)
    with pytest.raises(Preempted, match="at step 0; saved"):
        train(config(clips), tmp_path, device=CPU)
    monkeypatch.undo()
    assert train(config(clips, steps=1), tmp_path, device=CPU) == 1


def test_portraits_and_target_are_different_frames(clips):
    """Of eight frames: seven portraits and a target; nobody learns to copy what is asked for."""
    made = episodes(clips, portraits=7)
    for number in range(20):
        target, portraits = made._choose(np.random.default_rng(number), made.clips[0])
        assert sorted([target, *portraits]) == list(range(8))
    few = episodes(clips, portraits=20)
    assert all(len(few._choose(np.random.default_rng(number), few.clips[0])[1]) == 20 for number in range(5))


@pytest.mark.skipif(resource is None, reason="limits on files are POSIX's")
def test_a_disk_that_is_full_is_said_and_the_last_good_state_kept(tmp_path: Path) -> None:
    """A limit on file sizes stands for the disk."""
    small = {"step": 1, "weights": torch.zeros(10)}
    write_checkpoint(tmp_path, small, 3)
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, old[1]))
    try:
        with pytest.raises(UsageError, match="larger than this file system"):
            write_checkpoint(tmp_path, {"step": 2, "weights": torch.randn(100_000)}, 3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step_0000001.pt"]


def test_weights_that_are_not_the_runs_are_not_replaced(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"somebody's")
    with pytest.raises(UsageError, match=r"model\.safetensors: is there already"):
        train(config(clips), tmp_path, device=torch.device("cpu"))
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
