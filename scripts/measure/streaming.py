#!/usr/bin/env python3
"""How fast clips come from a store that lets every request wait: docs/scale.md, "Reading the shards".

scripts/measure/streaming.py --latency 20 --write

The store is moto, on this machine, with a pause before each answer. Shards are made of a portrait that drifts. Reading
is measured alone (a clip's bytes, as an episode asks for them) and in episodes of two frames. Times are of the clock,
because waiting is what is measured; the processor seconds of this process stand beside them.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np

from fewshot_reenact.training.config import TrainConfig
from fewshot_reenact.training.data.cache import ReadAhead
from fewshot_reenact.training.data.clipping import CutClip
from fewshot_reenact.training.data.codec import ClipEncoder
from fewshot_reenact.training.data.dataset import ShardClips, open_clips
from fewshot_reenact.training.data.engines import THREADS, run_threads
from fewshot_reenact.training.data.shards import CLIPS, INDEX, SCHEMA, ShardWriter, shard_name, write_json, write_lines
from fewshot_reenact.training.data.storage import Folder
from fewshot_reenact.training.loop import make_episodes
from tables import ROOT, write

FRAMES, SIDE = 200, 256  # eight seconds, as in VoxCeleb2
PORT = 38417


def film(seed: int) -> tuple[bytes, bytes]:
    """A clip's film and labels: a portrait that drifts and trembles."""
    picture = cv2.imread(str(ROOT / "src" / "fewshot_reenact" / "assets" / "astronaut.jpg"))[..., ::-1]
    picture = cv2.resize(picture, (SIDE + 40, SIDE + 40), interpolation=cv2.INTER_AREA)
    random = np.random.default_rng(seed)
    encoder = ClipEncoder(SIDE, Fraction(25))
    at = np.cumsum(random.normal(0, 0.7, (FRAMES, 2)), 0)
    at = 20 + 15 * np.sin(at / 15)
    for x, y in at:
        moved = cv2.warpAffine(picture, np.array([[1, 0, -x], [0, 1, -y]]), (SIDE, SIDE))
        encoder.add(np.clip(moved + random.normal(0, 1.6, moved.shape), 0, 255).astype(np.uint8))
    points = random.uniform(80, 170, (FRAMES, 83, 2)).astype(np.float16)
    with tempfile.TemporaryFile() as file:
        np.savez_compressed(file, points=points, identity=np.array(f"p{seed}"))
        file.seek(0)
        return encoder.finish(), file.read()


def make_shards(folder: Path, shards: int, clips: int) -> int:
    """As prepare makes them, of few films again and again. Returns the bytes of a clip."""
    films = [film(seed) for seed in range(3)]
    rows, files = [], []
    for number in range(shards):
        path = folder / shard_name(number)
        writer = ShardWriter(path)
        for at in range(clips):
            video = f"p{(number * clips + at) % 50}/{number}/{at}.mp4"
            facts = {"person": video.split("/")[0], "frames": FRAMES}
            writer.add(f"{number}-{at}", CutClip(*films[at % 3], facts), video)
        writer.close()
        rows += [{"shard": path.name, **row} for row in writer.rows]
        files.append({"shard": path.name, "clips": clips, "bytes": path.stat().st_size})
    write_lines(Folder(folder), CLIPS, rows)
    write_json(Folder(folder), INDEX, {"schema": SCHEMA, "clips": len(rows), "files": files})
    (folder / "plan.json").write_text("{}")
    return rows[0]["length"]


