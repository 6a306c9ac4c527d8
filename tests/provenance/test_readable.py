"""Marks that other programs read: soft binding, disclosure, time stamp, China's label; and theirs, read here."""

import datetime
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from animate_samples import WALK, film, names_in, portrait_file, run
from fake_face import PaintedFaces
from fewshot_reenact import AnimateOptions, animate
from fewshot_reenact.errors import UsageError
from fewshot_reenact.landmarks import registry
from fewshot_reenact.provenance import aigc
from fewshot_reenact.provenance.label import Label
from mark_samples import actions, manifests, sign_as, statement
from time_stamps import Authority, authority


@pytest.fixture
def stamps(tmp_path: Path) -> Iterator[Authority]:
    """A time-stamp authority on this machine."""
    (tmp_path / "tsa").mkdir()
    with authority(tmp_path / "tsa") as one:
        yield one


@pytest.fixture
def painted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line finds the faces of painted pictures."""
    monkeypatch.setitem(registry.BACKENDS, "builtin", lambda device: PaintedFaces())


def made(folder: Path, tiny_model: Path, name: str = "out.png", **options: object) -> Path:
    """A pose of a painted face; a video, if the name is one."""
    portrait = folder / "ann.png"
    portrait = portrait if portrait.exists() else portrait_file(portrait, scale=2)
    driver = portrait if name.endswith(("png", "jpg")) else "motion:blink"
    more = {} if driver == portrait else {"end": 0.1}
    if name.endswith("webm"):
        Image.new("L", Image.open(portrait).size, 255).save(folder / "mask.png")
        more |= {"background": "transparent", "matte": folder / "mask.png"}
    more |= options
    return animate(portrait, driver, folder / name, model=tiny_model, landmarks=PaintedFaces(), **more).output  # type: ignore[arg-type]


def found_in(path: Path, *options: object) -> dict:
    return json.loads(run("verify", "--json", path, *options).stdout)[0]


def words(path: Path, *options: object) -> str:
    return run("verify", path, *options).output


# Soft binding and disclosure


def test_the_watermark_is_bound_to_the_manifest(marked: Path) -> None:
    _, active, state = manifests(marked)
    bindings = [one["data"] for one in active["assertions"] if one["label"] == "c2pa.soft-binding"]
    found = found_in(marked)
    assert state == "Valid" and len(bindings) == 1
    # The form that C2PA's list asks of a name, and a scope of everything.
    assert re.fullmatch(r"[a-zA-Z0-9]+\.[a-zA-Z0-9.]+", bindings[0]["alg"])
    assert bindings[0]["blocks"] == [{"scope": {}, "value": found["watermark"]["id"]}]
    assert actions(active)[-1]["action"] == "c2pa.watermarked.bound"
    assert found["signature"]["said"]["bindings"] == [[bindings[0]["alg"], found["watermark"]["id"]]]
    assert f"binding    {bindings[0]['alg']}: {found['watermark']['id']}" in words(marked)


def test_provider_system_time_and_id_are_in_the_manifest(tmp_path: Path, tiny_model: Path) -> None:
    before = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    output = made(tmp_path, tiny_model, provider="Ann's school")
    said = statement(manifests(output)[1])
    time = datetime.datetime.fromisoformat(said["time"].replace("Z", "+00:00"))
    assert before <= time <= datetime.datetime.now(datetime.timezone.utc)
    assert said["provider"] == "Ann's school" and said["id"] == said["watermark"]
    assert said["system"]["name"] == "fewshot-reenact" and said["system"]["version"]
    assert 'says       made available by "Ann\'s school", time "' in words(output)
    other = statement(manifests(made(tmp_path, tiny_model, "other.png"))[1])
    assert other["provider"] == "fewshot-reenact" and other["id"] != said["id"]


def test_the_entry_for_the_list_of_algorithms_is_of_the_watermark_that_is_bound(marked: Path, root: Path) -> None:
    """What docs/manifest.md shows, against the form of C2PA's list."""
    text = (root / "docs" / "manifest.md").read_text("utf-8")
    entry = json.loads(text.split("```json\n")[1].split("```")[0])
    bound = next(one["data"] for one in manifests(marked)[1]["assertions"] if one["label"] == "c2pa.soft-binding")
    assert entry["alg"] == bound["alg"] and entry["type"] == "watermark"
    assert set(entry["decodedMediaTypes"]) <= {"application", "audio", "image", "model", "text", "video"}
    assert entry["entryMetadata"]["description"]


