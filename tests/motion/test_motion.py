"""Motions: their files, what is refused, the built-in ones."""

import hashlib
import json
import re
import zipfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from fake_face import REST
from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.geometry.overlay import draw_points
from fewshot_reenact.geometry.topology import FLIP, LEFT_LIDS, eye_distance
from fewshot_reenact.motion import builtins as builtin_motions
from fewshot_reenact.motion.builtins import NAMES, is_builtin_motion, load_builtin_motion
from fewshot_reenact.motion.files import load_motion, save_motion
from fewshot_reenact.motion.motion import Motion
from motion_samples import motion, same


@pytest.mark.parametrize(("suffix", "tolerance"), [(".npz", 0), (".json", 0.001), (".jsonl", 0)])
def test_a_motion_survives_its_file(tmp_path, suffix, tolerance):
    before = motion()
    path = save_motion(before, tmp_path / f"m{suffix}")
    after = load_motion(path)
    same(before, after, tolerance)
    assert after.points.dtype == np.float32 and after.times.dtype == np.float64
    assert [file.name for file in tmp_path.iterdir()] == [path.name], "nothing else is left in the folder"


def test_the_keys_of_the_file_are_those_documented(tmp_path):
    save_motion(motion(), tmp_path / "m.npz")
    with np.load(tmp_path / "m.npz", allow_pickle=False) as data:
        assert set(data) >= {"points", "confidence", "fps", "timestamps", "size", "schema"}
        assert data["points"].shape == (6, 83, 2) and data["points"].dtype == np.float32
        assert data["confidence"].tolist()[2] == 0 and np.isnan(data["points"][2]).all()
        assert data["size"].tolist() == [1920, 1080] and float(data["fps"]) == pytest.approx(29.97, abs=0.001)
        assert str(data["schema"]) == "fewshot-reenact-motion/1"
        assert (
            data["angles"].shape == (6, 3)
            and np.isnan(data["angles"]).any(1).tolist() == [False, False, True] + [False] * 3
        )
    save_motion(motion(), tmp_path / "m.json")
    text = (tmp_path / "m.json").read_text()
    assert "NaN" not in text and json.loads(text)["points"][2] is None, "strict JSON"
    assert json.loads(text)["angles"][2] is None and len(json.loads(text)["angles"][0]) == 3


def test_the_six_keys_alone_are_enough(tmp_path):
    """A file written by hand has no exact clock; one is made from its seconds."""
    m = motion()
    np.savez(
        tmp_path / "m.npz", points=m.points.astype(np.float64), confidence=m.confidence, fps=29.97, timestamps=m.times,
        size=[1920, 1080], schema="fewshot-reenact-motion/1",
    )  # fmt: skip
    loaded = load_motion(tmp_path / "m.npz")
    assert loaded.fps == Fraction(2997, 100) and loaded.cuts == [] and loaded.source == "m.npz"
    assert np.allclose(loaded.pts * float(loaded.time_base), m.times, atol=1e-5)


def test_nothing_is_overwritten_unasked_and_other_suffixes_are_refused(tmp_path):
    path = tmp_path / "m.npz"
    path.write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        save_motion(motion(), path)
    assert path.read_text() == "mine"
    save_motion(motion(), path, overwrite=True)
    assert len(load_motion(path)) == 6
    with pytest.raises(UsageError, match=r"use \.npz, \.json"):
        save_motion(motion(), tmp_path / "m.pkl")
    with pytest.raises(UsageError, match="no folder"):
        save_motion(motion(), tmp_path / "nowhere" / "m.npz")


class _Bomb:
    def __reduce__(self):
        return (Path("pickled-was-run").touch, ())


def damaged(tmp_path: Path, suffix: str = ".npz", **changes: object) -> Path:
    """A motion file with some keys replaced, or left out where None."""
    path = save_motion(motion(), tmp_path / "good.npz", overwrite=True)
    with np.load(path) as data:
        arrays = dict(data)
    arrays |= changes  # type: ignore[arg-type]
    np.savez(tmp_path / "bad.npz", **{key: value for key, value in arrays.items() if value is not None})
    return tmp_path / "bad.npz"


