"""Training from prepared shards: in memory or streamed, the clips are the same, and a resumed run is the same run."""

import io
import itertools
import json
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.training.config import DataConfig, TrainConfig
from fewshot_reenact.training.data.clipping import CutClip
from fewshot_reenact.training.data.clips import load_clips
from fewshot_reenact.training.data.codec import KEY_FRAME_EVERY, ClipEncoder, ClipFrames
from fewshot_reenact.training.data.damage import DamagedClip, Ledger
from fewshot_reenact.training.data.dataset import ShardClips, open_clips, video_of
from fewshot_reenact.training.data.episodes import Episodes, PlannedEpisodes
from fewshot_reenact.training.data.shards import ShardWriter, read_clip
from fewshot_reenact.training.data.storage import Folder
from fewshot_reenact.training.examining import EPISODES, streamed_batches
from fewshot_reenact.training.loop import train
from killed_runs import dies_at
from painted_clips import face_points, paint_face, write_clips
from talking_heads import FPS, tree

CPU = torch.device("cpu")
MODEL = {
    "kind": "textured", "size": 32, "embedding": 8, "embedder_channels": [8, 8], "down_channels": [8, 8],
    "up_channels": [8, 8], "residual_blocks": 1, "embedder_unshuffle": 2, "generator_unshuffle": 2, "stem": 8,
    "skips": True, "spectral_norm": False, "attention": False,
}  # fmt: skip


def films(count: int) -> list[np.ndarray]:
    return [paint_face(face_points(64, at=(0.4 + 0.005 * t, 0.4)), 64) for t in range(count)]


# ---- the film ----


def test_any_frame_of_a_clip_in_any_order():
    pictures = films(30)
    encoder = ClipEncoder(64, FPS)
    for picture in pictures:
        encoder.add(picture)
    data = encoder.finish()
    frames = ClipFrames(data, 30, 1, "x")
    decoded = list(frames)
    assert len(decoded) == len(frames) == 30 > 2 * KEY_FRAME_EVERY
    for at in (29, 0, 13, 12, 11, 12, 28):
        assert np.array_equal(frames[at], decoded[at])
    # That the right frame came, not one of its neighbours: the face moves.
    errors = [np.abs(decoded[13].astype(int) - picture).mean() for picture in pictures]
    assert int(np.argmin(errors)) == 13 and errors[13] < 6
    thirds = ClipFrames(data, 30, 3, "x")
    assert len(thirds) == 10 and all(np.array_equal(a, b) for a, b in zip(thirds, decoded[::3], strict=True))
    assert np.array_equal(thirds[9], decoded[27])
    for at in (30, -1):
        with pytest.raises(IndexError):
            frames[at]


def test_a_damaged_film_names_the_clip():
    for data in (b"", b"no film", b"\0" * 3000):
        with pytest.raises(InputError, match="clip-7"):
            ClipFrames(data, 3, 1, "clip-7")[0]


# ---- the clips ----


def test_in_memory_and_streamed_are_the_same_clips(vox_shards):
    streamed = open_clips(DataConfig(clips=vox_shards, frame_step=2, stream=True))
    loaded = open_clips(DataConfig(clips=str(vox_shards), frame_step=2))
    assert isinstance(streamed, ShardClips) and not isinstance(loaded, ShardClips)
    for_workers = pickle.loads(pickle.dumps(streamed))
    assert np.array_equal(for_workers[2].frames[3], streamed[2].frames[3])
    assert streamed.people == loaded.people and sorted(set(loaded.people)) == ["id1", "id2"]
    assert streamed.frames == loaded.frames == 24 and len(streamed) == len(loaded) == 4
    for number in range(4):
        a, b = streamed[number], loaded[number]
        assert (a.name, a.person, len(a.frames)) == (b.name, b.person, len(b.frames)) and len(a.points) == len(a.frames)
        assert np.array_equal(a.points, b.points)
    one, two = (Episodes(clips, DataConfig(clips=vox_shards), 32, "filled", 3, 9)[5] for clips in (streamed, loaded))
    for name in one:
        assert one[name].shape == two[name].shape
        if one[name].dtype == torch.uint8:  # in memory the frames are JPEG
            assert (one[name].float() - two[name].float()).abs().mean() < 3
        else:
            assert torch.equal(one[name], two[name])


def test_a_shard_unpacked_is_a_folder_of_clips(vox_shards, tmp_path):
    for path in vox_shards.glob("*.tar"):
        with tarfile.open(path) as tar:
            tar.extractall(tmp_path, filter="data")
    plain = {clip.name: clip for clip in load_clips(tmp_path, 1)}
    for clip in ShardClips(vox_shards, 1):
        assert plain[clip.name].person == clip.person and np.array_equal(plain[clip.name].points, clip.points)
        assert len(plain[clip.name].frames) == len(clip.frames)


def copied(vox_shards: Path, folder: Path) -> Path:
    folder.mkdir()
    for name, data in tree(vox_shards).items():
        (folder / name).write_bytes(data)
    return folder


