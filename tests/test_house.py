"""The seven rules of docs/architecture.md. Each reads a folder, so that each is tried on a house that breaks it too."""

import ast
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from places import ROOT

NAME = "fewshot_reenact"
RANKS = (
    {"_version", "errors", "device", "files", "progress", "config_folder", "plain_json", "weights", "geometry"},
    {"media"},
    {"provenance", "motion", "models"},
    {"landmarks"},
    {"inputs"},
    {"rendering"},
    {"training"},
    {"evaluation"},
    {"checks"},
    {"pipelines"},
    {"app"},
    {"cli"},
)
RANK = {name: rank for rank, names in enumerate(RANKS) for name in names}
ROOT_FILES = {
    "__init__",
    "__main__",
    "_version",
    "errors",
    "device",
    "files",
    "progress",
    "config_folder",
    "plain_json",
    "weights",
}
DATA_FOLDERS = {"assets", "configs", "weights"}
NOT_FOR_MODELS, NOT_FOR_GEOMETRY = {"cv2", "av", "PIL"}, {"torch", "torchvision"}
KNOWS_KINDS = ("rendering/", "models/", "training/config.py")  # of models
LONGEST_SCRIPT = 170  # lines of code of what builds weights and assets; what measures may be longer
TRAINS = re.compile(r"torch\.optim\.|\.backward\(\)")


# ---- reading a package


def modules(package: Path) -> Iterator[tuple[str, ast.Module]]:
    """(path within the package, its tree) of every module."""
    for path in sorted(package.rglob("*.py")):
        yield path.relative_to(package).as_posix(), ast.parse(path.read_text("utf-8"))


def imports(tree: ast.Module) -> Iterator[str]:
    """Every module that a tree imports, inside functions too; `from a import b` as a.b as well."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rank_of(dotted: str) -> int | None:
    """The rank of `fewshot_reenact.media.reader`; None for a first name that no rank has."""
    return RANK.get(dotted.split(".")[1])


# ---- the rules: each returns what breaks it


def order_of_imports(package: Path) -> list[str]:
    """1: a module imports from its own rank and from those below; only these ranks exist."""
    wrong = []
    for path, tree in modules(package):
        mine = RANK.get(path.split("/")[0].removesuffix(".py"))
        if path in ("__init__.py", "__main__.py"):
            continue  # the doors: they hand out what is asked for
        if mine is None:
            wrong.append(f"{path}: belongs to no rank")
            continue
        for name in imports(tree):
            if name.startswith(f"{NAME}."):
                theirs = rank_of(name)
                if theirs is None:
                    wrong.append(f"{path}: imports {name}, of no rank")
                elif theirs > mine:
                    wrong.append(f"{path}: imports {name} from above")
    return wrong


def root_holds_only_these(package: Path) -> list[str]:
    """2: the package's root holds the files listed, packages, and the data."""
    wrong = []
    for path in package.iterdir():
        if path.suffix == ".py" and path.stem not in ROOT_FILES:
            wrong.append(path.name)
        if path.is_dir() and path.name not in RANK and path.name not in DATA_FOLDERS and path.name != "__pycache__":
            wrong.append(path.name)
    return wrong


def networks_and_geometry_stay_pure(package: Path) -> list[str]:
    """3: models/ imports neither cv2 nor av nor PIL; geometry/ no torch."""
    forbidden = {"models": NOT_FOR_MODELS, "geometry": NOT_FOR_GEOMETRY}
    wrong = []
    for path, tree in modules(package):
        for name in imports(tree) if not type_checking_only(tree) else runtime_imports(tree):
            if name.split(".")[0] in forbidden.get(path.split("/")[0], ()):
                wrong.append(f"{path}: imports {name}")
    return wrong


