"""Refiners of mouth and eyes: where they work, and the scripts that pack for them, train and join them."""

import dataclasses
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner, Result

from fewshot_reenact.cli import main
from fewshot_reenact.errors import InputError, ModelError, UsageError
from fewshot_reenact.geometry.face_frame import face_frame, part_box
from fewshot_reenact.geometry.head_crop import head_box
from fewshot_reenact.inputs.portrait import Portrait
from fewshot_reenact.models.checkpoint import load_model, save_model
from fewshot_reenact.models.dimensions import ModelDimensions, RefinerDimensions
from fewshot_reenact.models.reenactor import FaceInputs, Reenactor
from fewshot_reenact.models.refiner import Refiner
from fewshot_reenact.rendering.paste import cut_face
from fewshot_reenact.rendering.textured import TexturedRenderer
from fewshot_reenact.training.config import load_config
from fewshot_reenact.training.refiner import data as refiner_data
from fewshot_reenact.training.refiner.config import RefinerConfig, RefinerDataConfig
from fewshot_reenact.training.refiner.data import pack
from fewshot_reenact.training.refiner.learner import begin_with
from fewshot_reenact.training.refiner.train import RefinerStage, join
from fewshot_reenact.training.trainers import load_any
from network_samples import feature_net
from painted_clips import face_points, paint_face, write_clip, write_clips

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = {"down_channels": (8,), "up_channels": (8,), "residual_blocks": 1, "stem": 8}


def refined(path: Path, *parts: str, trained: bool = False) -> Reenactor:
    """The model of that file with refiners for parts."""
    base = load_model(path)
    own = tuple(RefinerDimensions(part, **SMALL) for part in parts)
    torch.manual_seed(0)
    net = Reenactor(dataclasses.replace(base.dims, refiners=own))
    net.load_state_dict(base.state_dict(), strict=False)
    for refiner in net.refiners if trained else ():
        torch.nn.init.constant_(refiner.generator.out.bias[:-1], 0.5)  # colours alone, not the gate
    return net.eval().requires_grad_(False)


def test_parts_of_the_default_model() -> None:
    dims = dataclasses.replace(ModelDimensions.textured(), refiners=(RefinerDimensions("mouth"),))
    assert (dims.shown, part_box("mouth", 160), part_box("eyes", 160)) == (160, (40, 70, 120, 150), (20, 24, 140, 80))
    assert ModelDimensions.from_json(dims.to_json()) == dims
    assert ModelDimensions.textured().shown == 128


@pytest.mark.parametrize(
    ("refiners", "says"),
    [
        ([{"part": "nose"}], "refiners are for mouth, eyes, not 'nose'"),
        ([{"part": "eyes", "down_channels": [8, 8, 8], "up_channels": [8, 8, 8]}], "divisible by 16"),
        ([{"part": "mouth", "wings": 2}], "unknown dimension wings"),
        ([{"size": 2}], "unknown dimension size"),
        (["mouth"], "refiners must be mappings"),
        ([{"part": "mouth", "strength": 1.5}], "between 0 and 1, not 1.5"),
        ([{"part": "mouth", "strength": "all"}], "between 0 and 1, not 'all'"),
        ([{"part": "mouth", "stem": 0}], "skips need a stem"),
    ],
)
def test_wrong_refiners_are_named(refiners: list, says: str) -> None:
    raw = json.loads(ModelDimensions.textured().to_json()) | {"refiners": refiners}
    with pytest.raises(ValueError, match=says):
        Reenactor(ModelDimensions.from_dict(raw))


def test_only_the_textured_model_has_refiners_and_training_leaves_them_to_their_script(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="only kind 'textured'"):
        dataclasses.replace(ModelDimensions.paper(), refiners=(RefinerDimensions("mouth"),))
    dims = dataclasses.replace(ModelDimensions.textured(), refiners=(RefinerDimensions("mouth"),))
    config = tmp_path / "c.yaml"
    config.write_text(yaml.safe_dump({"model": json.loads(dims.to_json()), "data": {"clips": "x"}, "steps": 1}))
    with pytest.raises(UsageError, match=r"model\.refiners: trained after the rest, with trainer: refiner"):
        load_config(config)