def test_shards_that_cannot_be_read(vox_shards, tmp_path):
    one = copied(vox_shards, tmp_path / "one")
    (one / "index.json").unlink()
    with pytest.raises(InputError, match="let `reenact prepare` finish it"):
        open_clips(DataConfig(clips=one))
    two = copied(vox_shards, tmp_path / "two")
    (two / "clips.jsonl").write_text((two / "clips.jsonl").read_text().split("\n")[0] + "\n")
    with pytest.raises(InputError, match="has 1 of 4 clips"):
        open_clips(DataConfig(clips=two))
    three = copied(vox_shards, tmp_path / "three")
    row = json.loads((three / "clips.jsonl").read_text().splitlines()[0])
    damaged = bytearray((three / row["shard"]).read_bytes())
    damaged[row["offset"] + 512 :] = bytes(len(damaged) - row["offset"] - 512)
    (three / row["shard"]).write_bytes(damaged)
    with pytest.raises(InputError, match="delete the shard and run prepare again"):
        ShardClips(three, 1)[0]
    with pytest.raises(InputError, match="2 frames or more, 50 frames apart"):
        ShardClips(vox_shards, 50)
    with pytest.raises(UsageError, match="make them with `reenact prepare`"):
        open_clips(DataConfig(clips=write_clips(tmp_path / "plain", people=1), stream=True))


def test_only_the_clip_that_is_wanted_is_read(vox_shards, monkeypatch):
    clips = ShardClips(vox_shards, 1)
    asked: list[int] = []
    read = clips.folder.read

    def noted(name: str, start: int = 0, length: int | None = None) -> bytes:
        data = read(name, start, length)
        asked.append(len(data))
        return data

    monkeypatch.setattr(clips.folder, "read", noted)
    row = [json.loads(line) for line in (vox_shards / "clips.jsonl").read_text().splitlines()][2]
    assert clips[2].name == row["key"]
    assert asked == [row["length"]]
    settings = config(vox_shards)
    episodes = PlannedEpisodes(clips, settings.data, 32, "filled", 3, 9)
    asked.clear()
    for index in range(5):
        assert len(episodes[index]["target"]) == 3
    assert len(asked) <= 5, "an episode is one request"


# ---- training ----


def config(vox_shards: Path, **changes: object) -> TrainConfig:
    raw = {"model": MODEL, "data": {"clips": str(vox_shards), "frame_step": 1, "stream": True}, "batch": 2, "steps": 6}
    return TrainConfig.model_validate({**raw, "save_every": 2, "log_every": 1, "keep": 9, **changes})


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("ordered", [False, True])
def test_a_streamed_run_that_was_stopped_and_resumed_is_the_same_run(vox_shards, tmp_path, monkeypatch, ordered):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    first = {"clips": str(vox_shards), "frame_step": 1, "stream": True}
    later = first = {**first, "shuffle_shards": 2} if ordered else first
    if ordered:  # the cache may come later, or be another
        later = {**first, "cache": tmp_path / "cache", "cache_gb": 0.1}
    train(config(vox_shards, data=first), whole, device=CPU)
    ticks = itertools.count()
    with monkeypatch.context() as patched:
        patched.setattr("time.monotonic", lambda: float(next(ticks)))
        assert train(config(vox_shards, data=first), parts, device=CPU, max_minutes=3 / 60) < 6
    assert train(config(vox_shards, data=later), parts, device=CPU) == 6
    assert (tmp_path / "cache").exists() == ordered
    assert losses(parts) == losses(whole) and len(losses(whole)) == 6
    last = "checkpoints/step_0000006.pt"
    a, b = (torch.load(folder / last, weights_only=True)["model"] for folder in (whole, parts))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_from_before_an_option_was_there_goes_on(vox_shards, tmp_path):
    data = {"clips": str(vox_shards), "frame_step": 1}
    train(config(vox_shards, data=data), tmp_path / "run", device=CPU)
    path = tmp_path / "run" / "config.json"
    old = json.loads(path.read_text())
    del old["data"]["stream"]
    path.write_text(json.dumps(old))
    assert train(config(vox_shards, data=data), tmp_path / "run", device=CPU) == 6
    with pytest.raises(UsageError, match="another 'data'"):
        train(config(vox_shards), tmp_path / "run", device=CPU)


def test_parts_of_one_voxceleb_video_are_one_video():
    """W has a row a video (Zakharov et al. 2019, section 3.2), and VoxCeleb's videos come in parts."""
    assert video_of("id1/abc/00001.mp4") == video_of("id1/abc/00002.mp4") != video_of("id1/xyz/00001.mp4")
    assert video_of("dev/id1/abc/00001.mp4") == video_of("dev/id1/abc/00002.mp4")
    assert video_of("anna/monday.mp4") != video_of("anna/tuesday.mp4") and video_of("a.mp4") == "a.mp4"


