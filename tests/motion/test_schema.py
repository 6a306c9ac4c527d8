"""docs/motion.schema.json says of motion files what reading and writing them says."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fewshot_reenact.errors import InputError
from fewshot_reenact.geometry.topology import N_POINTS
from fewshot_reenact.motion.builtins import NAMES, PREFIX, load_builtin_motion
from fewshot_reenact.motion.files import MAX_RATIO, OPTIONAL, REQUIRED, SCHEMA, VERSION, load_motion, save_motion
from fewshot_reenact.motion.limits import FASTEST, MAX_FRAMES, MAX_SIDE, SLOWEST
from motion_samples import motion
from places import ROOT

jsonschema = pytest.importorskip("jsonschema", reason="needs jsonschema, of the extra dev")
SCHEMA_FILE = json.loads((ROOT / "docs" / "motion.schema.json").read_text("utf-8"))
DEFINED = SCHEMA_FILE["$defs"]


def valid(value: Any, part: str = "") -> bool:
    """part: "head" or "frame"; else a whole file."""
    schema = {**SCHEMA_FILE, "$ref": f"#/$defs/{part}", "type": "object", "required": [], "properties": {}}
    return jsonschema.Draft202012Validator(schema if part else SCHEMA_FILE).is_valid(value)


def all_lines_valid(path: Path) -> bool:
    head, *frames = map(json.loads, path.read_text("utf-8").splitlines())
    return valid(head, "head") and all(valid(frame, "frame") for frame in frames)


def test_it_is_a_schema_and_its_limits_are_those_of_the_code() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA_FILE)
    assert DEFINED["schema"]["const"] == f"{SCHEMA}{VERSION}"
    assert (DEFINED["fps"]["minimum"], DEFINED["fps"]["maximum"]) == (SLOWEST, FASTEST)
    assert DEFINED["size"]["items"]["maximum"] == MAX_SIDE and DEFINED["ratio"]["items"]["maximum"] == MAX_RATIO
    assert DEFINED["points"]["oneOf"][1]["minItems"] == DEFINED["points"]["oneOf"][1]["maxItems"] == N_POINTS
    assert SCHEMA_FILE["properties"]["points"]["maxItems"] == DEFINED["head"]["properties"]["frames"]["maximum"]
    assert SCHEMA_FILE["properties"]["points"]["maxItems"] == MAX_FRAMES
    assert set(SCHEMA_FILE["required"]) == set(REQUIRED)
    assert set(SCHEMA_FILE["properties"]) == {*REQUIRED, *OPTIONAL, "angles"}


@pytest.mark.parametrize("name", ["sample", *NAMES])
def test_what_is_written_is_valid(name: str, tmp_path: Path) -> None:
    """A motion with a gap, a cut and a jump in time, and the built-in ones."""
    some = motion() if name == "sample" else load_builtin_motion(f"{PREFIX}{name}")
    assert valid(json.loads(save_motion(some, tmp_path / "a.json").read_text("utf-8")))
    assert all_lines_valid(save_motion(some, tmp_path / "a.jsonl"))


def changed(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda data: data.__setitem__(key, value)


def first_point(value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda data: data["points"].__setitem__(0, value)


GOOD = [
    lambda data: data.pop("angles"),
    lambda data: [data.pop(key) for key in ("pts", "time_base", "fps_ratio", "cuts", "source", "angles")],
    changed("mine", {"of another": "program"}),
    changed("cuts", []),
]
BAD = [
    *(lambda data, key=key: data.pop(key) for key in REQUIRED),
    changed("schema", "fewshot-reenact-motion/2"),
    changed("schema", "something else"),
    changed("fps", 0),
    changed("fps", "25"),
    changed("fps", 2000),
    changed("size", [0, 1080]),
    changed("size", [1920.5, 1080]),
    changed("size", [1920]),
    changed("points", []),
    first_point([[1.0, 2.0]] * (N_POINTS - 1)),
    first_point([[1.0, 2.0, 3.0]] * N_POINTS),
    first_point("none"),
    changed("confidence", [2.0] * 6),
    changed("timestamps", ["0"] * 6),
    changed("time_base", [1, 0]),
    changed("pts", [0.5] * 6),
    changed("cuts", [0]),
]


@pytest.mark.parametrize("change", [*GOOD, *BAD], ids=range(len(GOOD) + len(BAD)))
def test_schema_and_reader_agree(change: Callable[[dict[str, Any]], None], tmp_path: Path) -> None:
    path = save_motion(motion(), tmp_path / "a.json")
    data = json.loads(path.read_text("utf-8"))
    change(data)
    path.write_text(json.dumps(data))
    good = change in GOOD
    assert valid(data) == good
    if good:
        assert len(load_motion(path)) == 6
    else:
        with pytest.raises(InputError):
            load_motion(path)


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [(0, "fps", None), (0, "size", [1]), (0, "frames", -1), (1, "time", "0"), (1, "points", [[0, 0]]), (1, "pts", 0.5)],
)
def test_schema_and_reader_agree_on_lines(line: int, key: str, value: Any, tmp_path: Path) -> None:
    path = save_motion(motion(), tmp_path / "a.jsonl")
    lines = [json.loads(one) for one in path.read_text("utf-8").splitlines()]
    lines[line][key] = value
    path.write_text("".join(json.dumps(one) + "\n" for one in lines))
    assert not all_lines_valid(path)
    with pytest.raises(InputError):
        load_motion(path)
