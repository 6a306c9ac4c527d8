"""`reenact prepare`: what goes into the shards, and that it is the same whoever makes them and whatever interrupts."""

import io
import json
import shutil
import tarfile
from fractions import Fraction
from pathlib import Path

import cv2
import fsspec
import numpy as np
import pytest

from animate_samples import complaint, run
from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.geometry.topology import MOUTH, eye_distance
from fewshot_reenact.landmarks.builtin import BuiltinLandmarks
from fewshot_reenact.landmarks.registry import load_backend
from fewshot_reenact.landmarks.upright import turned
from fewshot_reenact.media.writer import VideoWriter
from fewshot_reenact.training.data.clipping import ClipOptions, cut_video
from fewshot_reenact.training.data.dataset import ShardClips
from fewshot_reenact.training.data.prepare import prepare
from talking_heads import film, head, tree

OPTIONS = ClipOptions(size=96, min_face=30)  # as vox_shards were made


def rows(out: Path, name: str) -> list[dict]:
    return [json.loads(line) for line in (out / name).read_text().splitlines()]


# ---- what comes out ----


def test_clips_lie_in_one_shot_and_know_who_is_in_them(vox_shards):
    found = sorted((row["video"], row["person"], row["frames"]) for row in rows(vox_shards, "clips.jsonl"))
    assert found == [
        ("id1/aaa/00001.mp4", "id1", 12),
        ("id1/bbb/00001.mp4", "id1", 11),
        ("id1/bbb/00001.mp4", "id1", 12),
        ("id2/ccc/00001.mp4", "id2", 12),
    ]
    index = json.loads((vox_shards / "index.json").read_text())
    assert (index["clips"], index["people"], index["frames"], index["skipped"]) == (4, 2, 47, 2)


def test_videos_that_cannot_be_used_are_listed_with_the_reason(vox_shards):
    bad = {row["video"]: row["reason"] for row in rows(vox_shards, "skipped.jsonl")}
    assert list(bad) == ["id2/ccc/00002.mp4", "id2/ccc/00003.mp4"]
    assert "face" in bad["id2/ccc/00002.mp4"] and "not a video" in bad["id2/ccc/00003.mp4"]


def test_points_lie_on_the_face_of_the_clip(vox_shards):
    backend = load_backend("builtin")
    for clip in ShardClips(vox_shards, 1):
        assert clip.frames[3].shape == (96, 96, 3)
        again = backend.refine(clip.frames[3], clip.points[3])
        assert again is not None and again.confidence > 0.5
        off = np.linalg.norm(again.points - clip.points[3], axis=1).mean() / eye_distance(clip.points[3])
        assert off < 0.04, f"{clip.name}: {off:.3f} eye distances off"


def test_the_tar_files_are_as_webdataset_wants_them(vox_shards):
    keys = []
    for path in sorted(vox_shards.glob("*.tar")):
        with tarfile.open(path) as tar:
            members = tar.getmembers()
            assert all(m.mtime == 0 and m.uid == 0 and m.isfile() for m in members)
            for i in range(0, len(members), 3):
                stems = {Path(m.name).stem for m in members[i : i + 3]}
                assert len(stems) == 1 and [Path(m.name).suffix for m in members[i : i + 3]] == [
                    ".mp4",
                    ".npz",
                    ".json",
                ]
                keys += stems
    assert len(keys) == len(set(keys)) == 4 and not any("." in key for key in keys)


def test_webdataset_itself_reads_them(vox_shards):
    webdataset = pytest.importorskip("webdataset")
    urls = [str(path) for path in sorted(vox_shards.glob("*.tar"))]
    samples = list(webdataset.WebDataset(urls, shardshuffle=False))
    assert sorted(s["__key__"] for s in samples) == sorted(row["key"] for row in rows(vox_shards, "clips.jsonl"))
    with np.load(io.BytesIO(samples[0]["npz"])) as labels:
        assert labels["points"].shape[1:] == (83, 2)


