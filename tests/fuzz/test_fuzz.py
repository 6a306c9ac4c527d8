"""Changed files of every kind in the ordinary run; scripts/measure/fuzz.sh tries ten thousand."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mutations import mutate

FORKED = Path(__file__).with_name("forked.py")
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks, with Linux's limits")


def fuzz(*options: object, **environment: str) -> subprocess.CompletedProcess[str]:
    import os

    command = [sys.executable, str(FORKED), *map(str, options)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=1500, env={**os.environ, **environment}, check=False
    )


@linux
@pytest.mark.parametrize("first", [0, 150])
def test_300_changed_files_end_as_they_should(first: int, tmp_path: Path) -> None:
    done = fuzz("--count", 150, "--first", first, "--seed", 1, "--keep", tmp_path, "--quiet")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "150 inputs of seed 1, 0 ended wrong" in done.stdout


@linux
@pytest.mark.slow
def test_every_good_file_is_taken_by_its_commands() -> None:
    done = fuzz("--count", 0, "--check")
    assert done.returncode == 0 and "0 ended wrong" in done.stdout, done.stdout + done.stderr


BROKEN = """
import sys, runpy
from fewshot_reenact.motion import files
def broken(*_):
    {what}
files._build = broken
sys.argv = [sys.argv[1], "--count", "12", "--seed", "1", "--quiet"]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@linux
@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("raise ZeroDivisionError('ouch')", "internal error: ZeroDivisionError"),
        ("import os; os.abort()", "signal 6"),
        ("bytes(8 << 30)", "out of memory"),
    ],
)
def test_the_fuzzer_sees_what_is_wrong(what: str, says: str) -> None:
    """A reader of motion files that breaks: an error, a crash, a bomb."""
    code = BROKEN.format(what=what).replace("files._build = broken", SEEDS_FIRST)
    done = subprocess.run([sys.executable, "-c", code, str(FORKED)], capture_output=True, text=True, timeout=600)
    assert done.returncode == 1 and says in done.stdout, done.stdout + done.stderr


# The seeds are made with the reader as it is.
SEEDS_FIRST = """
import os
fork, count = os.fork, []
def forking():
    count.append(1)
    if len(count) == 2:
        files._build = broken
    return fork()
os.fork = forking
"""


def test_an_input_is_a_function_of_its_number() -> None:
    data = bytes(range(256)) * 8
    for suffix in (".mp4", ".json", ".safetensors", ".npz", ".yaml"):
        one, same, other = (mutate(data, suffix, [data], np.random.default_rng([1, n])) for n in (5, 5, 6))
        assert one == same and one != other and one != data
