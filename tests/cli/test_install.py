"""What somebody meets who installs and starts the tool: threads, misspelt commands, exit codes, what is missing."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click import Context

from animate_samples import portrait_file, run
from fewshot_reenact import errors
from fewshot_reenact.cli import COMMANDS, main
from fewshot_reenact.config_folder import config_folder
from fewshot_reenact.media.pictures import read_picture
from places import ROOT

COMPUTE = set(COMMANDS) - {"history", "info", "keys", "models", "plot", "protect", "push"}


def python(code: str, **environment: str) -> str:
    kept = {k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "PYTHONSTARTUP")}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env={**kept, **environment}, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_threads_that_wait_do_not_spin_unless_the_user_says_so() -> None:
    ask = "import fewshot_reenact, os; print(os.environ.get('OMP_WAIT_POLICY'))"
    assert python(ask) == "passive"
    assert python(ask, OMP_WAIT_POLICY="active") == "active"
    late = f"import sys, types; sys.modules['torch'] = types.ModuleType('torch'); {ask}"
    assert python(late) == "None", "torch has read it already"


@pytest.mark.parametrize("name", sorted(COMPUTE))
def test_every_command_that_computes_takes_threads(name: str) -> None:
    parameters = main.get_command(Context(main), name).params  # type: ignore[union-attr]
    assert any("--threads" in one.opts for one in parameters)


def test_threads_are_used() -> None:
    code = (
        "from fewshot_reenact.cli import main\n"
        "try: main(['verify', '--threads', '1', 'nowhere.mp4'])\nexcept SystemExit: pass\n"
        "import cv2, torch; print(torch.get_num_threads(), cv2.getNumThreads())"
    )
    assert python(code).splitlines()[-1] == "1 1"
    assert run("check", "a.png", "--threads", "0").exit_code == 2


@pytest.mark.parametrize(
    ("typed", "meant"), [("animte", "animate"), ("finetun", "finetune"), ("varify", "verify"), ("traim", "train")]
)
def test_a_misspelt_command_gets_the_nearest(typed: str, meant: str) -> None:
    result = run(typed, "a.jpg")
    assert result.exit_code == 2 and f"No such command '{typed}': did you mean {meant}?" in result.stderr


def test_help_and_readme_list_every_exit_code() -> None:
    used = {0, 1, 129, 130, 143}  # and those that errors carry
    from fewshot_reenact.training.stopping import Preempted

    used |= {kind.exit_code for kind in (errors.UsageError, errors.InputError, errors.ModelError, Preempted)}
    listed = re.findall(r"^ +(\d+)  ", run("--help").output, re.MULTILINE)
    assert {int(code) for code in listed} == used
    table = re.findall(r"^\| ([\d, ]+) \|", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
    assert {int(code) for row in table for code in row.split(",")} == used


# ---- what is not installed


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "setup.sh").write_text("")
    (tmp_path / ".venv").mkdir()
    monkeypatch.setattr(errors, "_CHECKOUT", tmp_path)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    return tmp_path


def test_the_hint_fits_the_environment(checkout: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert errors.how_to_add("ui") == f"pip install -e '{checkout}[ui]'"
    (checkout / ".venv" / "reenact-setup").write_text("")  # what scripts/setup.sh leaves
    assert errors.how_to_add("ui") == f"{checkout}/scripts/setup.sh ui"
    assert errors.how_to_complete() == f"REENACT_FULL=1 {checkout}/scripts/setup.sh"
    other = tmp_path / "elsewhere"
    other.mkdir()
    (other / "reenact-setup-dev").write_text("")
    monkeypatch.setattr(sys, "prefix", str(other))
    assert errors.how_to_add("ui") == f"REENACT_VENV={other} {checkout}/scripts/setup.sh ui"


def test_from_a_wheel_the_hint_names_packages_that_the_index_has(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(errors, "_CHECKOUT", tmp_path)
    stated = ["torch>=2.6", 'gradio>=6; extra == "ui"', 'ray>=2.40; extra == "cluster"', 's3fs>=1; extra == "cluster"']
    monkeypatch.setattr(errors, "requires", lambda name: stated)
    assert errors.how_to_add("ui") == "pip install 'gradio>=6'"
    assert errors.how_to_add("cluster") == "pip install 'ray>=2.40' 's3fs>=1'"
    assert "fewshot-reenact" not in errors.how_to_add("train")


def test_no_message_and_no_page_installs_this_package_from_the_index() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "src").rglob("*.py")]
    found = [path for path in pages if path.name not in ("changelog.md", "training-log.md")]
    wrong = [path for path in found if re.search(r"pip install '?fewshot-reenact", path.read_text("utf-8"))]
    assert not wrong


def test_info_explains_what_pip_check_says(monkeypatch: pytest.MonkeyPatch) -> None:
    from fewshot_reenact.pipelines import info

    monkeypatch.setattr(info, "_version", lambda name: None if name in info._LEFT_OUT else "1")
    lines = [line for line in info.in_words(info.gather("cpu")).splitlines() if "pip check" in line]
    assert len(lines) == 1 and "torchvision and face-alignment are missing: that is meant" in lines[0]
    monkeypatch.setattr(info, "_version", lambda name: "1")
    assert "pip check" not in info.in_words(info.gather("cpu"))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="paths of Linux")
def test_the_config_folder_is_where_it_always_was(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("REENACT_CONFIG")
    monkeypatch.setenv("HOME", str(tmp_path))
    for given, place in (("", tmp_path / ".config"), ("relative", tmp_path / ".config"), ("/a/b", Path("/a/b"))):
        monkeypatch.setenv("XDG_CONFIG_HOME", given)
        assert config_folder() == place / "fewshot-reenact"


def test_check_draws_several_files_into_one_picture(assets: Path, tmp_path: Path) -> None:
    portrait_file(tmp_path / "none.png")  # a painted face that the real extractor does not find
    seen = tmp_path / "seen.png"
    result = run("check", assets / "grace_hopper.jpg", tmp_path / "none.png", "--picture", seen)
    assert result.exit_code == 3, result.output
    assert read_picture(seen).shape[0] == 2 * 480
    many = run("check", *[assets / "grace_hopper.jpg"] * 9, "--picture", tmp_path / "many.png")
    assert many.exit_code == 2 and "8 files at most" in many.stderr
