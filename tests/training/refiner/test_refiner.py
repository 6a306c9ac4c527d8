"""Refiners of mouth and eyes: where they work, and the scripts that pack for them, train and join them."""

import dataclasses
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner

from fewshot_reenact.errors import ModelError, UsageError
from fewshot_reenact.geometry.face_frame import face_frame, part_box
from fewshot_reenact.geometry.head_crop import head_box
from fewshot_reenact.inputs.portrait import Portrait
from fewshot_reenact.models.checkpoint import load_model, save_model
from fewshot_reenact.models.dimensions import ModelDimensions, RefinerDimensions
from fewshot_reenact.models.reenactor import FaceInputs, Reenactor
from fewshot_reenact.rendering.paste import cut_face
from fewshot_reenact.rendering.textured import TexturedRenderer
from fewshot_reenact.training.config import load_config
from fewshot_reenact.training.refiner import data, train
from network_samples import feature_net
from painted_clips import face_points, paint_face, write_clips
from places import ROOT

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
    with pytest.raises(UsageError, match=r"model\.refiners: trained after the rest, by training/refiner/train\.py"):
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


# ---- the scripts ----------------------------------------------------------------------------------------------------


@pytest.fixture
def scripts(root: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[ModuleType, ModuleType]:
    return data, train


def run(command: ModuleType, *args: object) -> str:
    result = CliRunner().invoke(command.main, [str(arg) for arg in args], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_pack_train_stop_resume_join(
    scripts: tuple[ModuleType, ModuleType], tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, train = scripts
    monkeypatch.setattr(data, "CHUNK", 8)
    monkeypatch.setattr(train, "LOG_EVERY", 1)
    monkeypatch.setattr(train, "SAVE_EVERY", 2)
    clips, packs = write_clips(tmp_path / "clips"), tmp_path / "packs"
    run(data, clips, packs, "--model", tiny_model, "--count", 16, "--share", "1/2")
    assert [path.name for path in packs.iterdir()] == ["00001.npz"]
    kept = (packs / "00001.npz").read_bytes()
    run(data, clips, packs, "--model", tiny_model, "--count", 16)
    assert len(list(packs.iterdir())) == 2 and (packs / "00001.npz").read_bytes() == kept
    with np.load(packs / "00000.npz") as chunk:
        assert chunk["mouth_made"].shape == (8, 40, 40, 3) and chunk["eyes_truth"].shape == (8, 28, 60, 3)
        assert 0 < np.abs(chunk["mouth_made"].astype(int) - chunk["mouth_truth"]).mean() < 40
        assert chunk["embedding"].shape == (8, 16)

    settings = yaml.safe_load((ROOT / "configs/parts.yaml").read_text())["mouth"]
    settings |= {"network": str(feature_net(tmp_path / "net.safetensors")), "steps": 6, "batch": 4, "skip_heads": 0}
    settings |= {"down_channels": [8], "up_channels": [8]}
    settings["adversarial"] |= {"start": 2, "alone": 1, "wide": 4}
    config = tmp_path / "parts.yaml"
    config.write_text(yaml.safe_dump({"mouth": settings}))
    run(data, clips, tmp_path / "open", "--model", tiny_model, "--count", 8, "--open-mouths")
    given = [
        "--data",
        packs,
        "--data",
        tmp_path / "open",
        "--held-out",
        packs,
        "--model",
        tiny_model,
        "--config",
        config,
    ]
    run(train, "mouth", *given, "--run", tmp_path / "whole")
    with monkeypatch.context() as m:
        real = train.Training.learn
        m.setattr(train.Training, "learn", lambda self, x: real(self, x) if self.step < 5 else 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(train, "mouth", *given, "--run", tmp_path / "halves")
    run(train, "mouth", *given, "--run", tmp_path / "halves")
    whole, halves = (torch.load(tmp_path / name / "state.pt", weights_only=True) for name in ("whole", "halves"))
    assert whole["step"] == halves["step"] == 6
    for name in ("refiner", "averaged", "judge"):
        assert all(torch.equal(whole[name][key], halves[name][key]) for key in whole[name])
    rows = [json.loads(line) for line in (tmp_path / "whole/metrics.jsonl").read_text().splitlines()]
    assert ["judge" in row for row in rows] == [False] * 2 + [True] * 4
    assert ["fooled" in row for row in rows] == [False] * 3 + [True] * 3
    assert set(rows[-1]["held_out"]) == {"l1", "perceptual", "edges_before", "edges"}
    assert whole["averaged"]["generator.out.weight"].abs().min() > 0  # zero before training

    run(train, "join", tiny_model, tmp_path / "whole", "-o", tmp_path / "joined.safetensors")
    joined = load_model(tmp_path / "joined.safetensors")
    assert [one.part for one in joined.dims.refiners] == ["mouth"]
    assert torch.equal(joined.refiners[0].generator.out.weight, whole["averaged"]["generator.out.weight"])
    run(train, "join", tmp_path / "joined.safetensors", tmp_path / "halves", "-o", tmp_path / "again.safetensors")
    assert len(load_model(tmp_path / "again.safetensors").refiners) == 1
    damaged = (
        (tmp_path / "joined.safetensors").read_bytes().replace(b'\\"part\\": \\"mouth\\"', b'\\"part\\": \\"tooth\\"')
    )
    (tmp_path / "tooth.safetensors").write_bytes(damaged)
    with pytest.raises(ModelError, match="not 'tooth'"):
        load_model(tmp_path / "tooth.safetensors")
