"""What somebody might try against the marks; RESPONSIBLE_USE.md lists the same."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from animate_samples import WALK, film, portrait_file, run
from fake_face import PaintedFaces
from fewshot_reenact import animate
from fewshot_reenact.landmarks import registry
from fewshot_reenact.media.marks import NOTE
from fewshot_reenact.media.writer import VideoWriter
from fewshot_reenact.pipelines.animate import Animation
from fewshot_reenact.provenance import sign
from fewshot_reenact.provenance.assertions import Origin
from fewshot_reenact.provenance.keys import user_credentials
from fewshot_reenact.provenance.marks import SOURCE_TYPE
from fewshot_reenact.provenance.watermark import Watermarker
from mark_samples import ffmpeg, manifests, nested_boxes, png_with_manifest, sign_as, uuid_box

ODD = "\x1b[31mfewshot-reenact\x07\u202e"


def found_in(*paths: Path) -> list[dict]:
    result = run("verify", "--json", *paths)
    assert "Traceback" not in result.output
    return json.loads(result.stdout)


def words(path: Path) -> str:
    return run("verify", path).output


def made_from(portrait: Path, tiny_model: Path) -> Animation:
    return animate(portrait, portrait, portrait.with_name("out.png"), model=tiny_model, landmarks=PaintedFaces())


def test_stripped_metadata_leaves_the_watermark(marked: Path, tmp_path: Path) -> None:
    ffmpeg("-i", marked, "-map_metadata", "-1", "-c", "copy", "-fflags", "+bitexact", tmp_path / "a.mp4")
    (found,) = found_in(tmp_path / "a.mp4")
    assert found["signature"] is None and not any(found["tags"].values())
    assert found["watermark"]["id"] == found_in(marked)[0]["watermark"]["id"] and found["made_by_this_tool"]


def test_a_cropped_label_leaves_the_watermark(marked: Path, tmp_path: Path) -> None:
    ffmpeg("-i", marked, "-vf", "crop=iw:ih*0.92:0:0", "-crf", "20", tmp_path / "a.mp4")
    (found,) = found_in(tmp_path / "a.mp4")
    assert found["signature"] is None and found["watermark"] is not None


@pytest.mark.parametrize("what", ["consent", "source type", "appended"])
def test_a_manifest_that_was_changed_is_told_of(marked: Path, tmp_path: Path, what: str) -> None:
    data = bytearray(marked.read_bytes())
    if what == "appended":
        data += bytes(range(1, 17))
    else:
        at = data.index(b"Ann said yes" if what == "consent" else b"compositeWithTrainedAlgorithmicMedia")
        # The manifest lies in the file's last box; the XMP packet says the same and is not signed by itself.
        at = at if what == "consent" else data.rindex(b"compositeWithTrainedAlgorithmicMedia")
        data[at] ^= 1
    (tmp_path / "a.mp4").write_bytes(data)
    (found,) = found_in(tmp_path / "a.mp4")
    assert found["signature"]["state"] == "altered", found["signature"]
    assert "ALTERED" in words(tmp_path / "a.mp4") and "Ann said" not in words(tmp_path / "a.mp4")


def test_a_recording_with_points_drawn_on_it_is_not_said_to_be_generated(tmp_path: Path, monkeypatch) -> None:
    """`extract --video` names the tool in its comment; what it shows is the driver, who is real."""
    monkeypatch.setitem(registry.BACKENDS, "builtin", lambda device: PaintedFaces())
    driver, drawn = film(tmp_path / "d.mp4", WALK), tmp_path / "drawn.mp4"
    assert run("extract", driver, "-o", tmp_path / "d.npz", "--video", drawn).exit_code == 0
    assert not found_in(drawn)[0]["made_by_this_tool"] and run("verify", drawn).exit_code == 1


def test_a_changed_byte_is_told_of(marked: Path, tmp_path: Path) -> None:
    data = bytearray(marked.read_bytes())
    data[data.rindex(b"mdat") + 1000] ^= 1
    (tmp_path / "a.mp4").write_bytes(data)
    (found,) = found_in(tmp_path / "a.mp4")
    assert found["signature"]["state"] == "altered"
    assert "ALTERED" in words(tmp_path / "a.mp4") and "holds" not in words(tmp_path / "a.mp4")


def test_changed_tags_are_told_of(marked: Path, tmp_path: Path) -> None:
    data = marked.read_bytes()
    assert data.count(NOTE.encode()) == 1
    (tmp_path / "a.mp4").write_bytes(data.replace(NOTE.encode(), b"Holiday in Rome".ljust(len(NOTE))))
    assert found_in(tmp_path / "a.mp4")[0]["signature"]["state"] == "altered"


@pytest.mark.usefixtures("signature_only")
def test_the_manifest_of_another_file_does_not_count(marked: Path, assets: Path, tmp_path: Path) -> None:
    """To make a recording look generated, or to lend a generated one somebody's signature."""
    source, victim = marked.read_bytes(), tmp_path / "a.mp4"
    ffmpeg("-i", assets / "driver.mp4", "-map_metadata", "-1", "-t", "0.4", "-crf", "40", "-vf", "scale=160:-2", victim)
    begin, end = uuid_box(source)
    victim.write_bytes(victim.read_bytes() + source[begin:end])
    (found,) = found_in(victim)
    assert found["signature"]["state"] in ("altered", "broken") and not found["made_by_this_tool"]
    result = run("verify", victim)
    assert result.exit_code == 1 and "holds" not in result.output


