"""Training against a discriminator: both kinds of model, W's rows, resuming, two processes as one."""

import dataclasses
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from fewshot_reenact.cli import main
from fewshot_reenact.errors import InputError, UsageError, how_to_add
from fewshot_reenact.models.checkpoint import load_model
from fewshot_reenact.models.discriminator import load_discriminator
from fewshot_reenact.training.adversary import Adversary, DiscriminatorBatch
from fewshot_reenact.training.config import DataConfig, TrainConfig, load_config
from fewshot_reenact.training.data.clips import load_clips
from fewshot_reenact.training.data.dataset import open_clips
from fewshot_reenact.training.distributed import World
from fewshot_reenact.training.examining import Examiner
from fewshot_reenact.training.faults import Diverged
from fewshot_reenact.training.loop import make_episodes, train
from fewshot_reenact.training.trainer import Trainer
from killed_runs import dies_at
from painted_clips import write_clip, write_clips

CPU = torch.device("cpu")
TEXTURED = {
    "kind": "textured", "size": 32, "embedding": 8, "embedder_channels": [8, 8], "down_channels": [8, 8],
    "up_channels": [8, 8], "residual_blocks": 1, "embedder_unshuffle": 2, "generator_unshuffle": 2, "stem": 8,
    "skips": True, "spectral_norm": False, "attention": False,
}  # fmt: skip
PAPER = {
    "kind": "paper", "size": 32, "embedding": 8, "embedder_channels": [8, 8], "down_channels": [8, 8],
    "up_channels": [8, 8], "residual_blocks": 1, "attention": False, "raster_style": "strokes",
}  # fmt: skip
D = {"size": 32, "embedding": 8, "channels": [8, 8], "unshuffle": 2, "attention": False}
GAME = {"dims": D, "rows": True, "match": 1.0, "updates": 2, "rate": 1e-3}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    return write_clips(tmp_path_factory.mktemp("data") / "clips", people=3, frames=8)


def config(clips: Path, model: dict = PAPER, **changes: object) -> TrainConfig:
    raw = {"model": model, "data": {"clips": clips, "frame_step": 1, "portraits": 2}, "adversarial": GAME}
    raw |= {"batch": 2, "steps": 6, "save_every": 2, "log_every": 2, "keep": 9}
    if model["kind"] == "paper":
        raw["loss"] = {"preset": "paper-v2", "vgg19": 0, "vggface": 0, "l1": 4}  # no VGG in tests
    return TrainConfig.model_validate({**raw, **changes})


def batches(settings: TrainConfig, count: int) -> list[dict[str, torch.Tensor]]:
    made = make_episodes(settings, load_clips(settings.data.clips, 1))
    rows = [[made[i] for i in range(at * settings.batch, (at + 1) * settings.batch)] for at in range(count)]
    return [{k: torch.stack([item[k] for item in row]) for k in row[0]} for row in rows]


def same(a: object, b: object, where: str = "") -> None:
    """Equal to the last bit, all the way down."""
    if isinstance(a, dict | list | tuple):
        assert isinstance(b, type(a)) and len(a) == len(b), where
        for key in a if isinstance(a, dict) else range(len(a)):
            same(a[key], b[key], f"{where}.{key}")  # type: ignore[index, call-overload]
    else:
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b, where  # type: ignore[arg-type]


def state(folder: Path) -> dict:
    return torch.load(sorted((folder / "checkpoints").glob("step_*.pt"))[-1], weights_only=True)


# ---- what it learns from ----


def test_episodes_of_the_papers_model_show_the_whole_square(clips):
    settings = config(clips)
    made, known = make_episodes(settings, load_clips(clips, 1)), load_clips(clips, 1)
    numbers = set()
    for i in range(8):
        item = made[i]
        assert item["sources"].shape == (2, 3, 32, 32) and item["target"].shape == (3, 32, 32)
        assert "portraits" not in item and item["driver_face_points"].shape == (83, 2)
        assert (item["driver_face_points"][30] - 16).abs().max() < 6, "the nose is about the middle"
        numbers.add(int(item["clip"]))
    assert numbers <= set(range(len(known))) and len(numbers) > 1


