"""`reenact prepare`: what goes into the shards, and that it is the same whoever makes them and whatever interrupts."""

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import cv2
import fsspec
import numpy as np
import pytest

from animate_samples import complaint, run
from crashing import length_or_crash, without_the_crash
from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.landmarks.base import load_backend
from fewshot_reenact.landmarks.topology import eye_distance
from fewshot_reenact.training import engines
from fewshot_reenact.training.clipping import ClipOptions
from fewshot_reenact.training.dataset import ShardClips
from fewshot_reenact.training.making import Task, Unit, make_shard, without_crashing
from fewshot_reenact.training.prepare import Done, prepare
from fewshot_reenact.training.sources import list_sources
from talking_heads import film, tree, voxceleb

OPTIONS = ClipOptions(size=96, min_face=30)
TESTS = str(Path(__file__).parent)


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    return voxceleb(tmp_path_factory.mktemp("vox"))


@pytest.fixture(scope="module")
def reference(videos, tmp_path_factory) -> Path:
    """Made in this process, without interruption."""
    out = tmp_path_factory.mktemp("reference") / "shards"
    prepare(videos, out, options=OPTIONS)
    return out


def rows(out: Path, name: str) -> list[dict]:
    return [json.loads(line) for line in (out / name).read_text().splitlines()]


# ---- what comes out ----


def test_clips_lie_in_one_shot_and_know_who_is_in_them(reference):
    found = sorted((row["video"], row["person"], row["frames"]) for row in rows(reference, "clips.jsonl"))
    assert found == [
        ("id1/aaa/00001.mp4", "id1", 12),
        ("id1/bbb/00001.mp4", "id1", 11),
        ("id1/bbb/00001.mp4", "id1", 12),
        ("id2/ccc/00001.mp4", "id2", 12),
    ]
    index = json.loads((reference / "index.json").read_text())
    assert (index["clips"], index["people"], index["frames"], index["skipped"]) == (4, 2, 47, 2)


def test_videos_that_cannot_be_used_are_listed_with_the_reason(reference):
    bad = {row["video"]: row["reason"] for row in rows(reference, "skipped.jsonl")}
    assert list(bad) == ["id2/ccc/00002.mp4", "id2/ccc/00003.mp4"]
    assert "face" in bad["id2/ccc/00002.mp4"] and "not a video" in bad["id2/ccc/00003.mp4"]


def test_points_lie_on_the_face_of_the_clip(reference):
    backend = load_backend("builtin")
    for clip in ShardClips(reference, 1):
        assert clip.frames[3].shape == (96, 96, 3)
        again = backend.refine(clip.frames[3], clip.points[3])
        assert again is not None and again.confidence > 0.5
        off = np.linalg.norm(again.points - clip.points[3], axis=1).mean() / eye_distance(clip.points[3])
        assert off < 0.04, f"{clip.name}: {off:.3f} eye distances off"


def test_the_tar_files_are_as_webdataset_wants_them(reference):
    keys = []
    for path in sorted(reference.glob("*.tar")):
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


def test_webdataset_itself_reads_them(reference):
    webdataset = pytest.importorskip("webdataset")
    urls = [str(path) for path in sorted(reference.glob("*.tar"))]
    samples = list(webdataset.WebDataset(urls, shardshuffle=False))
    assert sorted(s["__key__"] for s in samples) == sorted(row["key"] for row in rows(reference, "clips.jsonl"))
    with np.load(io.BytesIO(samples[0]["npz"])) as labels:
        assert labels["points"].shape[1:] == (83, 2)


def test_a_summary_picture(reference):
    picture = cv2.imread(str(reference / "summary.jpg"))
    assert picture is not None and picture.shape[1] == 6 * picture.shape[0] and picture.std() > 20


# ---- the same, whoever makes it ----

KILLED = """
import os, signal, sys
from fewshot_reenact.training import prepare as module
from fewshot_reenact.training.clipping import ClipOptions
from fewshot_reenact.training.shards import ShardWriter

def die():
    os.kill(os.getpid(), signal.SIGKILL)

add = ShardWriter.add
def added(self, *clip):
    add(self, *clip)
    if len(self.rows) == 2:
        self._tar.fileobj.flush()
        die()

def progress(done):
    import multiprocessing
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    if done.videos > 3:
        die()

if __name__ == "__main__":
    videos, out, workers = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if workers == 1:
        ShardWriter.add = added
    options = ClipOptions(size=96, min_face=30)
    module.prepare(videos, out, options=options, workers=workers, progress=progress if workers > 1 else None)
"""


