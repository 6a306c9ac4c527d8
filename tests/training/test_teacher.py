"""The face teacher: what is distilled, stopped and gone on with, and read as a feature network."""

import json
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from fewshot_reenact.errors import ModelError
from fewshot_reenact.models.perceptual import FeatureNet
from fewshot_reenact.training import teacher
from fewshot_reenact.training.teacher import LAYERS, VECTOR, TeacherConfig, distil
from painted_clips import face_points, paint_face

pytestmark = pytest.mark.usefixtures("one_thread")


def imitated(path: Path) -> None:
    """A network with the maps that are imitated, random: one to skip, then 24, 32 and 48 channels, and the vector."""
    torch.manual_seed(0)
    widths, ops, tensors = (3, 8, 24, 32, 48), [], {}
    for number, (before, after) in enumerate(pairwise(widths)):
        tensors |= {f"c{number}.weight": torch.randn(after, before, 3, 3) / 3, f"c{number}.bias": torch.zeros(after)}
        ops += [{"op": "conv", "name": f"c{number}", "pad": 1, "stride": 2, "groups": 1, "act": "none"}, {"op": "tap"}]
    tensors |= {"v.weight": torch.randn(VECTOR, widths[-1], 7, 7) / 9, "v.bias": torch.zeros(VECTOR)}
    ops += [{"op": "conv", "name": "v", "pad": 0, "stride": 1, "groups": 1, "act": "none"}, {"op": "flatten_normalise"}]
    meta = {"ops": json.dumps(ops), "mean": "[0.5, 0.5, 0.5]", "std": "[0.5, 0.5, 0.5]"}
    save_file(tensors, str(path), metadata=meta)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Painted stills, and the network that is imitated."""
    folder = tmp_path / "data"
    for name in ("nets", "stills"):
        (folder / name).mkdir(parents=True)
    imitated(folder / "nets" / teacher.IMITATED)
    points = [face_points(256, at=(0.5 + 0.01 * number, 0.42)) for number in range(6)]
    for number, one in enumerate(points):
        cv2.imwrite(str(folder / "stills" / f"{number}.png"), paint_face(one, 256, number))
    names = np.array([f"{number}.png" for number in range(6)])
    np.savez(folder / "stills" / "stills.npz", names=names, points=np.stack(points))
    return folder


def config(data: Path, **changes: object) -> TeacherConfig:
    raw = {"data": data, "minutes": 60, "batch": 2, "steps": 3, "log_every": 1, "save_every": 2}
    return TeacherConfig.model_validate({**raw, **changes})


@pytest.mark.slow
def test_it_is_distilled_stopped_and_gone_on_with(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = frozenset({"5.png"})
    assert distil(config(data), tmp_path / "whole", tmp_path / "packed", held) == 3
    with monkeypatch.context() as patch:
        learn = teacher._TeacherStage.learn
        patch.setattr(teacher._TeacherStage, "learn", lambda self: learn(self) if self.step < 2 else 1 / 0)
        with pytest.raises(ZeroDivisionError):
            distil(config(data), tmp_path / "halves", tmp_path / "packed", held)
    assert distil(config(data), tmp_path / "halves", tmp_path / "packed", held) == 3
    whole, halves = (
        torch.load(tmp_path / name / "checkpoints" / "step_0000003.pt", weights_only=True)["student"]
        for name in ("whole", "halves")
    )
    assert all(torch.equal(whole[name], halves[name]) for name in whole)
    rows = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "loss" in row] == [1, 2, 3]
    assert set(rows[-1]["held_out"]) == {"map 0", "map 1", "map 2", "1 - cosine"}

    net = FeatureNet(tmp_path / "whole" / teacher.TEACHER.name)
    *maps, vector = net(torch.rand(1, 3, 112, 112))
    assert [one.shape[1] for one in maps[1:]] == [channels for channels, _, components in LAYERS if components]
    assert vector.shape == (1, VECTOR) and vector.norm().item() == pytest.approx(1, abs=1e-3)


def test_the_network_that_is_imitated_is_looked_for_first(data: Path, tmp_path: Path) -> None:
    (data / "nets" / teacher.IMITATED).unlink()
    with pytest.raises(ModelError, match="no such feature network"):
        distil(config(data), tmp_path / "run", tmp_path / "packed", frozenset())
    assert not (tmp_path / "packed").exists()
