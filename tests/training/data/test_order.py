"""Streaming shard by shard: which clip each episode is of, and the local cache of whole shards."""

import itertools
import pickle
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.training.config import DataConfig, TrainConfig, load_config
from fewshot_reenact.training.data.cache import ReadAhead, ShardCache
from fewshot_reenact.training.data.dataset import ShardClips, open_clips
from fewshot_reenact.training.data.order import ShardOrder
from fewshot_reenact.training.data.storage import Folder
from fewshot_reenact.training.distributed import World
from fewshot_reenact.training.loop import make_episodes

SHARDS = np.repeat(np.arange(64), np.resize([5, 7, 6, 8], 64))  # 416 clips


def clips_of(order: ShardOrder, episodes: range) -> list[int]:
    return [order.clip(index) for index in episodes]


def test_an_episodes_clip_is_a_function_of_seed_and_index() -> None:
    whole = clips_of(ShardOrder(SHARDS, 3, 8, 16), range(2000))
    fresh = ShardOrder(SHARDS, 3, 8, 16)
    somewhere = np.random.default_rng(0).permutation(2000)
    assert [fresh.clip(int(index)) for index in somewhere] == [whole[index] for index in somewhere]
    assert clips_of(pickle.loads(pickle.dumps(fresh)), range(1234, 1300)) == whole[1234:1300]
    assert clips_of(ShardOrder(SHARDS, 4, 8, 16), range(2000)) != whole


