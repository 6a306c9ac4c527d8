"""The networks with which fine-tuning compares pictures: the built-in one, and what likeness and edges are."""

import json
import runpy
import sys

import cv2
import pytest
import torch
import torch.nn.functional as F

from fewshot_reenact.errors import ModelError
from fewshot_reenact.landmarks.registry import load_backend
from fewshot_reenact.media.pictures import read_picture
from fewshot_reenact.models.identity import alignment, unlikeness
from fewshot_reenact.models.losses import laplacian_l1
from fewshot_reenact.models.perceptual import FeatureNet, relative_l1
from fewshot_reenact.models.teachers import load_teachers
from fewshot_reenact.rendering.flow import to_signed
from network_samples import feature_net
from painted_clips import face_points, paint_face
from places import ROOT

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_built_in_teacher_sees_texture_and_tells_faces_apart(assets):
    teachers = load_teachers()
    assert teachers.perceptual is not None and teachers.identity is not None
    faces, detector = [], load_backend("builtin", "cpu")
    for name in ("astronaut.jpg", "grace_hopper.jpg"):
        picture = read_picture(assets / name)
        points = detector.detect(picture)[0].points
        faces.append(cv2.warpAffine(picture, alignment(points), (112, 112)))
    ann, grace = (torch.from_numpy(face).permute(2, 0, 1)[None].float() / 255 for face in faces)
    who = [teachers.identity(x)[-1] for x in (ann, (ann * 0.85).flip(3), grace)]
    assert all(v.shape == (1, 128) and float(v.norm()) == pytest.approx(1, abs=1e-3) for v in who)
    assert float((who[0] * who[1]).sum()) > 0.6 > float((who[0] * who[2]).sum()) + 0.2
    soft = F.avg_pool2d(ann, 3, 1, 1)
    assert relative_l1(teachers.perceptual, ann, ann) == 0
    assert relative_l1(teachers.perceptual, soft, ann) > 2 * relative_l1(teachers.perceptual, ann * 0.97, ann)
    assert len(teachers.perceptual(torch.zeros(1, 3, 48, 64))) == len(teachers.identity(ann)) - 1, "maps of any size"


def test_other_teachers_take_its_place(tmp_path):
    own = feature_net(tmp_path / "n.safetensors")
    teachers = load_teachers(perceptual=own)
    assert len(teachers.perceptual(torch.zeros(1, 3, 8, 8))) == 1
    with pytest.raises(ModelError, match="no such feature network"):
        load_teachers(identity=tmp_path / "none")


def test_likeness_is_the_networks_and_moves_the_face(tmp_path):
    net = FeatureNet(feature_net(tmp_path / "faces.safetensors", embedding=True))
    points = [face_points(64, opened=0.06 * t, angle=0.05 * t) for t in range(2)]
    pictures = [paint_face(p, 64) for p in points]
    face, other = (to_signed(torch.from_numpy(p).permute(2, 0, 1)[None]) for p in (pictures[0], 255 - pictures[1]))
    at = torch.from_numpy(points[0])[None]
    assert unlikeness(net, face, face, at) < 1e-5 < unlikeness(net, other, face, at)
    assert unlikeness(net, face.roll(3, 3), face, at) > unlikeness(net, face, face, at)
    # The same face, aligned as the judge aligns it.
    cut = cv2.warpAffine(pictures[0], alignment(points[0]), (112, 112))
    own = net(torch.from_numpy(cut).permute(2, 0, 1)[None].float() / 255)[-1]
    seen = []
    unlikeness(lambda x: seen.append(net(x)[-1]) or [seen[-1]], face, face, at)
    assert float((own * seen[0]).sum()) > 0.995
    made = other.clone().requires_grad_(True)
    unlikeness(net, made, face, at).backward()
    assert made.grad.abs().max() > 0


def test_the_pyramid_sees_edges_before_shades():
    truth = torch.zeros(1, 3, 16, 16)
    checks = (torch.arange(16) % 2 * 2.0 - 1).expand(1, 3, 16, 16)
    assert laplacian_l1(truth, truth) == 0
    assert laplacian_l1(checks * 0.1, truth) > 3 * laplacian_l1(truth + 0.1, truth)


def test_the_readmes_figures_are_written_by_a_script(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(ROOT / "scripts" / "measure")
    script = ROOT / "scripts" / "measure" / "measure_finetune.py"
    figures = dict.fromkeys(("pd", "csim", "mouth_pd", "l1", "nme", "expression"), 0.5)
    said = {
        "weights": "abcdef01",
        "perceptual": "built-in",
        "identity": "built-in",
        "held_out": 6,
        "seconds": 33.2,
        "discriminator": False,
    }
    rows = [
        {**said, "shots": shots, "steps": steps, "kept": kept, "untuned": figures, "tuned": {**figures, "csim": csim}}
        for shots, steps, kept, csim in ((8, 48, 40, 0.75), (8, 48, 0, 0.25), (1, 0, 0, 0.5))
    ]
    (tmp_path / "scores.json").write_text(json.dumps(rows))
    page = tmp_path / "README.md"
    page.write_text("before\n<!-- finetune -->\nold words\n<!-- /finetune -->\nkept\n")
    monkeypatch.setattr(sys, "argv", ["x", "table", str(tmp_path), "--page", str(page)])
    runpy.run_path(str(script), run_name="__main__")
    new = page.read_text()
    assert "old words" not in new and new.startswith("before\n") and new.endswith("-->\nkept\n")
    assert "Weights abcdef01; features built-in" in new and "| 1 | tuned: kept as it is | 1 | 0.5000 |" in new
    assert "| 8 | tuned (1 of 2 changed, 33 s) | 2 | 0.5000 | 0.5000 |" in new
    page.write_text("no markers")
    with pytest.raises(SystemExit, match="markers"):
        runpy.run_path(str(script), run_name="__main__")