def test_numbers_say_whose_episode_it_is(clips):
    """The ground behind each painted person is of its own colour; jitter of colour and mirroring are off."""
    for model in (PAPER, TEXTURED):
        settings = config(clips, model, data={"clips": clips, "frame_step": 1, "colour": 0.0})
        made = make_episodes(settings, load_clips(clips, 1))
        means: dict[int, list[float]] = {}
        for i in range(24):
            item = made[i]
            means.setdefault(int(item["clip"]), []).append(float(item["sources"].float().mean()))
        assert len(means) == 3 and all(np.ptp(values) < 8 for values in means.values())


@pytest.mark.parametrize("model", [PAPER, TEXTURED], ids=["paper", "textured"])
def test_both_sides_learn(clips, tmp_path, model):
    settings = config(clips, model, optimiser={"rate": 1e-3, "warmup": 1, "final": 1.0, "clip": None})
    trainer, (batch,) = Trainer(settings, tmp_path, CPU, 3), batches(settings, 1)
    rows = [trainer.train_step(batch) for _ in range(30)]
    assert set(rows[0]) >= {"l1", "adversarial", "feature_matching", "match", "discriminator", "gradient", "rate"}
    assert rows[-1]["l1"] < 0.85 * rows[0]["l1"]
    # D learns first, then G catches up with it.
    assert min(row["discriminator"] for row in rows) < 0.9 * rows[0]["discriminator"]
    assert rows[-1]["match"] < rows[0]["match"]
    trainer.write_pictures(batch)
    assert (tmp_path / "pictures" / "step_0000030.png").stat().st_size > 1000


def test_the_averaged_weights_draw_what_the_trained_do(clips, tmp_path):
    """Spectral norm's vectors travel with the average, or its weights would be scaled by those of the beginning."""
    settings = config(clips, optimiser={"rate": 2e-3, "warmup": 1, "final": 1.0, "ema": 0.0})
    trainer, (batch,) = Trainer(settings, tmp_path, CPU, 3), batches(settings, 1)
    for _ in range(12):
        trainer.train_step(batch)
    psi, pictures = torch.rand(2, 8), torch.rand(2, 3, 32, 32)
    trainer.model.eval()
    with torch.no_grad():
        assert torch.equal(trainer.averaged.generator(pictures, psi), trainer.model.generator(pictures, psi))


def test_d_waits_for_its_start(clips, tmp_path):
    settings = config(clips, TEXTURED, adversarial={**GAME, "start": 2})
    trainer = Trainer(settings, tmp_path, CPU, 3)
    before = [p.detach().clone() for p in trainer.adversary.parameters()]
    rows = []
    for batch in batches(settings, 3):
        rows.append(trainer.train_step(batch))
        moved = any(not torch.equal(a, b) for a, b in zip(before, trainer.adversary.parameters(), strict=True))
        assert moved == (len(rows) == 3) == ("discriminator" in rows[-1])


def test_without_a_game_nothing_is_different(clips, tmp_path):
    """The first steps are those of a run without a discriminator, to the last bit."""
    waiting = Trainer(config(clips, TEXTURED, adversarial={**GAME, "start": 99}), tmp_path, CPU, 3)
    alone = Trainer(config(clips, TEXTURED, adversarial=None), tmp_path, CPU)
    for batch in batches(config(clips, TEXTURED), 2):
        waiting.train_step(batch), alone.train_step(batch)
    same(dict(waiting.model.state_dict()), dict(alone.model.state_dict()))


