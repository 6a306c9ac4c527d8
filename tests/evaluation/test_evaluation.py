"""`reenact evaluate`: metrics, the choice of frames and people, and the command on painted clips."""

import json
import re
import runpy
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch

from animate_samples import complaint, film, names_in, run
from fake_face import PaintedFaces, points_in
from fewshot_reenact.errors import InputError, ModelError, UsageError, how_to_add
from fewshot_reenact.evaluation.metrics import METRICS, Judge, point_errors, trembling
from fewshot_reenact.evaluation.protocol import GROUP, Scores, choose_frames, choose_groups, pair_people
from fewshot_reenact.evaluation.sheet import Sheet
from fewshot_reenact.landmarks import registry
from fewshot_reenact.media.pictures import read_picture
from fewshot_reenact.models.checkpoint import save_model
from fewshot_reenact.models.dimensions import ModelDimensions
from fewshot_reenact.models.perceptual import FeatureNet
from fewshot_reenact.models.reenactor import Reenactor
from fewshot_reenact.motion.motion import Motion
from fewshot_reenact.pipelines.evaluate import evaluate
from fewshot_reenact.pipelines.methods import METHODS
from network_samples import feature_net
from painted_clips import face_points
from places import ROOT

pytest.importorskip("torchmetrics")


@pytest.fixture
def painted(monkeypatch):
    """The built-in backend reads painted faces."""
    monkeypatch.setitem(registry.BACKENDS, "builtin", lambda device: PaintedFaces())


def motion(frames=40, missing=(), cuts=()):
    points = np.stack([points_in(20 + t, 30, 60, 70) for t in range(frames)])
    points[list(missing)] = np.nan
    times = np.arange(frames) / 25
    sure = np.ones(frames)
    return Motion(
        points, sure, times, np.arange(frames), Fraction(1, 25), Fraction(25), (160, 120), list(cuts), "film.mp4"
    )


# Metrics


def test_points_where_they_should_be_have_no_error_and_moved_ones_the_right_one():
    face = face_points(200).astype(np.float64)
    unit = np.linalg.norm(face[45] - face[36])
    assert max(point_errors(face, face).values()) < 1e-6
    moved = point_errors(face + np.array([0.1 * unit, 0]), face)
    assert moved["landmarks"] == pytest.approx(0.1) == moved["landmarks_eyes"]
    assert moved["pose"] < 1e-6 and moved["expression"] < 1e-6
    tilted = point_errors(face_points(200, angle=np.radians(10)), face)
    assert tilted["pose"] == pytest.approx(10, abs=0.2) and tilted["expression"] < 1e-3
    spoken = point_errors(face_points(200, opened=0.2), face)
    assert spoken["landmarks_mouth"] > 0.02 and spoken["landmarks_eyes"] < 1e-6 and spoken["expression"] > 0.01
    assert point_errors(3 * face, 3 * face_points(200, opened=0.2))["expression"] == pytest.approx(
        point_errors(face, face_points(200, opened=0.2))["expression"], rel=1e-3
    )


def test_flicker_is_what_trembles_without_being_wanted():
    face = face_points(200).astype(np.float64)
    unit = np.linalg.norm(face[45] - face[36])
    wanted = face + np.array([[[0, 0]], [[5, 0]], [[20, 3]]])
    assert trembling(wanted + 7, wanted) == pytest.approx(0, abs=1e-9)
    shaken = wanted.copy()
    shaken[1] += [0, 0.01 * unit]
    assert trembling(shaken, wanted) == pytest.approx(0.02)