@pytest.mark.parametrize("part", ["mouth", "eyes"])
def test_a_refiner_changes_its_part_alone_and_fades_at_its_edge(tiny_model: Path, part: str) -> None:
    plain, trained = refined(tiny_model, part), refined(tiny_model, part, trained=True)
    torch.manual_seed(1)
    faces = FaceInputs(*(torch.rand(2, 3, 80, 80) * 2 - 1 for _ in range(4)))
    embedding = torch.rand(2, 16)
    assert torch.equal(plain.refine(faces, embedding), faces.warped)  # nothing before training
    change = trained.refine(faces, embedding) - faces.warped
    weaker = dataclasses.replace(trained.dims, refiners=(dataclasses.replace(trained.dims.refiners[0], strength=0.5),))
    half = Reenactor(weaker)
    half.load_state_dict(trained.state_dict())
    assert torch.allclose(half.eval().refine(faces, embedding) - faces.warped, change / 2, atol=1e-6)
    x0, y0, x1, y1 = part_box(part, 80)
    inside = change[..., y0:y1, x0:x1]
    assert inside[..., 8:-8, 8:-8].min() > 0.4
    assert inside[..., 0, :].abs().max() == inside[..., -1].abs().max() == 0
    change[..., y0:y1, x0:x1] = 0
    assert change.abs().max() == 0


def test_a_refiner_that_learns_to_see_what_is_hidden_begins_as_it_was(tiny_model: Path) -> None:
    """It takes over the weights of one that is not told, and what it is told counts once it has learnt."""
    base, own = refined(tiny_model, "mouth", trained=True), RefinerDimensions("mouth", **SMALL, visible=True)
    refiner = Refiner(base.dims, own).eval()
    begin_with(refiner, own, base)
    x0, y0, x1, y1 = part_box("mouth", 80)
    seen = [torch.rand(2, 3, y1 - y0, x1 - x0) for _ in range(4)]
    embedding, hidden = torch.rand(2, 16), torch.rand(2, 1, y1 - y0, x1 - x0)
    with torch.no_grad():
        before = base.refiners[0](*seen, embedding, hidden)
        assert torch.allclose(refiner(*seen, embedding, hidden), before, atol=1e-6)
        torch.nn.init.normal_(refiner.generator.stem.weight)
        torch.nn.init.normal_(refiner.generator.out.weight)
        told, shown = refiner(*seen, embedding, hidden), refiner(*seen, embedding, torch.zeros_like(hidden))
        assert (told - shown).abs().max() > 0.01 and torch.equal(refiner(*seen, embedding), shown)
    wider = dataclasses.replace(own, down_channels=(16,))
    with pytest.raises(ModelError, match="has other channels"):
        begin_with(Refiner(base.dims, wider), wider, base)


def test_the_gate_takes_detail_away_or_sharpens(tiny_model: Path) -> None:
    torch.manual_seed(1)
    faces = FaceInputs(*(torch.rand(1, 3, 80, 80) * 2 - 1 for _ in range(4)))
    x0, y0, x1, y1 = part_box("mouth", 80)
    inside = (..., slice(y0 + 8, y1 - 8), slice(x0 + 8, x1 - 8))
    spread = []
    for gate in (3.0, -3.0):
        net = refined(tiny_model, "mouth")
        torch.nn.init.constant_(net.refiners[0].generator.out.bias[-1:], gate)
        spread.append(net.refine(faces, torch.rand(1, 16))[inside].std() / faces.warped[inside].std())
    assert spread[0] < 0.3 and 1.5 < spread[1] < 2.5


def test_pictures_with_refiners(tiny_model: Path, tmp_path: Path) -> None:
    """Untrained they change nothing (two portraits are mixed at the larger side, so edges differ a little); trained, a
    mouth's changes the mouth, at its place in the picture.
    """
    at = {"at": (0.5, 0.45), "scale": 0.12}
    own, there = face_points(200, **at), face_points(200, **at, opened=0.1)  # type: ignore[arg-type]
    people = [Portrait(paint_face(own, 200), own), Portrait(paint_face(there, 200, 0), there)]
    box = head_box(np.stack([own, there]), (200, 200))
    save_model(refined(tiny_model, "mouth", trained=True), tmp_path / "m.safetensors")
    nets = [load_model(tiny_model), refined(tiny_model, "mouth", "eyes"), load_model(tmp_path / "m.safetensors")]
    for count in (1, 2):
        base, same, brighter = (
            next(TexturedRenderer(net, people[:count], box).render(there[None])).astype(int) for net in nets
        )
        assert np.abs(same - base).max() <= 2 or (count == 2 and np.abs(same - base).mean() < 0.5)
        seen = cut_face((brighter - same).clip(0, 255).astype(np.uint8), face_frame(there, 80), 80).mean(2)
        x0, y0, x1, y1 = part_box("mouth", 80)
        assert np.median(seen[y0 + 8 : y1 - 8, x0 + 8 : x1 - 8]) > 30
        seen[y0:y1, x0:x1] = 0
        assert seen.max() < 6
    warp = [next(TexturedRenderer(net, people[:1], box, warp_only=True).render(there[None])) for net in nets]
    assert np.array_equal(warp[0], warp[2])


# ---- training