def serve(latency: float) -> None:
    """moto with a pause before each answer; what was asked is counted at /asked."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import run_simple

    moto = DomainDispatcherApplication(create_backend_app)
    asked = [0]

    def delayed(environ, start_response):  # type: ignore[no-untyped-def]
        if environ["PATH_INFO"] == "/asked":
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [str(asked[0]).encode()]
        asked[0] += 1
        time.sleep(latency)
        return moto(environ, start_response)

    run_simple("127.0.0.1", PORT, delayed, threaded=True, request_handler=MotoRequestHandler)


def requests() -> int:
    import urllib.request

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return int(opener.open(f"http://127.0.0.1:{PORT}/asked").read())


def measured(work: Callable[[], int]) -> dict[str, float]:
    """What some episodes cost. work: returns how many there were."""
    asked, clock, spent = requests(), time.monotonic(), time.process_time()
    count = work()
    took = time.monotonic() - clock
    return {"rate": count / took, "cpu": (time.process_time() - spent) / count, "asked": requests() - asked}


def index_files(fs: Any) -> dict[str, float]:
    """Small files read one by one, and by the threads of `prepare`."""
    fs.pipe({f"bucket/lists/{number}": b"{}" * 2000 for number in range(200)})
    folder = Folder("s3://bucket/lists")
    names = [str(number) for number in range(200)]
    one = measured(lambda: len([folder.read(name) for name in names]))
    many = measured(lambda: len(list(run_threads(folder.read, names))))
    return {"one by one": round(one["rate"], 1), f"{THREADS} threads": round(many["rate"], 1)}


def ways(cache: Path, window: int) -> dict[str, dict]:
    return {
        "a request each, as it was": {},
        "shards in order, cache empty at first": {"shuffle_shards": window, "cache": cache / "ordered"},
        "any clip, all shards in the cache": {"cache": cache / "all"},
    }


def config(data: dict, episodes: int) -> TrainConfig:
    data = {"clips": "s3://bucket/shards", "stream": True, "dense": 0, **data}
    return TrainConfig.model_validate({"data": data, "batch": 4, "steps": episodes // 4})


def one_way(data: dict, episodes: int, whole: bool) -> dict[str, float]:
    """whole: episodes with their pictures, else the bytes of their clips alone."""
    settings = config(data, episodes)
    clips = open_clips(settings.data)
    assert isinstance(clips, ShardClips)
    made = make_episodes(settings, clips)
    read = made
    if clips.cache is not None and made.order is None:
        for name in clips.names:
            clips.cache._fetch(name, wait=True)  # what is measured is a cache that is full
    if not whole:

        class Bytes:
            def __getitem__(self, index: int) -> None:
                number = int(made._planner.draw(np.array([index]))[1][0])
                place = clips._offsets[number], clips._lengths[number]
                (clips.cache or clips.folder).read(clips.names[clips.shards[number]], *place)

        read = Bytes()  # type: ignore[assignment]
    if clips.cache is not None and made.order is not None:
        read = ReadAhead(read, made.order, clips.cache, clips.names)  # type: ignore[assignment]

    def work() -> int:
        for index in range(episodes):
            read[index]
        return episodes

    return measured(work)


@click.command(help=__doc__.split("\n\n")[0])
@click.option("--latency", default=20.0, show_default=True, help="Milliseconds before each answer.")
@click.option("--shards", default=16, show_default=True)
@click.option("--clips", default=32, show_default=True, help="In each.")
@click.option("--repeats", default=3, show_default=True)
@click.option("--episodes", default=256, show_default=True)
@click.option("--write", "to_page", is_flag=True, help="The table into docs/scale.md.")
@click.option("--serve", "only_serve", is_flag=True, hidden=True)
def main(latency: float, shards: int, clips: int, repeats: int, episodes: int, to_page: bool, only_serve: bool) -> None:
    if only_serve:
        serve(latency / 1e3)
        return
    os.environ.update(AWS_ACCESS_KEY_ID="testing", AWS_SECRET_ACCESS_KEY="testing", AWS_DEFAULT_REGION="us-east-1")
    os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{PORT}"
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        os.environ.pop(name, None)
    import s3fs

    command = [sys.executable, __file__, "--serve", "--latency", str(latency)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            (folder / "shards").mkdir()
            size = make_shards(folder / "shards", shards, clips)
            click.echo(f"{shards} shards of {clips} clips of {size / 1e3:.0f} kB", err=True)
            time.sleep(3)
            fs = s3fs.S3FileSystem()
            fs.mkdir("bucket")
            fs.put(str(folder / "shards"), "bucket/shards", recursive=True)
            lists = index_files(fs)
            found: dict[str, list] = {}
            for repeat in range(repeats):  # in turn: what else the machine does falls on all alike
                for way, data in ways(folder / f"cache{repeat}", 4).items():
                    both = [one_way(data, episodes, False)]
                    if "shuffle_shards" in data:
                        data = {**data, "cache": folder / f"cache{repeat}" / "again"}
                    both.append(one_way(data, episodes, True))
                    found.setdefault(way, []).append(both)
                    click.echo(json.dumps({way: both}), err=True)
        finally:
            server.terminate()
            server.wait()
    click.echo(f"small files a second: {lists}")
    lines = [
        "| | clips a second | requests a clip | processor ms a clip | episodes a second |",
        "|---|---:|---:|---:|---:|",
    ]
    for way, rows in found.items():
        bare, whole = ([row[part] for row in rows] for part in (0, 1))
        cells = [f"{statistics.median(one['rate'] for one in bare):.0f}"]
        cells.append(f"{statistics.median(one['asked'] for one in bare) / episodes:.2f}")
        cells.append(f"{1e3 * statistics.median(one['cpu'] for one in bare):.1f}")
        cells.append(f"{statistics.median(one['rate'] for one in whole):.1f}")
        lines.append(f"| {way} | " + " | ".join(cells) + " |")
    click.echo("\n".join(lines))
    if to_page:
        write("streaming", "\n".join(lines))


if __name__ == "__main__":
    main()
