"""The package as a whole: what may import what, what is imported at start, what is inside the wheel."""

from __future__ import annotations

import ast
import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

import fewshot_reenact
from fewshot_reenact.cli import COMMANDS

PACKAGE = Path(fewshot_reenact.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
LONGEST = 320

WITHOUT_TORCHVISION = ("animate", "extract", "check", "info", "verify")


def imports_of(path: Path) -> Iterator[tuple[str, int, bool]]:
    """(module, line, whether it stands at the top level) for every import of the file, those inside functions too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    # Only what is nested in a function waits; `if` and `try` at the top level do not.
    inside = {
        id(node)
        for scope in ast.walk(tree)
        if isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for node in ast.walk(scope)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno, id(node) not in inside
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute here"
            if node.module == "fewshot_reenact":  # from fewshot_reenact import x: x is the module
                for alias in node.names:
                    yield f"fewshot_reenact.{alias.name}", node.lineno, id(node) not in inside
            elif node.module:
                yield node.module, node.lineno, id(node) not in inside


def dotted_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_neither_landmarks_nor_provenance_know_of_each_other() -> None:
    pairs = {("landmarks", "provenance"), ("provenance", "landmarks"), ("evaluation", "training")}
    for path in MODULES:
        for name, line, _ in imports_of(path):
            if name.startswith("fewshot_reenact.") and dotted_name(path) != "fewshot_reenact":
                both = dotted_name(path).split(".")[1], name.split(".")[1]
                assert both not in pairs, f"{path}:{line} imports {name}"


def test_nobody_imports_torchvision_or_face_alignment_at_start() -> None:
    for path in MODULES:
        for name, line, at_start in imports_of(path):
            root = name.split(".")[0]
            assert not (at_start and root in ("torchvision", "face_alignment")), (
                f"{path}:{line} imports {root} at start"
            )


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_stay_short(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST, f"{path}: {lines} lines, {LONGEST} at most: split it"


@pytest.fixture(scope="module")
def broken_torchvision(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment where torchvision is there and raises as it does beside a torch it was not built for."""
    folder = tmp_path_factory.mktemp("broken")
    for name in ("torchvision", "face_alignment"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text('raise RuntimeError("operator torchvision::nms does not exist")\n')
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path}


def run(code: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.slow
def test_commands_start_where_torchvision_is_broken(broken_torchvision: dict[str, str]) -> None:
    """Their --help and all the modules they work with, one process for all since torch takes seconds to load."""
    code = f"""
import importlib, pkgutil, sys
import fewshot_reenact
from fewshot_reenact.cli import COMMANDS, main
for name in {WITHOUT_TORCHVISION!r}:
    if name in COMMANDS:
        try:
            main([name, "--help"])
        except SystemExit as stop:
            assert stop.code == 0, (name, stop.code)
assert "torchvision" not in sys.modules
for module in pkgutil.walk_packages(fewshot_reenact.__path__, "fewshot_reenact."):
    if not module.name.startswith(("fewshot_reenact.training", "fewshot_reenact.evaluation", "fewshot_reenact.cli")):
        importlib.import_module(module.name)
"""
    done = run(code, broken_torchvision)
    assert done.returncode == 0, done.stderr


def test_help_waits_for_nothing_heavy(broken_torchvision: dict[str, str]) -> None:
    code = """
import sys
from fewshot_reenact.cli import main
try:
    main(["--help"])
except SystemExit as stop:
    assert stop.code == 0, stop.code
heavy = {"torch", "torchvision", "cv2", "av", "scipy", "face_alignment", "pydantic"} & set(sys.modules)
assert not heavy, heavy
"""
    done = run(code, broken_torchvision)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in COMMANDS)


def test_info_where_torchvision_is_broken(broken_torchvision: dict[str, str]) -> None:
    done = run("from fewshot_reenact.cli import main; main(['info'])", broken_torchvision)
    assert done.returncode == 0, done.stderr
    assert fewshot_reenact.__version__ in done.stdout


def test_the_version_has_one_place(root: Path) -> None:
    stated = re.findall(r'^__version__ = "([^"]+)"$', (PACKAGE / "_version.py").read_text(), re.MULTILINE)
    assert stated == [fewshot_reenact.__version__]
    project = (root / "pyproject.toml").read_text().split("[project]")[1].split("\n[")[0]
    assert not re.search(r"^version\s*=", project, re.MULTILINE)
    try:
        installed = version("fewshot-reenact")
    except PackageNotFoundError:
        pytest.skip("run from the source, not installed")
    assert installed == stated[0], "installed metadata is old: run scripts/setup.sh"


def test_every_asset_states_source_and_licence(assets: Path) -> None:
    table = (assets / "README.md").read_text(encoding="utf-8")
    for path in assets.iterdir():
        if path.name != "README.md":
            row = re.search(rf"^\| `{re.escape(path.name)}` \|(.+)\|$", table, re.MULTILINE)
            assert row, f"{path.name} is not in {assets}/README.md"
            assert re.search(r"public domain|Apache-2\.0|CC0", row[1]), f"{path.name}: no free licence stated"
    assert sum(path.stat().st_size for path in assets.iterdir()) < 2_000_000


def test_weights_are_what_their_cards_say() -> None:
    folder = PACKAGE / "weights"
    files = [path for path in folder.iterdir() if path.suffix in (".safetensors", ".npz")]
    assert files
    for path in files:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        cards = [card for card in (path.with_suffix(".md"), path.with_suffix(".json")) if card.is_file()]
        assert cards, f"{path.name} has no model card"
        stated = {
            found for card in cards for found in re.findall(r"\b[0-9a-f]{64}\b", card.read_text(encoding="utf-8"))
        }
        assert digest in stated, f"{path.name}: its SHA-256 is {digest}, its card states {sorted(stated) or 'none'}"
    listing = folder / "README.md"
    for line in listing.read_text(encoding="utf-8").splitlines() if listing.is_file() else []:
        found = re.search(r"`([\w.-]+\.(?:safetensors|npz))`.*\b([0-9a-f]{64})\b", line)
        if found:
            assert hashlib.sha256((folder / found[1]).read_bytes()).hexdigest() == found[2], f"{listing}: {found[1]}"


def test_no_weights_that_are_pickles() -> None:
    pickles = {".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".bin", ".tar"}
    assert not [path for path in PACKAGE.rglob("*") if path.suffix in pickles]


@pytest.mark.slow
def test_the_wheel_holds_everything(root: Path, tmp_path: Path) -> None:
    """Built from a copy, since setuptools leaves a build folder behind."""
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(root / name, source)
    shutil.copytree(root / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*command, "-w", str(tmp_path), str(source)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
        metadata = archive.read(next(name for name in inside if name.endswith(".dist-info/METADATA"))).decode()
    for path in PACKAGE.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts and not path.name.endswith(".partial"):
            assert path.relative_to(PACKAGE.parent).as_posix() in inside, f"{path} is not in the wheel"
    assert any(name.endswith("LICENSE") for name in inside)
    assert "License-Expression: Apache-2.0" in metadata
    assert "Requires-Python: >=3.10" in metadata