def test_a_summary_picture(vox_shards):
    picture = cv2.imread(str(vox_shards / "summary.jpg"))
    assert picture is not None and picture.shape[1] == 6 * picture.shape[0] and picture.std() > 20


# ---- where it is written ----


@pytest.fixture
def shards_of_now(vox_videos, tmp_path) -> Path:
    """The shards as this process makes them now. Other tests' libraries may have changed how it rounds (a flag of the
    processor, say), so those of the session's beginning can differ in a last bit.
    """
    prepare(vox_videos, tmp_path / "now", options=OPTIONS)
    return tmp_path / "now"


def test_into_and_out_of_an_fsspec_address(vox_videos, shards_of_now):
    vox_shards = shards_of_now
    memory = fsspec.filesystem("memory")
    for path in vox_videos.rglob("*.mp4"):
        memory.put_file(str(path), f"/vox/{path.relative_to(vox_videos)}")
    result = prepare("memory://vox", "memory://made/shards", options=OPTIONS)
    made = {path.rsplit("/", 1)[-1]: memory.cat_file(path) for path in memory.find("/made/shards")}
    assert made == tree(vox_shards) and result.clips == 4
    a, b = ShardClips("memory://made/shards", 2)[1], ShardClips(vox_shards, 2)[1]
    assert a.name == b.name and np.array_equal(a.frames[2], b.frames[2])
    with pytest.raises(UsageError, match="--workers 1"):
        prepare(vox_videos, "memory://made/other", options=OPTIONS, workers=2)


# ---- going on, and what is refused ----


def test_a_finished_folder_is_left_as_it_is(vox_videos, vox_shards):
    before = {path: path.stat().st_mtime_ns for path in vox_shards.glob("shard-*")}
    result = prepare(vox_videos, vox_shards, options=OPTIONS)
    assert result.run["videos"] == 0 and result.clips == 4
    assert {path: path.stat().st_mtime_ns for path in vox_shards.glob("shard-*")} == before


def test_damaged_and_missing_shards_are_made_again(vox_videos, shards_of_now, tmp_path):
    vox_shards, out = shards_of_now, tmp_path / "shards"
    out.mkdir()
    for name, data in tree(vox_shards).items():
        (out / name).write_bytes(data)
    tars = sorted(out.glob("*.tar"))
    tars[0].write_bytes(tars[0].read_bytes()[:5000])
    tars[1].unlink()
    assert prepare(vox_videos, out, options=OPTIONS).run["videos"] == 2
    assert tree(out) == tree(vox_shards)


@pytest.mark.parametrize(
    ("change", "raised"),
    [
        ({"options": 1.5}, UsageError),
        ({"options": [1, 2]}, UsageError),
        ({"options": None, "fingerprint": {}, "shards": "x", "schema": []}, UsageError),
        ([1], InputError),
        ("[" * 100_000, InputError),
    ],
    ids=["number", "list", "all", "no object", "deep"],
)
def test_a_plan_of_other_shapes_is_no_internal_error(vox_videos, shards_of_now, tmp_path, change, raised):
    out = shutil.copytree(shards_of_now, tmp_path / "out")
    plan = json.loads((out / "plan.json").read_text())
    changed = {**plan, **change} if isinstance(change, dict) else change
    (out / "plan.json").write_text(changed if isinstance(changed, str) else json.dumps(changed))
    with pytest.raises(raised, match=r"plan.json: is damaged|was prepared otherwise"):
        prepare(vox_videos, out, options=OPTIONS)


