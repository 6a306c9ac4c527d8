"""Logs of OpenSeeFace: packets made here from known points."""

from pathlib import Path

import numpy as np
import pytest

from fewshot_reenact.errors import InputError
from fewshot_reenact.geometry.topology import FOREHEAD, eye_distance
from fewshot_reenact.motion.builtins import load_builtin_motion
from fewshot_reenact.motion.files import load_motion
from fewshot_reenact.motion.openseeface import OURS, PACKET

TALK = load_builtin_motion("talk").points[:12].astype(np.float64)


def packets(points: np.ndarray, face: int = 0, start: float = 1.7e9) -> np.ndarray:
    """points: (T, 83, 2)."""
    made = np.zeros(len(points), PACKET)
    made["time"], made["face"], made["size"] = start + np.arange(len(points)) / 30, face, (512, 512)
    made["confidence"], made["points"] = 0.9, points[:, OURS]
    return made


def log(path: Path, *parts: np.ndarray) -> Path:
    rows = np.concatenate(parts)
    path.write_bytes(rows[np.argsort(rows["time"], kind="stable")].tobytes())
    return path


def test_the_layout_is_the_trackers() -> None:
    assert PACKET.itemsize == 1785
    offsets = {name: PACKET.fields[name][1] for name in ("face", "size", "confidence", "points", "solid", "features")}
    assert offsets == {"face": 8, "size": 12, "confidence": 73, "points": 345, "solid": 889, "features": 1729}


def test_its_points_are_ours(tmp_path: Path) -> None:
    made = load_motion(log(tmp_path / "a.osf", packets(TALK)))
    assert made.fps == 30 and len(made) == 12 and made.times[0] == 0 and made.size == (512, 512) and made.found.all()
    assert np.allclose(made.confidence, 0.9)
    assert np.allclose(made.points[:, OURS], TALK[:, OURS], atol=1e-3)
    others = [60, 64, *range(FOREHEAD.start, FOREHEAD.stop), 79, 80]
    error = np.linalg.norm(made.points[:, others] - TALK[:, others], axis=-1) / eye_distance(TALK)[:, None]
    assert error[:, :2].max() < 0.05 and error.mean() < 0.06, "what it lacks is where the fitted head has it"


def test_several_faces(tmp_path: Path) -> None:
    """The largest over all its frames, or one from the left; a face that is away is a frame without one."""
    small = (TALK - 256) * 0.5 + np.array([120, 256])
    large = TALK + np.array([300, 0])
    path = log(tmp_path / "a.osf", packets(small, 7), packets(large, 3)[[*range(5), *range(6, 12)]])
    largest, first, second = (load_motion(path, face) for face in ("largest", 1, 2))
    assert np.allclose(first.points[:, OURS], small[:, OURS], atol=1e-3)
    assert np.array_equal(largest.points, second.points, equal_nan=True)
    assert second.found.tolist() == [number != 5 for number in range(12)] and second.confidence[5] == 0
    with pytest.raises(InputError, match="face 3 was asked for, but there are only 2 in the log: choose --driver-face"):
        load_motion(path, 3)


def changed(field: str, value: object) -> np.ndarray:
    rows = packets(TALK[:3])
    rows[field][1] = value
    return rows


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (changed("time", np.nan), "its times are no times"),
        (changed("time", 0), "its times are no times"),
        (changed("size", 0), "the picture's size"),
        (changed("size", (640, 480)), "the same in every packet"),
        (changed("points", np.inf), "no numbers"),
        (changed("points", 1e9), "far outside"),
        (changed("points", 5), "under 1 pixel"),
        (changed("confidence", np.nan), "no numbers"),
    ],
)
def test_logs_that_are_refused(tmp_path: Path, rows: np.ndarray, says: str) -> None:
    (tmp_path / "bad.osf").write_bytes(rows.tobytes())
    with pytest.raises(InputError, match=f"bad.osf: cannot be used as a motion file: .*{says}"):
        load_motion(tmp_path / "bad.osf")


@pytest.mark.parametrize("length", [0, 1, 1784, 1786, 3000])
def test_a_log_of_another_size_is_refused(tmp_path: Path, length: int) -> None:
    (tmp_path / "bad.osf").write_bytes(packets(TALK[:3]).tobytes()[:length])
    with pytest.raises(InputError, match=r"no whole number of OpenSeeFace's packets of 1,785 bytes"):
        load_motion(tmp_path / "bad.osf")
