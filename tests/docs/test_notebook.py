"""docs/notebook.ipynb runs, and what it says is what its cells keep."""

import ast
import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

# Numbers that differ from machine to machine or from run to run.
LOOSE = ("watermark is",)


def run_cell(source: str, names: dict[str, Any]) -> tuple[str, Any]:
    """What a cell prints, and the value of its last line where that is an expression: as a notebook shows it."""
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, "cell", "exec"), names)
        value = None if last is None else eval(compile(ast.Expression(last.value), "cell", "eval"), names)
    return printed.getvalue(), value


@pytest.mark.slow
def test_the_notebook_runs_and_says_what_it_keeps(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = json.loads((root / "docs" / "notebook.ipynb").read_text("utf-8"))
    cells = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    names: dict[str, Any] = {}
    monkeypatch.chdir(tmp_path)
    for cell in cells:
        said, value = run_cell("".join(cell["source"]), names)
        kept = {output["output_type"]: output for output in cell["outputs"]}
        stored = "".join(kept.get("stream", {}).get("text", []))
        lines = list(zip(said.splitlines(), stored.splitlines(), strict=True))
        assert all(a == b for a, b in lines if not a.startswith(LOOSE)), lines
        assert isinstance(value, Image.Image) == ("image/jpeg" in kept.get("execute_result", {}).get("data", {}))
    assert {"grace.mp4", "whole.mp4"} <= {path.name for path in tmp_path.iterdir()}
    assert sum("image/jpeg" in output.get("data", {}) for cell in cells for output in cell["outputs"]) == 2


def test_the_notebook_is_small_and_says_nothing_of_who_ran_it(root: Path) -> None:
    path = root / "docs" / "notebook.ipynb"
    text = path.read_text("utf-8")
    assert path.stat().st_size < 400_000
    assert "/root" not in text and "/home" not in text and "/work" not in text and "Traceback" not in text