def test_nothing_is_overwritten_unasked(vox_videos, tmp_path):
    out = tmp_path / "shards"
    out.mkdir()
    (out / "letter.txt").write_text("mine")
    (out / "shard-000000.tar.gz").write_text("mine too")
    with pytest.raises(UsageError, match="holds other files"):
        prepare(vox_videos, out, options=OPTIONS)
    assert len(tree(out)) == 2
    one = vox_videos / "id1" / "aaa"
    prepare(one, out, options=OPTIONS, overwrite=True)
    before = tree(out)
    with pytest.raises(UsageError, match=r"prepared otherwise \(size 96\)"):
        prepare(one, out, options=ClipOptions(size=64, min_face=30))
    with pytest.raises(UsageError, match="other videos"):
        prepare(vox_videos / "id1", out, options=OPTIONS)
    assert tree(out) == before
    prepare(one, out, options=ClipOptions(size=64, min_face=30), overwrite=True)
    after = tree(out)
    assert after["letter.txt"] == b"mine" and after["shard-000000.tar.gz"] == b"mine too"
    assert json.loads(after["plan.json"])["options"]["size"] == 64


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"options": ClipOptions(size=97)}, "even"),
        ({"options": ClipOptions(size=2000)}, "64 to 512"),
        ({"options": ClipOptions(min_seconds=5, max_seconds=2)}, "shortest"),
        ({"landmarks": "magic"}, "not known"),
        ({"workers": 0}, "one worker"),
        ({"address": "auto"}, "--engine ray"),
        ({"min_workers": 0}, "one at least"),
        ({"min_workers": 2, "workers": 3}, "--engine ray"),
        ({"min_workers": 3, "workers": 2}, "no more than in all"),
        ({"engine": "dask"}, "processes or ray"),
    ],
)
def test_options_that_make_no_sense(vox_videos, tmp_path, options, words):
    with pytest.raises(UsageError, match=words):
        prepare(vox_videos, tmp_path / "shards", **options)
    assert not (tmp_path / "shards").exists()


def test_a_video_that_lies_is_turned(tmp_path):
    frames = [turned(head("astronaut.jpg"), 1)] * 12
    with VideoWriter(tmp_path / "lying.mp4", 160, 160, Fraction(1, 10), Fraction(10)) as out:
        for t, picture in enumerate(frames):
            out.write(picture, t)
    options = ClipOptions(size=96, min_face=30)
    cut = cut_video(tmp_path / "lying.mp4", "ann", BuiltinLandmarks(), options)
    assert cut.notes == ["lies on its side (turn it by 90 degrees to the right); it is used turned upright"]
    points = np.load(io.BytesIO(cut.clips[0].labels))["points"].astype(np.float32)
    assert len(points) == 12
    assert (points[:, 36:48, 1].mean(1) < points[:, MOUTH, 1].mean(1) - 10).all(), "eyes are above the mouth"


def test_when_no_video_can_be_used(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.mp4").write_text("no video")
    with pytest.raises(InputError, match=r"none of 2 videos can be used.*the first: a\.mp4: is not a video"):
        prepare(tmp_path, tmp_path / "shards")
    assert len(rows(tmp_path / "shards", "skipped.jsonl")) == 2


# ---- the command ----


def test_the_command(vox_videos, tmp_path):
    film(tmp_path / "v" / "anna.mp4", ("astronaut.jpg", 25))
    arguments = ("prepare", tmp_path / "v", tmp_path / "s", "--workers", 1, "--max-seconds", 1.25)
    done = run(*arguments, "--min-face", 30, "--size", 64, "--json", "-")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert (report["clips"], report["people"], report["frames"]) == (2, 1, 25)
    assert "2 clips of 1 people" in done.stderr and "times real time" in done.stderr
    assert [row["frames"] for row in rows(tmp_path / "s", "clips.jsonl")] == [12, 13]
    assert "all was done before" in run(*arguments, "--min-face", 30, "--size", 64).stdout
    assert "--overwrite" in complaint(run(*arguments), 2)
    assert "no such file or folder" in complaint(run("prepare", tmp_path / "none", tmp_path / "t"), 3)


def test_ctrl_c_says_that_finished_shards_are_kept(vox_videos, tmp_path, monkeypatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fewshot_reenact.training.data.prepare.make_shard", interrupted)
    done = run("prepare", vox_videos, tmp_path / "s", "--workers", 1)
    assert done.exit_code == 130 and "finished shards are kept" in done.stderr and len(done.stderr.splitlines()) == 1
