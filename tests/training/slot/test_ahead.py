"""Compiling in a process beside the training: what works is found, what does not is not switched to."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from fewshot_reenact.training.slot.ahead import STEPS, Ahead, try_out

WRITES = "import sys; open(sys.argv[1], 'w').write(sys.argv[2])"


def test_the_first_way_in_which_steps_can_be_done_is_written(tmp_path: Path) -> None:
    tried: list[tuple[bool | str, int]] = []

    def steps(how: bool | str, count: int) -> list[dict[str, float]]:
        tried.append((how, count))
        if how == "graphs":
            raise RuntimeError("no graphs\nin this place")
        return [{"l1": 0.1 * k} for k in range(count)]

    try_out(["graphs", True], steps, 4, tmp_path / "ready")
    found = json.loads((tmp_path / "ready").read_text())
    assert found["compile"] is True and found["episodes_a_second"] > 0
    assert found["l1"] == pytest.approx(0.1 * (STEPS - 1) / 2)
    assert [how for how, _ in tried] == ["graphs", True, True]


def test_where_nothing_compiles_nothing_is_written(tmp_path: Path) -> None:
    def steps(how: bool | str, count: int) -> list[dict[str, float]]:
        raise RuntimeError("no compiler")

    try_out(["graphs", True], steps, 4, tmp_path / "ready")
    assert not (tmp_path / "ready").exists()


@pytest.mark.parametrize(
    ("l1", "taken"), [(0.101, True), (0.2, False), (float("nan"), False)], ids=["same", "other", "nan"]
)
def test_it_is_switched_to_only_if_it_computes_the_same(l1: float, taken: bool, tmp_path: Path) -> None:
    text = json.dumps({"compile": True, "l1": l1, "episodes_a_second": 5.0})
    found = waited(Ahead(["-c", WRITES, str(tmp_path / "ready"), text], tmp_path / "ready", 0.1))
    assert (found is not None) is taken
    if taken:
        assert found["compile"] is True


def test_a_process_that_fails_is_no_answer(tmp_path: Path) -> None:
    ahead = Ahead(["-c", "raise SystemExit(1)"], tmp_path / "ready", 0.1)
    assert waited(ahead) is None
    ahead.close()


def test_one_that_goes_on_is_ended(tmp_path: Path) -> None:
    ahead = Ahead(["-c", "import time; time.sleep(600)"], tmp_path / "ready", 0.1)
    assert ahead.found() is None
    began = time.monotonic()
    ahead.close()
    assert time.monotonic() - began < 60 and ahead.found() is None


def waited(ahead: Ahead) -> Any:
    """What was found, once the process is over."""
    process = ahead._process
    assert process is not None
    process.wait(60)
    return ahead.found()
