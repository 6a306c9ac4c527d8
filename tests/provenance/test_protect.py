"""Pictures that must not be animated, by `reenact protect` and by others' marks; and a statement of consent."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import c2pa
import numpy as np
import pytest
from PIL import Image

from animate_samples import WALK, complaint, film, names_in, portrait_file, run
from fake_face import PaintedFaces
from fewshot_reenact import AnimateOptions, Session, animate, finetune
from fewshot_reenact.errors import InputError
from fewshot_reenact.files import sha256
from fewshot_reenact.landmarks import registry
from fewshot_reenact.media.pictures import read_picture
from fewshot_reenact.provenance import protect, xmp
from fewshot_reenact.provenance.keys import make_credentials
from fewshot_reenact.training.config import DataConfig
from fewshot_reenact.training.data import protected as protected_clips
from fewshot_reenact.training.data.clipping import ClipOptions, find_clips
from fewshot_reenact.training.data.dataset import open_clips
from mark_samples import ffmpeg, manifests, statement
from painted_clips import write_clip, write_clips


@pytest.fixture
def painted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line finds the faces of painted pictures."""
    monkeypatch.setitem(registry.BACKENDS, "builtin", lambda device: PaintedFaces())


@pytest.fixture(scope="module")
def protected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A painted portrait with all three marks. Not to be changed: copy it."""
    folder = tmp_path_factory.mktemp("protected")
    told = run("protect", portrait_file(folder / "ann.png", scale=4), "-o", folder / "p.png")
    assert told.exit_code == 0 and told.stderr == "", told.output
    return folder / "p.png"


def only_watermark(picture: Path, to: Path) -> Path:
    """As a service leaves it: a smaller JPEG."""
    Image.open(picture).resize((480, 360)).save(to, quality=85)
    return to


def only_xmp(picture: Path, to: Path) -> Path:
    Image.open(portrait_file(to, scale=4)).save(to)
    xmp.embed(to, ".png", xmp.packet(None, "x", "y", xmp.DO_NOT_ANIMATE))
    return to


def only_manifest(picture: Path, to: Path) -> Path:
    return sign_mining(portrait_file(to, scale=4), "cawg", {"ai_inference": "notAllowed"})


def sign_mining(path: Path, space: str, uses: dict[str, str], parent: Path | None = None) -> Path:
    """Signs a picture as another tool would, with what may be done with it."""
    entries = {f"{space}.{name}": {"use": use} for name, use in uses.items()}
    source = "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture"
    done = {"action": "c2pa.created", "digitalSourceType": source}
    if parent is not None:
        done = {"action": "c2pa.opened", "parameters": {"ingredientIds": ["parent"]}}
    assertions = [
        {"label": "c2pa.actions.v2", "data": {"actions": [done]}},
        *([{"label": f"{space}.training-mining", "data": {"entries": entries}}] if uses else []),
    ]
    by, signed = make_credentials(), io.BytesIO()
    builder = c2pa.Builder({"claim_generator_info": [{"name": "Camera", "version": "1"}], "assertions": assertions})
    if parent is not None:
        about = json.dumps({"title": "parent", "relationship": "parentOf", "label": "parent"})
        builder.add_ingredient_from_stream(about, "image/png", io.BytesIO(parent.read_bytes()))
    with c2pa.Signer.from_info(c2pa.C2paSignerInfo(by.algorithm, by.chain, by.key, None)) as signer:
        builder.sign(signer, "image/png", io.BytesIO(path.read_bytes()), signed)
    path.write_bytes(signed.getvalue())
    return path


# Protecting


def test_a_protected_picture_looks_the_same_and_says_so_three_times(protected: Path) -> None:
    original = protected.with_name("ann.png")
    off = read_picture(original).astype(float) - read_picture(protected)
    assert 10 * np.log10(255**2 / (off**2).mean()) > 42
    found = json.loads(run("verify", "--json", protected).stdout)[0]
    assert found["protected"] and not found["made_by_this_tool"]
    assert found["watermark"]["id"] == protect.RESERVED_ID and found["tags"]["protected"]
    assert set(found["signature"]["said"]["mining"].values()) == {"notAllowed"}
    _, active, state = manifests(protected)
    assert state == "Valid" and not [one for one in active["assertions"] if "animation" in one["label"]]
    told = run("verify", protected)
    assert told.exit_code == 1 and "says of itself that it must not be animated" in told.stdout
    assert "AI-generated" not in told.stdout
    assert b"AI-generated" not in protected.read_bytes()


def test_it_can_be_a_jpeg_or_transparent_and_is_not_written_over(tmp_path: Path) -> None:
    source = portrait_file(tmp_path / "ann.png", scale=4)
    clear = np.dstack([read_picture(source), np.full((480, 640), 128, np.uint8)])
    Image.fromarray(clear).save(tmp_path / "clear.png")
    assert run("protect", source, "-o", tmp_path / "p.jpg").exit_code == 0
    assert run("protect", tmp_path / "clear.png", "-o", tmp_path / "q.png").exit_code == 0
    assert (np.asarray(Image.open(tmp_path / "q.png"))[..., 3] == 128).all()
    for name in ("p.jpg", "q.png"):
        assert "C2PA manifest has ai_inference notAllowed" in str(protect.why_refused(tmp_path / name, "animate"))
    assert "exists" in complaint(run("protect", source, "-o", tmp_path / "p.jpg"), 2)
    assert "is an input" in complaint(run("protect", source, "-o", source, "--overwrite"), 2)
    (tmp_path / "a.txt").write_text("x")
    assert run("protect", tmp_path / "a.txt", "-o", tmp_path / "r.png").exit_code == 3
    assert run("protect", source, "-o", tmp_path / "r.gif").exit_code == 2
    assert not (tmp_path / "r.png").exists()


def test_a_small_picture_that_hides_the_watermark_is_told_of(tmp_path: Path) -> None:
    told = run("protect", portrait_file(tmp_path / "ann.png", scale=1), "-o", tmp_path / "p.png")
    found = json.loads(run("verify", "--json", tmp_path / "p.png").stdout)[0]
    assert told.exit_code == 0 and ("cannot be read back" in told.stderr) == (found["watermark"] is None)
    assert found["protected"]


# Heeding


@pytest.mark.parametrize("mark", [only_watermark, only_xmp, only_manifest], ids=lambda one: one.__name__)
def test_each_mark_alone_is_heeded(
    tmp_path: Path, tiny_model: Path, protected: Path, painted: None, mark: Callable[[Path, Path], Path]
) -> None:
    portrait = mark(protected, tmp_path / ("a.jpg" if mark is only_watermark else "a.png"))
    before = names_in(tmp_path)
    told = run("animate", portrait, "motion:nod", "-o", tmp_path / "o.mp4", "--model", tiny_model)
    assert "must not be animated, it says so: its " in complaint(told, 3)
    told = run("finetune", portrait, "-o", tmp_path / "o.safetensors", "--model", tiny_model, "--device", "cpu")
    assert "must not be used for training, it says so: its " in complaint(told, 3)
    assert names_in(tmp_path) == before


def test_a_broken_signature_is_no_way_around(tmp_path: Path, protected: Path) -> None:
    path = only_manifest(protected, tmp_path / "a.png")
    data = path.read_bytes()
    at = data.index(b"IEND") - 4
    path.write_bytes(data[:at] + b"\0\0\0\x01tEXtx\x00\x00\x00\x00" + data[at:])
    assert "ai_inference notAllowed" in str(protect.why_refused(path, "animate"))


def test_further_portraits_sessions_batches_and_videos_are_looked_at_too(
    tmp_path: Path, tiny_model: Path, protected: Path, painted: None
) -> None:
    plain = portrait_file(tmp_path / "plain.png", scale=4)
    marked = shutil.copy(protected, tmp_path / "marked.png")
    with pytest.raises(InputError, match="must not be animated"):
        animate([plain, marked], plain, tmp_path / "o.png", model=tiny_model, landmarks=PaintedFaces())
    with pytest.raises(InputError, match="must not be animated"):
        Session(read_picture(marked), AnimateOptions(model=tiny_model, landmarks=PaintedFaces()))
    rows = [{"portrait": name, "driver": "motion:nod"} for name in ("plain.png", "marked.png")]
    (tmp_path / "jobs.jsonl").write_text("\n".join(json.dumps({**row, "end": 0.1}) for row in rows))
    told = run("batch", tmp_path / "jobs.jsonl", "-o", tmp_path / "out", "--model", tiny_model)
    assert told.exit_code == 3 and "must not be animated" in told.stdout
    assert [path.name for path in (tmp_path / "out").glob("*.mp4")] == ["plain--nod.mp4"]
    ffmpeg("-loop", "1", "-i", marked, "-t", "0.4", "-r", "25", "-crf", "20", "-pix_fmt", "yuv420p", tmp_path / "v.mp4")
    with pytest.raises(InputError, match="its watermark"):
        animate(tmp_path / "v.mp4", "motion:nod", tmp_path / "o.mp4", model=tiny_model, landmarks=PaintedFaces())


def test_a_refusal_goes_before_whatever_else_is_wrong(tmp_path: Path, tiny_model: Path, protected: Path) -> None:
    with pytest.raises(InputError, match="must not be animated"):
        animate(protected, "motion:nod", tmp_path / "o.mp4", face=7, model=tiny_model, landmarks=PaintedFaces())


def test_prepare_leaves_such_videos_out_and_says_why(tmp_path: Path, protected: Path) -> None:
    ffmpeg(
        "-loop", "1", "-i", protected, "-t", "1", "-r", "25", "-crf", "20", "-pix_fmt", "yuv420p", tmp_path / "v.mp4"
    )
    with pytest.raises(InputError, match="must not be used for training, it says so: its watermark"):
        find_clips(tmp_path / "v.mp4", PaintedFaces(), ClipOptions(min_seconds=0.5))
    told = run("prepare", tmp_path / "v.mp4", tmp_path / "shards", "--workers", 1)
    assert told.exit_code == 3 and "must not be used for training" in told.stderr
    listed = (tmp_path / "shards" / "skipped.jsonl").read_text()
    assert "v.mp4" in listed and "must not be used for training" in listed


def test_training_does_not_begin_with_clips_that_forbid_it(
    tmp_path: Path, protected: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = write_clips(tmp_path / "clips", people=3)
    ffmpeg("-loop", "1", "-i", protected, "-frames:v", "8", "-crf", "20", "-pix_fmt", "yuv420p", clips / "marked_0.mp4")
    shutil.copy(clips / "person0_0.npz", clips / "marked_0.npz")
    told = run("train", "--config", "tiny", "--clips", clips, "--run", tmp_path / "run", "--steps", 1)
    said = "1 of 4 clips say that they must not be used for training; take them out of the folder: marked_0.mp4: its"
    assert told.exit_code == 3 and said in told.stderr
    assert not (tmp_path / "run" / "model.safetensors").exists()

    asked: list[str] = []
    monkeypatch.setattr(protected_clips, "why_refused", lambda clip, use: asked.append(clip.name))
    assert len(open_clips(DataConfig(clips=clips))) == 4 and asked == ["marked_0.mp4"]  # the others are remembered
    (clips / "person0_0.mp4").unlink()
    write_clip(clips / "person0_0.mp4", "person0", 9, 64, seed=3)
    open_clips(DataConfig(clips=clips))
    assert asked == ["marked_0.mp4", "person0_0.mp4"]
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(protected_clips, "_remembered", set)
    open_clips(DataConfig(clips=clips))
    assert asked[2:] == ["person0_0.mp4", "person2_0.mp4"]  # the other process looks at the others


@pytest.mark.parametrize("space", ["cawg", "c2pa"])
def test_what_a_manifest_forbids_is_taken_at_its_word(tmp_path: Path, space: str) -> None:
    for uses, animates, trains in [
        ({"ai_inference": "notAllowed"}, False, False),
        ({"ai_training": "notAllowed", "ai_inference": "allowed"}, True, False),
        ({"ai_generative_training": "constrained"}, True, False),
        ({"data_mining": "notAllowed"}, True, True),
        ({"ai_inference": "allowed", "ai_training": "allowed"}, True, True),
        ({}, True, True),
    ]:
        path = sign_mining(portrait_file(tmp_path / "a.png"), space, uses)
        assert (protect.why_refused(path, "animate") is None) == animates, uses
        assert (protect.why_refused(path, "train") is None) == trains, uses


def test_what_was_forbidden_of_the_original_holds_for_an_edited_copy(tmp_path: Path) -> None:
    original = sign_mining(portrait_file(tmp_path / "a.png"), "cawg", {"ai_inference": "notAllowed"})
    edited = sign_mining(portrait_file(tmp_path / "b.png"), "cawg", {}, parent=original)
    assert "ai_inference notAllowed" in str(protect.why_refused(edited, "animate"))


def test_the_words_of_plus_are_about_training(tmp_path: Path) -> None:
    path = portrait_file(tmp_path / "a.png")
    begin = '<plus:DataMining xmlns:plus="http://ns.useplus.org/ldf/xmp/1.0/">'
    said = begin + "http://ns.useplus.org/ldf/vocab/{}</plus:DataMining>"
    xmp.embed(path, ".png", xmp.packet(None, "x", "y", said.format("DMI-PROHIBITED-AIMLTRAINING")))
    assert "DMI-PROHIBITED-AIMLTRAINING" in str(protect.why_refused(path, "train"))
    assert protect.why_refused(path, "animate") is None
    xmp.embed(portrait_file(path), ".png", xmp.packet(None, "x", "y", said.format("DMI-ALLOWED")))
    assert protect.why_refused(path, "train") is None


def test_what_says_nothing_is_used_as_before(marked: Path, assets: Path, tmp_path: Path) -> None:
    for path in (marked, assets / "astronaut.jpg", assets / "driver.mp4", tmp_path / "nobody.png"):
        assert protect.why_refused(path, "animate") is None and protect.why_refused(path, "train") is None
    (tmp_path / "junk.png").write_bytes(b"\x89PNG junk")
    assert protect.why_refused(tmp_path / "junk.png", "train") is None


# A statement of consent


def test_the_hash_of_a_statement_is_in_the_manifest(tmp_path: Path, tiny_model: Path, painted: None) -> None:
    portrait_file(tmp_path / "ann.png"), film(tmp_path / "walk.mp4", WALK)
    letter = tmp_path / "letter.pdf"
    letter.write_bytes(b"%PDF Ann agrees, signed")
    command = [tmp_path / "ann.png", tmp_path / "walk.mp4", "-o", tmp_path / "o.mp4", "--model", tiny_model]
    assert run("animate", *command, "--consent-file", letter).exit_code == 0
    said = statement(manifests(tmp_path / "o.mp4")[1])
    assert said["consent_file"] == sha256(letter)
    data = (tmp_path / "o.mp4").read_bytes()
    assert b"Ann agrees" not in data and b"letter.pdf" not in data
    assert f"consent    a statement with SHA-256 {sha256(letter)}" in run("verify", tmp_path / "o.mp4").stdout


def test_a_statement_given_to_finetune_goes_on(tmp_path: Path, tiny_model: Path) -> None:
    letter = tmp_path / "letter.txt"
    letter.write_text("I agree. Ann")
    portrait = portrait_file(tmp_path / "ann.png")
    options = {"model": tiny_model, "landmarks": PaintedFaces(), "device": "cpu"}
    finetune([portrait], tmp_path / "ann.safetensors", consent_file=letter, **options)  # type: ignore[arg-type]
    made = animate(
        tmp_path / "ann.safetensors", portrait, tmp_path / "o.png", landmarks=PaintedFaces(), device="cpu"
    )  # fmt: skip
    inputs = statement(manifests(made.output)[1])["inputs"]
    assert next(one for one in inputs if one["role"] == "person")["consent_file"] == sha256(letter)
    assert f"SHA-256 {sha256(letter)} (kept by who made it at fine-tuning)" in run("verify", made.output).stdout


def test_statements_that_are_none(tmp_path: Path, tiny_model: Path, painted: None) -> None:
    portrait = portrait_file(tmp_path / "ann.png")
    (tmp_path / "empty").touch()
    for name, says in [("empty", "is empty"), ("nowhere", "cannot be read"), (".", "cannot be read")]:
        told = run(
            "animate", portrait, portrait, "-o", tmp_path / "o.png", "--model", tiny_model, "--consent-file",
            tmp_path / name,
        )  # fmt: skip
        assert says in complaint(told, 3)
    assert not (tmp_path / "o.png").exists()