def stamped(path: Path, payload: int) -> Path:
    """A video that this tool did not make, with a watermark of anybody's choice and no tags."""
    forger, noise = Watermarker(payload), np.random.default_rng(0)
    ground = np.kron(noise.integers(60, 200, (30, 40, 3), np.uint8), np.ones((16, 16, 1), np.uint8))
    with VideoWriter(path.with_name("tagged.mp4"), 640, 480, Fraction(1, 25), Fraction(25)) as writer:
        for t in range(25):
            writer.write(forger.stamp(np.roll(ground, 4 * t, 1)), t)
    ffmpeg("-i", writer.path, "-map_metadata", "-1", "-c", "copy", path)
    return path


def test_a_forged_payload_is_in_nobodys_history(tmp_path: Path) -> None:
    forged = stamped(tmp_path / "a.mp4", 0xFEEDFACECAFEBEEF)
    (found,) = found_in(forged)
    assert found["watermark"]["id"] == "feedfacecafebeef" and found["watermark"]["known"] is None
    assert "not in this machine's history" in words(forged) and found["signature"] is None


def test_a_watermark_of_another_output_under_a_signature_is_told_of(tmp_path: Path) -> None:
    forged = stamped(tmp_path / "a.mp4", 0x0123456789ABCDEF)
    sign.sign(forged, ".mp4", Origin(SOURCE_TYPE), user_credentials(), watermark="f" * 16)
    (found,) = found_in(forged)
    assert found["signature"]["state"] == "trusted" and found["foreign_manifest"]
    assert "signature and watermark name different outputs" in words(forged)


@pytest.mark.usefixtures("signature_only")
@pytest.mark.parametrize("name", ["damaged", "deep", "endless"])
def test_a_hostile_manifest_in_an_input_is_left_out(tmp_path: Path, tiny_model: Path, name: str) -> None:
    jumbf = {"damaged": bytes(5000), "deep": nested_boxes(100_000), "endless": b"\xff\xff\xff\xf0jumb" + bytes(40)}
    portrait = png_with_manifest(portrait_file(tmp_path / "ann.png"), jumbf[name])
    made = made_from(portrait, tiny_model)
    every, _, state = manifests(made.output)
    assert state == "Valid" and len(every) == 1
    assert made.output.stat().st_size < 500_000
    if name != "endless":  # which the library takes for none
        assert any("marks that cannot be read" in line for line in made.warnings)
    assert found_in(portrait)[0]["made_by_this_tool"] is False


def test_a_huge_manifest_in_an_input_is_not_kept(tmp_path: Path, tiny_model: Path, monkeypatch) -> None:
    monkeypatch.setattr(sign, "LARGEST_KEPT", 100_000)
    portrait = sign_as(portrait_file(tmp_path / "ann.png"), "Camera", {"text": "x" * 300_000})
    made = made_from(portrait, tiny_model)
    every, _, state = manifests(made.output)
    assert state == "Valid" and len(every) == 1
    assert any("not kept, their hashes are" in line for line in made.warnings)


