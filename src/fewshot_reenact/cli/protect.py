"""`reenact protect`: options only; the work is in `fewshot_reenact.provenance.protect`."""

from pathlib import Path

import click

from fewshot_reenact.cli.common import FILE, overwrite_option, say, warn


@click.command(short_help="Mark a picture so that this tool does not animate it.")
@click.argument("picture", metavar="PICTURE", type=FILE)
@click.option("-o", "--output", type=FILE, required=True, metavar="FILE", help="Where to write; .png or .jpg.")
@overwrite_option
def protect(picture: Path, output: Path, overwrite: bool) -> None:
    """Write PICTURE anew with marks that say that it must not be animated, or used for training.

    They are an invisible watermark, a property in XMP, and a signed C2PA manifest. `animate`, `live`, `finetune` and
    `prepare` refuse a picture with any of them. Other programs need not heed them, and marks can be removed.

    \b
    reenact protect me.jpg -o me-protected.jpg
    """
    from fewshot_reenact.provenance.protect import protect as make

    warn(make(picture, output, overwrite))
    say(f"{output}: says that it must not be animated")
