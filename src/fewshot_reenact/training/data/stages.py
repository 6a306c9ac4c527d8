"""What becomes of a shard on a Ray cluster, stage by stage."""

from collections.abc import Sequence
from functools import partial

from fewshot_reenact.training.data.ray_pools import RayStage
from fewshot_reenact.training.data.shard_worker import (
    ShardTask,
    Unit,
    fetch_videos,
    make_shard,
    track_videos,
    write_shard,
)
from fewshot_reenact.training.data.storage import is_url

_FED = 4  # actors that one actor fetches for
_ACTORS_A_CARD = 8  # the networks are small: one graphics card serves so many


def ray_stages(task: ShardTask, units: Sequence[Unit], workers: int | None) -> list[RayStage]:
    """What becomes of a unit, and on what. Videos behind an address are fetched ahead, by actors that take up no
    processor. With a graphics card networks and films are two stages, so that nobody holds a share of the card while he
    encodes. Without, they are one: both want a processor, and one that does both never waits for the other.
    """
    fetching = any(is_url(source.path) for unit in units for source in unit.sources)
    first = [RayStage("fetch", fetch_videos, cpus=0, most=-(-(workers or 32) // _FED))] if fetching else []
    if not task.device.startswith("cuda"):
        return [*first, RayStage("make", partial(make_shard, task))]
    share = 1 / _ACTORS_A_CARD
    if workers == 1:
        return [*first, RayStage("make", partial(make_shard, task), gpus=share)]
    return [
        *first,
        RayStage("track", partial(track_videos, task), gpus=share),
        RayStage("write", partial(write_shard, task)),
    ]


def fetched_bytes(unit: Unit) -> int:
    """What its videos take up between fetching and writing."""
    return sum(source.size for source in unit.sources if is_url(source.path))
