"""The numbers and pictures of a run: metrics.jsonl, pictures/ and, if asked for, TensorBoard."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from torch import Tensor

from fewshot_reenact.errors import MissingExtra
from fewshot_reenact.files import partial_file
from fewshot_reenact.training.curves import METRICS, PICTURES


def say(line: str) -> None:
    """A line for whoever watches, beside a progress bar if there is one."""
    bars = sys.modules.get("tqdm")
    if bars is not None:
        bars.tqdm.write(line)
    else:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


class Log:
    """Means of the numbers since the last line, a line every so many steps. `sums` belongs into the checkpoint."""

    def __init__(self, folder: Path, tensorboard: bool):
        self.folder, self.sums = folder, dict[str, list[float]]()
        self.events: Any = _events(folder) if tensorboard else None

    def add(self, numbers: dict[str, float]) -> None:
        """Numbers of one step."""
        for name, value in numbers.items():
            self.sums.setdefault(name, []).append(value)

    def write(self, step: int) -> dict[str, float]:
        """Write the means since the last line, and return them."""
        means = {name: round(float(np.mean(values)), 6) for name, values in self.sums.items()}
        self.sums.clear()
        with (self.folder / METRICS).open("a") as file:
            file.write(json.dumps({"step": step, "time": round(time.time(), 1), **means}) + "\n")
        if self.events is not None:
            for name, value in means.items():
                self.events.add_scalar(name, value, step)
        return means

    def held_out(self, step: int, figures: dict[str, float]) -> None:
        """A line of figures on what is held out."""
        with (self.folder / METRICS).open("a") as file:
            file.write(json.dumps({"step": step, "held_out": figures}) + "\n")
        if self.events is not None:
            for name, value in figures.items():
                self.events.add_scalar(f"held_out/{name}", value, step)

    def picture(self, step: int, columns: list[Tensor]) -> None:
        """A grid: a row an episode, a column for each of `columns`, (B, 3, S, S) in -1..1."""
        sheet = [((c.float().clamp(-1, 1) + 1) * 127.5).byte().permute(0, 2, 3, 1).cpu().numpy() for c in columns]
        grid = np.ascontiguousarray(np.concatenate(sheet, 2).reshape(-1, sum(c.shape[2] for c in sheet), 3))
        path = self.folder / PICTURES / f"step_{step:07d}.png"
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), grid[..., ::-1])
        if self.events is not None:
            self.events.add_image("faces", grid, step, dataformats="HWC")

    def trim(self, step: int) -> None:
        """Drop the lines of steps that a killed run had logged but not saved: they will be done again."""
        path = self.folder / METRICS
        if not path.is_file():
            return
        lines = path.read_text("utf-8", "replace").splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and _step_of(line) <= step]
        if len(kept) < len(lines):
            with partial_file(path, overwrite=True) as partial:
                partial.write_text("".join(kept))

    def close(self) -> None:
        """Close TensorBoard's file."""
        if self.events is not None:
            self.events.close()


def _step_of(line: str) -> float:
    """The step that a line is of; past all of them for one that is damaged."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return float("inf")


def _events(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingExtra("tensorboard: is not installed; say false, or add it", "train") from error
    return SummaryWriter(str(folder / "tensorboard"))
