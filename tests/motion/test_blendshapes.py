"""Blendshapes: what the rig does to points, what is measured of points, and CSV as face-capture apps write it."""

from pathlib import Path

import numpy as np
import pytest

from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.geometry.topology import LEFT_LIDS, RIGHT_LIDS, eye_distance
from fewshot_reenact.motion.arkit import HEAD, write_arkit
from fewshot_reenact.motion.blendshapes import NAMES, Performance, rig
from fewshot_reenact.motion.builtins import load_builtin_motion
from fewshot_reenact.motion.files import load_motion
from fewshot_reenact.motion.motion import Motion

HEADING = ["Timecode", "BlendShapeCount", *NAMES, *HEAD, "LeftEyeYaw"]


def csv(path: Path, rows: list[dict[str, object]], heading: list[str] = HEADING) -> Path:
    """A recording; what a row does not say is 0."""
    lines = [",".join(heading)]
    for number, row in enumerate(rows):
        values = {"Timecode": f"10:00:0{number // 30}:{2 * (number % 30):02d}.125", "BlendShapeCount": 61, **row}
        lines.append(",".join(str(values.get(name, "0.0000000000")) for name in heading))
    path.write_text("\n".join(lines) + "\n")
    return path


def gap(points: np.ndarray, pairs: tuple[tuple[int, int], ...]) -> np.ndarray:
    return np.mean([points[..., low, 1] - points[..., up, 1] for up, low in pairs], 0) / eye_distance(points)


def test_the_names_are_the_52_of_arkit_in_the_apps_order() -> None:
    assert len(NAMES) == len(set(NAMES)) == 52 and NAMES[0] == "EyeBlinkLeft" and NAMES[-1] == "TongueOut"
    assert NAMES[14:23] == (
        "JawForward", "JawRight", "JawLeft", "JawOpen", "MouthClose", "MouthFunnel", "MouthPucker", "MouthRight",
        "MouthLeft",
    )  # fmt: skip


def test_a_recording_does_what_it_says(tmp_path: Path) -> None:
    blink = {"EyeBlinkLeft": 1, "EyeBlinkRight": 1, "EyeLookDownLeft": 0.3, "EyeLookDownRight": 0.3}
    rows = [{}, {"JawOpen": 0.8}, {"MouthSmileLeft": 0.9, "MouthSmileRight": 0.9}, blink, {"BrowInnerUp": 1}]
    made = load_motion(csv(tmp_path / "take.csv", rows))
    rest, jaw, smile, shut, brow = made.points
    assert made.found.all() and made.size == (512, 512) and made.source == "take.csv"
    assert np.linalg.norm(jaw[62] - jaw[66]) > 3 * np.linalg.norm(rest[62] - rest[66])
    assert np.linalg.norm(smile[54] - smile[48]) > 1.1 * np.linalg.norm(rest[54] - rest[48])
    assert gap(shut, LEFT_LIDS) < 0.25 * gap(rest, LEFT_LIDS) and gap(shut, RIGHT_LIDS) < 0.25 * gap(rest, RIGHT_LIDS)
    assert (brow[21:23, 1] < rest[21:23, 1] - 3).all()
    # Left is the person's own left, on the right of the picture.
    one = load_motion(csv(tmp_path / "wink.csv", [{}, {"EyeBlinkLeft": 1}])).points[1]
    assert gap(one, RIGHT_LIDS) < 0.6 * gap(one, LEFT_LIDS)


@pytest.mark.parametrize(("column", "axis", "sign"), [("HeadYaw", 0, -1), ("HeadPitch", 1, -1), ("HeadRoll", 2, 1)])
def test_head_angles_are_radians_of_the_person(tmp_path: Path, column: str, axis: int, sign: int) -> None:
    """Yaw to the person's right is to the picture's left; pitch downwards; roll to the person's left is clockwise."""
    made = load_motion(csv(tmp_path / "take.csv", [{}, {column: 0.3}]))
    change = made.angles()[1] - made.angles()[0]
    assert np.isclose(change[axis], sign * np.degrees(0.3), atol=3) and np.abs(np.delete(change, axis)).max() < 3


def test_points_become_coefficients_and_these_points_again(tmp_path: Path) -> None:
    smile = load_builtin_motion("smile")
    path = write_arkit(smile, tmp_path / "smile.csv")
    again = load_motion(path)
    assert again.fps == smile.fps and np.array_equal(again.times, smile.times)
    before, after = Performance.of(smile), Performance.of(again)
    column = before.coefficients[:, NAMES.index("MouthSmileLeft")]
    assert column.min() < 0.15 and column.max() > 0.7
    assert np.corrcoef(column, after.coefficients[:, NAMES.index("MouthSmileLeft")])[0, 1] > 0.98
    assert np.abs(before.rotation - after.rotation).max() < 0.03
    with pytest.raises(UsageError, match="exists already"):
        write_arkit(smile, path)


