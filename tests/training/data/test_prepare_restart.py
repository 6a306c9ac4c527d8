"""`reenact prepare` makes the same shards whoever makes them (processes, Ray) and whatever ends them midway."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from crashing import length_or_crash, length_or_killed, without_the_crash
from fewshot_reenact.errors import InputError, UsageError, how_to_add
from fewshot_reenact.training.data import engines
from fewshot_reenact.training.data.clipping import ClipOptions
from fewshot_reenact.training.data.dataset import ShardClips
from fewshot_reenact.training.data.prepare import Done, prepare
from fewshot_reenact.training.data.ray_pools import Pipeline, RayStage
from fewshot_reenact.training.data.retries import RetryQueue
from fewshot_reenact.training.data.shard_worker import (
    ShardTask,
    Unit,
    fetch_videos,
    make_shard,
    track_videos,
    without_crashing,
    write_shard,
)
from fewshot_reenact.training.data.sources import list_sources, spread
from places import HELPERS
from talking_heads import tree

OPTIONS = ClipOptions(size=96, min_face=30)  # as vox_shards were made
TESTS = str(HELPERS)

KILLED = """
import os, signal, sys
from fewshot_reenact.training.data import prepare as module
from fewshot_reenact.training.data.clipping import ClipOptions
from fewshot_reenact.training.data.shards import ShardWriter

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
    videos, out, workers, engine = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
    if workers == 1:
        ShardWriter.add = added
    options = ClipOptions(size=96, min_face=30)
    told = progress if workers > 1 else None
    module.prepare(videos, out, options=options, workers=workers, progress=told, engine=engine)
"""


def kill_midway(folder: Path, out: Path, workers: int, script: Path, engine: str = "processes") -> list[int]:
    """Runs prepare in a process that ends by SIGKILL; returns the process numbers of its workers."""
    script.write_text(KILLED)
    command = [sys.executable, str(script), str(folder), str(out), str(workers), engine]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (out / "index.json").exists()
    return [int(number) for number in done.stdout.splitlines()[0].split()] if workers > 1 else []


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
def test_a_run_that_was_killed_in_the_middle_of_a_shard_goes_on(vox_videos, vox_shards, tmp_path):
    out = tmp_path / "shards"
    kill_midway(vox_videos, out, 1, tmp_path / "killed.py")
    left = tree(out)
    assert any(name.endswith(".partial") for name in left), "it was killed while it wrote a tar"
    done: list[Done] = []
    prepare(vox_videos, out, options=OPTIONS, progress=done.append)
    assert done[-1].of < 5, "finished shards are not made again"
    assert tree(out) == tree(vox_shards)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
@pytest.mark.slow
def test_two_workers_killed_with_their_parent(vox_videos, vox_shards, tmp_path):
    out = tmp_path / "shards"
    workers = kill_midway(vox_videos, out, 2, tmp_path / "killed.py")
    deadline = time.monotonic() + 60
    while any(runs(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(workers) == 2 and not any(runs(pid) for pid in workers), "workers end with their parent"
    assert len(list(out.glob("shard-*.json"))) > 3, "made by two workers"
    prepare(vox_videos, out, options=OPTIONS)
    assert tree(out) == tree(vox_shards)


@pytest.fixture
def ray_here(monkeypatch):
    """Ray's workers are started by Ray, not by this process: they find the tests' modules by this."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([TESTS, *filter(None, [os.environ.get("PYTHONPATH")])]))
    monkeypatch.setenv("RAY_worker_niceness", "0")  # 15 otherwise: minutes, where others are at work
    return pytest.importorskip("ray")


@pytest.mark.slow
def test_ray_makes_the_same(ray_here, vox_videos, vox_shards, tmp_path):
    prepare(vox_videos, tmp_path / "shards", options=OPTIONS, workers=2, engine="ray")
    assert tree(tmp_path / "shards") == tree(vox_shards)


@pytest.mark.slow
def test_what_kills_rays_workers_is_left_out_or_given_up_and_the_rest_is_done(ray_here, tmp_path, monkeypatch):
    monkeypatch.setattr("fewshot_reenact.training.data.retries.FIRST_PAUSE", 0.1)
    once = str(tmp_path / "mark")
    items = [["a"], ["crash", "known"], [once, "b"], ["crash", "x", "y"], ["b", "c", "d"]]
    found = engines.run_ray([RayStage("count", length_or_killed)], items, 2, None, without=without_the_crash)
    done = []
    with pytest.raises(
        engines.WorkerDied, match=r"1 of 5 shards were given up after 3 tries each: \['crash', 'x', 'y'\]"
    ):
        for result in found:
            done.append(result)
    assert sorted(done) == [1, 1, 2, 3] and Path(once).exists(), "killed once is not given up"


