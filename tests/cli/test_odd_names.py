"""Names and texts that are no text, that no console can print, or that would command one; and no home, no stderr."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from animate_samples import portrait_file
from places import HELPERS

RUN = f"""
import sys; sys.path.insert(0, {str(HELPERS)!r})
from fake_face import PaintedFaces
from fewshot_reenact.landmarks import registry
registry.BACKENDS["builtin"] = lambda device: PaintedFaces()
from fewshot_reenact.cli import main
main()
"""


def reenact(folder: Path, *words: object, **options: object) -> subprocess.CompletedProcess[bytes]:
    """The command line in a process of its own, in `folder`."""
    environment = {**os.environ, **options.pop("environment", {})}  # type: ignore[dict-item]
    return subprocess.run(
        [sys.executable, "-c", RUN, *map(str, words)],
        cwd=folder,
        env=environment,
        capture_output=True,
        timeout=120,
        **options,  # type: ignore[call-overload]
    )


@pytest.mark.skipif(sys.platform != "linux", reason="other systems' names are always text")
@pytest.mark.slow
def test_a_name_that_is_no_text(tmp_path: Path, tiny_model: Path) -> None:
    portrait_file(tmp_path / "ann.png")
    (tmp_path / "ann.png").rename(os.fsdecode(bytes(tmp_path) + b"/\xff.png"))
    done = reenact(
        tmp_path, "animate", "\udcff.png", "motion:blink", "--end", 0.1, "--model", tiny_model, "--json", "-"
    )
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)["output"]
    assert os.fsencode(made).endswith(b"/\xff--blink.mp4") and Path(made).is_file()
    assert reenact(tmp_path, "verify", made).returncode == 0


@pytest.mark.slow
def test_a_console_that_cannot_print_the_name(tmp_path: Path, tiny_model: Path) -> None:
    portrait, code_page = portrait_file(tmp_path / "ann.png"), {"PYTHONIOENCODING": "cp1252"}
    words = ["animate", portrait, "motion:blink", "--end", 0.1, "--model", tiny_model, "-o", "выход 😀.mp4"]
    done = reenact(tmp_path, *words, environment=code_page)
    assert done.returncode == 0, done.stderr
    assert b"\\u0432" in done.stdout and (tmp_path / "выход 😀.mp4").is_file()
    done = reenact(tmp_path, *words, "--overwrite", "--json", "-", environment=code_page)
    assert done.returncode == 0 and json.loads(done.stdout)["output"].endswith("выход 😀.mp4")


@pytest.mark.slow
def test_the_history_knows_names_with_line_separators(tmp_path: Path, tiny_model: Path) -> None:
    portrait, config = portrait_file(tmp_path / "ann.png"), {"REENACT_CONFIG": str(tmp_path / "config")}
    name = "a\u2028b\x85c.mp4"
    words = ["animate", portrait, "motion:blink", "--end", 0.1, "--model", tiny_model, "-o", name]
    assert reenact(tmp_path, *words, environment=config).returncode == 0
    (entry,) = json.loads(reenact(tmp_path, "history", "--json", environment=config).stdout)["entries"]
    assert entry["file"].endswith(name)


@pytest.mark.slow
def test_control_codes_of_a_file_are_shown_not_obeyed(tmp_path: Path) -> None:
    from safetensors.numpy import save

    portrait = portrait_file(tmp_path / "ann.png")
    (tmp_path / "m.safetensors").write_bytes(save({}, metadata={"format": "\x1b]0;owned\x07\x1b[2J free"}))
    done = reenact(tmp_path, "animate", portrait, "motion:blink", "--model", "m.safetensors", "-o", "o.mp4")
    assert done.returncode == 4 and b"\x1b" not in done.stderr and b"\\x1b]0;owned" in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="closes a file descriptor")
@pytest.mark.slow
@pytest.mark.parametrize("closed", ["2>&-", ">&-"])
def test_a_closed_stream(tmp_path: Path, tiny_model: Path, closed: str) -> None:
    """A video, which has bars of progress."""
    portrait = portrait_file(tmp_path / "ann.png")
    line = [sys.executable, "-c", RUN, "animate", portrait, "motion:blink", "--end", "0.1", "--model", tiny_model]
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", *map(str, [*line, "-o", "o.mp4"])]
    with subprocess.Popen(command, cwd=tmp_path) as process:
        assert process.wait(240) == 0
    assert (tmp_path / "o.mp4").is_file()


@pytest.mark.skipif(not hasattr(os, "setuid") or os.geteuid() != 0, reason="becomes a user without a name")
def test_a_user_without_a_name_and_a_home(tmp_path: Path) -> None:
    """Path.home() raises there. The config folder is then one that cannot be written: a key for each output."""
    code = (
        "import os; from fewshot_reenact.config_folder import config_folder; from fewshot_reenact.provenance import "
        "history; os.setgid(12345); os.setuid(12345); print(config_folder(), history.entries())"
    )
    environment = {k: v for k, v in os.environ.items() if k not in ("HOME", "REENACT_CONFIG", "XDG_CONFIG_HOME")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd="/")
    assert done.stdout.split() == ["/.config/fewshot-reenact", "[]"], done.stderr


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no SIGHUP here")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_signals_leave_nothing_behind(tmp_path: Path, name: str) -> None:
    code = (
        "import os, signal\nsignal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
        "from pathlib import Path\nfrom fewshot_reenact.cli.signals import exit_on_sigterm\n"
        "from fewshot_reenact.files import partial_file\n"
        "with exit_on_sigterm(), partial_file(Path('a.txt')) as partial:\n"
        f"    partial.write_text('half')\n    os.kill(os.getpid(), signal.{name})\n    signal.pause()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, timeout=60)
    assert done.returncode == 128 + getattr(signal, name)
    assert not list(tmp_path.iterdir())
