"""`reenact info`: options and layout only; what is told is gathered in `fewshot_reenact.pipelines.info`."""

import json

import click

from fewshot_reenact.cli import common


@click.command(short_help="Show versions, the device used and why, the models found.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@common.device_option
def info(as_json: bool, device: str) -> None:
    """Show versions, the device that is used and why, the models found, and the video encoders.

    \b
    reenact info
    reenact info --json
    """
    from fewshot_reenact.pipelines.info import gather, in_words

    facts = gather(device)
    click.echo(json.dumps(facts, indent=2) if as_json else in_words(facts))