def test_pictures_compared(tmp_path):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 256, (96, 128, 3), np.uint8)
    worse = np.clip(truth.astype(int) + rng.integers(-20, 21, truth.shape), 0, 255).astype(np.uint8)
    worst = np.clip(truth.astype(int) + rng.integers(-80, 81, truth.shape), 0, 255).astype(np.uint8)
    judge = Judge(PaintedFaces(), feature_net(tmp_path / "net.safetensors"))
    points = points_in(60, 50, 60, 60)  # the mouth at the picture's edge
    same, near, far = (judge.pictures(one, truth, points) for one in (truth, worse, worst))
    assert same == pytest.approx({"ssim": 1.0, "psnr": 60.0, "perceptual": 0.0, "perceptual_mouth": 0.0})
    assert same["ssim"] > near["ssim"] > far["ssim"] and near["psnr"] > far["psnr"]
    assert near["psnr"] == pytest.approx(10 * np.log10(255**2 / np.mean((worse - truth.astype(float)) ** 2)), abs=0.01)
    assert 0 < near["perceptual"] < far["perceptual"] and 0 < near["perceptual_mouth"] < far["perceptual_mouth"]
    assert set(Judge(PaintedFaces()).pictures(worse, truth, points)) == {"ssim", "psnr"}


def test_faces_are_brought_upright_before_they_are_compared(tmp_path):
    judge = Judge(PaintedFaces(), None, feature_net(tmp_path / "face.safetensors", embedding=True))
    picture = np.zeros((240, 240, 3), np.uint8)
    points = face_points(240)
    for index, point in enumerate(points[[36, 45, 30, 57]]):
        x, y = np.round(point).astype(int)
        picture[y - 6 : y + 7, x - 6 : x + 7] = np.eye(3, dtype=np.uint8)[index % 3] * 200 + 55
    turned, turned_points = np.rot90(picture, -1).copy(), np.stack([239 - points[:, 1], points[:, 0]], 1)
    one, two = judge.face(picture, points), judge.face(turned, turned_points)
    assert one is not None and two is not None
    assert np.linalg.norm(one) == pytest.approx(1, abs=1e-4) and one @ two > 0.98
    assert Judge(PaintedFaces()).face(picture, points) is None


def test_a_network_may_see_only_some_columns(tmp_path):
    picture = torch.rand(1, 3, 8, 12)
    whole = FeatureNet(feature_net(tmp_path / "a.safetensors"))
    part = FeatureNet(feature_net(tmp_path / "b.safetensors", columns=[2, 9]))
    assert torch.equal(part(picture)[0], whole(picture[..., 2:9])[0])


def test_missing_networks_name_their_option(tmp_path):
    with pytest.raises(ModelError, match="--perceptual"):
        Judge(PaintedFaces(), tmp_path / "none.safetensors")
    with pytest.raises(ModelError, match="--identity"):
        Judge(PaintedFaces(), None, tmp_path / "none.safetensors")


def test_without_torchmetrics_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchmetrics.functional.image", None)
    with pytest.raises(UsageError, match=re.escape(how_to_add("evaluate"))):
        Judge(PaintedFaces())


# Which frames, which people


def test_portraits_are_nested_and_from_the_first_half_only():
    few = choose_frames(motion(), "clip", (1,), seed=0, every=4)
    many = choose_frames(motion(), "clip", (1, 8), seed=0, every=4)
    assert many.portraits[:1] == few.portraits and len(set(many.portraits)) == 8
    assert max(many.portraits) < 20 <= min(many.middles) - GROUP // 2
    assert many.middles == [21, 25, 29, 33, 37]
    assert choose_frames(motion(), "clip", (8,), seed=0, every=4) == many
    others = [choose_frames(motion(), name, (8,), seed=seed, every=4) for name, seed in (("clip", 1), ("other", 0))]
    assert all(other.portraits != many.portraits for other in others)


def test_frames_without_a_face_and_cuts_are_kept_out():
    choice = choose_frames(motion(missing=[0, 3, 25]), "clip", (99,), seed=0, every=1)
    assert sorted(choice.portraits) == [t for t in range(20) if t not in (0, 3)]
    assert choice.middles == [t for t in range(21, 39) if t not in (24, 25, 26)]
    # A cut before frame 10: no group holds 9 and 10 both.
    assert choose_groups(motion(20, cuts=[10]), 0, 1) == [*range(1, 9), *range(11, 19)]


def test_a_long_clip_is_compared_in_few_frames_from_all_over_it():
    middles = choose_groups(motion(400), 0, 2, held_out=5)
    assert len(middles) == 5 and middles[0] == 1 and middles[-1] > 390