@pytest.fixture
def config(tmp_path: Path, tiny_model: Path) -> Path:
    clips = write_clips(tmp_path / "clips")
    raw = {
        "trainer": "refiner", "part": "mouth", "data": {"clips": str(clips), "resident": False},
        "held_out": str(clips), "model": str(tiny_model),
        "faces": 16, "open_mouths": 8, "judged": 8, "chunk": 8, "down_channels": [8], "up_channels": [8],
        "network": str(feature_net(tmp_path / "net.safetensors")), "skip_heads": 0, "batch": 4, "steps": 6,
        "log_every": 1, "save_every": 2, "adversarial": {"start": 2, "alone": 1, "wide": 4},
    }  # fmt: skip
    (tmp_path / "refiner.yaml").write_text(yaml.safe_dump(raw))
    return tmp_path / "refiner.yaml"


def go(config: Path, folder: Path, *more: object) -> Result:
    line = ["train", "--config", config, "--run", folder, *more]
    return CliRunner().invoke(main, [str(one) for one in line])


def newest(folder: Path) -> dict:
    return torch.load(sorted((folder / "checkpoints").iterdir())[-1], weights_only=True)


@pytest.mark.slow
def test_pack_train_stop_resume_join(
    config: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = go(config, tmp_path / "whole")
    assert result.exit_code == 0 and "step 6 of 6" in result.output, result.output
    packs = tmp_path / "whole" / "packs"
    assert {folder.name: len(list(folder.glob("*.npz"))) for folder in packs.iterdir()} == {
        "faces": 2, "open": 1, "held_out": 1,
    }  # fmt: skip
    with np.load(packs / "faces" / "00000.npz") as chunk:
        assert chunk["mouth_made"].shape == (8, 40, 40, 3) and chunk["eyes_truth"].shape == (8, 28, 60, 3)
        assert 0 < np.abs(chunk["mouth_made"].astype(int) - chunk["mouth_truth"]).mean() < 40
        assert chunk["embedding"].shape == (8, 16)
    with monkeypatch.context() as m:
        real = RefinerStage.learn
        m.setattr(RefinerStage, "learn", lambda self: real(self) if self.step < 5 else 1 / 0)
        assert go(config, tmp_path / "halves").exit_code == 1
    kept = (tmp_path / "halves/packs/faces/00001.npz").stat().st_mtime_ns
    assert go(config, tmp_path / "halves").exit_code == 0
    assert (tmp_path / "halves/packs/faces/00001.npz").stat().st_mtime_ns == kept, "packs are made once"
    whole, halves = newest(tmp_path / "whole"), newest(tmp_path / "halves")
    assert whole["step"] == halves["step"] == 6
    for name in ("refiner", "averaged", "critic"):
        assert all(torch.equal(whole[name][key], halves[name][key]) for key in whole[name])
    rows = [json.loads(line) for line in (tmp_path / "whole/metrics.jsonl").read_text().splitlines()]
    steps = [row for row in rows if "l1" in row]
    assert ["discriminator" in row for row in steps] == [False] * 2 + [True] * 4
    assert ["adversarial" in row for row in steps] == [False] * 3 + [True] * 3
    assert set(rows[-1]["held_out"]) == {"l1", "perceptual", "edges_before", "edges"}
    assert whole["averaged"]["generator.out.weight"].abs().min() > 0  # zero before training

    networks, note = join(load_model(tiny_model), [tmp_path / "whole"])
    assert note == "mouth 6 steps"
    save_model(networks, tmp_path / "joined.safetensors")
    joined = load_model(tmp_path / "joined.safetensors")
    assert [one.part for one in joined.dims.refiners] == ["mouth"]
    assert torch.equal(joined.refiners[0].generator.out.weight, whole["averaged"]["generator.out.weight"])
    again, _ = join(joined, [tmp_path / "halves"], strength=0.5)
    assert len(again.refiners) == 1 and again.dims.refiners[0].strength == 0.5
    with pytest.raises(ModelError, match="there is no checkpoint of a refiner"):
        join(joined, [tmp_path / "nothing"])
    damaged = (
        (tmp_path / "joined.safetensors").read_bytes().replace(b'\\"part\\": \\"mouth\\"', b'\\"part\\": \\"tooth\\"')
    )
    (tmp_path / "tooth.safetensors").write_bytes(damaged)
    with pytest.raises(ModelError, match="not 'tooth'"):
        load_model(tmp_path / "tooth.safetensors")


def test_what_a_refiner_cannot_be_trained_on(config: Path, tmp_path: Path) -> None:
    raw = yaml.safe_load(config.read_text())
    for change, code, complaint in (
        ({"data": {"clips": "nowhere"}}, 3, "there is no such folder of clips"),
        ({"go_on": True}, 2, "the model has no refiner of the mouth"),
        ({"network": "none.safetensors"}, 4, "no such feature network"),
        ({"part": "nose"}, 2, "part: "),
        (
            {"down_channels": [8, 8, 8], "up_channels": [8, 8, 8]},
            4,
            "cannot have this refiner (size 40 must be divisible",
        ),
    ):
        config.write_text(yaml.safe_dump(raw | change))
        result = go(config, tmp_path / "run")
        assert result.exit_code == code and complaint in result.output, result.output


def test_a_refiner_of_other_channels_cannot_be_gone_on_with(config: Path, tiny_model: Path, tmp_path: Path) -> None:
    save_model(refined(tiny_model, "mouth"), tmp_path / "refined.safetensors")
    raw = yaml.safe_load(config.read_text())
    raw |= {"model": str(tmp_path / "refined.safetensors"), "go_on": True, "down_channels": [4], "up_channels": [4]}
    config.write_text(yaml.safe_dump(raw))
    result = go(config, tmp_path / "run")
    assert result.exit_code == 4 and "other channels than the config's" in result.output, result.output


# ---- packs


def still_clips(folder: Path) -> RefinerDataConfig:
    """A clip of somebody whose mouth stays shut."""
    folder.mkdir()
    write_clip(folder / "a.mp4", "a", points=[face_points(64, angle=0.02 * t) for t in range(6)])
    return RefinerDataConfig(clips=folder, frame_step=1)


def test_clips_without_an_open_mouth_are_named(tiny_model: Path, tmp_path: Path) -> None:
    clips = still_clips(tmp_path / "clips")
    assert pack(load_model(tiny_model), clips, tmp_path / "faces", 8, chunk=8)
    with pytest.raises(InputError, match="none of 1 clips shows a mouth that opens; add some, or say open_mouths: 0"):
        pack(load_model(tiny_model), clips, tmp_path / "open", 8, chunk=8, open_mouths=True)
    assert not (tmp_path / "open").exists()


def test_packs_of_another_model_are_refused_and_refiners_do_not_count(tiny_model: Path, tmp_path: Path) -> None:
    """A start that fails while it packs leaves the run folder free: the next config must not find its faces."""
    clips, how = still_clips(tmp_path / "clips"), {"chunk": 8}
    assert pack(load_model(tiny_model), clips, tmp_path / "packs", 16, **how)
    assert pack(refined(tiny_model, "mouth"), clips, tmp_path / "packs", 16, **how), "its faces are the same"
    other = load_model(tiny_model)
    torch.nn.init.constant_(other.generator.out.bias, 0.3)
    with pytest.raises(UsageError, match="packed with another model; delete"):
        pack(other, clips, tmp_path / "packs", 16, **how)
    with pytest.raises(UsageError, match="packed with another count; delete"):
        pack(load_model(tiny_model), clips, tmp_path / "packs", 24, **how)


def test_packing_goes_on_where_it_was_stopped(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips, out, how = still_clips(tmp_path / "clips"), tmp_path / "packs", {"chunk": 8}
    asked: list[bool] = []
    assert not pack(
        load_model(tiny_model), clips, out, 16, **how, stop=lambda: bool(asked.append(True)) or len(asked) > 1
    )
    assert [path.name for path in sorted(out.glob("*.npz"))] == ["00000.npz"]
    kept = (out / "00000.npz").read_bytes()
    assert pack(load_model(tiny_model), clips, out, 16, **how)
    assert [path.name for path in sorted(out.glob("*.npz"))] == ["00000.npz", "00001.npz"]
    assert (out / "00000.npz").read_bytes() == kept
    monkeypatch.setattr(refiner_data, "open_clips", lambda *given: pytest.fail("clips take minutes to load"))
    assert pack(load_model(tiny_model), clips, out, 16, **how)


def test_sigterm_while_faces_are_packed_is_heeded_too(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = refiner_data.render_parts

    def slow(*given: object) -> dict[str, np.ndarray]:
        os.kill(os.getpid(), signal.SIGTERM)
        return real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(refiner_data, "render_parts", slow)
    result = go(config, tmp_path / "run")
    assert result.exit_code == 75 and "stopped by SIGTERM at step 0" in result.output, result.output
    assert [path.name for path in (tmp_path / "run" / "packs").rglob("*.npz")] == ["00000.npz"]
    monkeypatch.undo()
    assert go(config, tmp_path / "run", "--steps", 1).exit_code == 0


def test_time_that_is_out_while_faces_are_packed_is_no_failure(config: Path, tmp_path: Path) -> None:
    result = go(config, tmp_path / "run", "--max-minutes", 1e-9)
    assert result.exit_code == 0 and "step 0 of 6" in result.output, result.output
    assert not list((tmp_path / "run").rglob("*.npz"))


def test_the_shipped_config_is_right(root: Path) -> None:
    config, _ = load_any(root / "configs" / "refiner.yaml")
    assert isinstance(config, RefinerConfig)