def kill_midway(videos: Path, out: Path, workers: int, script: Path) -> list[int]:
    """Runs prepare in a process that ends by SIGKILL; returns the process numbers of its workers."""
    script.write_text(KILLED)
    command = [sys.executable, str(script), str(videos), str(out), str(workers)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (out / "index.json").exists()
    return [int(number) for number in done.stdout.splitlines()[0].split()] if workers > 1 else []


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_run_that_was_killed_in_the_middle_of_a_shard_goes_on(videos, reference, tmp_path):
    out = tmp_path / "shards"
    kill_midway(videos, out, 1, tmp_path / "killed.py")
    left = tree(out)
    assert any(name.endswith(".partial") for name in left), "it was killed while it wrote a tar"
    done: list[Done] = []
    prepare(videos, out, options=OPTIONS, progress=done.append)
    assert done[-1].of < 5, "finished shards are not made again"
    assert tree(out) == tree(reference)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_two_workers_killed_with_their_parent(videos, reference, tmp_path):
    out = tmp_path / "shards"
    workers = kill_midway(videos, out, 2, tmp_path / "killed.py")
    deadline = time.monotonic() + 60
    while any(runs(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(workers) == 2 and not any(runs(pid) for pid in workers), "workers end with their parent"
    assert len(list(out.glob("shard-*.json"))) > 3, "made by two workers"
    prepare(videos, out, options=OPTIONS)
    assert tree(out) == tree(reference)


def test_ray_makes_the_same(videos, reference, tmp_path, monkeypatch):
    pytest.importorskip("ray")
    # Its workers are started by Ray, not by this process.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([TESTS, *filter(None, [os.environ.get("PYTHONPATH")])]))
    prepare(videos, tmp_path / "shards", options=OPTIONS, workers=2, engine="ray")
    assert tree(tmp_path / "shards") == tree(reference)


def test_without_ray_the_error_says_how_to_get_it(videos, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install 'fewshot-reenact\[cluster\]'"):
        prepare(videos, tmp_path / "shards", engine="ray")
    assert not (tmp_path / "shards").exists()


def test_what_ends_its_worker_is_left_out_and_the_rest_is_done():
    items = [["a"], ["crash", "known"], ["b", "c", "d"]]
    assert sorted(engines.run_processes(length_or_crash, items, 1, without_the_crash)) == [1, 1, 3]
    with pytest.raises(engines.WorkerDied, match="what is done is kept"):
        list(engines.run_processes(length_or_crash, [["crash"]], 1, without_the_crash))


def test_a_video_that_ended_its_worker_is_listed(videos, tmp_path, monkeypatch):
    """As a worker leaves it behind: the note of the video that it had in hand."""
    task = Task(str(tmp_path / "shards"), OPTIONS, "builtin", "cpu", str(tmp_path))
    (tmp_path / "shards").mkdir()
    unit = Unit(0, list_sources(videos / "id1"))

    def killed(*_: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr("fewshot_reenact.training.making.cut_video", killed)
        with pytest.raises(SystemExit):
            make_shard(task, unit)
    instead = without_crashing(task, unit)
    assert instead is not None
    made = make_shard(task, instead)
    assert [row["video"] for row in made["skipped"]] == ["aaa/00001.mp4"] and "crashes" in made["skipped"][0]["reason"]
    assert len(made["clips"]) == 2
    assert without_crashing(task, unit) is None, "no note is left behind"


def test_into_and_out_of_an_fsspec_address(videos, reference):
    memory = fsspec.filesystem("memory")
    for path in videos.rglob("*.mp4"):
        memory.put_file(str(path), f"/vox/{path.relative_to(videos)}")
    result = prepare("memory://vox", "memory://made/shards", options=OPTIONS)
    made = {path.rsplit("/", 1)[-1]: memory.cat_file(path) for path in memory.find("/made/shards")}
    assert made == tree(reference) and result["clips"] == 4
    a, b = ShardClips("memory://made/shards", 2)[1], ShardClips(reference, 2)[1]
    assert a.name == b.name and np.array_equal(a.frames[2], b.frames[2])
    with pytest.raises(UsageError, match="--workers 1"):
        prepare(videos, "memory://made/other", options=OPTIONS, workers=2)


# ---- going on, and what is refused ----


def test_a_finished_folder_is_left_as_it_is(videos, reference):
    before = {path: path.stat().st_mtime_ns for path in reference.glob("shard-*")}
    result = prepare(videos, reference, options=OPTIONS)
    assert result["run"]["videos"] == 0 and result["clips"] == 4
    assert {path: path.stat().st_mtime_ns for path in reference.glob("shard-*")} == before


def test_damaged_and_missing_shards_are_made_again(videos, reference, tmp_path):
    out = tmp_path / "shards"
    out.mkdir()
    for name, data in tree(reference).items():
        (out / name).write_bytes(data)
    tars = sorted(out.glob("*.tar"))
    tars[0].write_bytes(tars[0].read_bytes()[:5000])
    tars[1].unlink()
    assert prepare(videos, out, options=OPTIONS)["run"]["videos"] == 2
    assert tree(out) == tree(reference)


def test_nothing_is_overwritten_unasked(videos, tmp_path):
    out = tmp_path / "shards"
    out.mkdir()
    (out / "letter.txt").write_text("mine")
    (out / "shard-000000.tar.gz").write_text("mine too")
    with pytest.raises(UsageError, match="holds other files"):
        prepare(videos, out, options=OPTIONS)
    assert len(tree(out)) == 2
    one = videos / "id1" / "aaa"
    prepare(one, out, options=OPTIONS, overwrite=True)
    before = tree(out)
    with pytest.raises(UsageError, match=r"prepared otherwise \(size 96\)"):
        prepare(one, out, options=ClipOptions(size=64, min_face=30))
    with pytest.raises(UsageError, match="other videos"):
        prepare(videos / "id1", out, options=OPTIONS)
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
        ({"engine": "dask"}, "processes or ray"),
    ],
)
def test_options_that_make_no_sense(videos, tmp_path, options, words):
    with pytest.raises(UsageError, match=words):
        prepare(videos, tmp_path / "shards", **options)
    assert not (tmp_path / "shards").exists()


def test_when_no_video_can_be_used(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.mp4").write_text("no video")
    with pytest.raises(InputError, match=r"none of 2 videos can be used.*the first: a\.mp4: is not a video"):
        prepare(tmp_path, tmp_path / "shards")
    assert len(rows(tmp_path / "shards", "skipped.jsonl")) == 2


# ---- the command ----


def test_the_command(videos, tmp_path):
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


def test_ctrl_c_says_that_finished_shards_are_kept(videos, tmp_path, monkeypatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fewshot_reenact.training.prepare.make_shard", interrupted)
    done = run("prepare", videos, tmp_path / "s", "--workers", 1)
    assert done.exit_code == 130 and "finished shards are kept" in done.stderr and len(done.stderr.splitlines()) == 1