NOTHING = np.full((6, 83, 2), np.nan)
FAR = np.full((6, 83, 2), 1e6)
REFUSED = [
    ({"points": None, "fps": None}, "it has no points, fps"),
    ({"schema": None}, "it has no schema"),
    ({"points": np.zeros((6, 68, 2))}, r"points has shape \(6, 68, 2\), it should be \(6, 83, 2\)"),
    ({"points": np.zeros((0, 83, 2))}, r"points have shape \(0, 83, 2\)"),
    ({"points": np.array(5.0)}, r"points have shape \(\)"),
    ({"points": NOTHING}, "no frame of it has a face"),
    ({"points": FAR}, "far outside the picture"),
    ({"points": np.full((6, 83, 2), np.inf)}, "far outside the picture"),
    ({"points": np.full((6, 83, 2), "x")}, "it should hold numbers"),
    ({"confidence": np.ones(5)}, r"confidence has shape \(5,\)"),
    ({"confidence": np.full(6, 2.0)}, "confidence should lie in 0..1"),
    ({"confidence": np.full(6, np.nan)}, "confidence should lie in 0..1"),
    ({"timestamps": np.zeros(6)}, "increase from frame to frame"),
    ({"timestamps": np.full(6, np.nan)}, "increase from frame to frame"),
    ({"pts": np.arange(6)[::-1]}, "pts should increase"),
    ({"pts": np.arange(6.0)}, "whole numbers"),
    ({"time_base": np.array([1, 0])}, "time_base is 1/0"),
    ({"fps_ratio": np.array([-25, 1])}, "fps_ratio is -25/1"),
    ({"fps": np.array(0.0)}, "fps is 0"),
    ({"fps": np.array(np.nan)}, "fps is nan"),
    ({"size": np.array([0, 1080])}, "size is 0x1080"),
    ({"size": np.array([10**7, 1080])}, "sides should be 1 to"),
    ({"size": np.array([19.5, 10])}, "whole numbers"),
    ({"cuts": np.array([9])}, "cuts should be ascending frame numbers"),
    ({"cuts": np.array([3, 3])}, "cuts should be ascending frame numbers"),
    ({"schema": "fewshot-reenact-motion/2"}, "made by a newer version"),
    ({"schema": "something/1"}, "its schema is 'something/1'"),
    ({"schema": np.array(["a"] * 9)}, "its schema is"),
    ({"schema": "fewshot-reenact-motion/\u00b2"}, "its schema is"),
    ({"schema": "x" * 5000}, "schema is absurdly large"),
    ({"points": np.full((6, 83, 2), 7.0)}, "under 1 pixel wide"),
    ({"fps": np.array(0.0004)}, "fps is 0.0004"),
    ({"fps": np.array(12.0)}, "they should be the same"),
    ({"fps_ratio": np.array([2**31, 1])}, "both should be above 0 and below 2"),
    ({"time_base": np.array([1, 2**31])}, "both should be above 0 and below 2"),
    ({"pts": np.arange(6) * 7 + 1}, "tell different times"),
]


@pytest.mark.parametrize(("changes", "complaint"), REFUSED, ids=[complaint for _, complaint in REFUSED])
def test_files_that_are_refused(tmp_path, changes, complaint):
    with pytest.raises(InputError, match=rf"bad\.npz: cannot be used as a motion file: .*{complaint}"):
        load_motion(damaged(tmp_path, **changes))


@pytest.mark.parametrize("key", ["points", "schema", "source"])
def test_pickled_objects_are_never_loaded(tmp_path, monkeypatch, key):
    monkeypatch.chdir(tmp_path)
    path = damaged(tmp_path, **{key: np.array([_Bomb()], dtype=object)})
    with pytest.raises(InputError, match=f"{key} holds pickled objects"):
        load_motion(path)
    assert not (tmp_path / "pickled-was-run").exists()


def test_times_below_zero_begin_at_zero(tmp_path):
    """Players cut off what lies below zero: five frames were written and three shown."""
    motion = load_motion(damaged(tmp_path))
    early = {"timestamps": motion.times - 1, "pts": motion.pts - round(1 / float(motion.time_base))}
    moved = load_motion(damaged(tmp_path, **early))
    assert moved.times[0] == moved.pts[0] == 0
    assert np.allclose(np.diff(moved.times), np.diff(motion.times)) and np.array_equal(
        np.diff(moved.pts), np.diff(motion.pts)
    )


