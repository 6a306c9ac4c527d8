"""`reenact keys`: options only; the work is in `fewshot_reenact.provenance`."""

from dataclasses import asdict
from pathlib import Path

import click

from fewshot_reenact.cli.common import FILE, overwrite_option, say, to_json


@click.command(short_help="Show, rotate, give away and trust the certificates that outputs are signed with.")
@click.option("--rotate", is_flag=True, help="Make a new signing key. The old one goes; its outputs stay known here.")
@click.option("--export", type=FILE, metavar="FILE", help="Write the certificate by which others know your outputs.")
@click.option("--trust", type=FILE, metavar="PEM", help="From now on know outputs signed under this certificate.")
@click.option("--distrust", metavar="FINGERPRINT", help="No longer; the first 8 digits of it do.")
@click.option("--new-watermark-key", type=FILE, metavar="FILE", help="Make a watermark key for --watermark-key.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@overwrite_option
def keys(
    rotate: bool,
    export: Path | None,
    trust: Path | None,
    distrust: str | None,
    new_watermark_key: Path | None,
    as_json: bool,
    overwrite: bool,
) -> None:
    """Show whose signatures are known on this machine: your own, and those of certificates that you trusted.

    Outputs are signed with a key that is made here on first use. Its certificate says that nobody checked who you are;
    give it away by a way that others trust, and they know your outputs by it.

    \b
    reenact keys
    reenact keys --export mine.pem
    reenact keys --trust theirs.pem
    reenact keys --rotate
    reenact keys --new-watermark-key school.key
    """
    asked = [rotate, export is not None, trust is not None, distrust is not None, new_watermark_key is not None]
    if sum(asked) > 1:
        raise click.UsageError("one thing at a time: --rotate, --export, --trust, --distrust or --new-watermark-key")
    from fewshot_reenact.provenance import trust as store

    if rotate:
        say(f"a new signing key was made: {store.rotate()}")
    elif export is not None:
        say(f"{export}: certificate {store.export(export, overwrite)}; tell others its fingerprint by another way")
    elif trust is not None:
        for one in store.trust(trust):
            say(f"trusted from now on: {one.fingerprint}  {one.name}")
    elif distrust is not None:
        gone = store.distrust(distrust)
        say(f"{gone} certificate{'s are' if gone > 1 else ' is'} no longer trusted")
    elif new_watermark_key is not None:
        from fewshot_reenact.provenance.watermark_key import make_watermark_key

        made = make_watermark_key(new_watermark_key)
        say(f"{new_watermark_key}: watermark key {made}; who has the file can stamp and forge")
    else:
        _show([asdict(one) for one in store.known()], as_json)


def _show(known: list[dict[str, str]], as_json: bool) -> None:
    if as_json:
        click.echo(to_json(known))
        return
    for one in known:
        say(f"{one['whose']:<8} {one['fingerprint']}  {one['name']}")
    if not known:
        say("no key yet: the first output makes one", err=True)
