#!/usr/bin/env python3
"""Gather the pages of the documentation's site, and the man pages, from docs/ and from the code, for scripts/docs.sh.

scripts/build/make_site.py out/site/pages            # docs/ with links that hold there; cli.md, api.md of today's code
scripts/build/make_site.py --man out/man             # reenact.1, reenact-animate.1, ...
"""

import inspect
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import click

from fewshot_reenact._version import __version__
from fewshot_reenact.cli import COMMANDS
from fewshot_reenact.cli import main as reenact
from make_api_docs import page as api_page

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ROOT / "src" / "fewshot_reenact" / "weights"
COMPLETION = """## Completion

The shell completes commands, options and choices, after one line in its start file:

| shell | file | line |
|---|---|---|
| bash | `~/.bashrc` | `eval "$(_REENACT_COMPLETE=bash_source reenact)"` |
| zsh | `~/.zshrc` | `eval "$(_REENACT_COMPLETE=zsh_source reenact)"` |
| fish | `~/.config/fish/completions/reenact.fish` | `_REENACT_COMPLETE=fish_source reenact \\| source` |
"""


@click.command(help=__doc__.split("\n\n")[0])
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--man", is_flag=True, help="Write man pages there, by click-man, not pages of the site.")
def main(folder: Path, man: bool) -> None:
    names = write_man_pages(folder) if man else write_pages(folder)
    click.echo(f"{folder}: {len(names)} pages")


def write_pages(folder: Path) -> list[str]:
    """docs/ without what is not shown, the rules of use and the weights' cards, and the reference of today's code."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "docs", folder, ignore=shutil.ignore_patterns("mkdocs.yml", "__pycache__"))
    (folder / "weights").mkdir()
    for card in WEIGHTS.glob("*.md"):
        shutil.copy(card, folder / "weights" / card.name)
    rules = (ROOT / "RESPONSIBLE_USE.md").read_text("utf-8")
    (folder / "RESPONSIBLE_USE.md").write_text(rules.replace("](docs/", "]("), "utf-8")  # beside the others there
    (folder / "api.md").write_text(api_page(), "utf-8")
    (folder / "cli.md").write_text(cli_page(), "utf-8")
    for page in folder.glob("*.md"):
        text = page.read_text("utf-8")
        text = text.replace("](../src/fewshot_reenact/weights/", "](weights/").replace(
            "](../RESPONSIBLE", "](RESPONSIBLE"
        )
        page.write_text(text, "utf-8")
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.md"))


# ---- the command line


def commands() -> Iterator[click.Context]:
    """The context of each command, in the order of --help."""
    root = click.Context(reenact, info_name="reenact")
    for name in COMMANDS:
        command = reenact.get_command(root, name)
        assert command is not None
        yield click.Context(command, info_name=name, parent=root)


def cli_page() -> str:
    """All commands as Markdown, from what --help shows."""
    parts = ["# The command line", prose(reenact.help or ""), COMPLETION]
    for ctx in commands():
        usage = " ".join([ctx.command_path, *ctx.command.collect_usage_pieces(ctx)])
        options = [one for one in ctx.command.params if isinstance(one, click.Option)]
        records = [record for one in options if (record := one.get_help_record(ctx))]
        rows = [f"| {code(option)} | {cell(says)} |" for option, says in records]
        parts += [f"## reenact {ctx.info_name}", f"    {usage}", prose(ctx.command.help or "")]
        parts.append("\n".join(["| option | |", "|---|---|", *rows]))
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def prose(text: str) -> str:
    """A help text as Markdown: what follows a \\b keeps its lines."""
    paragraphs = []
    for part in re.split(r"\n{2,}", inspect.cleandoc(text)):
        lines = [line.strip() for line in part.split("\n")]
        if lines[0] == "\b":
            paragraphs.append("\n".join(f"    {line.rstrip()}" for line in part.split("\n")[1:]))
        else:
            paragraphs.append(escaped(" ".join(lines)))
    return "\n\n".join(paragraphs)


def code(text: str) -> str:
    return "`" + text.replace("|", "\\|") + "`"


def cell(text: str) -> str:
    return escaped(" ".join(text.split())).replace("|", "\\|")


def escaped(text: str) -> str:
    """What Markdown would take for a tag or a link; not within backticks."""
    halves = text.split("`")
    halves[::2] = [re.sub(r"([<>\[\]*_])", r"\\\1", half) for half in halves[::2]]
    return "`".join(halves)


def write_man_pages(folder: Path) -> list[str]:
    """A man page for `reenact` and one for each command, by click-man, which does not see commands that load late."""
    from click_man.core import generate_man_page

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    root = click.Context(reenact, info_name="reenact")
    reenact.commands = {ctx.info_name: ctx.command for ctx in commands()}
    for ctx in (root, *commands()):
        page = generate_man_page(ctx, __version__)
        # click-man leaves the mark of lines that are to stay lines as it is.
        page = re.sub(r"^ *\x08\n(.*?)\n(?=\.PP|\.SH)", r".nf\n\1\n.fi\n", page, flags=re.MULTILINE | re.DOTALL)
        (folder / f"{ctx.command_path.replace(' ', '-')}.1").write_text(page, "utf-8")
    return sorted(path.name for path in folder.iterdir())


if __name__ == "__main__":
    main()
