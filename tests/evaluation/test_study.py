"""The user study and the page of `reenact evaluate`."""

import base64
import io
import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from animate_samples import complaint, film, names_in, run
from fake_face import PaintedFaces
from fewshot_reenact.errors import UsageError
from fewshot_reenact.evaluation.page import WorstFrames
from fewshot_reenact.evaluation.study import Study
from fewshot_reenact.landmarks import registry
from fewshot_reenact.media.marks import PlainNote
from fewshot_reenact.media.pictures import read_picture
from fewshot_reenact.models.inception import Inception

pytest.importorskip("torchmetrics")


@pytest.fixture
def clips(tmp_path, monkeypatch):
    monkeypatch.setitem(registry.BACKENDS, "builtin", lambda device: PaintedFaces())
    folder = tmp_path / "clips"
    folder.mkdir()
    film(folder / "ann.mp4", [[(20 + 2 * t, 30, 60, 70)] for t in range(24)])
    film(folder / "bob.mp4", [[(60, 20 + t, 50, 60)] for t in range(24)])
    return folder


def plain(value: int) -> np.ndarray:
    return np.full((24, 32, 3), value, np.uint8)


def study(seed: int = 0) -> Study:
    """One person with three clips, another with one."""
    made = Study(seed)
    for number, clip in enumerate(("a1", "a2", "a3")):
        made.add_real("ann", clip, {t: plain(10 * number + t) for t in range(5)})
    made.add_real("bob", "b1", {t: plain(100 + t) for t in range(5)})
    for clip, person in (("a1", "ann"), ("b1", "bob")):
        for method in ("warp", "model"):
            made.add_made(person, clip, 1, method, 2, plain(200))
    return made


def test_real_frames_come_from_other_videos_where_there_are_any() -> None:
    for shown, key in study().triplets():
        assert len(shown) == 3 and shown[key["made"] - 1].about == {"clip": key["clip"], "frame": 2}
        clips = {one["clip"] for one in key["real"]}
        assert clips == ({"a2", "a3"} if key["clip"] == "a1" else {"b1"})
        frames = [(one["clip"], one["frame"]) for one in key["real"]]
        assert len(set(frames)) == 2 and (key["clip"], 2) not in frames, "not the frame that was made"


def test_the_seed_alone_shuffles() -> None:
    keys = [[key for _, key in study(seed).triplets()] for seed in (0, 0, 1, 2, 3)]
    assert keys[0] == keys[1] and keys[0] != keys[2]
    places = {key["made"] for some in keys for key in some}
    assert places == {1, 2, 3}


def test_a_person_with_too_few_true_frames_is_left_out(tmp_path) -> None:
    few = Study(0)
    few.add_real("cid", "c1", {0: plain(1), 2: plain(3)})
    few.add_made("cid", "c1", 1, "model", 2, plain(200))
    with pytest.raises(UsageError, match="no triplet can be made"):
        few.write(tmp_path / "study", PlainNote, lambda marks, path: None)
    assert few.left_out == 1 and not (tmp_path / "study").exists()


