"""`reenact history`: options only; the ledger is in `fewshot_reenact.provenance.history`."""

from dataclasses import asdict

import click

from fewshot_reenact.cli.common import say, to_json


@click.command(short_help="Show, empty or disable the list of what was made here.")
@click.option("--clear", "what", flag_value="clear", help="Empty the list.")
@click.option("--disable", "what", flag_value="disable", help="Note nothing from now on; what is in the list stays.")
@click.option("--enable", "what", flag_value="enable", help="Note outputs again.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def history(what: str | None, as_json: bool) -> None:
    """Show which outputs were made on this machine: watermark id, time, file.

    The list lets `reenact verify` say when and as what file an output of yours was made. It stays on this machine.

    \b
    reenact history
    reenact history --clear
    reenact history --disable
    """
    from fewshot_reenact.provenance import history as ledger

    if what == "clear":
        click.echo(f"{ledger.clear()} entries removed")
    elif what in ("disable", "enable"):
        ledger.switch(what == "enable")
        click.echo(f"history: {what}d")
    elif as_json:
        shown = {"enabled": ledger.enabled(), "entries": [asdict(one) for one in ledger.entries()]}
        click.echo(to_json(shown))
    else:
        for one in ledger.entries():
            say(f"{one.id}  {one.time}  {one.file}")
        if not ledger.enabled():
            click.echo("reenact: the history is disabled; `reenact history --enable` changes that", err=True)
