"""`reenact push`: options only; the work is in `fewshot_reenact.pipelines.push`."""

from pathlib import Path

import click

from fewshot_reenact.cli import common
from fewshot_reenact.cli.common import say


@click.command(short_help="Write a model as a folder that is ready for the Hugging Face Hub.")
@click.argument("model", required=False, type=common.FILE)
@click.option("-o", "--output", "folder", required=True, type=common.FILE, metavar="DIR", help="The folder to write.")
@click.option("--name", metavar="OWNER/NAME", help="What it will be called there; for the card.")
@click.option(
    "--license",
    "licence",
    metavar="NAME",
    help="The licence, as the Hub names it: apache-2.0, cc-by-4.0. Must be said, but of the built-in model.",
)
@click.option("--data", metavar="TEXT", help="For the card: what the model has learnt from, and whether people agreed.")
@common.overwrite_option
@common.report_option
def push(
    model: Path | None,
    folder: Path,
    name: str | None,
    licence: str | None,
    data: str | None,
    overwrite: bool,
    report: Path | None,
) -> None:
    """Write MODEL (the built-in one if none is named) as a folder for the Hugging Face Hub: model.safetensors,
    README.md with the Hub's head, SHA256SUMS.

    \b
    reenact push run/meta/model.safetensors -o upload/ --name me/my-model --license cc-by-4.0
    reenact push -o upload/

    Nothing is sent; the command that does so is said. A person's networks, as `reenact finetune` writes them, are not
    for publishing and are refused.
    """
    from fewshot_reenact.pipelines.push import push as run

    common.check_report(report, overwrite)
    made = run(model, folder, name=name, licence=licence, data=data, overwrite=overwrite)
    quiet = str(report) == "-"
    say(f"{made.folder}: {', '.join(path.name for path in made.files)}; SHA-256 {made.sha256}", err=quiet)
    say(f"look through {made.folder / 'README.md'}, then: {made.upload}", err=quiet)
    common.write_report(made.report(), report, overwrite)
