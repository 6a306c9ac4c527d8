"""Tables in the documentation that a script writes: `<!-- NAME: ... -->`, the table, `<!-- /NAME -->`."""

import re
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))


def marked(name: str) -> re.Pattern[str]:
    """The opening marker, with the words that follow the name; what stands between; the closing one."""
    return re.compile(rf"(<!-- {re.escape(name)}(?::[^>]*)? -->\n)(.*?)(<!-- /{re.escape(name)} -->)", re.DOTALL)


def page_of(name: str, pages: Sequence[Path] = PAGES) -> Path:
    """The page that holds this table. Raises SystemExit unless one does."""
    found = [page for page in pages if marked(name).search(page.read_text("utf-8"))]
    if len(found) != 1:
        raise SystemExit(f"the markers of the table {name!r} stand in {len(found)} of {len(pages)} pages, not in one")
    return found[0]


def read(name: str) -> str:
    """What stands between the markers."""
    found = marked(name).search(page_of(name).read_text("utf-8"))
    assert found is not None
    return found[2]


def write(name: str, text: str, page: Path | None = None) -> Path:
    """Replace what stands between the markers, on this page or on the one that has them. Returns the page."""
    page = page_of(name, PAGES if page is None else (page,))
    page.write_text(marked(name).sub(lambda m: f"{m[1]}{text.rstrip()}\n{m[3]}", page.read_text("utf-8")), "utf-8")
    return page


def rows(name: str) -> list[list[str]]:
    """The cells of a table's rows, the headings first."""
    lines = [line for line in read(name).splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if not all(re.fullmatch(r":?-+:?", cell) for cell in row)]


def cell(name: str, row: str, column: str) -> str:
    """One cell, by the beginning of its row's first cell and by its heading. Raises ValueError: not there."""
    headings, *others = rows(name)
    for one in others:
        if one[0].startswith(row):
            return one[headings.index(column)]
    raise ValueError(f"table {name!r} has no row {row!r}")