def test_the_generators_turn_leaves_d_alone_and_the_reverse(clips, tmp_path, monkeypatch):
    settings = config(clips)
    trainer, (batch,) = Trainer(settings, tmp_path, CPU, 3), batches(settings, 1)
    monkeypatch.setattr(Adversary, "move", lambda self, share, faults: None)
    names = {name for name, _ in trainer.adversary.named_parameters()}
    before = {name: p.detach().clone() for name, p in trainer.adversary.named_parameters()}
    e_before = trainer.model.embedder.blocks[0].conv1.parametrizations.weight.original.detach().clone()
    trainer.train_step(batch)
    assert (
        all(torch.equal(p, before[name]) for name, p in trainer.adversary.named_parameters()) and "rows.weight" in names
    )
    assert all(p.requires_grad for p in trainer.adversary.parameters())
    assert not torch.equal(trainer.model.embedder.blocks[0].conv1.parametrizations.weight.original, e_before)


def test_a_discriminator_that_diverges_changes_nothing(clips, tmp_path):
    settings = config(clips)
    trainer, (batch,) = Trainer(settings, tmp_path, CPU, 3), batches(settings, 1)
    trainer.train_step(batch)
    before = [p.detach().clone() for p in [*trainer.model.parameters(), *trainer.adversary.parameters()]]
    trainer.adversary.network.score.bias.register_hook(lambda g: g * float("nan"))
    with pytest.raises(Diverged, match=r"norm of the discriminator's gradient is nan at step 1 \(episodes 2 to 3"):
        trainer.train_step(batch)
    same(before, [p.detach() for p in [*trainer.model.parameters(), *trainer.adversary.parameters()]])


# ---- when D counts ----


def test_d_counts_while_it_tells_strangers_apart(clips, tmp_path):
    """D learns from three people and is judged on two others. Until it tells, E and G do without it."""
    others = write_clips(tmp_path / "others", people=2, frames=8, first=7)
    game = {**GAME, "rate": 5e-3, "rows": False, "match": 0.0}
    settings = config(clips, adversarial=game, steps=60, optimiser={"warmup": 1, "rate": 1e-5, "final": 1.0})
    trainer, learnt = Trainer(settings, tmp_path, CPU, 3), batches(settings, 4)
    trainer.examiner = examiner = Examiner(batches(config(others), 8), 0.9, 4)
    if examiner.share(trainer.model, trainer.adversary) > 0.5:  # an untaught D may prefer the filmed by chance
        with torch.no_grad():
            weight = trainer.adversary.network.score.parametrizations.weight
            weight.original.neg_(), weight[0]._u.neg_()  # spectral norm's vector too, or it would take the sign back
    told, counted = [], []
    for step in range(60):
        examiner.attend(trainer.step, trainer.model, trainer.adversary, trainer.world)
        told.append(examiner.told)
        counted.append("adversarial" in trainer.train_step(learnt[step % 4]))
    assert told[0] < 0.9 <= told[-1], "what is made by random weights is soon told"
    assert counted == [share >= 0.9 for share in told] and len(set(told[8:12])) == 1


def test_a_run_judges_on_the_people_of_its_config(clips, tmp_path):
    others = write_clips(tmp_path / "others", people=2, frames=8, first=7)
    settings = config(clips, adversarial={**GAME, "held_out": others, "judge_every": 2}, steps=4)
    train(settings, tmp_path / "run", device=CPU)
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [0 <= row["told"] <= 1 for row in rows] == [True, True]
    assert state(tmp_path / "run")["told"] == rows[-1]["told"]
    with pytest.raises(InputError, match="nowhere"):
        train(config(clips, adversarial={**GAME, "held_out": tmp_path / "nowhere"}), tmp_path / "new", device=CPU)


def test_a_judge_leaves_the_networks_as_they_are(clips, tmp_path):
    trainer = Trainer(config(clips), tmp_path, CPU, 3)
    before = [
        value.clone() for value in [*trainer.model.state_dict().values(), *trainer.adversary.state_dict().values()]
    ]
    share = Examiner(batches(config(clips), 3), 0.75, 1).share(trainer.model, trainer.adversary)
    assert 0 <= share <= 1 and trainer.model.training and trainer.adversary.network.training
    same(before, [*trainer.model.state_dict().values(), *trainer.adversary.state_dict().values()])


# ---- at the paper's settings ----