def test_what_never_varied_in_the_data_is_none() -> None:
    dead = [NAMES.index(name) for name in ("TongueOut", "CheekPuff", "NoseSneerLeft")]
    surprise = Performance.of(load_builtin_motion("surprise")).coefficients
    assert not rig().shapes[dead].any() and not surprise[:, dead].any() and surprise.min() >= 0 and surprise.max() <= 1


def test_frames_without_a_face(tmp_path: Path) -> None:
    talk = load_builtin_motion("talk")
    points, confidence = talk.points[:4].copy(), talk.confidence[:4].copy()
    points[2], confidence[2] = np.nan, 0
    gappy = Motion(points, confidence, talk.times[:4], talk.pts[:4], talk.time_base, talk.fps, talk.size)
    path = write_arkit(gappy, tmp_path / "a.csv")
    assert path.read_text().splitlines()[3] == "00:00:00:04.800,0"
    assert load_motion(path).found.tolist() == [True, True, False, True]
    rows = [{}, {"BlendShapeCount": 0}, {}]
    assert load_motion(csv(tmp_path / "b.csv", rows)).found.tolist() == [True, False, True]


@pytest.mark.parametrize("rate", [24, 25, 30, 60])
def test_the_timecode_tells_how_many_frames_a_second_it_counts(tmp_path: Path, rate: int) -> None:
    codes = [f"23:59:59:{n:02d}.000" for n in range(rate)] + [f"00:00:00:{n:02d}.000" for n in range(rate)]
    made = load_motion(csv(tmp_path / "take.csv", [{"Timecode": code} for code in codes]))
    assert made.fps == rate and np.allclose(made.times, np.arange(2 * rate) / rate), "past midnight too"


def test_thirty_frames_a_second_counted_by_sixty_as_the_app_does(tmp_path: Path) -> None:
    made = load_motion(csv(tmp_path / "take.csv", [{}] * 45))
    assert made.fps == 30 and np.allclose(made.times, np.arange(45) / 30)


def test_a_timecode_that_comes_twice_is_told(tmp_path: Path) -> None:
    codes = ["00:00:00:01.0", "00:00:00:03.0", "00:00:00:03.0", "00:00:00:05.0"]
    made = load_motion(csv(tmp_path / "take.csv", [{"Timecode": code} for code in codes]))
    assert len(made) == 3 and made.notes == ["1 of 4 frames have the timecode of the one before; they are left out"]


def test_columns_in_another_order_and_case(tmp_path: Path) -> None:
    heading = [name[0].lower() + name[1:] for name in reversed(HEADING) if name != "TongueOut"]
    rows = [{}, {"jawOpen": 0.8, "timecode": "10:00:00:04"}]
    rows[0]["timecode"], rows[0]["blendShapeCount"], rows[1]["blendShapeCount"] = "10:00:00:02", 61, 61
    made = load_motion(csv(tmp_path / "a.csv", rows, heading))
    same = load_motion(csv(tmp_path / "b.csv", [{}, {"JawOpen": 0.8}]))
    assert np.array_equal(made.points, same.points)


REFUSED = [
    ({"JawOpen": "wide"}, "line 3: JawOpen is 'wide', it should be a number"),
    ({"JawOpen": "nan"}, "line 3: JawOpen is nan, it should be from 0 to 1"),
    ({"JawOpen": "1e999"}, "line 3: JawOpen is inf"),
    ({"JawOpen": 80}, "line 3: JawOpen is 80, it should be from 0 to 1"),
    ({"HeadYaw": 25}, "line 3: HeadYaw is 25, it should be radians"),
    ({"Timecode": "0.04"}, "line 3: the timecode is '0.04'"),
    ({"Timecode": "09:59:59:00.0"}, "line 3: its timecode lies before"),
    ({"Timecode": '"'}, "line 3"),
]


@pytest.mark.parametrize(("row", "says"), REFUSED, ids=[says for _, says in REFUSED])
def test_recordings_that_are_refused(tmp_path: Path, row: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=f"bad.csv: cannot be used as a motion file: {says}") as error:
        load_motion(csv(tmp_path / "bad.csv", [{}, row]))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "it has no column Timecode, EyeBlinkLeft, EyeLookDownLeft and 49 more"),
        ("a,b\n1,2\n", "it has no column Timecode"),
        (",".join(HEADING), "it has no frames"),
        (",".join(HEADING) + "\n10:00:00:00,0\n", "no frame of it has a face"),
        (",".join(HEADING) + "\n10:00:00:00,61,0.5,0.5\n", "line 2 has 4 values, "),
        (",".join(HEADING) + "\n" + "9" * 70_000, "line 2 has more than 65536 characters"),
    ],
)
def test_other_files(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "bad.csv").write_text(content)
    with pytest.raises(InputError, match=f"bad.csv: cannot be used as a motion file: {says}"):
        load_motion(tmp_path / "bad.csv")
