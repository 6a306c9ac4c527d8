"""`reenact prepare` and streamed training over s3://, against a local stand-in for S3 (moto)."""

import json
import os
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from fewshot_reenact.training.data.clipping import ClipOptions
from fewshot_reenact.training.data.dataset import ShardClips
from fewshot_reenact.training.data.prepare import prepare
from places import HELPERS
from talking_heads import tree

OPTIONS = ClipOptions(size=96, min_face=30)  # as vox_shards were made


@pytest.fixture
def s3(monkeypatch):
    """A store at a local address, which this process and those that it starts find by the environment."""
    server_module = pytest.importorskip("moto.server")
    s3fs = pytest.importorskip("s3fs")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    # What it stores outlives the server, as long as this process does.
    urllib.request.urlopen(urllib.request.Request(f"http://{host}:{port}/moto-api/reset", method="POST")).close()
    s3fs.S3FileSystem.clear_instance_cache()
    fs = s3fs.S3FileSystem()
    fs.mkdir("bucket")
    yield fs
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["processes", "ray"])
def test_from_s3_to_s3_the_same_shards_are_made(s3, engine, vox_videos, vox_shards, tmp_path, monkeypatch):
    if engine == "ray":
        pytest.importorskip("ray")
        monkeypatch.setenv("RAY_worker_niceness", "0")
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HELPERS), *filter(None, [os.environ.get("PYTHONPATH")])]))
    s3.put(str(vox_videos), "bucket/videos", recursive=True)
    made = prepare("s3://bucket/videos", "s3://bucket/shards", options=OPTIONS, workers=2, engine=engine)
    s3.get("bucket/shards", str(tmp_path / "shards"), recursive=True)
    ours, theirs = tree(tmp_path / "shards"), tree(vox_shards)
    assert set(ours) == set(theirs) and made.clips == 4, "no note of a worker is left either"
    assert all(ours[name] == theirs[name] for name in theirs if name.endswith(".tar"))
    again = prepare("s3://bucket/videos", "s3://bucket/shards", options=OPTIONS)
    assert again.clips == 4 and again.run["videos"] == 0, "what is there is not made again"
    streamed, local = ShardClips("s3://bucket/shards", 1), ShardClips(vox_shards, 1)
    for ours_, theirs_ in zip(streamed, local, strict=True):
        assert ours_.name == theirs_.name and np.array_equal(ours_.frames[1], theirs_.frames[1])


def test_a_missing_video_is_left_out_and_not_waited_for(s3, vox_videos, tmp_path, monkeypatch):
    monkeypatch.setattr("fewshot_reenact.training.data.storage.FIRST_WAIT", 60)
    video = next(Path(vox_videos).rglob("*.mp4"))
    s3.put(str(video), "bucket/videos/one.mp4")
    names = tmp_path / "names.txt"
    names.write_text("s3://bucket/videos/one.mp4\ts\ns3://bucket/videos/none.mp4\tn\n")
    made = prepare(names, tmp_path / "shards", options=OPTIONS)
    lines = (tmp_path / "shards" / "skipped.jsonl").read_text().splitlines()
    assert made.skipped == len(lines) and any("no such file" in json.loads(line)["reason"] for line in lines)