def test_clips_know_their_videos_in_memory_and_streamed(vox_shards):
    streamed = ShardClips(vox_shards, 1)
    loaded = streamed.load()
    assert list(loaded.videos) == list(streamed.videos) and set(streamed.videos) == set(range(1 + max(streamed.videos)))
    assert streamed.fingerprint == ShardClips(vox_shards, 1).fingerprint != ShardClips(vox_shards, 2).fingerprint


def test_a_limit_takes_the_first_clips(vox_shards, tmp_path):
    whole, some = ShardClips(vox_shards, 1), ShardClips(vox_shards, 1, limit=2)
    assert len(some) == 2 < len(whole) and some[1].name == whole[1].name and some.fingerprint != whole.fingerprint
    folder = write_clips(tmp_path / "clips", people=3)
    assert [clip.name for clip in load_clips(folder, 1, limit=2)] == ["person0_0", "person1_0"]


def damage_first(shards: Path) -> str:
    """Damages the first clip; returns what it is called in damaged.jsonl."""
    row = json.loads((shards / "clips.jsonl").read_text().splitlines()[0])
    tar = shards / row["shard"]
    data = bytearray(tar.read_bytes())
    data[row["offset"] : row["offset"] + row["length"]] = bytes(row["length"])
    tar.write_bytes(data)
    return f"{row['shard']} {row['offset']}"


def test_people_kept_out_are_streamed_without_their_damaged_clips(vox_shards, tmp_path):
    clip = damage_first(copied(vox_shards, tmp_path / "shards"))
    settings = config(tmp_path / "shards")
    clips = open_clips(settings.data)
    with pytest.raises(DamagedClip):
        streamed_batches(clips, PlannedEpisodes, settings)
    told: list[str] = []
    ledger = Ledger(tmp_path, 0.5, len(clips), told.append)
    batches = streamed_batches(clips, PlannedEpisodes, settings, ledger)
    assert sum(len(batch["target"]) for batch in batches) == EPISODES and "damaged" not in batches[0]
    assert ledger.known == {clip} and len(told) == 1
    (tmp_path / "strict").mkdir()
    with pytest.raises(InputError, match=r"data\.damaged"):
        streamed_batches(clips, PlannedEpisodes, settings, Ledger(tmp_path / "strict", 0.0, len(clips), told.append))


def test_a_damaged_clip_is_skipped_alike_by_whoever_meets_it(vox_shards, tmp_path):
    """Killed and resumed or in one go: the same weights, the clip told once and listed; too many end the run."""
    shards = copied(vox_shards, tmp_path / "shards")
    clip = damage_first(shards)

    def trained(name: str, damaged: float = 0.5) -> dict[str, torch.Tensor]:
        settings = config(shards).model_dump()
        settings["data"]["damaged"] = damaged
        assert train(TrainConfig.model_validate(settings), tmp_path / name, device=CPU) == 6
        return load_file(tmp_path / name / "model.safetensors")

    whole = trained("whole")
    with dies_at(3):
        trained("parts")
    parts = trained("parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    for name in ("whole", "parts"):
        (line,) = (tmp_path / name / "damaged.jsonl").read_text().splitlines()
        assert json.loads(line)["clip"] == clip
    for _ in range(2):  # nor does it go on where it ended
        with pytest.raises(InputError, match=r"1 of 4 clips are damaged, more than data.damaged allows \(0\)"):
            trained("strict", 0.0)
    raised = trained("strict")
    assert all(torch.equal(whole[name], raised[name]) for name in whole), "raised, the run goes on"


def test_what_cannot_be_read_now_is_not_skipped(vox_shards, tmp_path):
    shards = copied(vox_shards, tmp_path / "shards")
    for tar in shards.glob("*.tar"):
        tar.unlink()
    with pytest.raises(InputError, match="cannot be read"):
        train(config(shards), tmp_path / "run", device=CPU)
    assert not (tmp_path / "run" / "damaged.jsonl").exists()


@pytest.mark.parametrize("frames", [0, 3])
def test_a_clip_without_frames_or_with_fewer_than_it_says_is_damaged(tmp_path, frames):
    labels = io.BytesIO()
    np.savez(labels, points=np.zeros((0, 83, 2), np.float32), identity="one")
    tar = tmp_path / "shard-000000.tar"
    writer = ShardWriter(tar)
    writer.add("one", CutClip(b"", labels.getvalue(), {"frames": frames}), "one.mp4")
    writer.close()
    row = writer.rows[0]
    with pytest.raises(DamagedClip, match="there are none"):
        read_clip(Folder(str(tmp_path)), tar.name, row["offset"], row["length"])


def test_a_film_that_is_shorter_than_its_labels_is_damaged_however_it_is_read():
    encoder = ClipEncoder(64, FPS)
    for picture in films(6):
        encoder.add(picture)
    film = encoder.finish()
    assert len(list(ClipFrames(film, 6, 2, "whole"))) == 3 and len(list(ClipFrames(film, 4, 1, "more than said"))) == 4
    with pytest.raises(DamagedClip, match="breaks off before frame 6"):
        list(ClipFrames(film, 9, 2, "short"))
