"""`reenact train`: options of a training run; training.trainers finds the trainer."""

import os
from pathlib import Path

import click

from fewshot_reenact.cli.common import FILE, INTERRUPTED, device_option, threads_option, warn


@click.command()
@click.option(
    "--config",
    required=True,
    metavar="NAME|FILE.yaml",
    help="What to train, and how: tiny, meta or paper, which come with the package, or a file of yours.",
)
@click.option(
    "--clips", metavar="FOLDER", help="What to learn from, made by `reenact prepare`. [default: as the config says]"
)
@click.option(
    "--perceptual",
    metavar="FILE",
    help="Compare pictures by the features of this network. [default: as the config says: builtin]",
)
@click.option(
    "--identity", metavar="FILE", help="Compare faces by this network. [default: as the config says: builtin]"
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
@device_option
@threads_option
@click.option("--dry-run", is_flag=True, help="Check config and networks, print what would be trained, and stop.")
def train(
    config: str,
    clips: str | None,
    perceptual: str | None,
    identity: str | None,
    folder: Path,
    max_minutes: float | None,
    steps: int | None,
    device: str,
    dry_run: bool,
) -> None:
    """Train the networks on a folder of square talking-head clips, or go on training.

    \b
    reenact prepare videos/ shards/
    reenact train --config tiny --clips shards/ --run run/tiny
    reenact train --config meta --clips shards/ --run run/meta --max-minutes 55
    reenact train --config configs/landmarks_points.yaml --run run/landmarks
    reenact train --config configs/refiner.yaml --run run/mouth

    The config's `trainer` says what is trained: meta (the default), landmarks or refiner.

    The folder holds metrics.jsonl, pictures/ (portrait, landmarks, warp, output, truth), checkpoints/ and
    model.safetensors, the averaged weights, which `reenact animate --model` takes. SIGTERM saves and exits with 75.
    """
    from fewshot_reenact.training.trainers import load_any

    settings, run = load_any(config, steps=steps, clips=clips, perceptual=perceptual, identity=identity)
    where, why = run.choose_device(device)
    leads = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun started one speaks
    if leads:
        click.echo(f"device {where} ({why})", err=True)
    if dry_run:
        run.check()
        click.echo(settings.model_dump_json(indent=2))
        return
    try:
        reached = run(folder, where, max_minutes)
    except KeyboardInterrupt:
        warn([f"interrupted; what was saved last is kept in {folder}: run the same command to go on from there"])
        raise SystemExit(INTERRUPTED) from None
    if leads:
        click.echo(f"{folder / run.result}: step {reached} of {run.steps}")
