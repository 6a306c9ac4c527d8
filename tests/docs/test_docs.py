"""The documentation: short; every file, link and anchor is there, every command parses, every table has its script."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click import Context

from fewshot_reenact.cli import COMMANDS, main
from fewshot_reenact.files import sha256
from places import ROOT

PAGES = sorted([ROOT / "README.md", ROOT / "RESPONSIBLE_USE.md", *(ROOT / "docs").glob("*.md")])
HISTORY = {"training-log.md", "changelog.md"}  # commands and files of their day
LIVING = [page for page in PAGES if page.name not in HISTORY]


def name_of(page: Path) -> str:
    return page.name


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(ROOT / "scripts" / "measure")
    import tables

    return tables


def test_the_readme_is_of_one_sitting() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 200


def test_the_index_names_every_page() -> None:
    index = (ROOT / "docs" / "README.md").read_text("utf-8")
    missing = [page.name for page in (ROOT / "docs").glob("*.md") if f"({page.name})" not in index]
    assert missing == ["README.md"]


# ---- commands


def commands_in(page: Path) -> list[str]:
    """What is written as a command of this tool: indented lines, and those in fences."""
    return re.findall(r"^ {4}(?:\$ )?((?:reenact |\./scripts/|scripts/)[^\n]*)", page.read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize("page", LIVING, ids=name_of)
def test_commands_and_options_exist(page: Path) -> None:
    for line in commands_in(page):
        words = shlex.split(line, comments=True)
        if words[0] == "reenact":
            check_options(words[1], words[2:], line)
        else:
            script = ROOT / words[0]
            assert script.is_file(), f"{line}: no such script"
            if script.name == "demo.sh":
                check_options("animate", words[1:], line)


def check_options(command: str, words: list[str], line: str) -> None:
    assert command in COMMANDS, f"no such command: {line}"
    parameters = main.get_command(Context(main), command).params
    known = {option for one in parameters for option in (*one.opts, *one.secondary_opts)} | {"--help"}
    unknown = [word for word in words if re.match(r"--?[a-z]", word) and word.split("=")[0] not in known]
    assert not unknown, f"{line}: no such option: {unknown}"


def test_every_command_has_its_line_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert not [command for command in COMMANDS if f"reenact {command}" not in text]


def test_python_in_the_readme_runs(assets: Path, tiny_model: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    (tmp_path / "portrait.jpg").write_bytes((assets / "astronaut.jpg").read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fewshot_reenact.models.checkpoint.DEFAULT_MODEL", tiny_model)
    exec(compile(block, "README.md", "exec"), {})
    assert capsys.readouterr().out.startswith("10 25 ") and (tmp_path / "out.mp4").is_file()


@pytest.mark.slow
def test_what_the_readme_shows_is_what_comes_out(assets: Path, tmp_path: Path) -> None:
    """Its commands that take seconds, on the bundled pictures; output equals the README's but for times and machine."""
    readme = " ".join((ROOT / "README.md").read_text("utf-8").split())

    def reenact(*words: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "fewshot_reenact", *map(str, words)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)

    astronaut = assets / "astronaut.jpg"
    done = reenact("animate", astronaut, "motion:talk", "-o", "talk.mp4")
    assert done.returncode == 0, done.stderr
    shown = re.fullmatch(r"(.*talk\.mp4: )?(134 frames, 512x512, 25\.000 fps) \(.*\)\n", done.stdout)
    assert shown and f"talk.mp4: {shown[2]} (" in readme
    done = reenact("animate", "nobody.jpg", "motion:talk")
    assert done.returncode == 3 and done.stderr.strip() in readme
    assert reenact("verify", "talk.mp4").returncode == 0
    assert reenact("history").stdout.count("talk.mp4") == 1
    driver = assets / "driver.mp4"
    assert reenact("check", astronaut, driver).returncode == 0
    assert reenact("extract", driver, "-o", "driver.npz").returncode == 0
    assert reenact("animate", astronaut, "driver.npz", "--end", 0.4, "--region", "lips", "--compare").returncode == 0
    assert (tmp_path / "astronaut--driver.mp4").is_file()
    assert reenact("info").returncode == 0


# ---- links, files, anchors