@pytest.mark.slow
def test_rays_stages_make_the_same(ray_here, vox_videos, vox_shards, tmp_path):
    """As with a graphics card: fetching, networks and films each by actors of their own."""
    task = ShardTask(str(tmp_path), OPTIONS, "builtin", "cpu", str(tmp_path))
    units = [Unit(number, some) for number, some in enumerate(spread(list_sources(vox_videos)))]
    stages = [
        RayStage("fetch", fetch_videos, cpus=0, most=1),
        RayStage("track", partial(track_videos, task)),
        RayStage("write", partial(write_shard, task)),
    ]
    found = engines.run_ray(stages, units, 2, None, without=partial(without_crashing, task))
    assert sum(len(made["clips"]) for made in found) == 4
    made, theirs = tree(tmp_path), tree(vox_shards)
    assert made == {name: data for name, data in theirs.items() if name in made} and "shard-000000.json" in made


@pytest.mark.slow
def test_rays_actors_come_and_go_with_the_work(ray_here):
    """No more than allowed, no more items under way than twice as many, and those of a stage that waits make room."""
    ray_here.init(num_cpus=3, log_to_driver=False, logging_level="error", include_dashboard=False)
    try:
        pipeline = Pipeline(ray_here, [RayStage("a", abs), RayStage("b", max)], 3, 1, lambda item: 0)
        a, b = pipeline.pools
        most, under_way, results = [0, 0], 0, []
        queue = RetryQueue([-1, -2, -3, -4, -5, -6], lambda item: None)
        for result in pipeline.run(queue):
            results.append(result)
            most = [max(most[0], len(a)), max(most[1], len(b))]
            under_way = max(under_way, len(pipeline.under_way))
            assert len(a) + len(b) <= 3
        assert sorted(results) == [1, 2, 3, 4, 5, 6], "max(-1, abs(-1)), ..."
        assert min(most) >= 1 and under_way <= 6
    finally:
        ray_here.shutdown()


@pytest.mark.slow
def test_rays_driver_killed_and_gone_on_with(ray_here, vox_videos, vox_shards, tmp_path):
    out = tmp_path / "shards"
    kill_midway(vox_videos, out, 2, tmp_path / "killed.py", "ray")
    made = {path: path.stat().st_mtime_ns for path in out.glob("shard-*.json")}
    assert len(made) > 3
    prepare(vox_videos, out, options=OPTIONS, workers=2, engine="ray")
    assert tree(out) == tree(vox_shards)
    # All five may be there: Ray's workers end a moment after the driver, and finish what they had in hand.
    assert {path: path.stat().st_mtime_ns for path in made} == made, "finished shards are not made again"


def test_without_ray_the_error_says_how_to_get_it(vox_videos, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=re.escape(how_to_add("cluster"))):
        prepare(vox_videos, tmp_path / "shards", engine="ray")
    assert not (tmp_path / "shards").exists()


def test_what_ends_its_worker_is_left_out_and_the_rest_is_done():
    items = [["a"], ["crash", "known"], ["b", "c", "d"]]
    assert sorted(engines.run_processes(length_or_crash, items, 1, without_the_crash)) == [1, 1, 3]
    with pytest.raises(engines.WorkerDied, match="what is done is kept"):
        list(engines.run_processes(length_or_crash, [["crash"]], 1, without_the_crash))


def test_a_video_that_ended_its_worker_is_listed(vox_videos, tmp_path, monkeypatch):
    """As a worker leaves it behind: the note of the video that it had in hand."""
    task = ShardTask(str(tmp_path / "shards"), OPTIONS, "builtin", "cpu", str(tmp_path))
    (tmp_path / "shards").mkdir()
    unit = Unit(0, list_sources(vox_videos / "id1"))

    def killed(*_: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr("fewshot_reenact.training.data.shard_worker.cut_video", killed)
        with pytest.raises(SystemExit):
            make_shard(task, unit)
    instead = without_crashing(task, unit)
    assert instead is not None
    made = make_shard(task, instead)
    assert [row["video"] for row in made["skipped"]] == ["aaa/00001.mp4"] and "crashes" in made["skipped"][0]["reason"]
    assert len(made["clips"]) == 2
    assert without_crashing(task, unit) is None, "no note is left behind"


@pytest.mark.parametrize(
    "change",
    [{"shard": "/"}, {"clips": 5}, {"skipped": [{}]}, {"seconds": "x"}, {"bytes": -1}, {"clips": [{"person": []}]}],
    ids=str,
)
def test_a_damaged_list_of_a_shard_is_made_again(vox_videos, vox_shards, tmp_path, change):
    out = Path(shutil.copytree(vox_shards, tmp_path / "shards"))
    one = sorted(out.glob("shard-*.json"))[0]
    one.write_text(json.dumps({**json.loads(one.read_text()), **change}))
    prepare(vox_videos, out, options=OPTIONS)
    assert tree(out) == tree(vox_shards)


@pytest.mark.parametrize(
    "change", [{"shard": "../other.tar"}, {"shard": "/"}, {"offset": "x"}, {"video": 5}, {"frames": None}], ids=str
)
def test_a_damaged_list_of_clips_is_one_line(vox_shards, tmp_path, change):
    out = Path(shutil.copytree(vox_shards, tmp_path / "shards"))
    lines = (out / "clips.jsonl").read_text().splitlines()
    lines[1] = json.dumps({**json.loads(lines[1]), **change})
    (out / "clips.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match=r"clips\.jsonl: line 2 is damaged"):
        ShardClips(out, 1)
