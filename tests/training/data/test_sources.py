"""Which videos prepare reads, who is in them, into which shard they go, and which pieces of them are used."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.motion.motion import Motion
from fewshot_reenact.training.data.clipping import ClipOptions, choose_spans
from fewshot_reenact.training.data.shards import clip_key, is_ours, is_partial
from fewshot_reenact.training.data.sources import ListedVideo, fingerprint, list_sources, person_of, spread
from painted_clips import face_points


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


@pytest.mark.parametrize(
    ("name", "person"),
    [
        ("id00012/21Uxsk56VDQ/00001.mp4", "id00012"),
        ("dev/mp4/id00012/21Uxsk56VDQ/00001.mp4", "id00012"),
        ("anna/monday.mov", "anna"),
        ("anna.v2.mp4", "anna.v2"),
    ],
)
def test_who_is_in_a_video(name, person):
    assert person_of(name) == person


def test_a_folder_is_searched_for_videos_only(tmp_path):
    touch(tmp_path, "b/x/1.mp4", "a/y/2.MKV", "a/y/2.txt", "c.webm", ".hidden/3.mp4", ".4.mp4", "d/portrait.jpg")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    assert [(s.name, s.person, s.size) for s in list_sources(tmp_path)] == [
        ("a/y/2.MKV", "a", 9),
        ("b/x/1.mp4", "b", 9),
        ("c.webm", "c", 6),
    ]


def test_a_list_file(tmp_path):
    touch(tmp_path, "clips/p1/v/1.mp4", "clips/two.mp4")
    names = tmp_path / "list.txt"
    names.write_text("# who is who\nclips/two.mp4\tBerta\n\nclips/p1/v/1.mp4\nnone.mp4\ns3://bucket/id7/v/1.mp4\n")
    found = {s.name: (s.person, s.path) for s in list_sources(names)}
    assert found["clips/two.mp4"] == ("Berta", str(tmp_path / "clips" / "two.mp4"))
    assert found["clips/p1/v/1.mp4"][0] == "p1"
    assert found["s3://bucket/id7/v/1.mp4"] == ("id7", "s3://bucket/id7/v/1.mp4")
    assert "none.mp4" in found and len(found) == 4, "a missing video is found missing, and listed, when it is its turn"
    names.write_text("a.mp4\nb.mp4\na.mp4\n")
    with pytest.raises(UsageError, match=r"line 3: a\.mp4 is named in line 1 already"):
        list_sources(names)


def test_one_video_and_no_videos(tmp_path):
    touch(tmp_path, "one.mp4", "empty/x.txt")
    (tmp_path / "bytes.lst").write_bytes(b"\xff\xfe\x81")
    assert [s.name for s in list_sources(tmp_path / "one.mp4")] == ["one.mp4"]
    for name, words in (("empty", "no video in it"), ("gone", "no such file"), ("bytes.lst", "neither a video nor")):
        with pytest.raises(InputError, match=words):
            list_sources(tmp_path / name)
    with pytest.raises(UsageError, match="nonsense"):
        list_sources("nonsense://bucket/videos")


def sources(count: int, size: int = 10) -> list[ListedVideo]:
    return [ListedVideo(f"id{i // 10}/v/{i}.mp4", "", f"id{i // 10}", size) for i in range(count)]


@pytest.mark.parametrize(("count", "shards"), [(1, 1), (20, 20), (320, 32), (6400, 100)])
def test_shards_are_samples_that_the_list_alone_decides(count, shards):
    parts = spread(sources(count))
    assert len(parts) == shards
    assert sorted(s.name for part in parts for s in part) == sorted(s.name for s in sources(count))
    assert spread(list(reversed(sources(count)))) == parts
    if count == 6400:
        assert min(len({s.person for s in part}) for part in parts) > 50, "a shard mixes people"


def test_shards_of_large_videos_hold_fewer():
    assert len(spread(sources(10, 600), most=10, most_bytes=1000)) == 10
    assert len(spread(sources(10, 400), most=10, most_bytes=1000)) == 5
    assert len(spread(sources(10), most=4)) == 3


def test_a_list_that_changed_has_another_fingerprint():
    before = sources(3)
    changed = [*before[:2], ListedVideo(before[2].name, "", before[2].person, 11)]
    assert fingerprint(before) == fingerprint(sources(3)) != fingerprint(changed)


def motion(found: list[bool], cuts: list[int] | None = None, height: float = 1.0) -> Motion:
    points = np.stack([face_points(200) * height if there else np.full((83, 2), np.nan) for there in found])
    times = np.arange(len(found)) / 10
    ticks = np.arange(len(found))
    return Motion(points, np.ones(len(found)), times, ticks, Fraction(1, 10), Fraction(10), (200, 200), cuts or [])


@pytest.mark.parametrize(
    ("found", "cuts", "spans"),
    [
        ([True] * 20, [], [(0, 20)]),
        ([True] * 30, [12], [(0, 12), (12, 30)]),
        ([True] * 12 + [False] + [True] * 15, [], [(0, 12), (13, 28)]),
        ([True] * 45, [], [(0, 15), (15, 30), (30, 45)]),  # equal pieces, none of them a short rest
        ([True] * 9 + [False] * 3, [], []),
        ([False] * 3 + [True] * 10, [3], [(3, 13)]),
    ],
)
def test_pieces_of_one_shot_with_a_face_in_every_frame(found, cuts, spans):
    options = ClipOptions(min_seconds=1, max_seconds=2, min_face=10)
    assert choose_spans(motion(found, cuts), options)[0] == spans


def test_what_is_left_out_is_counted():
    found = [True] * 5 + [False] + [True] * 6
    assert choose_spans(motion(found), ClipOptions(min_face=10)) == ([], ["2 shorter than 1 s"])
    assert choose_spans(motion([True] * 20, height=0.3), ClipOptions()) == ([], ["1 face of under 64 pixels"])


def test_names_of_clips_and_files():
    keys = {clip_key(name, n) for name in ("a b/c.d.mp4", "a_b/c.d.mp4", "ü/1.mp4", "\udcff.mp4") for n in range(2)}
    assert len(keys) == 8
    assert all(len(f"{key}.json") <= 100 and key.isascii() and "." not in key and "/" not in key for key in keys)
    assert is_ours("shard-000001.tar") and is_ours("index.json") and is_ours(".clips.jsonl.0123abcd.partial")
    assert not any(is_ours(name) for name in ("shard-1.tar", "shard-000001.tar.gz", "my-index.json", "summary.jpg.bak"))
    assert is_partial(".shard-000001.tar.0123abcd.partial") and not is_partial("shard-000001.tar")