def type_checking_only(tree: ast.Module) -> bool:
    return any(isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" for node in tree.body)


def runtime_imports(tree: ast.Module) -> Iterator[str]:
    """Without what stands under `if TYPE_CHECKING`."""
    body = [node for node in tree.body if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")]
    yield from imports(ast.Module(body, []))


def nobody_compares_kinds(package: Path) -> list[str]:
    """4: `.kind` is compared where kinds are made; elsewhere one asks what the thing can do."""
    wrong = []
    for path, tree in modules(package):
        if path.startswith(KNOWS_KINDS):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Compare):
                for side in (node.left, *node.comparators):
                    own = isinstance(side, ast.Attribute) and ast.unparse(side) == "self.kind"  # within its own class
                    numpy = isinstance(side, ast.Attribute) and ast.unparse(side).endswith("dtype.kind")
                    if isinstance(side, ast.Attribute) and side.attr == "kind" and not own and not numpy:
                        wrong.append(f"{path}:{node.lineno}: {ast.unparse(node)}")
    return wrong


def packages_say_their_job(package: Path) -> list[str]:
    """5: every package's __init__ says its job in one sentence, and no two public classes share a name."""
    wrong, classes = [], Counter[str]()
    for path, tree in modules(package):
        classes.update(node.name for node in tree.body if isinstance(node, ast.ClassDef) and node.name[0] != "_")
        if path.endswith("/__init__.py"):
            said = ast.get_docstring(tree) or ""
            if not re.fullmatch(r"[A-Z][^.]*\.", said.replace("\n", " ")):
                wrong.append(f"{path}: {said!r} is not one sentence")
    return wrong + [f"{name}: {count} classes" for name, count in classes.items() if count > 1]


CITED = re.compile(
    r"(?<![\w/.:$-])((?:scripts|docs|configs|tests|src|seeds|\.ci)/[\w./-]*\w|[\w/]+/\w+\.(?:py|md|yaml|sh))\b"
)
UNKNOWN_PAGES = re.compile(r"\b(?:DESIGN|ANCHORS)(?:\.md|\b)")


def cited_files_are_there(root: Path) -> list[str]:
    """6: docs and comments cite only files that are in the repository. docs/training-log.md is history: left out."""
    package, wrong = root / "src" / NAME, []
    texts = [path for folder in ("src", "docs", "configs", "scripts", "seeds") for path in (root / folder).rglob("*")]
    for path in [*texts, *root.glob("*.md")]:
        if path.suffix not in (".py", ".md", ".yaml", ".sh") or path.name in ("training-log.md", "changelog.md"):
            continue
        if ".egg-info" in str(path):
            continue
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            where = f"{path.relative_to(root)}:{number}"
            wrong += [f"{where}: {page[0]}" for page in UNKNOWN_PAGES.finditer(line)]
            for found in CITED.finditer(line):
                name = found[1]
                places = (root / name, package / name, path.parent / name)
                if "../" in line[: found.start()][-3:] or name.startswith(("out/", "run/", "shared/")):
                    continue
                if not any(place.exists() for place in places) and not is_example(name):
                    wrong.append(f"{where}: {name}")
    return wrong


def is_example(name: str) -> bool:
    """Names that stand for a user's own files."""
    return name.split("/")[0] in (
        "videos",
        "shards",
        "clips",
        "id",
        "run",
        "out",
        "path",
        "data",
        "vox2",
        "bucket",
        "x",
    )


def training_is_in_the_package(root: Path) -> list[str]:
    """7: training code is importable package code, without a command line; scripts are thin."""
    package, wrong = root / "src" / NAME, []
    for path, tree in modules(package / "training"):
        if any(name.split(".")[0] == "click" for name in imports(tree)):
            wrong.append(f"training/{path}: has a command line")
    for path in sorted((root / "scripts").rglob("*.py")):
        text, folder = path.read_text("utf-8"), path.parent.name
        if folder != "research" and TRAINS.search(text):
            wrong.append(f"{path.relative_to(root)}: trains")
        code = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        if folder == "build" and len(code) > LONGEST_SCRIPT:
            wrong.append(f"{path.relative_to(root)}: {len(code)} lines of code, {LONGEST_SCRIPT} at most")
    return wrong


# ---- this house, and houses that break one rule

OF_THE_PACKAGE = (order_of_imports, root_holds_only_these, networks_and_geometry_stay_pure, nobody_compares_kinds)
OF_THE_PACKAGE += (packages_say_their_job,)
OF_THE_CHECKOUT = (cited_files_are_there, training_is_in_the_package)


@pytest.mark.parametrize("rule", OF_THE_PACKAGE, ids=lambda rule: rule.__name__)
def test_the_package_keeps(rule: Callable[[Path], list[str]]) -> None:
    assert not rule(ROOT / "src" / NAME), "\n".join(rule(ROOT / "src" / NAME))


@pytest.mark.parametrize("rule", OF_THE_CHECKOUT, ids=lambda rule: rule.__name__)
def test_the_checkout_keeps(rule: Callable[[Path], list[str]]) -> None:
    assert not rule(ROOT), "\n".join(rule(ROOT))


SENTENCE = '"""It has a job."""\n'
BROKEN = [
    (order_of_imports, "media/a.py", f"from {NAME}.cli import main\n", "from above"),
    (order_of_imports, "media/a.py", f"def f():\n    import {NAME}.pipelines.animate\n", "from above"),
    (order_of_imports, "tools/a.py", "", "belongs to no rank"),
    (order_of_imports, "cli/a.py", f"import {NAME}.tools\n", "of no rank"),
    (root_holds_only_these, "helpers.py", "", "helpers.py"),
    (root_holds_only_these, "tools/a.py", "", "tools"),
    (networks_and_geometry_stay_pure, "models/a.py", "import cv2\n", "cv2"),
    (networks_and_geometry_stay_pure, "geometry/a.py", "def f():\n    from torch import nn\n", "torch"),
    (nobody_compares_kinds, "pipelines/a.py", "def f(m):\n    return m.dims.kind == 'paper'\n", "m.dims.kind"),
    (packages_say_their_job, "media/__init__.py", "", "is not one sentence"),
    (packages_say_their_job, "media/__init__.py", '"""It reads. It writes."""\n', "is not one sentence"),
    (packages_say_their_job, "media/a.py", "class Same: ...\n", "Same: 2 classes"),
    (cited_files_are_there, "media/a.py", "# see docs/nowhere.md\n", "docs/nowhere.md"),
    (cited_files_are_there, "media/a.py", "# see models/nothing.py\n", "models/nothing.py"),
    (cited_files_are_there, "media/a.py", '"""As DESI' + 'GN 4 says."""\n', "GN"),
    (training_is_in_the_package, "training/a.py", "import click\n", "has a command line"),
    (training_is_in_the_package, "../../scripts/build/a.py", "loss.back" + "ward()\n", "trains"),
    (training_is_in_the_package, "../../scripts/build/a.py", "x = 1\n" * 300, "300 lines of code"),
]


@pytest.mark.parametrize(("rule", "path", "text", "complaint"), BROKEN)
def test_a_house_that_breaks_the_rule(
    tmp_path: Path, rule: Callable[[Path], list[str]], path: str, text: str, complaint: str
) -> None:
    package = tmp_path / "src" / NAME
    for folder in ("cli", "geometry", "media", "models", "pipelines", "training"):
        (package / folder).mkdir(parents=True)
        (package / folder / "__init__.py").write_text(SENTENCE)
    (package / "cli" / "b.py").write_text("class Same: ...\n")
    (tmp_path / "scripts" / "build").mkdir(parents=True)
    place = package if rule in OF_THE_PACKAGE else tmp_path
    assert not rule(place), "the house is in order before"
    (package / path).parent.mkdir(parents=True, exist_ok=True)
    (package / path).write_text(text)
    found = rule(place)
    assert any(complaint in line for line in found), found
