"""`reenact models`: options only; what is told is gathered in `fewshot_reenact.pipelines.models`."""

from pathlib import Path

import click

from fewshot_reenact.cli import common
from fewshot_reenact.cli.common import say, to_json
from fewshot_reenact.errors import ModelError


@click.command(short_help="List the weights that are here, with their hashes, and check them.")
@click.argument("names", metavar=f"[{common.MODEL}]...", nargs=-1, type=common.FILE)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def models(names: tuple[Path, ...], as_json: bool) -> int:
    """List the built-in weights and the models that were downloaded: size, SHA-256, whether that is what the card or
    the Hub states, and where they lie. With a name, say what that file is; one on the Hub is downloaded.

    \b
    reenact models
    reenact models run/tiny/model.safetensors
    reenact models hf:OWNER/NAME

    Exit code 4 when one is not what it should be.
    """
    from fewshot_reenact.pipelines.models import OK, built_in, described, from_hub, in_words

    rows = [described(name) for name in names] if names else [*built_in(), *from_hub()]
    if as_json:
        click.echo(to_json(rows))
    else:
        for line in in_words(rows) or ["none is here; install the package again"]:
            say(line)
    fine = OK if names else (OK, "the Hub states no SHA-256")
    return 0 if rows and all(row["state"] in fine for row in rows) else ModelError.exit_code