def test_everybody_is_moved_by_somebody_else():
    clips, people = ["a1", "a2", "b1", "c1"], ["a", "a", "b", "c"]
    pairs = pair_people(clips, people, seed=0)
    who = dict(zip(clips, people, strict=True))
    assert set(pairs) == set(clips) and all(who[one] != who[other] for one, other in pairs.items())
    assert pair_people(clips, people, seed=0) == pairs
    with pytest.raises(UsageError, match="two people"):
        pair_people(["a1", "a2"], ["a", "a"], seed=0)


# Table and sheet


def test_the_table_holds_means_over_clips_and_marks_the_best():
    scores = Scores()
    scores.add("one", 1, "warp", [{"ssim": 0.5, "pose": 2.0, "lost": 0.0}, {"ssim": 0.7, "lost": 1.0}])
    scores.add("two", 1, "warp", [{"ssim": 0.8, "pose": 4.0, "lost": 0.0}])
    scores.add("one", 1, "model", [{"ssim": 0.9, "pose": 5.0, "lost": 0.0}])
    scores.add("one", 8, "model", [{"ssim": 0.9, "pose": 1.0, "lost": 0.0}])
    warp = scores.means()[0]
    assert warp == {"shots": 1, "method": "warp", "clips": 2, "ssim": 0.7, "pose": 3.0, "lost": 0.25}
    lines = scores.table().splitlines()
    assert lines[0] == "| T | method | clips | SSIM ↑ | pose, degrees ↓ | no face, % ↓ |"
    assert lines[2] == "| 1 | warp | 2 | 0.700 | **3.00** | 25.0 |"
    assert lines[3] == "| 1 | model | 1 | **0.900** | 5.00 | **0.0** |"
    assert lines[4] == "| 8 | model | 1 | 0.900 | 1.00 | 0.0 |"


def test_the_sheet_shows_every_picture_whole():
    sheet = Sheet(["portrait", "output"])
    sheet.add("clip T=1", [np.full((100, 50, 3), 200, np.uint8), np.full((400, 400, 3), 90, np.uint8)])
    shown = sheet.picture()
    pictures = shown[-194:, 96:]  # beside the words, whose smooth edges may have any grey
    assert (pictures == 200).all(-1).sum() == 192 * 96 and (pictures == 90).all(-1).sum() >= 192 * 192
    with pytest.raises(ValueError, match="titles"):
        sheet.add("clip", [np.zeros((4, 4, 3), np.uint8)])


# The whole


@pytest.fixture
def clips(tmp_path):
    """Two people who move, a clip of nobody and one that is no video."""
    folder = tmp_path / "clips"
    folder.mkdir()
    film(folder / "ann_1.mp4", [[(20 + 2 * t, 30, 60, 70)] for t in range(16)])
    film(folder / "bob_1.mp4", [[(60, 20 + t, 50, 60)] for t in range(16)])
    film(folder / "empty.mp4", [[]] * 4)
    (folder / "text.mp4").write_text("no video")
    (folder / "notes.txt").write_text("not a clip")
    return folder


