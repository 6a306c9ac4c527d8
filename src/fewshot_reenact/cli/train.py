"""`reenact train`: options of a training run; training.trainers finds the trainer."""

import os
from pathlib import Path

import click

from fewshot_reenact.cli.common import FILE, device_option


@click.command()
@click.option(
    "--config", type=FILE, required=True, metavar="FILE.yaml", help="What to train on what, and how: configs/meta.yaml."
)
@click.option(
    "--run",
    "folder",
    type=FILE,
    default=Path("run/meta"),
    show_default=True,
    metavar="FOLDER",
    help="Checkpoints, log and pictures; the same folder again goes on where it stopped.",
)
@click.option(
    "--max-minutes",
    type=click.FloatRange(min=0, min_open=True),
    metavar="MINUTES",
    help="Stop after so long, cleanly, with everything saved.",
)
@click.option(
    "--steps", type=click.IntRange(1), metavar="N", help="Instead of the config's: the length of the whole run."
)
@click.option("--threads", type=click.IntRange(1), metavar="N", help="Processor threads. [default: torch's]")
@device_option
@click.option("--dry-run", is_flag=True, help="Check config and networks, print what would be trained, and stop.")
def train(
    config: Path,
    folder: Path,
    max_minutes: float | None,
    steps: int | None,
    threads: int | None,
    device: str,
    dry_run: bool,
) -> None:
    """Train the networks on a folder of square talking-head clips, or go on training.

    \b
    reenact train --config configs/meta.yaml
    reenact train --config configs/meta.yaml --run run/mine --max-minutes 55
    reenact train --config configs/landmarks_points.yaml --run run/landmarks
    reenact train --config configs/refiner.yaml --run run/mouth

    The config's `trainer` says what is trained: meta (the default), landmarks or refiner.

    The folder holds metrics.jsonl, pictures/ (portrait, landmarks, warp, output, truth), checkpoints/ and
    model.safetensors, the averaged weights, which `reenact animate --model` takes. SIGTERM saves and exits with 75.
    """
    import torch

    from fewshot_reenact.training.trainers import load_any

    settings, run = load_any(config, steps=steps)
    where, why = run.choose_device(device)
    leads = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun started one speaks
    if leads:
        click.echo(f"device {where} ({why})", err=True)
    if dry_run:
        run.check()
        click.echo(settings.model_dump_json(indent=2))
        return
    if threads is not None:
        torch.set_num_threads(threads)
    reached = run(folder, where, max_minutes)
    if leads:
        click.echo(f"{folder / run.result}: step {reached} of {run.steps}")
