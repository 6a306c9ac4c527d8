"""Which clip each episode is of, where shards are read one after the other instead of clips from anywhere.

Every request to an object store costs a wait, of a clip of 0.4 MB as of a shard of 30 MB. So a shard is to be read
whole, and all of its clips used at about the same time. Shards are dealt out to lanes, once for a run. A lane goes
through its shards in a new order each epoch; the clips of some shards at a time, a window, are shuffled together. Each
process makes the same part of every batch, thus of the same lanes, and needs no other lane's shards.

All of this is a function of (seed, index): there is no buffer with a state that a resumed run would have to fill again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_SHARDS_A_LANE = 16  # at least: lanes differ by a shard, so their clips are used up to a sixteenth more often or less
_DEALT, _SHARDS, _CLIPS = range(3)  # each use has random numbers of its own


@dataclass(frozen=True)
class Window:
    """Shards whose clips are shuffled together. lane, epoch, number: which it is. first: position in the lane of its
    first clip. shards: their numbers. clips: theirs, in the order of the episodes.
    """

    lane: int
    epoch: int
    number: int
    first: int
    shards: tuple[int, ...]
    clips: np.ndarray


class ShardOrder:
    """The clip of each episode of a run.

    shards: the number of the shard that each clip is in. batch: episodes a step. window: shards whose clips are
    shuffled at a time, in all lanes together.

    What holds: an episode's clip depends on (seed, index) and on these arguments, not on processes, workers or what was
    read before. Each clip of a lane is used once an epoch of the lane. Lanes have equally many clips up to one shard.
    """

    def __init__(self, shards: Sequence[int], seed: int, batch: int, window: int) -> None:
        self.seed, self.batch = seed, batch
        held = np.asarray(shards)
        self._clips = np.argsort(held, kind="stable")
        self._counts = np.bincount(held)
        self._first = np.cumsum(self._counts) - self._counts
        used = np.flatnonzero(self._counts)
        most = min(batch, window, max(1, len(used) // _SHARDS_A_LANE))
        self.lanes = max(number for number in range(1, most + 1) if batch % number == 0)
        self._dealt = self._deal(used)
        self._lengths = [int(self._counts[lane].sum()) for lane in self._dealt]
        self._window = window // self.lanes
        self._now: dict[int, Window] = {}

    def clip(self, index: int) -> int:
        """The number of the clip of an episode."""
        window, at = self._find(index)
        return int(window.clips[at])

    def window(self, index: int) -> Window:
        """The window that an episode's clip is from."""
        return self._find(index)[0]

    def after(self, window: Window) -> Window:
        """The one that its lane goes to next."""
        return self._make(window.lane, window.first + len(window.clips))

    def _deal(self, used: np.ndarray) -> list[np.ndarray]:
        """The shards of each lane: the fullest first, each to the lane that has fewest clips so far."""
        mixed = self._random(_DEALT).permutation(used)
        dealt: list[list[int]] = [[] for _ in range(self.lanes)]
        clips = [0] * self.lanes
        for shard in mixed[np.argsort(-self._counts[mixed], kind="stable")].tolist():
            lane = clips.index(min(clips))
            dealt[lane].append(shard)
            clips[lane] += int(self._counts[shard])
        return [np.array(shards) for shards in dealt]

    def _find(self, index: int) -> tuple[Window, int]:
        """An episode's window, and its place there."""
        step, slot = divmod(index, self.batch)
        share = self.batch // self.lanes
        lane, position = slot // share, step * share + slot % share
        window = self._now.get(lane)
        if window is None or not 0 <= position - window.first < len(window.clips):
            window = self._now[lane] = self._make(lane, position)
        return window, position - window.first

    def _make(self, lane: int, position: int) -> Window:
        """The window of a lane that this position of it is in."""
        epoch = position // self._lengths[lane]
        shards = self._random(_SHARDS, lane, epoch).permutation(self._dealt[lane])
        first = epoch * self._lengths[lane]
        number, windows = 0, np.array_split(shards, -(-len(shards) // self._window))
        while position >= first + (count := int(self._counts[windows[number]].sum())):
            number, first = number + 1, first + count
        some = windows[number]
        clips = np.concatenate([self._clips[self._first[s] : self._first[s] + self._counts[s]] for s in some])
        shuffled = self._random(_CLIPS, lane, epoch, number).permutation(clips)
        return Window(lane, epoch, number, first, tuple(some.tolist()), shuffled)

    def _random(self, *use: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *use])
