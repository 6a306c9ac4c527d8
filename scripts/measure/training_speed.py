#!/usr/bin/env python3
"""Episodes a second of `reenact train` in several checkouts, by turns, on an idle machine.

    git worktree add ../base 1689abf
    scripts/measure/training_speed.py --checkout ../base --checkout . --clips run/clips --network NET.safetensors

Each run trains the default model with the settings of configs/meta.yaml for some minutes in a folder of its own. The
rate is taken from the times in its log, from the second line on: loading clips and the first steps do not count. With
--processes 2 a run is two processes of torchrun with a thread each, which is how the old figure (19 on two cores) came
about; with 1 it is one process with as many threads as there are cores.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import click
import yaml

START = "from fewshot_reenact.cli import main\nmain()\n"


def settings(clips: Path, network: Path, batch: int, limit: int | None) -> dict:
    return {
        "model": "textured",
        "data": {"clips": str(clips), "limit": limit, "point_noise": 0.004, "dense": 0.8, "rare": 0.35},
        "loss": {"network": str(network), "mouth": 6.0, "eyes": 5.0, "perceptual": 0.25, "perceptual_mouth": 1.0},
        "optimiser": {"rate": 5.0e-4},
        **{"batch": batch, "steps": 1000000, "log_every": 5, "save_every": 1000000, "picture_every": 1000000},
    }


def episodes_a_second(checkout: Path, raw: dict, processes: int, minutes: float) -> float:
    """One run, from nothing. Raises CalledProcessError; its output is shown."""
    with tempfile.TemporaryDirectory(prefix="reenact-speed-") as name:
        folder = Path(name)
        (folder / "c.yaml").write_text(yaml.safe_dump(raw))
        (folder / "start.py").write_text(START)
        launch = [sys.executable]
        if processes > 1:
            launch += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "--"]
        words = ["train", "--config", "c.yaml", "--run", "run", "--device", "cpu", "--max-minutes", str(minutes)]
        threads = max(1, (os.cpu_count() or 1) // processes)
        environment = {
            **os.environ,
            "PYTHONPATH": str(checkout.resolve() / "src"),
            "OMP_NUM_THREADS": str(threads),
            "OMP_WAIT_POLICY": "passive",
        }
        done = subprocess.run(
            [*launch, "start.py", *words], cwd=folder, env=environment, capture_output=True, text=True
        )
        if done.returncode:
            raise click.ClickException(f"{checkout}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        lines = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()][1:]
    if len(lines) < 2:
        raise click.ClickException(f"{checkout}: {minutes} minutes were too few for three lines of its log")
    steps, seconds = (lines[-1][key] - lines[0][key] for key in ("step", "time"))
    return steps * raw["batch"] / seconds


@click.command()
@click.option("--checkout", "checkouts", type=click.Path(exists=True, path_type=Path), multiple=True, required=True)
@click.option("--clips", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--network", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--processes", type=int, multiple=True, default=(2, 1), show_default=True)
@click.option("--batch", default=16, show_default=True, help="Of all processes together.")
@click.option("--limit", type=int, default=60, show_default=True, help="Clips: all of them take minutes to load.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--minutes", default=2.5, show_default=True, help="Of each run, loading included.")
def main(
    checkouts: tuple[Path, ...],
    clips: Path,
    network: Path,
    processes: tuple[int, ...],
    batch: int,
    limit: int,
    rounds: int,
    minutes: float,
) -> None:
    raw = settings(clips.resolve(), network.resolve(), batch, limit)
    print(f"load before: {os.getloadavg()[0]:.2f}; {os.cpu_count()} cores")
    print("| processes | checkout | episodes a second, each round | median | to the first |\n|---|---|---|---|---|")
    for count in processes:
        rates: dict[Path, list[float]] = {checkout: [] for checkout in checkouts}
        for _ in range(rounds):
            for checkout in checkouts:  # by turns: whatever else the machine does meets them alike
                rates[checkout].append(episodes_a_second(checkout, raw, count, minutes))
        first = statistics.median(rates[checkouts[0]])
        for checkout, found in rates.items():
            median, each = statistics.median(found), ", ".join(f"{rate:.2f}" for rate in found)
            print(f"| {count} | {checkout} | {each} | {median:.2f} | {median / first:.2f} |", flush=True)


if __name__ == "__main__":
    main()