@pytest.mark.slow
def test_the_study_of_an_evaluation(clips, tiny_model, tmp_path) -> None:
    folder = tmp_path / "study"
    options = ["--model", tiny_model, "--shots", "1", "--every", 2, "--methods", "copy,warp,points"]
    result = run("evaluate", clips, *options, "--triplets", folder)
    assert result.exit_code == 0, result.output
    key = json.loads((folder / "key.json").read_text())
    assert [
        (one["clip"], one["method"]) for one in sorted(key["triplets"], key=lambda k: (k["clip"], k["method"]))
    ] == [(clip, method) for clip in ("ann.mp4", "bob.mp4") for method in ("points", "warp")], (
        "the copy is a true frame"
    )
    assert names_in(folder) == sorted(
        ["key.json", "study.html", *(name for one in key["triplets"] for name in one["files"])]
    )
    for one in key["triplets"]:
        marked = [json.loads(run("verify", "--json", folder / name).stdout)[0] for name in one["files"]]
        signed = [(marks["signature"] or {}).get("state") for marks in marked]
        assert signed.pop(one["made"] - 1) == "trusted" and "trusted" not in signed
    page = (folder / "study.html").read_text()
    shown = json.loads(re.search(r"const pictures = (\[.*?\]);", page)[1])
    answers = json.loads(base64.b64decode(re.search(r'atob\("(.*?)"\)', page)[1]))
    assert [one["made"] for one in answers] == [one["made"] for one in key["triplets"]]
    for sources, one in zip(shown, key["triplets"], strict=True):
        for source, name in zip(sources, one["files"], strict=True):
            picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))))
            assert np.array_equal(picture, read_picture(folder / name))
    assert not re.search(r"https?://", page.replace(json.dumps(shown), "")), "nothing is fetched"
    assert "another folder, or --overwrite" in complaint(run("evaluate", clips, *options, "--triplets", folder), 2)
    again = run("evaluate", clips, *options, "--limit", 1, "--triplets", folder, "--overwrite")
    assert again.exit_code == 0, again.output
    assert len(names_in(folder)) == 2 + 3 * 2, "pictures of the larger study are gone"
    assert "leave out --cross" in complaint(run("evaluate", clips, "--cross", "--triplets", tmp_path / "other"), 2)
    assert "replaces an earlier study only" in complaint(run("evaluate", clips, *options, "--triplets", clips), 2)


def test_the_worst_frames_come_first() -> None:
    worst = WorstFrames(("portrait", "truth"), keep=2)
    pictures = [plain(0)] * 3
    for frame, (far, lost) in enumerate([(0.2, 0), (0.9, 0), (0.1, 1), (0.9, 0), (0.5, 0)]):
        worst.add("a", 1, "model", frame, {"perceptual": far, "lost": lost, "landmarks": 0.0}, pictures)
    worst.add("a", 8, "model", 7, {"lost": 0.0, "landmarks": 0.1}, pictures)
    ranked = worst.ranked()
    assert [(shots, [row["frame"] for row in rows]) for shots, _, rows in ranked] == [(1, [2, 1]), (8, [7])]


@pytest.mark.slow
def test_the_page_and_the_rows_with_and_without_the_true_frame(clips, tiny_model, tmp_path) -> None:
    page, scores = tmp_path / "report.html", tmp_path / "scores.json"
    torch.manual_seed(0)
    torch.save(Inception().state_dict(), tmp_path / "inception.pth")
    options = ["--model", tiny_model, "--shots", "1", "--every", 4, "--fid", tmp_path / "inception.pth"]
    result = run("evaluate", clips, *options, "--html", page, "--json", scores)
    assert result.exit_code == 0, result.output
    told = json.loads(scores.read_text())
    motion = {row["method"]: row["motion"] for row in told["means"]}
    both = "points, true frame"
    assert motion == {"copy": "none", "warp": "points", "dense": both, "points": "points", "model": both}
    assert "| 1 | points | 2 | points |" in result.stdout and f"| 1 | model | 2 | {both} |" in result.stdout
    assert all(row["fid"] >= 0 and "kid" in row for row in told["means"]) and "fid" not in told["rows"][0]
    assert "other weights than published" in result.stderr and "FID of " in result.stderr
    text = page.read_text()
    assert "src=" in text and not re.search(r'(src|href)="(?!data:)', text), "it needs nothing else"
    sheets = re.findall(r"data:image/jpeg;base64,([^\"]+)", text)
    frames = sum(row["frames"] for row in told["rows"] if row["method"] == "model")
    assert len(sheets) == 5 * min(8, frames)
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(sheets[0]))))
    assert sheet.shape == (26 + 194, 96 + 3 * 194, 3)
    assert np.abs(sheet[-30:, -110:].astype(int) - 24).max() > 150, "labelled"
    assert "ann.mp4, frame" in text and "<td>" in text and "FID ↓" in text
    assert "--overwrite" in complaint(run("evaluate", clips, *options, "--html", page), 2)
    crossed = run("evaluate", clips, *options, "--methods", "dense,points", "--cross", "--json", "-")
    assert crossed.exit_code == 0 and "--fid compares with the truth" in crossed.stderr
    rows = {row["method"]: row["motion"] for row in json.loads(crossed.stdout)["means"]}
    assert rows == {"dense": "points, driver's frame", "points": "points"}