@pytest.mark.slow
def test_the_protocol_on_clips(painted, clips, tiny_model, tmp_path):
    net, faces = feature_net(tmp_path / "n.safetensors"), feature_net(tmp_path / "f.safetensors", embedding=True)
    sheet, scores = tmp_path / "sheet.png", tmp_path / "scores.json"
    options = ["--model", tiny_model, "--perceptual", net, "--identity", faces, "--shots", "4,1,32", "--every", 3]
    result = run("evaluate", clips, *options, "--sheet", sheet, "--json", scores)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert [line.split("|")[1:4] for line in lines[2:]] == [
        [f" {shots} ", f" {method} ", " 2 "]
        for shots in (1, 4)
        for method in ("copy", "warp", "dense", "points", "model")
    ]
    told = json.loads(scores.read_text())
    assert set(told["skipped"]) == {"empty.mp4", "text.mp4", "ann_1.mp4, T = 32", "bob_1.mp4, T = 32"}
    assert all(f"{clip}: left out" in result.stderr for clip in told["skipped"])
    asked_for = set(METRICS) - {"lpips", "fid", "kid"}
    assert len(told["rows"]) == 20 and all(asked_for <= set(row) for row in told["rows"])
    means = {(row["shots"], row["method"]): row for row in told["means"]}
    for shots in (1, 4):
        # The painted face goes where it should; its portrait does not.
        assert means[shots, "warp"]["landmarks"] < 0.3 * means[shots, "copy"]["landmarks"]
        assert means[shots, "warp"]["psnr"] > means[shots, "copy"]["psnr"]
    picture = read_picture(sheet)
    assert picture.shape == (26 + 4 * 194, 96 + 7 * 194, 3)
    # Animated faces are in it, so it carries all marks.
    (marks,) = json.loads(run("verify", "--json", sheet).stdout)
    assert marks["signature"]["state"] == "trusted" and marks["watermark"]["same_file"] is True
    assert np.abs(picture[-30:, -110:].astype(int) - 24).max() > 150, "the label stands in the lower right corner"
    assert "--overwrite" in complaint(run("evaluate", clips, *options, "--sheet", sheet), 2)
    assert names_in(clips) == ["ann_1.mp4", "bob_1.mp4", "empty.mp4", "notes.txt", "text.mp4"]


@pytest.mark.slow
def test_the_same_again_gives_the_same_and_a_subset_the_same_of_it(painted, clips, tiny_model):
    options = {"model": tiny_model, "shots": (1,), "methods": ("copy", "warp"), "every": 4}
    first, second = evaluate(clips, **options), evaluate(clips, **options)
    assert first.report() == second.report()
    assert {"perceptual", "csim"} <= set(first.scores.rows[0]), "by the built-in network, where none was given"
    assert "by the small built-in network; name others" in "".join(first.warnings)
    alone = evaluate(clips, limit=1, **options)
    assert alone.scores.rows == [row for row in first.scores.rows if row["clip"] == "ann_1.mp4"]
    assert evaluate(clips / "bob_1.mp4", **options).scores.rows == first.scores.rows[2:]


def test_cross_identity(painted, clips, tiny_model, tmp_path):
    film(clips / "ann_2.mp4", [[(30, 30, 60, 70)]] * 12)
    for name in ("ann_1", "ann_2"):
        np.savez(clips / f"{name}.npz", identity="ann")
    faces = feature_net(tmp_path / "f.safetensors", embedding=True)
    done = evaluate(clips, cross=True, shots=(1,), model=tiny_model, identity=faces, every=5, methods=("copy", "warp"))
    rows = {(row["clip"], row["method"]): row for row in done.scores.rows}
    assert rows["ann_1.mp4", "copy"]["driver"] == rows["ann_2.mp4", "copy"]["driver"] == "bob_1.mp4"
    assert rows["bob_1.mp4", "copy"]["driver"].startswith("ann_")
    assert rows["bob_1.mp4", "copy"]["csim"] == pytest.approx(1, abs=1e-3)
    assert not {"ssim", "psnr", "perceptual"} & set(rows["ann_1.mp4", "warp"])
    assert {"csim", "pose", "expression", "flicker", "lost"} <= set(rows["ann_1.mp4", "warp"])


def test_a_method_knows_the_portraits_and_nothing_else_of_the_person(painted, clips, tiny_model, monkeypatch):
    seen = []

    def black(task):
        seen.append(task)
        return (np.zeros_like(task.portraits[0].picture) for _ in task.moves)

    monkeypatch.setitem(METHODS, "black", lambda model, device, teachers: black)
    done = evaluate(clips, shots=(1, 4), methods=("black",), model=tiny_model, every=4, limit=1)
    assert [len(task.portraits) for task in seen] == [1, 4]
    assert seen[0].portraits[0] is seen[1].portraits[0] and len(seen[0].moves) % 3 == 0
    assert all(row["lost"] == 1 and "landmarks" not in row for row in done.scores.rows)
    assert done.scores.table().splitlines()[2].endswith("| 100.0 |")


