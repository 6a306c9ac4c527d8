"""Packed faces as batches: what a refiner learns from where clips do not fit onto its device."""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fewshot_reenact.errors import InputError
from fewshot_reenact.rendering.flow import to_signed
from fewshot_reenact.training.refiner.episodes import split_kinds

NAMES = ("made", "source", "source_raster", "driver_raster", "truth", "hidden")


class Packs:
    """The episodes of folders of chunks, of one part."""

    def __init__(self, folders: list[Path], part: str, seed: int):
        self.seed = seed
        parts: dict[str, list[np.ndarray]] = {}
        self.starts = [0]  # of each folder's episodes, and the end
        for folder in folders:
            for path in sorted(folder.glob("*.npz")):
                with np.load(path, allow_pickle=False) as chunk:
                    for name in NAMES:
                        parts.setdefault(name, []).append(chunk[f"{part}_{name}"])
                    parts.setdefault("embedding", []).append(chunk["embedding"])
            self.starts.append(sum(map(len, parts.get("embedding", []))))
            if self.starts[-1] == self.starts[-2]:
                raise InputError(f"{folder}: holds no packs; delete the folder, and they are made again")
        self.arrays = {}
        for name in list(parts):  # one at a time: they are large
            self.arrays[name] = np.concatenate(parts.pop(name))

    def __len__(self) -> int:
        return len(self.arrays["embedding"])

    def batches(self, indices: Iterator[np.ndarray]) -> Iterator[dict[str, Tensor]]:
        """A batch for each array of episode numbers (B,), by turns of each folder, see `LargeBatches`. A folder that
        has been seen to its end is seen again in another order.
        """
        kinds = len(self.starts) - 1
        for numbers in indices:
            each = [self._place(kind, some) for kind, some in enumerate(split_kinds(numbers, kinds))]
            yield self.rows(np.concatenate(each))

    def _place(self, kind: int, numbers: np.ndarray) -> np.ndarray:
        begin, end = self.starts[kind : kind + 2]
        count = end - begin
        orders = {again: _order(self.seed, kind, int(again), count) for again in np.unique(numbers // count)}
        return np.array([begin + orders[number // count][number % count] for number in numbers], np.int64)

    def rows(self, numbers: np.ndarray) -> dict[str, Tensor]:
        """Pictures (B, 3, h, w) in -1..1 by name, and `embedding` (B, N), of these rows."""
        found = {name: to_signed(torch.from_numpy(self.arrays[name][numbers]).permute(0, 3, 1, 2)) for name in NAMES}
        return found | {"embedding": torch.from_numpy(self.arrays["embedding"][numbers]).float()}


@lru_cache(maxsize=8)
def _order(seed: int, kind: int, again: int, count: int) -> np.ndarray:
    return np.random.default_rng([seed, kind, again]).permutation(count) if again else np.arange(count)