def test_the_mean_embedding_is_held_to_the_videos_row(clips, tmp_path):
    """Equation 6: of K portraits, not each."""
    trainer = Trainer(config(clips), tmp_path, CPU, 3)
    given = DiscriminatorBatch(*(torch.rand(2, 3, 32, 32) for _ in range(3)), torch.tensor([0, 2]))
    embeddings = torch.rand(2, 4, 8)
    weights = dataclasses.replace(trainer.weights, match=1.0)
    _, parts = trainer.adversary.generator_loss(given, embeddings, weights)
    rows = trainer.adversary.rows.weight[[0, 2]]
    assert parts["match"] == pytest.approx((embeddings.mean(1) - rows).abs().mean().item(), rel=1e-5)


def test_settings_of_the_papers_config(clips, tmp_path, root):
    """No clip with fewer frames than K + 1, nobody mirrored, any other frame the target, D by the same Adam."""
    paper = load_config(root / "configs" / "paper.yaml")
    assert paper.data.least_frames == paper.data.portraits + 1 and paper.data.candidates == 1
    assert paper.adversarial.eps == paper.optimiser.eps == 1e-5
    assert paper.weights().vggface_square == 1.67
    (clips.parent / "short").mkdir()
    write_clip(clips.parent / "short" / "person9_0.mp4", "person9", 4, 64)
    data = {"frame_step": 1, "portraits": 4, "least_frames": 5, "mirrored": 0}
    with pytest.raises(InputError, match="of 5 frames or more"):
        open_clips(DataConfig(clips=clips.parent / "short", **data))
    settings = config(clips, data={"clips": clips, **data})
    made = make_episodes(settings, open_clips(settings.data))
    assert not any(made._plan(index)[1].flip[0] for index in range(40))
    trainer = Trainer(config(clips, adversarial={**GAME, "eps": 1e-5}), tmp_path, CPU, 3)
    assert trainer.adversary.optimiser.defaults["eps"] == trainer.adversary.row_optimiser.defaults["eps"] == 1e-5


def test_as_published_and_the_square_that_vggface_sees_are_a_configs_choice(clips, tmp_path):
    published = {**PAPER, "as_published": True}, {**GAME, "dims": {**D, "as_published": True}}
    rows = []
    for square, (model, game) in ((0, (PAPER, GAME)), (1.67, (PAPER, GAME)), (1.67, published)):
        loss = {"preset": "paper-v2", "vgg19": 0, "vggface_network": "builtin", "vggface_square": square}
        settings = config(clips, model, loss=loss, adversarial=game)
        trainer = Trainer(settings, tmp_path, CPU, 3)
        rows.append([trainer.train_step(batch) for batch in batches(settings, 2)])
        assert trainer.weights.vggface_square == square
    whole, face, other = rows
    assert whole[0]["vggface"] != pytest.approx(face[0]["vggface"], rel=0.01)
    assert face[0]["discriminator"] != pytest.approx(other[0]["discriminator"], rel=1e-4)
    assert all(row["gradient"] > 0 for row in other), "and learns"


# ---- what survives ----


@pytest.mark.parametrize("model", [PAPER, TEXTURED], ids=["paper", "textured"])
def test_a_resumed_game_equals_one_that_was_not(clips, tmp_path, model):
    """D, W, the moments of W's rows and the random states too, bit for bit."""
    settings = config(clips, model, steps=5)
    train(settings, tmp_path / "whole", device=CPU)

    with dies_at(3):
        train(settings, tmp_path / "parts", device=CPU)
    assert train(settings, tmp_path / "parts", device=CPU) == 5
    whole = state(tmp_path / "whole")
    same(state(tmp_path / "parts"), whole)
    assert whole["adversary"]["row_optimiser"]["state"] and whole["adversary"]["networks"]["rows.weight"].shape == (
        3,
        8,
    )
    kept, saved = load_discriminator(tmp_path / "whole" / "discriminator.safetensors"), whole["adversary"]["networks"]
    assert all(torch.equal(v, saved[f"network.{k}"]) for k, v in kept.state_dict().items())
    assert load_model(tmp_path / "whole" / "model.safetensors").dims.kind == model["kind"]
    line = json.loads((tmp_path / "parts" / "code.jsonl").read_text().splitlines()[-1])
    assert line["torch"] == torch.__version__
    with pytest.raises(UsageError, match="started with another 'adversarial'"):
        train(config(clips, model, adversarial=None), tmp_path / "whole", device=CPU)


