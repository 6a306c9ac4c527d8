"""The scripts: each can be run as the docs write it, says what it does, and does nothing when it is asked that."""

import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from places import ROOT

SHELL = ("scripts/setup.sh", "scripts/demo.sh", "scripts/test.sh", ".ci/run")
SHELL += (
    "scripts/docs.sh",
    "scripts/measure/clean_wheel.sh",
    "scripts/measure/matrix.sh",
    "scripts/measure/image_steps.sh",
)
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


# ---- what is in a wheel


def packed(folder: Path, change: str = "") -> tuple[Path, Path, Path]:
    """A small wheel, sdist and checkout that are in order but for `change`: "+NAME", a file more in both; "-NAME", a
    file less; "size", an incompressible file of 21 MB.
    """
    own = {"__init__.py": b"", "weights/a.safetensors": b"1", "assets/b.jpg": b"2"}
    for name, data in own.items():
        path = folder / "checkout" / "src" / "fewshot_reenact" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    inside = {f"fewshot_reenact/{name}": data for name, data in own.items()}
    if change == "size":
        inside["fewshot_reenact/weights/a.safetensors"] = os.urandom(21_000_000)
    if change.startswith("-"):
        del inside[change[1:]]
    info = "fewshot_reenact-0.1.0.dist-info"
    notes = ("METADATA", "licenses/LICENSE", "licenses/RESPONSIBLE_USE.md", "entry_points.txt")
    more = {change[1:]: b""} if change.startswith("+") else {}
    wheel, sdist = folder / "x-0.1.0-py3-none-any.whl", folder / "x-0.1.0.tar.gz"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, data in {**inside, **{f"{info}/{note}": b"" for note in notes}, **more}.items():
            archive.writestr(name, data)
    with tarfile.open(sdist, "w:gz") as archive:
        for name, data in {**{f"src/{k}": v for k, v in inside.items()}, "pyproject.toml": b"", **more}.items():
            entry = tarfile.TarInfo(f"x-0.1.0/{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return wheel, sdist, folder / "checkout"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("", None),
        ("+tests/data/demo_frames.npz", "tests/data/demo_frames.npz: is no part of the package"),
        ("+fewshot_reenact/weights/old.pth", "old.pth: is no part of the package"),
        ("+fewshot_reenact/tests/a.py", "a.py: is no part of the package"),
        ("+shared/clip.mp4", "shared/clip.mp4: does not belong here"),
        ("-fewshot_reenact/assets/b.jpg", "b.jpg: is missing"),
        ("size", "20,000,000 at most"),
    ],
)
def test_what_is_wrong_with_a_wheel_is_told(tmp_path: Path, change: str, complaint: str | None) -> None:
    command = [sys.executable, str(ROOT / "scripts/measure/wheel_contents.py"), *map(str, packed(tmp_path, change))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == (complaint is not None), done.stderr
    assert (complaint or "") in done.stderr and "x-0.1.0.tar.gz: " in done.stdout


def test_the_matrix_says_what_it_needs(tmp_path: Path) -> None:
    (tmp_path / "uv").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "uv").chmod(0o755)
    for name in ("bash", "dirname", "mktemp", "rm", "cat"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    environment = {"PATH": str(tmp_path), "UV_TORCH_BACKEND": "cpu", "TMPDIR": str(tmp_path)}
    done = subprocess.run([ROOT / ".ci/run", "--matrix"], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "no python3.10 or newer is here" in done.stderr


# ---- workflows


def steps_of(workflow: dict) -> list[dict]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("path", sorted((ROOT / ".github/workflows").glob("*.yml")), ids=lambda path: path.stem)
def test_workflows_run_what_is_here_and_may_only_read(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text("utf-8"))
    assert workflow["permissions"] == {"contents": "read"}
    assert all("timeout-minutes" in job for job in workflow["jobs"].values())
    called = [
        word for step in steps_of(workflow) for word in re.findall(r"[\w./]+", step.get("run", "")) if "/" in word
    ]
    scripts = [word.removeprefix("./") for word in called if re.match(r"(\./)?(scripts|\.ci)/", word)]
    assert scripts and all(os.access(ROOT / script, os.X_OK) for script in scripts), scripts
    assert all(re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"]) for step in steps_of(workflow) if "uses" in step)


def test_the_versions_that_are_tried_are_those_that_are_claimed() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/versions.yml").read_text("utf-8"))
    claimed = re.findall(r'Python :: (3\.\d+)"', (ROOT / "pyproject.toml").read_text("utf-8"))
    assert workflow["jobs"]["matrix"]["strategy"]["matrix"]["python"] == claimed
