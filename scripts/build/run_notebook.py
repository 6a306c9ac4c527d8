#!/usr/bin/env python3
"""Run docs/notebook.ipynb and keep what its cells show. Needs nbclient and ipykernel, which nothing else does.

pip install nbclient ipykernel && scripts/build/run_notebook.py
"""

import tempfile
from pathlib import Path
from typing import Any

import click

NOTEBOOK = Path(__file__).resolve().parents[2] / "docs" / "notebook.ipynb"


@click.command(help=__doc__.split("\n\n")[0])
@click.argument("notebook", type=click.Path(exists=True, dir_okay=False, path_type=Path), default=NOTEBOOK)
def main(notebook: Path) -> None:
    try:
        import nbformat
        from nbclient import NotebookClient
    except ImportError as error:
        raise click.ClickException(f"{error}: pip install nbclient ipykernel") from error
    book: Any = nbformat.read(notebook, as_version=4)
    with tempfile.TemporaryDirectory(prefix="reenact-") as folder:
        NotebookClient(book, timeout=600, kernel_name="python3", resources={"metadata": {"path": folder}}).execute()
    for cell in book.cells:
        tidy(cell)
    book.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    nbformat.write(book, notebook)
    click.echo(f"{notebook}: {sum(cell.cell_type == 'code' for cell in book.cells)} cells, "
               f"{notebook.stat().st_size / 1e3:.0f} kB")  # fmt: skip


def tidy(cell: Any) -> None:
    """Of a cell's outputs what does not change from run to run, and of a picture the smallest kind."""
    cell.metadata = {}
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        if "image/jpeg" in data:
            output.data = {"image/jpeg": data["image/jpeg"]}


if __name__ == "__main__":
    main()