# ---- two processes ----


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="torch was built without gloo")
@pytest.mark.slow
def test_two_processes_are_one(clips, tmp_path):
    """The same loss curve, weights and rows of W as one process with the same batch, but for rounding."""
    settings = config(clips, batch=4, steps=4, log_every=1, optimiser={"rate": 1e-3, "warmup": 1})
    train(settings, tmp_path / "one", device=CPU)
    path = tmp_path / "c.yaml"
    path.write_text(settings.model_dump_json())
    code = "from fewshot_reenact.cli import main; main()"
    command = [sys.executable, "-c", code, "train", "--config", path, "--run", tmp_path / "two", "--device", "cpu"]
    env = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": "2"}
    both = [
        subprocess.Popen(
            [*command, "--threads", "1"], env={**env, "RANK": str(rank)}, stderr=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=300)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    one, two = (
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    )
    assert len(one) == len(two) == 4
    assert "Warning" not in "".join(said), said
    for a, b in zip(one, two, strict=True):
        for name in a.keys() - {"time"}:
            # D's scores are small differences of large ones: of them rounding shows first.
            room = 0.05 if name in ("adversarial", "discriminator") else 2e-4
            assert b[name] == pytest.approx(a[name], rel=1e-2, abs=room), (a["step"], name)
    a, b = state(tmp_path / "one"), state(tmp_path / "two")
    for name, value in a["adversary"]["networks"].items():
        assert torch.allclose(value, b["adversary"]["networks"][name], atol=2e-3), name


DIES = """
import os, signal
from fewshot_reenact.training.trainer import Trainer
advance = Trainer.advance
def dies(self, batch):
    if self.step == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return advance(self, batch)
Trainer.advance = dies
"""


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="torch was built without gloo")
@pytest.mark.slow
def test_torchruns_two_processes_killed_and_gone_on_with(clips, tmp_path):
    """kill -9 between two checkpoints, then the same command: the loss curve of one process that nobody killed."""
    settings = config(clips, batch=4, steps=5, log_every=1, save_every=2, optimiser={"rate": 1e-3, "warmup": 1})
    train(settings, tmp_path / "one", device=CPU)
    path = tmp_path / "c.yaml"
    path.write_text(settings.model_dump_json())
    for name, first in (("killed.py", DIES), ("whole.py", "")):
        (tmp_path / name).write_text(f"{first}from fewshot_reenact.cli import main\nmain()\n")
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--"]
        command += [str(tmp_path / name), "train", "--config", str(path), "--run", str(tmp_path / "two")]
        command += ["--device", "cpu", "--threads", "1"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=500)
        assert (done.returncode == 0) == (not first), done.stderr
    assert "resumed at step 2" in done.stdout + done.stderr
    curves = [
        {row["step"]: row for row in map(json.loads, (tmp_path / name / "metrics.jsonl").read_text().splitlines())}
        for name in ("one", "two")
    ]
    assert curves[0].keys() == curves[1].keys()
    for step, row in curves[0].items():
        assert curves[1][step]["loss"] == pytest.approx(row["loss"], rel=1e-2), step


def test_a_batch_that_cannot_be_shared_out_is_refused():
    assert World(1, 2).share(4) == 2 and list(World(1, 2).indices(3, 5, 4)) == [14, 15, 18, 19]
    with pytest.raises(UsageError, match="batch: 3 episodes cannot be shared out evenly to 2 processes"):
        World(0, 2).share(3)