def test_a_small_file_that_unpacks_to_gigabytes_is_refused(tmp_path):
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (500000, 83, 2), }"
    header += b" " * (63 - (len(header) + 10) % 64) + b"\n"
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("points.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(10**6))
    with pytest.raises(InputError, match="points is absurdly large"):
        load_motion(tmp_path / "bomb.npz")


def test_a_member_whose_name_is_no_text(tmp_path):
    path = damaged(tmp_path)
    data = path.read_bytes()
    flag, name = 0x800, b"points.npy"
    at = data.rindex(b"PK\x01\x02")  # any entry of the directory will do
    entry = bytearray(data)
    entry[at + 8 : at + 10] = (int.from_bytes(data[at + 8 : at + 10], "little") | flag).to_bytes(2, "little")
    entry[at + 46 : at + 47] = b"\xff"
    path.write_bytes(bytes(entry))
    assert name in data
    with pytest.raises(InputError, match="cannot be read as a motion file"):
        load_motion(path)


def test_a_zip_bomb_is_seen_before_it_is_unpacked(tmp_path):
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2000000000, 83, 2), }"
    header += b" " * (63 - (len(header) + 10) % 64) + b"\n"
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("points.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(10**6))
    with pytest.raises(InputError, match="points is absurdly large"):
        load_motion(tmp_path / "bomb.npz")


@pytest.mark.parametrize("name", ["m.npz", "m.json"])
def test_files_of_another_kind(tmp_path, name):
    path = tmp_path / name
    with pytest.raises(InputError, match="no such motion file"):
        load_motion(path)
    for content in (
        b"",
        b"hello",
        b"PK\x03\x04 not really",
        b"\xff\xfe\x00",
        b"[1, 2]",
        b"[" * 100_000,
        b'{"points": 3}',
    ):
        path.write_bytes(content)
        with pytest.raises(InputError, match=rf"{name}: cannot be"):
            load_motion(path)


def test_a_file_cut_short_anywhere(tmp_path):
    whole = save_motion(motion(), tmp_path / "m.npz").read_bytes()
    for length in range(0, len(whole), 97):
        (tmp_path / "m.npz").write_bytes(whole[:length])
        with pytest.raises(InputError):
            load_motion(tmp_path / "m.npz")


def test_flipped_bits_are_an_input_error_or_harmless(tmp_path):
    whole = bytearray(save_motion(motion(), tmp_path / "m.npz").read_bytes())
    rng = np.random.default_rng(0)
    for at in rng.integers(0, len(whole), 150):
        broken = whole.copy()
        broken[at] ^= 1 << int(rng.integers(8))
        (tmp_path / "m.npz").write_bytes(broken)
        try:
            load_motion(tmp_path / "m.npz")
        except InputError as error:
            assert "\n" not in str(error)


def test_lists_in_json_of_unequal_length(tmp_path):
    path = save_motion(motion(), tmp_path / "m.json")
    data = json.loads(path.read_text())
    data["points"][1] = data["points"][1][:-1]
    path.write_text(json.dumps(data))
    with pytest.raises(InputError, match="not all of one length"):
        load_motion(path)


def test_a_part_of_a_motion():
    m = motion()
    part = m.slice(m.times[1], m.times[5])
    assert part.pts.tolist() == m.pts[1:5].tolist() and part.cuts == [3]
    assert m.slice(m.times[4]).cuts == [], "a part that begins with a shot has no cut there"
    with pytest.raises(UsageError, match=r"film\.mp4 runs from 0\.00 s to 0\.33 s: no frame is left"):
        m.slice(5.0)


def test_shapes_are_checked():
    m = motion()
    with pytest.raises(ValueError, match="confidence has shape"):
        Motion(m.points, m.confidence[1:], m.times, m.pts, m.time_base, m.fps, m.size)
    with pytest.raises(ValueError, match="points have shape"):
        Motion(m.points[:, :68], m.confidence, m.times, m.pts, m.time_base, m.fps, m.size)


def test_drawing_shows_the_points_and_survives_any(tmp_path):
    picture = np.zeros((512, 512, 3), np.uint8)
    drawn = draw_points(picture, REST)
    assert not picture.any(), "the given picture is not drawn into"
    x, y = np.round(REST[30]).astype(int)
    assert drawn[y, x].max() > 200 and not drawn[:60].any()
    grey = draw_points(picture, REST, found=False)
    assert np.ptp(grey.astype(int), axis=2).max() == 0
    assert not draw_points(picture, REST * np.nan).any()
    draw_points(picture, REST * 1e6)


# Built-in motions


@pytest.mark.parametrize("name", NAMES)
def test_built_in_motions_are_whole_and_can_be_repeated(name):
    m = load_builtin_motion(f"motion:{name}")
    assert m.found.all() and m.fps == 25 and m.source == f"motion:{name}" and 1.5 < len(m) / 25 < 8
    assert np.array_equal(m.points[0], m.points[-1]) and np.array_equal(m.points[0], REST), "from rest to rest"
    assert (m.points > 0).all() and (m.points < 512).all()
    sizes = eye_distance(m.points)
    assert np.ptp(sizes) / sizes.mean() < 0.12, "the head neither pulses nor turns away"
    save = np.linalg.norm(np.diff(m.points, axis=0), axis=-1).max() / sizes.mean()
    assert save < 0.2, "nothing jumps"


def test_the_face_at_rest_is_nobodys():
    """Symmetric, mouth shut, eyes open."""
    mirrored = REST[FLIP] * [-1, 1] + [511, 0]
    assert np.abs(mirrored - REST).max() < 0.1
    assert np.linalg.norm(REST[62] - REST[66]) < 0.03 * eye_distance(REST)
    assert lid_gap(REST) > 0.06


def lid_gap(points: np.ndarray) -> np.ndarray:
    return np.mean([np.linalg.norm(points[..., a, :] - points[..., b, :], axis=-1) for a, b in LEFT_LIDS], 0) / (
        eye_distance(points)
    )


def test_built_in_motions_do_what_their_names_say():
    def gap(m: Motion) -> np.ndarray:
        return np.linalg.norm(m.points[:, 62] - m.points[:, 66], axis=-1) / eye_distance(m.points)

    def width(m: Motion) -> np.ndarray:
        return np.linalg.norm(m.points[:, 48] - m.points[:, 54], axis=-1) / eye_distance(m.points)

    def brows(m: Motion) -> np.ndarray:
        return (m.points[:, 36, 1] - m.points[:, 19, 1]) / eye_distance(m.points)

    talk, nod, smile, surprise, blink = (
        load_builtin_motion(name) for name in ("talk", "nod", "smile", "surprise", "blink")
    )
    opened = gap(talk) > 0.08
    assert np.abs(np.diff(opened.astype(int))).sum() >= 12, "the mouth opens and shuts again and again"
    assert np.ptp(nod.points[:, 30, 1]) > 0.15 * eye_distance(REST) and np.ptp(gap(nod)) < 0.02
    assert width(smile).max() > 1.2 * width(smile)[0]
    assert brows(surprise).max() > brows(surprise)[0] + 0.08 and gap(surprise).max() > 0.15
    closed = lid_gap(blink.points) < 0.3 * lid_gap(REST)
    assert (np.diff(closed.astype(int)) == 1).sum() == 2 and np.ptp(gap(blink)) < 0.02


def test_an_unknown_motion_names_the_known_ones():
    with pytest.raises(UsageError, match="no built-in motion 'dance': choose one of motion:talk, motion:nod"):
        load_builtin_motion("motion:dance")
    assert is_builtin_motion("motion:dance") and not is_builtin_motion(Path("motion.mp4"))


def test_the_file_of_motions_is_small_and_what_its_card_says():
    data = builtin_motions.FILE.read_bytes()
    assert len(data) < 300_000
    card = builtin_motions.FILE.with_suffix(".md").read_text()
    assert re.findall(r"\b[0-9a-f]{64}\b", card) == [hashlib.sha256(data).hexdigest()]


def test_a_built_in_motion_can_be_saved_and_loaded(tmp_path):
    talk = load_builtin_motion("talk")
    same(talk, load_motion(save_motion(talk, tmp_path / "talk.npz")))