@pytest.mark.slow
def test_finetuned_is_a_method_that_learns_each_person(painted, clips, tiny_model, tmp_path, monkeypatch):
    nets = feature_net(tmp_path / "n.safetensors"), feature_net(tmp_path / "f.safetensors", embedding=True)
    monkeypatch.setattr("fewshot_reenact.pipelines.methods.usual_steps", lambda frames, kind: 2)
    options = ["--model", tiny_model, "--shots", "1,4", "--every", 4, "--limit", 1, "--methods", "model,finetuned"]
    learning = ["--learn-perceptual", nets[0], "--learn-identity", nets[1]]
    result = run("evaluate", clips, *options, *learning, "--json", "-")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    rows = {(row["shots"], row["method"]): row for row in told["rows"]}
    assert set(rows) == {(1, "model"), (1, "finetuned"), (4, "model"), (4, "finetuned")}
    assert told["learn_identity"] == str(nets[1]) and rows[4, "finetuned"]["psnr"] != rows[4, "model"]["psnr"]


def test_the_readmes_table_is_written_by_a_script(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(ROOT / "scripts" / "measure")
    script = ROOT / "scripts" / "measure" / "evaluation_table.py"
    row = {"clip": "a.mp4", "shots": 1, "method": "model", "frames": 2, "psnr": 21.5, "lost": 0.0}
    report = {"model_sha256": "abcdef0123456789", "clips": "x/val", "every": 24, "rows": [row], "means": [row]}
    (tmp_path / "scores.json").write_text(json.dumps(report))
    page = tmp_path / "README.md"
    page.write_text("before\n<!-- evaluation -->\nold words\n<!-- /evaluation -->\nkept\n")
    monkeypatch.setattr(sys, "argv", ["x", "--scores", str(tmp_path / "scores.json"), "--page", str(page)])
    runpy.run_path(str(script), run_name="__main__")
    new = page.read_text()
    assert "old words" not in new and new.startswith("before\n") and new.endswith("-->\nkept\n")
    assert "Weights abcdef01 on 1 clips of val" in new and "| 1 | model | 1 | 21.50 |" in new
    page.write_text("no markers")
    with pytest.raises(SystemExit, match="markers"):
        runpy.run_path(str(script), run_name="__main__")


def test_a_model_of_the_papers_kind_is_measured_too(painted, clips, tmp_path):
    torch.manual_seed(0)
    channels = {"embedder_channels": (8, 8), "down_channels": (8, 8), "up_channels": (8, 8)}
    dims = ModelDimensions(kind="paper", size=32, embedding=16, residual_blocks=1, attention=False, **channels)
    save_model(Reenactor(dims), tmp_path / "paper.safetensors")
    done = evaluate(clips, shots=(1,), model=tmp_path / "paper.safetensors", every=8, limit=1, methods=("model",))
    (row,) = done.scores.rows
    assert row["method"] == "model" and 0 < row["psnr"] < 60
    with pytest.raises(UsageError, match="warps nothing"):
        evaluate(clips, shots=(1,), model=tmp_path / "paper.safetensors", every=8, limit=1, methods=("warp",))


def test_what_makes_no_sense_is_told(painted, clips, tiny_model, tmp_path):
    assert "1,8,32" in complaint(run("evaluate", clips, "--shots", "1,0"), 2)
    assert "copy, warp, dense, points, model, finetuned" in complaint(run("evaluate", clips, "--methods", "wrap"), 2)
    assert "same file" in complaint(run("evaluate", clips, "--sheet", "a.png", "--json", "a.png"), 2)
    assert "--identity" in complaint(run("evaluate", clips, "--identity", tmp_path / "none"), 4)
    assert "no such folder" in complaint(run("evaluate", tmp_path / "none"), 3)
    assert "no video" in complaint(run("evaluate", tmp_path), 3)
    for name in ("ann_1.mp4", "bob_1.mp4"):
        (clips / name).unlink()
    with pytest.raises(InputError, match="no clip could be evaluated"):
        evaluate(clips, model=tiny_model)
