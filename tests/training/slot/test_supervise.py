"""A slot's training that breaks off is begun again from what it wrote, and what it said comes back."""

import json
from pathlib import Path

import pytest

from fewshot_reenact.training.slot.supervise import Failed, supervise

# Dies as after a GPU's fault, unless it is uncompiled and finds what the first try wrote.
BREAKS = """
import json, os, pathlib, sys
out, compiled = pathlib.Path(sys.argv[1]), sys.argv[2] == "True"
print("compiled" if compiled else "uncompiled", (out / "state").exists())
sys.stdout.flush()
out.mkdir(exist_ok=True)
(out / "state").write_text("1")
if compiled:
    os._exit(134)
(out / "report.json").write_text(json.dumps({"step": 5}))
"""


def test_it_is_begun_again_uncompiled_and_what_it_said_comes_back(tmp_path: Path) -> None:
    out, asked = tmp_path / "out", list[tuple[float, bool]]()

    def words(minutes: float, compiled: bool) -> list[str]:
        asked.append((minutes, compiled))
        return ["-c", BREAKS, str(out), str(compiled)]

    supervise(words, out, 5.0)
    assert [compiled for _, compiled in asked] == [True, False] and asked[1][0] < asked[0][0] <= 5.0
    report = json.loads((out / "report.json").read_text())
    assert report["step"] == 5
    assert report["log"][0] == "compiled False" and report["log"][-1] == "uncompiled True"
    assert any("ended with 134" in line for line in report["log"])


@pytest.mark.parametrize(("code", "tries"), [(1, 3), (3, 1)], ids=["broken", "wrong input"])
def test_what_fails_again_and_again_is_said(code: int, tries: int, tmp_path: Path) -> None:
    asked = []

    def words(minutes: float, compiled: bool) -> list[str]:
        asked.append(minutes)
        return ["-c", f"print('so it was'); raise SystemExit({code})"]

    with pytest.raises(Failed, match=f"ended with {code}"):
        supervise(words, tmp_path / "out", 5.0)
    assert len(asked) == tries
    assert "so it was" in json.loads((tmp_path / "out" / "report.json").read_text())["log"]


def test_without_time_nothing_is_begun_again(tmp_path: Path) -> None:
    with pytest.raises(Failed):
        supervise(lambda minutes, compiled: ["-c", "raise SystemExit(1)"], tmp_path / "out", 0.2)
    assert sum("begun again" in line for line in json.loads((tmp_path / "out" / "report.json").read_text())["log"]) == 0
