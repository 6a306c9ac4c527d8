"""The scripts: each can be run as the docs write it, says what it does, and does nothing when it is asked that."""

import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from places import ROOT

SHELL = ("scripts/setup.sh", "scripts/demo.sh", "scripts/test.sh", ".ci/run")
PYTHON = sorted(path for path in (ROOT / "scripts").rglob("*.py") if "__main__" in path.read_text("utf-8"))


@pytest.mark.parametrize("name", SHELL)
def test_shell_scripts_can_be_run(name: str) -> None:
    assert os.access(ROOT / name, os.X_OK), f"{name} is not executable"
    done = subprocess.run(["bash", "-n", str(ROOT / name)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", [name for name in SHELL if name.endswith(".sh")])
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_of_a_shell_script_sets_nothing_up(name: str, flag: str, tmp_path: Path) -> None:
    environment = {**os.environ, "REENACT_VENV": str(tmp_path / "venv"), "REENACT_PYTHON": "no-such-python"}
    done = subprocess.run([str(ROOT / name), flag], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and name in done.stdout and not done.stderr
    assert not list(tmp_path.iterdir())


def test_setup_says_what_python_it_needs(tmp_path: Path) -> None:
    environment = {**os.environ, "REENACT_PYTHON": "no-such-python", "REENACT_VENV": str(tmp_path / "venv")}
    done = subprocess.run([str(ROOT / "scripts/setup.sh")], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Python 3.10 or newer" in done.stderr
    assert not (tmp_path / "venv").exists()


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: path.name)
def test_python_scripts_can_be_run(path: Path) -> None:
    assert path.read_text("utf-8").startswith("#!/usr/bin/env python3\n")
    assert os.access(path, os.X_OK), f"{path} is not executable"


HELP = """
import contextlib, io, runpy, sys
from pathlib import Path
for script in sys.argv[1:]:
    sys.argv = [script, "--help"]
    sys.path.insert(0, str(Path(script).parent))
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            runpy.run_path(script, run_name="__main__")
        code = "went on"
    except SystemExit as stop:
        code = stop.code
    except BaseException as error:
        code = repr(error)
    sys.path.pop(0)
    print(f"{Path(script).name}: {code}: {said.getvalue().lower().startswith('usage')}")
"""


def test_help_of_every_python_script_does_no_work(tmp_path: Path) -> None:
    """All in one process, in an empty folder; a script that worked would leave something, or the checkout changed."""

    def state() -> list[tuple[str, int]]:
        watched = [*(ROOT / "docs").iterdir(), *(ROOT / "src/fewshot_reenact/weights").iterdir(), ROOT / "README.md"]
        return sorted((str(path), path.stat().st_mtime_ns) for path in watched)

    before = state()
    command = [sys.executable, "-c", HELP, *map(str, PYTHON)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    lines = done.stdout.splitlines()
    assert [line for line in lines if not re.search(r": 0: True$", line)] == [], done.stdout + done.stderr
    assert len(lines) == len(PYTHON) > 15
    assert not list(tmp_path.iterdir()) and state() == before


def test_checks_before_a_commit_are_those_of_the_tests() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"][0]["hooks"]
    script = (ROOT / "scripts/test.sh").read_text("utf-8")
    for hook in hooks:
        assert hook["language"] == "system", "nothing is downloaded"
        words = hook["entry"].removeprefix(".venv/bin/python ")
        assert f'"$python" {words}' in script, f"scripts/test.sh does not run {words}"


def test_ci_is_the_test_command() -> None:
    text = (ROOT / ".ci/run").read_text("utf-8")
    assert "./scripts/test.sh" in text and "SKIPPED" in text


def test_setup_refuses_an_extra_that_is_not_there(tmp_path: Path) -> None:
    environment = {**os.environ, "REENACT_VENV": str(tmp_path / "venv")}
    command = [str(ROOT / "scripts/setup.sh"), "ui", "uii"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "there is no extra uii" in done.stderr and "evaluate" in done.stderr
    assert not (tmp_path / "venv").exists()


PIP = """#!/bin/sh
case "$*" in
  "-m pip "*) printf '%s\\n' "$*" >>"$REENACT_TRIED"; exit 0 ;;
esac
exec "$REAL" "$@"
"""


def test_setup_adds_extras_and_never_replaces_torch(tmp_path: Path) -> None:
    """With a python whose pip only notes what it is asked: torch is pinned to the build that is there."""
    venv, tried = tmp_path / "venv", tmp_path / "tried"
    (venv / "bin").mkdir(parents=True)
    (venv / "pyvenv.cfg").write_text("")
    (venv / "bin" / "python").write_text(PIP)
    (venv / "bin" / "python").chmod(0o755)
    packages = venv / "lib" / "python3.11" / "site-packages"
    ballast = ("numpy/_core/tests/test_a.py", "c2pa/libs/libc2pa_c.rlib", "torch/bin/protoc", "pip/__pycache__/a.pyc")
    needed = ("numpy/testing/__init__.py", "c2pa/libs/libc2pa_c.so", "torch/include/a.h", "pip/__init__.py")
    for name in (*ballast, *needed):
        (packages / name).parent.mkdir(parents=True, exist_ok=True)
        (packages / name).touch()
    environment = {**os.environ, "REENACT_VENV": str(venv), "REENACT_TRIED": str(tried), "REAL": sys.executable}

    def setup(*extras: str) -> list[str]:
        tried.write_text("")
        command = [str(ROOT / "scripts/setup.sh"), *extras]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0 and done.stdout == f"{venv}/bin/python\n", done.stderr
        return tried.read_text().splitlines()

    lines = setup("ui", "evaluate")
    constraints = venv / "reenact-constraints.txt"
    assert f"torch=={version('torch')}" in constraints.read_text().splitlines()
    installs = [line for line in lines if " install " in line]
    assert installs and all(f"-c {constraints}" in line or "--no-deps" in line for line in installs)
    wanted = (venv / "reenact-requirements.txt").read_text().splitlines()
    assert any(line.startswith("gradio") for line in wanted) and any(line.startswith("torchmetrics") for line in wanted)
    assert not any(line.startswith(("torchvision", "face-alignment")) for line in wanted)
    assert not any((packages / name).exists() for name in ballast), "what nothing imports is left out"
    assert all((packages / name).exists() for name in needed)
    assert setup("ui") == [] and setup("evaluate", "ui") == [], "what is there is not installed again"
    assert any("install" in line for line in setup("ui", "train")), "another extra is added"
