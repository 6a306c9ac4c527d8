#!/usr/bin/env python3
"""Write docs/api.md from the docstrings of the public names.

scripts/build/make_api_docs.py            # writes docs/api.md
scripts/build/make_api_docs.py --check    # exit code 1 when the file is not what would be written
"""

import dataclasses
import inspect
import re
import textwrap
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

import click

import fewshot_reenact
from fewshot_reenact import errors

PAGE = Path(__file__).resolve().parents[2] / "docs" / "api.md"
FUNCTIONS = ("animate", "live", "extract", "check", "verify", "finetune", "train", "prepare", "evaluate", "export")
FUNCTIONS += ("plot", "animate_with")
HEAD = """# The Python API

`scripts/build/make_api_docs.py` writes this page from the docstrings; do not edit it by hand.

Every function has the same options, defaults and marks as the command of its name. All of them raise the errors of
`fewshot_reenact.errors`, whose messages are one line each. Every result has `report()`, plain data for JSON. Where
`progress` is a Progress, it is called with the stage, how much of it is done, and how much there is (None where that is
not known). Importing `fewshot_reenact` loads neither torch nor OpenCV; the first call does.

"""


@click.command(help=__doc__.split("\n\n")[0])
@click.option("--check", is_flag=True, help="Write nothing; exit code 1 when the page is out of date.")
def main(check: bool) -> None:
    text = page()
    if check:
        raise SystemExit(int(not PAGE.is_file() or PAGE.read_text("utf-8") != text))
    PAGE.write_text(text, "utf-8")
    click.echo(f"{PAGE}: {len(text.splitlines())} lines")


def page() -> str:
    """The whole page as Markdown."""
    functions = [section(name, getattr(fewshot_reenact, name)) for name in FUNCTIONS]
    classes = [
        section(name, getattr(fewshot_reenact, name))
        for name in fewshot_reenact.__all__
        if inspect.isclass(getattr(fewshot_reenact, name))
    ]
    return HEAD + "\n".join([*functions, "## Results and options\n", *classes, "## Errors\n", raised()])


def raised() -> str:
    """The classes of `errors`, base class first, with the exit code of the command line that goes with each."""
    kinds = [one for one in vars(errors).values() if inspect.isclass(one) and issubclass(one, errors.ReenactError)]
    return (
        "\n".join(
            f"- **errors.{one.__name__}** (exit code {one.exit_code}): {' '.join((inspect.getdoc(one) or '').split())}"
            for one in kinds
        )
        + "\n"
    )


def section(name: str, thing: Any) -> str:
    """A heading, the signature or the fields, and the docstring."""
    if inspect.isclass(thing) and not dataclasses.is_dataclass(thing):
        # Made by calling it, as a function is.
        level, shown, names = "###", signature(name, thing), list(inspect.signature(thing).parameters)
        more = f"\n{listed}\n" if (listed := members(thing)) else ""
    elif inspect.isclass(thing):
        level, shown, names = "###", fields(thing), [field.name for field in dataclasses.fields(thing)]
        more = f"\n{listed}\n" if (listed := members(thing)) else ""
    else:
        level, shown, names = "##", signature(name, thing), list(inspect.signature(thing).parameters)
        more = ""
    return f"{level} {name}\n\n```python\n{shown}\n```\n\n{prose(inspect.getdoc(thing) or '', names)}\n{more}"


def signature(name: str, function: Any) -> str:
    """`name(a, b, *, c=1) -> Result`, a parameter a line."""
    described = inspect.signature(function)
    lines, starred = [], False
    for parameter in described.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            lines.append("    *,")
            starred = True
        default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
        lines.append(f"    {parameter.name}: {annotated(parameter.annotation)}{default},".replace("'", '"'))
    body = "\n".join(lines)
    return f"{name}(\n{body}\n) -> {annotated(described.return_annotation)}"


def fields(kind: Any) -> str:
    """The fields of a dataclass, a line each."""
    lines = []
    for field in dataclasses.fields(kind):
        default = "" if field.default is dataclasses.MISSING else f" = {field.default!r}"
        lines.append(f"{field.name}: {annotated(field.type)}{default}".replace("'", '"'))
    return "\n".join(lines)


def members(kind: Any) -> str:
    """What a class has beside its fields: properties and methods, an entry of a list each."""
    lines = []
    for name, thing in vars(kind).items():
        function = thing.fget if isinstance(thing, property) else getattr(thing, "__func__", thing)
        if name.startswith("_") or not inspect.isfunction(function):
            continue
        described = inspect.signature(function)
        given = [
            f"{one.name}: {annotated(one.annotation)}" if one.kind is not one.VAR_KEYWORD else f"**{one.name}"
            for one in described.parameters.values()
            if one.name not in ("self", "cls")
        ]
        call = "" if isinstance(thing, property) else f"({', '.join(given)})"
        says = " ".join((inspect.getdoc(function) or "").split())
        lines.append(f"- `.{name}{call} -> {annotated(described.return_annotation)}`: {says}")
    return "\n".join(lines)


def annotated(annotation: Any) -> str:
    """A type as it is written in the code, without the modules that its names come from."""
    if get_origin(annotation) in (Union, UnionType):
        return " | ".join(map(annotated, get_args(annotation)))
    if annotation is type(None):
        return "None"
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    text = text.replace("collections.abc.Callable[[str, int, int | None], None]", "Progress")
    return re.sub(r"\b(?:[a-z_]\w*\.)+(?=[A-Za-z_])", "", text)


def prose(doc: str, names: list[str]) -> str:
    """A docstring as Markdown: what it says of parameters as a list, its example as a block of Python."""
    text, _, example = doc.partition("\nExample:\n")
    paragraphs = [paragraph(part, names) for part in re.split(r"\n{2,}", text.strip())]
    if example:
        paragraphs.append(f"```python\n{textwrap.dedent(example).strip()}\n```")
    return "\n\n".join(paragraphs)


def paragraph(text: str, names: list[str]) -> str:
    """`name, name: what they are` becomes an entry of a list wherever it stands; anything else stays."""
    name = "|".join(map(re.escape, names))
    entry = rf"(?<![\w`.\"])((?:{name})(?:(?:, | \.\.\. )(?:{name}))*): "
    words = " ".join(text.split())
    if not re.search(entry, words):
        return text
    first, *rest = re.split(entry, words)
    listed = [f"- **{given}**: {what.strip()}" for given, what in zip(rest[::2], rest[1::2], strict=True)]
    return "\n".join([*([first.strip(), ""] if first.strip() else []), *listed])


if __name__ == "__main__":
    main()