def test_a_discriminator_of_mouths_sees_nothing_else(clips, tmp_path):
    settings = config(clips, TEXTURED, adversarial={**GAME, "region": "mouth"})
    trainer, (batch,) = Trainer(settings, tmp_path, CPU, 3), batches(settings, 1)
    seen = []
    trainer.adversary.network.register_forward_hook(lambda _net, given, _out: seen.append(given[0].detach()))
    trainer.train_step(batch)
    truth = batch["target"].float() / 127.5 - 1
    side = truth.shape[-1]
    inner = truth[..., side * 7 // 16 : side * 15 // 16, side // 4 : side * 3 // 4]
    enlarged = torch.nn.functional.interpolate(inner, size=(side, side), mode="bilinear")
    assert any(torch.allclose(pictures[: len(truth)], enlarged, atol=1e-6) for pictures in seen)
    assert {tuple(pictures.shape[1:]) for pictures in seen} == {(3, side, side)}


# ---- config ----


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("loss: {preset: paper-v1}\n", "loss.vggface_network: paper-v1 weighs VGGFace"),
        ("loss: {preset: paper-v1, vggface: 0}\n", "adversarial: paper-v1 needs a discriminator"),
        ("adversarial: {dims: paper}\n", "adversarial.dims: size 256 must be the model's, 128"),
        ("adversarial: {dim: paper}\n", "unknown key adversarial.dim: did you mean dims"),
        ("adversarial: {match: 1}\n", "adversarial.match: .*rows: true"),
        ("adversarial: {dims: {size: 128}}\n", "adversarial.dims: dimensions incomplete"),
        ("adversarial: {region: nose}\n", "adversarial.region: Input should be 'face' or 'mouth'"),
        ("adversarial: {rows: true, dims: {size: 128, embedding: 8, channels: [8]}}\n", "embedding 8 must be"),
    ],
)
def test_configs_that_do_not_fit_together(tmp_path, text, complaint):
    path = tmp_path / "c.yaml"
    path.write_text("model: textured\ndata: {clips: x}\nsteps: 1\n" + text)
    with pytest.raises(UsageError, match=complaint):
        load_config(path)


def test_a_missing_vgg_names_the_file_and_three_ways(tmp_path, clips, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = tmp_path / "c.yaml"
    path.write_text(config(clips, loss={"preset": "paper-v2", "vggface": 0}).model_dump_json())
    done = CliRunner().invoke(main, ["train", "--config", str(path), "--run", str(tmp_path / "run"), "--device", "cpu"])
    assert done.exit_code == 4 and "vgg19-dcbb9e9d.pth: there is no vgg19 here" in done.stderr, done.output


def test_the_shipped_configs(root):
    paper, tiny = (load_config(root / "configs" / name) for name in ("paper.yaml", "tiny.yaml"))
    assert paper.adversarial is not None and paper.adversarial.updates == 2 and paper.data.portraits == 8
    assert paper.weights().match == 10 and paper.adversarial.rows
    assert tiny.dimensions().kind == "paper" and tiny.adversarial is not None
    assert load_config(root / "configs" / "meta.yaml").adversarial is None


# ---- options ----


def test_bfloat16_stays_near_float32(clips, tmp_path):
    (batch,) = batches(config(clips), 1)
    rows = [Trainer(config(clips, amp=amp), tmp_path, CPU, 3).train_step(batch) for amp in (False, True)]
    assert rows[1]["l1"] == pytest.approx(rows[0]["l1"], rel=0.05) and rows[1]["l1"] != rows[0]["l1"]
    for name in ("adversarial", "discriminator", "feature_matching", "match"):
        assert rows[1][name] == pytest.approx(rows[0][name], rel=0.1, abs=0.05), name


def test_tensorboard_is_asked_for_by_name(clips, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UsageError, match=re.escape(how_to_add("train"))):
        Trainer(config(clips, tensorboard=True), tmp_path, CPU, 3)
    Trainer(config(clips, tensorboard=True), tmp_path, CPU, 3, World(1, 2))  # only the first process writes