def anchor(heading: str) -> str:
    """GitHub's: lower case, words joined by hyphens."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if "://" in link:
            continue
        target, _, place = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), f"{page.name}: {link} leads nowhere"
        if place:
            headings = re.findall(r"^#+ (.*)$", path.read_text("utf-8"), re.MULTILINE)
            assert place in map(anchor, headings), f"{page.name}: there is no such heading: {link}"


@pytest.mark.parametrize("page", LIVING, ids=name_of)
def test_files_in_backticks_are_there(page: Path) -> None:
    package = ROOT / "src" / "fewshot_reenact"
    for name in re.findall(r"`((?:[\w.]+/)+[\w.-]*\.(?:py|md|yaml|sh|txt))`", page.read_text("utf-8")):
        assert (ROOT / name).is_file() or (package / name).is_file(), f"{page.name}: {name} is not there"
    for name in re.findall(r"`((?:[a-z_]+/)+)`", page.read_text("utf-8")):
        assert (ROOT / name).is_dir() or (package / name).is_dir() or name in ("landmarks/", "data/", "refiner/")


# ---- tables


def test_markers_come_in_pairs_and_name_a_script() -> None:
    seen = []
    for page in LIVING:
        text = page.read_text("utf-8")
        opened = re.findall(r"<!-- ([a-z][\w-]*): ([^>]*) -->", text)
        closed = re.findall(r"<!-- /([\w-]+) -->", text)
        assert [name for name, _ in opened] == closed, page.name
        for name, words in opened:
            assert re.search(r"scripts/measure/\w+\.py|tests/[\w/]+\.py", words), (
                f"{page.name}: {name}: by which script?"
            )
            for path in re.findall(r"(?:scripts|tests)/[\w/]+\.py", words):
                assert (ROOT / path).is_file(), f"{page.name}: {name}: {path} is not there"
                if f"written by {path}" in words:
                    assert f'"{name}"' in (ROOT / path).read_text("utf-8"), f"{path} knows no table {name!r}"
        seen += closed
    assert len(seen) == len(set(seen)) >= 12


def test_the_readmes_table_is_that_of_the_pages(tables, monkeypatch: pytest.MonkeyPatch) -> None:
    import summary

    assert tables.read("expect").strip() == summary.table(), "run scripts/measure/summary.py"


def test_arithmetic_is_that_of_the_script(tables) -> None:
    import scale

    assert tables.read("scale-data").strip() == scale.data(), "run scripts/measure/scale.py"
    assert tables.read("scale-cluster").strip() == scale.cluster(), "run scripts/measure/scale.py"
    assert tables.read("scale-reading").strip() == scale.reading(), "run scripts/measure/scale.py"
    assert tables.read("scale-compute").strip() == scale.compute(), "run scripts/measure/scale.py"


def test_a_table_is_written_between_its_markers(tables, tmp_path: Path) -> None:
    page = tmp_path / "a.md"
    page.write_text("x\n<!-- t: by nobody -->\nold\n<!-- /t -->\ny <!-- u -->\n")
    tables.write("t", "| new |\n", page)
    assert page.read_text() == "x\n<!-- t: by nobody -->\n| new |\n<!-- /t -->\ny <!-- u -->\n"
    with pytest.raises(SystemExit, match="markers of the table 'v'"):
        tables.write("v", "", page)


def test_figures_are_of_the_weights_that_are_shipped() -> None:
    """A new model needs new tables."""
    digest = sha256(ROOT / "src/fewshot_reenact/weights/textured.safetensors")[:8]
    results = (ROOT / "docs" / "results.md").read_text("utf-8")
    stated = set(re.findall(r"[Ww]eights ([0-9a-f]{8})", results))
    assert stated == {digest}, f"docs/results.md is of {stated}, the weights are {digest}"


# ---- dependencies


def requirement_names() -> set[str]:
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    lists = re.search(r"^dependencies = \[(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    extras = re.search(r"^\[project.optional-dependencies\]\n(.*?)^\[", text, re.MULTILINE | re.DOTALL)
    assert lists and extras
    return set(re.findall(r'"([A-Za-z0-9_-]+)', lists[1] + extras[1]))


def test_every_dependency_earns_a_line() -> None:
    page = (ROOT / "docs" / "dependencies.md").read_text("utf-8")
    missing = [name for name in sorted(requirement_names()) if not re.search(rf"^\|[^|]*`{name}`", page, re.MULTILINE)]
    assert not missing, f"not in the table of docs/dependencies.md: {missing}"
