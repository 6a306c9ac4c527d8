"""`reenact verify`: options only; the work is in `fewshot_reenact.provenance`."""

from pathlib import Path

import click

from fewshot_reenact.cli import common
from fewshot_reenact.cli.common import say, to_json


@click.command(short_help="Look for this tool's marks in files: signature, watermark, tags.")
@click.argument("paths", nargs=-1, required=True, metavar="FILE|FOLDER...", type=common.FILE)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.option("--trust", type=common.FILE, metavar="PEM", help="Certificates of authorities to trust as well.")
@click.option("--watermark-key", type=common.FILE, metavar="FILE", help="Look for watermarks under this key as well.")
@common.threads_option
def verify(paths: tuple[Path, ...], as_json: bool, trust: Path | None, watermark_key: Path | None) -> int:
    """Say which marks of this tool FILE carries: a C2PA signature, the invisible watermark, plain tags.

    FILE is a video, a GIF or a picture. In a FOLDER each of them is looked at, and pictures of one size also together,
    as frames of one video. That no mark is found does not mean that a recording is genuine.

    \b
    Exit codes: 0 a mark of this tool was found (in at least one file), 1 no mark found, 3 a file could not be read.

    \b
    reenact verify talk.mp4
    reenact verify --json downloads/
    """
    from fewshot_reenact.provenance.report import in_words
    from fewshot_reenact.provenance.verify import exit_code
    from fewshot_reenact.provenance.verify import verify as look

    with common.progress_bar("looking") as bar:
        findings = look(
            paths, trust=trust, watermark_key=watermark_key, progress=lambda _, done, total: bar(done, total)
        )
    if as_json:
        click.echo(to_json([one.report() for one in findings]))
    else:
        for one in findings:
            for line in in_words(one):
                say(line)
    return exit_code(findings)
