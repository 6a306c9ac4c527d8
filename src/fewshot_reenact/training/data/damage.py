"""Damaged clips among the many that are streamed: the episode of the next index is taken instead of one that meets one.

Which that is depends on the data alone, so a resumed run and every process skip alike. Each damaged clip is told once,
written into the run's folder, and too many of them end the run: then the shards are wrong, not a clip. What cannot be
read at the moment (a net that is down, a shard that is missing) is no damage and is never skipped.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from fewshot_reenact.errors import InputError
from fewshot_reenact.plain_json import read_object

LEDGER = "damaged.jsonl"
_KEY = "damaged"
_IN_A_ROW = 100  # episodes; even with half of all clips damaged nobody gets here


class DamagedClip(InputError):
    """A clip that was read whole and cannot be used. clip: which, whatever frame of it was wanted."""

    def __init__(self, message: str, clip: str = "") -> None:
        super().__init__(message)
        self.clip = clip


class Skipping(Dataset[dict[str, Any]]):
    """Episodes without those that meet a damaged clip. A `Ledger` must heed each batch, which says what was skipped."""

    def __init__(self, episodes: Dataset[dict[str, torch.Tensor]]):
        self.episodes = episodes

    def __len__(self) -> int:
        return len(self.episodes)  # type: ignore[arg-type]  # torch's Dataset leaves __len__ to its children

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The episode `index`, or the first after it that can be made. Raises InputError when none of 100 can."""
        damaged: dict[str, str] = {}
        for at in range(index, index + _IN_A_ROW):
            try:
                # As text: batches are put together of things of one size.
                return {**self.episodes[at], _KEY: json.dumps(damaged)}
            except DamagedClip as error:
                damaged.setdefault(error.clip, str(error))
        last = list(damaged.values())[-1]
        raise InputError(f"{_IN_A_ROW} episodes in a row have damaged clips, the last: {last}; run prepare again")


class Ledger:
    """The damaged clips of a run, those that other processes and earlier calls met too.

    share: of the clips, how many may be damaged, one at least unless it is 0. tell: prints a line. Raises InputError
    when more are known already: the run ended because of them, and goes on once more are allowed.
    """

    def __init__(self, folder: Path, share: float, clips: int, tell: Callable[[str], None]):
        self.path, self.tell = folder / LEDGER, tell
        self.allowed = max(1, int(share * clips)) if share else 0
        self.clips = clips
        self.known = self._read()
        self._check()

    def heed(self, batch: dict[str, Any]) -> None:
        """Take out of a batch what was skipped for it, and note what is new.

        Raises InputError when more clips are damaged than allowed.
        """
        for text in batch.pop(_KEY):
            for clip, reason in json.loads(text).items():
                if clip not in self.known:
                    self._note(clip, reason)

    def _note(self, clip: str, reason: str) -> None:
        with self.path.open("a", encoding="utf-8") as file:  # short lines at its end: processes do not cut each other's
            file.write(json.dumps({"clip": clip, "reason": reason}) + "\n")
        self.known = self._read() | {clip}
        self.tell(f"skipped a damaged clip ({len(self.known)} so far): {reason}")
        self._check()

    def _check(self) -> None:
        if len(self.known) > self.allowed:
            raise InputError(
                f"{len(self.known)} of {self.clips} clips are damaged, more than data.damaged allows ({self.allowed}); "
                f"they are listed in {self.path}; delete their shards and run prepare again, or raise data.damaged"
            )

    def _read(self) -> set[str]:
        if not self.path.is_file():
            return set()
        found = set()
        for line in self.path.read_text("utf-8").splitlines():
            try:
                found.add(str(read_object(line)["clip"]))
            except (ValueError, KeyError):  # cut off by a kill: it is noted again
                continue
        return found