def test_each_clip_comes_once_an_epoch_and_in_another_order_each_time() -> None:
    one = ShardOrder(SHARDS, 0, 1, 4)
    epochs = [clips_of(one, range(e * 416, (e + 1) * 416)) for e in range(3)]
    assert one.lanes == 1 and all(sorted(epoch) == list(range(416)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    four = ShardOrder(SHARDS, 0, 8, 16)
    assert four.lanes == 4, "of 64 shards, 16 a lane"
    times = Counter(clips_of(four, range(50 * 416)))
    assert set(times) == set(range(416)) and max(times.values()) - min(times.values()) < 50 * 8 / (416 / 4) + 2


def test_no_more_shards_are_in_use_than_the_window() -> None:
    order = ShardOrder(SHARDS, 0, 8, 16)
    used = [{int(SHARDS[clip]) for clip in clips_of(order, range(at, at + 32))} for at in range(0, 1600, 32)]
    assert max(map(len, used)) <= 2 * 16 and len(set.union(*used)) == 64
    for index in range(0, 1600, 8):
        window = order.window(index)
        assert len(window.shards) <= 16 // order.lanes
        following = order.after(window)
        assert following.first == window.first + len(window.clips)
        assert (following.epoch, following.number) in {(window.epoch, window.number + 1), (window.epoch + 1, 0)}


@pytest.mark.parametrize("processes", [1, 2, 4, 8])
def test_a_process_needs_the_shards_of_its_lanes_only(processes: int) -> None:
    """And the same batches are made, however many processes share them out."""
    order = ShardOrder(SHARDS, 0, 8, 16)
    mine = [list(World(rank, processes).indices(5, 300, 8)) for rank in range(processes)]
    assert sorted(itertools.chain(*mine)) == list(range(5 * 8, 300 * 8))
    shards = [{int(SHARDS[order.clip(index)]) for index in indices} for indices in mine]
    pairs = min(processes, order.lanes)
    assert set.union(*shards) == set(range(64)) and all(len(some) < 64 / pairs + 6 for some in shards)


def test_a_few_shards_are_one_lane() -> None:
    order = ShardOrder([0, 0, 1], 0, 8, 64)
    assert order.lanes == 1 and sorted(clips_of(order, range(3))) == [0, 1, 2]
    with_gaps = ShardOrder([0, 2, 2], 0, 4, 1)
    assert sorted(clips_of(with_gaps, range(3, 6))) == [0, 1, 2]


# ---- the cache ----


class Counting(Folder):
    """Counts what is asked of it."""

    def __init__(self, name: Path) -> None:
        super().__init__(name)
        self.fetched: list[str] = []
        self.asked: list[str] = []

    def fetch(self, name: str, path: Path) -> None:
        self.fetched.append(name)
        super().fetch(name, path)

    def read(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        self.asked.append(name)
        return super().read(name, start, length)


@pytest.fixture
def ten(tmp_path) -> Counting:
    (tmp_path / "shards").mkdir()
    for number in range(10):
        (tmp_path / "shards" / f"shard-{number:06d}.tar").write_bytes(bytes([number]) * 1000)
    return Counting(tmp_path / "shards")


def cache_of(ten: Counting, folder: Path, limit: int, ordered: bool = True, size: int = 1000) -> ShardCache:
    return ShardCache(ten, dict.fromkeys(ten.sizes(), size), "x", folder, limit, ordered=ordered)


def held(folder: Path) -> list[int]:
    return sorted(int(path.stem[-2:]) for path in folder.rglob("*.tar"))


def test_a_shard_is_fetched_once_and_the_one_used_longest_ago_makes_room(ten, tmp_path) -> None:
    cache = cache_of(ten, tmp_path / "cache", 3500)
    for number in (0, 1, 2, 0, 3, 0):
        assert cache.read(f"shard-{number:06d}.tar", 10, 3) == bytes([number]) * 3
    assert held(tmp_path / "cache") == [0, 2, 3] and len(ten.fetched) == 4 and not ten.asked
    again = cache_of(ten, tmp_path / "cache", 3500)
    assert again.read("shard-000003.tar", 0, 1) == b"\x03" and len(ten.fetched) == 4, "another process finds it"
    other = ShardCache(ten, cache.sizes, "remade", tmp_path / "cache", 3500, ordered=True)
    other.read("shard-000003.tar", 0, 1)
    assert len(ten.fetched) == 5 and len(held(tmp_path / "cache")) == 3, "other shards of the same address; one limit"
    assert not [path for path in (tmp_path / "cache").rglob(".*") if path.suffix != ".tar"], "no lock, no partial file"


def test_wanted_shards_are_fetched_by_several_threads_and_waited_for(ten, tmp_path) -> None:
    cache = cache_of(ten, tmp_path / "cache", 20_000)
    cache.want(ten.sizes())
    for name in sorted(ten.sizes(), reverse=True):
        assert cache.read(name, 0, 1) == bytes([int(name[6:12])])
    assert sorted(ten.fetched) == sorted(ten.sizes()) and not ten.asked, "each once, whoever was first"
    assert pickle.loads(pickle.dumps(cache)).read("shard-000004.tar", 0, 1) == b"\4"


def test_without_an_order_a_full_cache_stays_as_it_is(ten, tmp_path) -> None:
    cache = cache_of(ten, tmp_path / "cache", 4000, ordered=False)
    for _ in range(3):
        for number in range(10):
            assert cache.read(f"shard-{number:06d}.tar", 5, 2) == bytes([number]) * 2
    deadline = time.monotonic() + 30
    while cache._asked and time.monotonic() < deadline:  # the threads are at work
        time.sleep(0.01)
    kept = held(tmp_path / "cache")
    assert len(kept) == 4
    ten.asked.clear()
    ten.fetched.clear()
    for number in range(10):
        cache.read(f"shard-{number:06d}.tar", 5, 2)
    assert sorted(int(name[6:12]) for name in ten.asked) == sorted(set(range(10)) - set(kept)) and not ten.fetched


def test_what_the_cache_cannot_do_is_said(ten, tmp_path) -> None:
    with pytest.raises(UsageError, match=r"raise data\.cache_gb"):
        cache_of(ten, tmp_path / "small", -1).read("shard-000001.tar", 0, 1)
    with pytest.raises(InputError, match=r"shard-000001\.tar: has 1000 bytes, not 999"):
        cache_of(ten, tmp_path / "cut", 9999, size=999).read("shard-000001.tar", 0, 1)
    assert not held(tmp_path / "cut")
    cache = cache_of(ten, tmp_path / "gone", 9999)
    (Path(ten.name) / "shard-000001.tar").unlink()
    with pytest.raises(InputError, match="cannot be read"):
        cache.read("shard-000001.tar", 0, 1)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        cache_of(ten, tmp_path / "file" / "cache", 9999)


# ---- episodes ----

MODEL = {
    "kind": "textured", "size": 32, "embedding": 8, "embedder_channels": [8, 8], "down_channels": [8, 8],
    "up_channels": [8, 8], "residual_blocks": 1, "embedder_unshuffle": 2, "generator_unshuffle": 2, "stem": 8,
    "skips": True, "spectral_norm": False, "attention": False,
}  # fmt: skip


def config(vox_shards: Path, **data: object) -> TrainConfig:
    settings = {"clips": str(vox_shards), "frame_step": 1, "stream": True, **data}
    return TrainConfig.model_validate({"model": MODEL, "data": settings, "batch": 2, "steps": 8})


def episodes(settings: TrainConfig, workers: int = 0, first: int = 0) -> list[torch.Tensor]:
    """The targets of the steps from `first` on, as training makes them."""
    clips = open_clips(settings.data)
    assert isinstance(clips, ShardClips)
    made = make_episodes(settings, clips)
    if clips.cache is not None and made.order is not None:
        made = ReadAhead(made, made.order, clips.cache, clips.names)
    indices = World().indices(first, settings.steps, settings.batch)
    context = "spawn" if workers else None
    loader = DataLoader(made, 2, sampler=indices, num_workers=workers, multiprocessing_context=context)
    return [batch["target"] for batch in loader]


@pytest.mark.slow
def test_episodes_are_the_same_with_and_without_cache_and_workers_and_from_any_step_on(vox_shards, tmp_path) -> None:
    plain = episodes(config(vox_shards, shuffle_shards=2))
    cached = config(vox_shards, shuffle_shards=2, cache=tmp_path / "cache")
    assert all(torch.equal(a, b) for a, b in zip(plain, episodes(cached, workers=2), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(plain[5:], episodes(cached, first=5), strict=True))
    assert len(held(tmp_path / "cache")) == len(list(vox_shards.glob("*.tar")))
    drawn = episodes(config(vox_shards))
    unordered = episodes(config(vox_shards, cache=tmp_path / "cache"))
    assert all(torch.equal(a, b) for a, b in zip(drawn, unordered, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(drawn, plain, strict=True))


def test_settings_that_do_not_fit_together(vox_shards, tmp_path) -> None:
    with pytest.raises(UsageError, match=r"data\.cache_gb: 1e-06 GB are too few for data\.shuffle_shards"):
        open_clips(DataConfig(clips=vox_shards, stream=True, shuffle_shards=2, cache=tmp_path, cache_gb=1e-6))
    path = tmp_path / "config.yaml"
    path.write_text("steps: 5\ndata: {clips: x, cache: y}\n")
    with pytest.raises(UsageError, match=r"data\.cache: is for clips that are streamed"):
        load_config(path)
