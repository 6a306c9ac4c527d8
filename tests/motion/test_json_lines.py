"""Motion files as JSON lines: nothing is lost against .npz, and bad ones are one error."""

import json
from pathlib import Path

import numpy as np
import pytest

from fewshot_reenact.errors import InputError
from fewshot_reenact.motion import limits, lines
from fewshot_reenact.motion.files import load_motion, save_motion
from motion_samples import motion, same


def test_nothing_is_lost(tmp_path: Path) -> None:
    before = motion()
    after = load_motion(save_motion(before, tmp_path / "m.jsonl"))
    same(before, after)
    same(load_motion(save_motion(before, tmp_path / "m.npz")), after)


def test_a_heading_and_a_line_a_frame_of_strict_json(tmp_path: Path) -> None:
    rows = save_motion(motion(), tmp_path / "m.jsonl").read_text().splitlines()
    head, *frames = (json.loads(row, parse_constant=pytest.fail) for row in rows)
    assert head["schema"] == "fewshot-reenact-motion/1" and head["frames"] == len(frames) == 6 and head["version"]
    assert frames[2]["points"] is None and frames[2]["confidence"] == 0 and frames[2]["angles"] is None
    assert np.shape(frames[0]["points"]) == (83, 2) and len(frames[0]["angles"]) == 3
    assert [frame["time"] for frame in frames] == motion().times.tolist()


def test_what_another_program_writes_by_hand(tmp_path: Path) -> None:
    """Only what must be there, and keys that nobody knows."""
    points = motion().points[0].astype(float).round(2).tolist()
    head = {"schema": "fewshot-reenact-motion/1", "fps": 25, "size": [640, 480], "camera": "left"}
    rows = [head, *({"time": t / 25, "confidence": 1, "points": points, "mood": None} for t in range(3))]
    (tmp_path / "m.jsonl").write_text("\n\n".join(json.dumps(row) for row in rows), encoding="utf-8-sig")
    made = load_motion(tmp_path / "m.jsonl")
    assert len(made) == 3 and made.fps == 25 and made.size == (640, 480) and made.found.all()
    assert np.allclose(made.points[0], points)


def changed(tmp_path: Path, line: int, **changes: object) -> Path:
    """A motion file with keys of a line replaced, left out where the value is ...; line None: all of the file."""
    path = save_motion(motion(), tmp_path / "bad.jsonl", overwrite=True)
    rows = path.read_text().splitlines()
    row = {**json.loads(rows[line]), **changes}
    rows[line] = json.dumps({key: value for key, value in row.items() if value is not ...})
    path.write_text("\n".join(rows))
    return path


POINTS = np.zeros((83, 2)).tolist()
REFUSED = [
    (0, {"schema": ...}, "it has no schema"),
    (0, {"schema": "other/1"}, "its schema is 'other/1'"),
    (0, {"fps": "fast"}, "fps holds"),
    (0, {"fps": True}, "fps holds"),
    (0, {"size": [1920, 10**30]}, "size holds"),
    (0, {"size": {}}, "size has shape"),
    (0, {"size": [[1], 2]}, "size of its first line should be numbers"),
    (0, {"frames": 7}, "7 frames and 6 follow: it is cut short"),
    (1, {"time": ...}, "line 2: time should be a number, and is missing"),
    (1, {"time": None}, "line 2: time should be a number"),
    (3, {"time": 0}, "increase from frame to frame"),
    (2, {"confidence": "high"}, "line 3: confidence should be a number"),
    (2, {"confidence": 3}, "confidence should lie in 0..1"),
    (2, {"points": ...}, "line 3: points should be 83 pairs"),
    (2, {"points": POINTS[:68]}, "line 3: points should be 83 pairs"),
    (2, {"points": [*POINTS[:82], [1]]}, "line 3: points should be 83 pairs"),
    (2, {"points": [*POINTS[:82], ["1", 2]]}, "line 3: points should be 83 pairs"),
    (2, {"points": [*POINTS[:82], [10**400, 2]]}, "line 3: points should be 83 pairs"),
    (2, {"points": [*POINTS[:82], [1e300, 2]]}, "far outside the picture"),
    (2, {"points": POINTS}, "under 1 pixel wide"),
    (2, {"pts": 0.5}, "line 3: pts should be a whole number"),
    (2, {"pts": ...}, "only some of its frames have pts"),
]


@pytest.mark.parametrize(("line", "changes", "says"), REFUSED, ids=[says for _, _, says in REFUSED])
def test_files_that_are_refused(tmp_path: Path, line: int, changes: dict, says: str) -> None:
    with pytest.raises(InputError, match=f"bad.jsonl: cannot be.*{says}") as error:
        load_motion(changed(tmp_path, line, **changes))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "it has no fps, size, schema"),
        (b"\n\n", "it has no fps, size, schema"),
        (b"{}", "it has no "),
        (b"[1]", "line 1 does not hold the keys of a motion"),
        (b'{"schema": NaN}', "line 1 is not JSON"),
        (b"[" * 60_000, "line 1 is not JSON"),
        (b"9" * 5000, "line 1 is not JSON"),
        (b"\xff\xfe\x00", "no text"),
        (b" " * 70_000, "line 1 has more than 65536 characters"),
        (b'{"schema": "fewshot-reenact-motion/1", "fps": 25, "size": [9, 9]}', "no frame|points have shape"),
    ],
)
def test_files_of_another_kind(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "bad.jsonl").write_bytes(content)
    with pytest.raises(InputError, match=f"bad.jsonl: cannot be.*({says})"):
        load_motion(tmp_path / "bad.jsonl")


def test_too_many_frames_and_too_many_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_motion(motion(), tmp_path / "m.jsonl")
    monkeypatch.setattr(lines, "MAX_FRAMES", -95)
    with pytest.raises(InputError, match="more than -95 frames"):
        load_motion(path)
    monkeypatch.setattr(lines, "MAX_FILE", 100)
    with pytest.raises(InputError, match="larger than"):
        load_motion(path)
    assert limits.MAX_FRAMES == 1_000_000


def test_a_file_cut_short_anywhere(tmp_path: Path) -> None:
    whole = save_motion(motion(), tmp_path / "m.jsonl").read_bytes()
    for length in range(0, len(whole) - 1, 797):
        (tmp_path / "m.jsonl").write_bytes(whole[:length])
        with pytest.raises(InputError):
            load_motion(tmp_path / "m.jsonl")
