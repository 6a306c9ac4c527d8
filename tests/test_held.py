"""Two runs at one place, and what killed runs leave: locks that end with their process, leftovers that are removed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from animate_samples import complaint, run
from fewshot_reenact.errors import UsageError
from fewshot_reenact.files import PartialFile, held_folder
from fewshot_reenact.training.data.prepare import prepare

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such locks")


def left(folder: Path, name: str, minutes: float) -> Path:
    path = folder / name
    path.write_bytes(b"half")
    then = time.time() - 60 * minutes
    os.utime(path, (then, then))
    return path


def test_leftovers_of_killed_runs_are_removed_and_nothing_else(tmp_path: Path) -> None:
    gone = [left(tmp_path, f".o.mp4.deadbeef{middle}.partial", 11) for middle in ("", ".sound", ".signed")]
    kept = [
        left(tmp_path, ".o.mp4.00000001.partial", 3),  # of a run that may be under way on a system without locks
        left(tmp_path, ".other.mp4.00000002.partial", 99),
        left(tmp_path, ".o.mp4.partial", 99),  # not named as ours are
        left(tmp_path, ".o.mp4.00000003.sound.partial", 99),
        left(tmp_path, ".o.mp4.00000003.partial", 3),
    ]
    running = PartialFile(tmp_path / "o.mp4")  # an output that is under way, for however long
    os.utime(running.partial, (0, 0))
    PartialFile(tmp_path / "o.mp4").discard()
    assert not any(path.exists() for path in gone)
    assert all(path.exists() for path in (*kept, running.partial))
    running.partial.write_bytes(b"whole")
    running.publish()
    assert (tmp_path / "o.mp4").read_bytes() == b"whole"


HOLD = """
import sys, time
from pathlib import Path
from fewshot_reenact.files import held_folder
with held_folder(Path(sys.argv[1]), "mine"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_folder_is_held_by_one_process_until_that_ends(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        with pytest.raises(UsageError, match="somebody's"), held_folder(folder, "somebody's"):
            pass
        process.send_signal(signal.SIGKILL)
    with held_folder(folder, "somebody's"):
        assert (folder / ".lock").exists()
    assert list(folder.iterdir()) == []
    with held_folder(tmp_path / "new", "somebody's"):
        pass
    assert not (tmp_path / "new").exists(), "an empty folder that was made here goes again"


def test_one_prepare_and_one_train_in_a_folder(vox_videos: Path, tmp_path: Path) -> None:
    with held_folder(tmp_path / "out", "first"):
        with pytest.raises(UsageError, match="another `reenact prepare` is at work there"):
            prepare(vox_videos, tmp_path / "out")
        (tmp_path / "out" / ".shard-000000.tar.00000000.partial").write_text("the first one's")
    assert (tmp_path / "out" / ".shard-000000.tar.00000000.partial").exists()
    with held_folder(tmp_path / "run", "first"):
        said = complaint_of_train(tmp_path / "run")
    assert "another run trains in this folder" in said


def complaint_of_train(folder: Path) -> str:
    result = run("train", "--config", "tiny", "--clips", folder, "--run", folder)
    lines = [line for line in result.stderr.splitlines() if not line.startswith("device ")]
    assert result.exit_code == 2 and len(lines) == 1, result.output
    return lines[0]


def test_a_name_that_cannot_be_held_is_one_line(vox_videos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert "is a file; give a folder" in complaint(run("prepare", vox_videos, tmp_path / "file"), 2)
    assert "file" in complaint_of_train(tmp_path / "file")
