"""The documentation as a site: what is gathered, the reference of the command line, man pages, the strict build."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml

from fewshot_reenact.cli import COMMANDS, main
from places import ROOT


@pytest.fixture(scope="module")
def site():
    """The script as a module."""
    sys.path.insert(0, str(ROOT / "scripts" / "build"))
    spec = importlib.util.spec_from_file_location("make_site", ROOT / "scripts" / "build" / "make_site.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.path.pop(0)
    return module


@pytest.fixture(scope="module")
def pages(site, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "pages"
    site.write_pages(folder)
    return folder


class _Loader(yaml.SafeLoader):
    """Names of Python in the configuration stay texts."""


_Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: suffix)


def in_nav(entry: object) -> list[str]:
    if isinstance(entry, str):
        return [entry]
    return [name for one in (entry.values() if isinstance(entry, dict) else entry) for name in in_nav(one)]


def test_every_page_is_in_the_nav(pages: Path) -> None:
    config = yaml.load((ROOT / "docs" / "mkdocs.yml").read_text("utf-8"), _Loader)
    assert sorted(in_nav(config["nav"])) == sorted(path.name for path in pages.glob("*.md"))


def test_links_lead_somewhere_within_the_site(pages: Path) -> None:
    for page in pages.glob("*.md"):
        for link in re.findall(r"\]\(([^)\s#]+)[^)\s]*\)", page.read_text("utf-8")):
            if "://" not in link:
                target = (page.parent / link).resolve()
                assert target.is_file() and target.is_relative_to(pages), f"{page.name}: {link}"


def test_the_reference_has_every_command_and_option(pages: Path) -> None:
    text = (pages / "cli.md").read_text("utf-8")
    for name in COMMANDS:
        section = text.partition(f"\n## reenact {name}\n")[2].partition("\n## ")[0]
        assert section, name
        for option in main.get_command(click.Context(main), name).params:
            if isinstance(option, click.Option):
                assert all(re.search(rf"^\| `[^`]*{re.escape(one)}\b", section, re.M) for one in option.opts), (
                    option.opts
                )


def test_help_becomes_markdown(site) -> None:
    text = "First *line*\n    of <b>\n\n    \b\n    a  b\n      c\n\n    `x_y` and x_y"
    assert site.prose(text) == "First \\*line\\* of \\<b\\>\n\n    a  b\n      c\n\n`x_y` and x\\_y"


def test_the_shell_completes_commands_options_and_choices() -> None:
    def ask(**variables: str) -> list[str]:
        command = [sys.executable, "-m", "fewshot_reenact"]
        return subprocess.run(
            command, env={**os.environ, **variables}, capture_output=True, text=True, timeout=60
        ).stdout.split()

    assert ask(_REENACT_COMPLETE="bash_complete", COMP_WORDS="reenact an", COMP_CWORD="1") == ["plain,animate"]
    words = {"COMP_WORDS": "reenact animate --region ", "COMP_CWORD": "3"}
    assert "plain,lips" in ask(_REENACT_COMPLETE="bash_complete", **words)
    assert "_reenact_completion()" in ask(_REENACT_COMPLETE="bash_source")


def test_man_pages(site, tmp_path: Path) -> None:
    pytest.importorskip("click_man", reason="needs click-man, of the extra docs")
    names = site.write_man_pages(tmp_path / "man")
    assert names == sorted(["reenact.1", *(f"reenact-{name}.1" for name in COMMANDS)])
    root = (tmp_path / "man" / "reenact.1").read_text("utf-8")
    assert all(f"reenact-{name}" in root.replace("\\-", "-") for name in COMMANDS)
    page = (tmp_path / "man" / "reenact-animate.1").read_text("utf-8").replace("\\-", "-")
    assert page.startswith(".TH") and "--region" in page and "Make the person in PORTRAIT" in page
    assert re.search(r"\.nf\nreenact animate [^\n]+\nreenact animate [^\n]+\n(.*\n)*?\.fi\n", page) and "\b" not in page


@pytest.mark.slow
def test_the_site_is_built_with_strict_links(pages: Path, tmp_path: Path) -> None:
    pytest.importorskip("material", reason="needs mkdocs-material, of the extra docs")
    text = (ROOT / "docs" / "mkdocs.yml").read_text("utf-8")
    config = tmp_path / "mkdocs.yml"
    config.write_text(text.replace("../out/site/pages", str(pages)).replace("../out/site/html", str(tmp_path / "html")))

    def build() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(config)]
        return subprocess.run(command, capture_output=True, text=True, timeout=300)

    done = build()
    assert done.returncode == 0, done.stdout + done.stderr
    html = (tmp_path / "html" / "cli.html").read_text("utf-8")
    assert "reenact animate" in html and (tmp_path / "html" / "index.html").is_file()
    from_elsewhere = re.findall(r'(?:src|href)="(https?://[^"]+\.(?:js|css|woff2?))"', html)
    assert not from_elsewhere, "pages fetch nothing from elsewhere"
    (pages / "check.md").write_text("# Is this picture good enough?\n\n[nowhere](nowhere.md)\n")
    assert build().returncode != 0, "a link that leads nowhere ends the build"