@pytest.mark.parametrize(("provider", "says"), [(" ", "is empty"), ("a\x1b[31m", "control"), ("x" * 201, "longer")])
def test_providers_that_cannot_be_named(provider: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        AnimateOptions(provider=provider)


# Time stamps


def test_a_time_stamp_is_announced_made_and_read(tmp_path, tiny_model, stamps: Authority, painted) -> None:
    portrait_file(tmp_path / "ann.png"), film(tmp_path / "walk.mp4", WALK)
    command = [tmp_path / "ann.png", tmp_path / "walk.mp4", "-o", tmp_path / "o.mp4", "--model", tiny_model]
    told = run("animate", *command, "--timestamp", stamps.url)
    assert told.exit_code == 0 and f"{stamps.url} is asked for time stamps" in told.stderr
    assert stamps.asked == 2, "once to try it before the work, once for the output"
    _, active, state = manifests(tmp_path / "o.mp4")
    assert state == "Valid" and active["signature_info"]["time"]
    stamp = found_in(tmp_path / "o.mp4")["signature"]["time_stamp"]
    assert stamp == {"time": active["signature_info"]["time"], "authority": "Test TSA", "trusted": False}
    assert 'by "Test TSA", an authority not known here' in words(tmp_path / "o.mp4")
    trusting = words(tmp_path / "o.mp4", "--trust", stamps.root)
    assert 'by "Test TSA", an authority trusted here' in trusting and "timeStamp.trusted" in trusting


@pytest.mark.parametrize("name", ["o.webm", "o.jpg", "o.mov"])
def test_every_kind_of_output_is_stamped(tmp_path, tiny_model, stamps: Authority, name: str) -> None:
    output = made(tmp_path, tiny_model, name, timestamp=stamps.url)
    signature = found_in(output)["signature"]
    assert signature["state"] == "trusted" and signature["time_stamp"]["time"]


def test_without_the_option_nobody_is_asked(tmp_path, tiny_model, stamps: Authority) -> None:
    output = made(tmp_path, tiny_model)
    assert stamps.asked == 0 and found_in(output)["signature"]["time_stamp"] is None


@pytest.mark.parametrize("answers", ["fails", "junk", "rejects", "another's"])
def test_a_stamp_that_fails_is_an_error(tmp_path, tiny_model, stamps: Authority, painted, answers: str) -> None:
    stamps.answers = answers
    portrait_file(tmp_path / "ann.png")
    before = names_in(tmp_path)
    told = run(
        "animate", tmp_path / "ann.png", tmp_path / "ann.png", "-o", tmp_path / "o.png", "--model", tiny_model,
        "--timestamp", stamps.url,
    )  # fmt: skip
    assert told.exit_code == 2 and "no time stamp came from there" in told.stderr
    assert names_in(tmp_path) == before


def test_a_stamp_that_fails_after_the_work_leaves_nothing(tmp_path, tiny_model, stamps: Authority) -> None:
    sign_as(portrait_file(tmp_path / "ann.png"), "Camera")  # whose marks are not dropped in a second try without them
    real = stamps.reply
    stamps.reply = lambda query: real(query) if stamps.asked == 0 else b"junk"  # type: ignore[method-assign]
    with pytest.raises(UsageError, match="no time stamp came from there"):
        made(tmp_path, tiny_model, timestamp=stamps.url)
    assert "out.png" not in names_in(tmp_path)


@pytest.mark.parametrize("url", ["ftp://a/b", "stamps", "http://", "http://a b/", "http://a/\x1b"])
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(UsageError, match="is no address"):
        AnimateOptions(timestamp=url)


# China


@pytest.mark.parametrize(("height", "width"), [(48, 64), (256, 256), (480, 640), (1080, 1920)])
def test_the_chinese_label_is_as_high_as_the_standard_wants(height: int, width: int) -> None:
    after = Label(height, width, chinese=True).draw(np.full((height, width, 3), 128, np.uint8)).astype(int)
    rows, columns = np.nonzero(after[..., 0] > 180)  # the letters
    assert np.ptp(rows) + 1 >= 0.05 * min(height, width)
    assert np.ptp(columns) > 3 * np.ptp(rows), "four signs"
    changed = np.nonzero((after != 128).any(-1))
    assert changed[0].max() >= height - 1 - height // 10 and changed[1].max() >= width - 1 - width // 10


@pytest.mark.parametrize("name", ["o.png", "o.jpg", "o.mp4", "o.mov", "o.webm"])
def test_the_metadata_of_the_chinese_standard_are_there_once(tmp_path: Path, tiny_model: Path, name: str) -> None:
    output = made(tmp_path, tiny_model, name, label="cn", provider="001191440300708461136T")
    found = found_in(output)
    id = found["signature"]["statement"]["id"]
    assert found["tags"]["aigc"] == {
        "Label": "1",
        "ContentProducer": "001191440300708461136T",
        "ProduceID": id,
        "ReservedCode1": "",
        "ContentPropagator": "001191440300708461136T",
        "PropagateID": id,
        "ReservedCode2": "",
    }
    assert output.read_bytes().count(b"ContentProducer") == 1
    assert found["signature"]["state"] == "trusted" and found["signature"]["statement"]["label"] == "cn"
    assert f'AIGC       Label "1" (generated), ContentProducer "001191440300708461136T", ProduceID "{id}"' in words(
        output
    )


def test_without_the_chinese_label_there_are_no_such_metadata(marked: Path) -> None:
    assert found_in(marked)["tags"]["aigc"] is None and b"AIGC" not in marked.read_bytes()


def test_names_that_the_chinese_standard_has_no_characters_for(tmp_path: Path, tiny_model: Path) -> None:
    with pytest.raises(UsageError, match="without spaces"):
        AnimateOptions(label="cn", provider="Ann's school")
    told = run("animate", "a.jpg", "b.mp4", "--no-label", "--label", "cn")
    assert "give one of them" in told.output and told.exit_code == 2
    with pytest.raises(UsageError, match="label 'fr'"):
        AnimateOptions(label="fr")  # type: ignore[arg-type]


def test_labels_of_other_tools_are_read(tmp_path: Path) -> None:
    """As others write them: wrapped, as an attribute, with other names for the namespace; and what is none."""
    text = '{"AIGC":{"Label":"2","ContentProducer":"X&Y","Extra":"no"}}'
    assert aigc.read(portrait_file(tmp_path / "a.png"), {"aigc": text}) == {"Label": "2", "ContentProducer": "X&Y"}
    for junk in ("[]", "{", '{"AIGC":3}', "null", '{"Label":' + "[" * 3000, "x" * 9000):
        assert aigc.read(tmp_path / "a.png", {"AIGC": junk}) is None


# Manifests of others


@pytest.mark.usefixtures("signature_only")
def test_the_manifest_of_another_tool_is_read_out(tmp_path: Path) -> None:
    path = sign_as(
        portrait_file(tmp_path / "a.png"), "Camera", {"text": "x"}, ingredient=portrait_file(tmp_path / "b.png")
    )
    said = words(path)
    assert 'signed by "Camera 1"' in said
    assert "says       actions c2pa.created (digitalCapture)" in said
    assert 'says       made from "part"' in said
    assert "C2PA       success: " in said and "failure: signingCredential.untrusted" in said
    signature = found_in(path)["signature"]
    assert "claimSignature.validated" in signature["codes"]["success"]
    assert "com.example.extra" in signature["said"]["assertions"]
    assert not found_in(path)["made_by_this_tool"]


@pytest.mark.usefixtures("signature_only")
def test_validation_codes_of_a_changed_file(tmp_path: Path) -> None:
    path = sign_as(portrait_file(tmp_path / "a.png"), "Camera")
    data = path.read_bytes()
    at = data.index(b"IEND") - 4
    path.write_bytes(data[:at] + b"\0\0\0\x01tEXtx\x00\x00\x00\x00" + data[at:])
    assert re.search("failure: .*assertion.dataHash.mismatch", words(path))