@pytest.mark.usefixtures("signature_only")
def test_deep_and_odd_text_in_an_inputs_manifest(tmp_path: Path, tiny_model: Path) -> None:
    deep: dict = {}
    for _ in range(60):
        deep = {"a": deep}
    portrait = sign_as(portrait_file(tmp_path / "ann.png"), ODD, deep)
    said = words(portrait)
    assert "\x1b" not in said and "\x07" not in said and "\u202e" not in said
    made = made_from(portrait, tiny_model)
    said = words(made.output)
    assert "\x1b" not in said and "made with fewshot-reenact" in said
    assert "\x1b" not in "".join(made.warnings)


@pytest.mark.usefixtures("signature_only")
def test_an_altered_input_is_kept_as_what_it_is(tmp_path: Path, tiny_model: Path) -> None:
    """Its manifest does not fit it any more; the output's own signature holds all the same."""
    portrait = sign_as(portrait_file(tmp_path / "ann.png"), "Camera")
    data = portrait.read_bytes()
    at = data.index(b"IEND") - 4
    portrait.write_bytes(data[:at] + b"\0\0\0\x01tEXtx\x00\x00\x00\x00" + data[at:])
    assert found_in(portrait)[0]["signature"]["state"] == "altered"
    made = made_from(portrait, tiny_model)
    assert found_in(made.output)[0]["signature"]["state"] == "trusted"


def recording(frames: int) -> list[np.ndarray]:
    """Moving ground, as a camera sees it; the same as in `stamped`."""
    noise = np.random.default_rng(0)
    ground = np.kron(noise.integers(60, 200, (30, 40, 3), np.uint8), np.ones((16, 16, 1), np.uint8))
    return [np.roll(ground, 4 * t, 1) for t in range(frames)]


def written(path: Path, pictures: list[np.ndarray]) -> Path:
    """A video without tags of ours."""
    with VideoWriter(path.with_name("tagged.mp4"), 640, 480, Fraction(1, 25), Fraction(25), overwrite=True) as writer:
        for t, picture in enumerate(pictures):
            writer.write(picture, t)
    ffmpeg("-i", writer.path, "-map_metadata", "-1", "-c", "copy", path)
    return path


def test_of_two_marks_over_each_other_one_is_found(tmp_path: Path) -> None:
    """Mostly the second, surely where it is stamped twice: an id proves no maker, and the other is not told of."""
    first, second = Watermarker(0x1111), Watermarker(0x2222)
    both = [second.stamp(first.stamp(one)) for one in recording(25)]
    ids = {"0000000000001111", "0000000000002222"}
    assert found_in(written(tmp_path / "a.mp4", both))[0]["watermark"]["id"] in ids
    path = written(tmp_path / "b.mp4", [second.stamp(one) for one in both])
    assert found_in(path)[0]["watermark"]["id"] == "0000000000002222" and "not in this machine's history" in words(path)


def test_half_a_collage_is_enough_to_be_told_of(tmp_path: Path) -> None:
    """The left half is an output's, the right one a recording's: the whole is said to be made with this tool."""
    mark = Watermarker(0x1111)
    path = written(tmp_path / "a.mp4", [np.hstack([mark.stamp(one)[:, :320], one[:, 320:]]) for one in recording(25)])
    assert found_in(path)[0]["watermark"]["id"] == "0000000000001111" and "AI-generated" in words(path)


def test_marked_frames_in_a_recording_speak_for_all_that_were_looked_at(tmp_path: Path) -> None:
    """A third of the frames is an output's. `verify` cannot say which: its count is of frames looked at together."""
    mark = Watermarker(0x1111)
    pictures = [mark.stamp(one) if 10 <= t < 20 else one for t, one in enumerate(recording(30))]
    (found,) = found_in(written(tmp_path / "a.mp4", pictures))
    assert found["watermark"]["id"] == "0000000000001111" and found["watermark"]["frames"] == 30
    only_one = [mark.stamp(one) if t == 10 else one for t, one in enumerate(recording(100))]
    assert found_in(written(tmp_path / "b.mp4", only_one))[0]["watermark"] is None
