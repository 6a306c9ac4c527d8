"""`reenact verify` and `reenact history`, and the acceptance of the rules of use, through the command line."""

import json
import os
import pty
import re
import select
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from animate_samples import complaint, frames_of, portrait_file, run
from fake_face import PaintedFaces
from fewshot_reenact.files import sha256
from fewshot_reenact.landmarks import registry
from fewshot_reenact.media.pictures import write_picture
from fewshot_reenact.provenance import history, keys, xmp
from mark_samples import ffmpeg, manifests, sign_as

MADE = "made with fewshot-reenact: AI-generated"


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another user's config folder: without the key and the history of who made the output."""
    monkeypatch.setenv("REENACT_CONFIG", str(tmp_path / "config"))
    return tmp_path / "config"


def looked(*arguments: object) -> tuple[int, str]:
    result = run("verify", *arguments)
    assert "Traceback" not in result.output
    # Whatever is found or not, nothing is ever called genuine.
    assert not re.search(r"\b(real|genuine|authentic|not AI)\b", result.output), result.output
    return result.exit_code, result.output


def test_a_fresh_output(marked: Path) -> None:
    code, said = looked(marked)
    assert code == 0 and f"{marked}: {MADE}" in said
    assert "signature  holds: signed by fewshot-reenact" in said and "trusted here" in said
    assert "watermark  id " in said and f"as {marked}" in said, "the history knows it"
    assert "digitalSourceType compositeWithTrainedAlgorithmicMedia" in said
    assert 'consent    "Ann said yes"' in said
    assert manifests(marked)[2] == "Valid", "the c2pa library's own reader agrees"


def test_as_json(marked: Path) -> None:
    code, said = looked("--json", marked)
    (found,) = json.loads(said)
    assert code == 0 and found["made_by_this_tool"] and not found["foreign_manifest"]
    assert found["signature"]["state"] == "trusted" and found["unreadable"] is None
    assert found["signature"]["statement"]["watermark"] == found["watermark"]["id"]
    assert found["watermark"]["known"]["file"] == str(marked)


def test_on_another_machine(marked: Path, elsewhere: Path, tmp_path: Path) -> None:
    chain = Path(os.environ["REENACT_CONFIG"])  # elsewhere's: there is none yet
    assert not chain.exists()
    code, said = looked(marked)
    assert code == 0 and "who signed is not proven" in said
    assert "not in this machine's history" in said
    assert not elsewhere.exists(), "looking leaves nothing behind"


@pytest.mark.usefixtures("signature_only")
def test_authorities_to_trust(tmp_path: Path, elsewhere: Path) -> None:
    given = keys.make_credentials()
    picture = sign_as(portrait_file(tmp_path / "a.png"), "Camera", by=given)
    (tmp_path / "root.pem").write_bytes(given.chain[given.chain.rindex(b"-----BEGIN") :])
    assert json.loads(looked("--json", picture)[1])[0]["signature"]["state"] == "valid"
    (found,) = json.loads(looked("--json", "--trust", tmp_path / "root.pem", picture)[1])
    assert found["signature"]["state"] == "trusted" and not found["made_by_this_tool"]
    (tmp_path / "junk.pem").write_text("junk")
    assert "has no certificate in it" in complaint(run("verify", "--trust", tmp_path / "junk.pem", picture), 3)


def test_a_re_encoded_copy(marked: Path, tmp_path: Path) -> None:
    ffmpeg("-i", marked, "-map_metadata", "-1", "-crf", "23", tmp_path / "copy.mp4")
    code, said = looked(tmp_path / "copy.mp4")
    assert code == 0 and MADE in said and f"as {marked}" in said
    assert "not found  signature, tags" in said


def test_a_gif_and_a_series_of_pictures(marked: Path, tmp_path: Path) -> None:
    ffmpeg("-i", marked, tmp_path / "copy.gif")
    assert looked(tmp_path / "copy.gif")[0] == 0
    (tmp_path / "series").mkdir()
    for number, frame in enumerate(frames_of(marked)[:3]):
        Image.fromarray(frame.astype(np.uint8)).save(tmp_path / "series" / f"{number:02}.jpg", quality=85)
    code, said = looked(tmp_path / "series")
    assert code == 0 and f"series: 3 pictures of 640x480 together: {MADE}" in said


@pytest.mark.usefixtures("signature_only")
def test_tags_alone_prove_nothing_and_that_is_said(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", np.full((64, 64, 3), 90, np.uint8))
    code, said = looked(tmp_path / "a.png")
    assert code == 0 and "says of itself that it was made with fewshot-reenact" in said
    assert "anybody can write or remove these" in said and "not found  signature, watermark" in said


def test_no_mark(tmp_path: Path, assets: Path) -> None:
    portrait_file(tmp_path / "a.png")
    for path in (tmp_path / "a.png", assets / "grace_hopper.jpg"):
        code, said = looked(path)
        assert code == 1 and "no mark of fewshot-reenact found. That proves nothing" in said


@pytest.mark.usefixtures("signature_only")
def test_another_tools_signature_is_told_of_and_is_not_ours(tmp_path: Path) -> None:
    code, said = looked(sign_as(portrait_file(tmp_path / "a.png"), "Camera"))
    assert code == 1 and "no mark of fewshot-reenact found" in said and 'holds: signed by "Camera 1"' in said


@pytest.mark.usefixtures("signature_only")
def test_an_output_that_went_into_another_tools_work(marked: Path, tmp_path: Path) -> None:
    code, said = looked(sign_as(portrait_file(tmp_path / "a.png"), "Editor", ingredient=marked))
    assert code == 0 and "a.png: contains material made with fewshot-reenact: AI-generated" in said
    assert 'holds: signed by "Editor 1"' in said


@pytest.mark.usefixtures("signature_only")
def test_a_manifest_on_the_net_is_not_fetched(tmp_path: Path) -> None:
    link = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
        <rdf:Description rdf:about="" xmlns:dcterms="http://purl.org/dc/terms/"
        dcterms:provenance="http://127.0.0.1:9/a.c2pa"/></rdf:RDF></x:xmpmeta>"""
    xmp.embed(portrait_file(tmp_path / "a.png"), ".png", link)
    code, said = looked(tmp_path / "a.png")
    assert code == 1 and "was not fetched" in said


def test_what_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("words")
    (tmp_path / "cut.mp4").write_bytes(b"\0\0\0\x20ftypisom" + bytes(100))
    (tmp_path / "empty").mkdir()
    for name, says in [
        ("none.mp4", "no such file"),
        ("text.txt", "neither a picture nor a video"),
        ("cut.mp4", "could not be read"),
        ("empty", "there is no picture and no video in this folder"),
    ]:
        code, said = looked(tmp_path / name)
        assert code == 3 and says in said and said.count("\n") == 1, said
    assert "Missing argument" in complaint(run("verify"), 2)


@pytest.mark.usefixtures("signature_only")
def test_several_files_and_folders(marked: Path, tmp_path: Path) -> None:
    portrait_file(tmp_path / "a.png")
    shutil.copy(marked, tmp_path / "b.mp4")
    (tmp_path / "notes.txt").write_text("words")
    code, said = looked(tmp_path)
    assert code == 0 and "a.png: no mark" in said and f"b.mp4: {MADE}" in said and "notes.txt" not in said
    assert looked(tmp_path / "a.png", marked)[0] == 0
    assert looked(marked, tmp_path / "none.mp4")[0] == 3


# The history


def test_history(elsewhere: Path, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.BACKENDS, "builtin", lambda device: PaintedFaces())
    portrait_file(tmp_path / "ann.png")

    def make() -> str:
        made = run("animate", tmp_path / "ann.png", tmp_path / "ann.png", "-o", tmp_path / "o.png", "--overwrite",
                   "--model", tiny_model, "--json", "-")  # fmt: skip
        assert made.exit_code == 0, made.output
        return json.loads(made.stdout)["marks"]["watermark"]

    assert run("history").output == ""
    first, second = make(), make()
    assert first != second
    lines = run("history").output.splitlines()
    assert [line.split("  ")[0] for line in lines] == [first, second] and str(tmp_path / "o.png") in lines[0]
    ledger = elsewhere / "history.jsonl"
    assert stat.S_IMODE(ledger.stat().st_mode) == 0o600
    with ledger.open("a") as file:
        file.write('{"torn\n[]\n')
    assert len(json.loads(run("history", "--json").output)["entries"]) == 2, "what is torn is passed over"
    assert run("history", "--clear").output == "2 entries removed\n" and not ledger.exists()
    assert run("history", "--disable").exit_code == 0
    make()
    told = run("history")
    assert told.stdout == "" and "disabled" in told.stderr
    run("history", "--enable")
    assert make() in run("history").output


def test_another_file_with_the_id_of_an_output_is_told_apart(marked: Path, tmp_path: Path) -> None:
    """A watermark can be carried over to a genuine picture: only the very file was made here."""
    assert f"made on this machine, {_entry(marked)['time']}, as {marked}" in looked(marked)[1]
    copy = Path(shutil.copy(marked, tmp_path / "copy.mp4"))
    assert json.loads(looked("--json", copy)[1])[0]["watermark"]["same_file"] is True
    ffmpeg("-i", marked, "-crf", "20", tmp_path / "again.mp4")
    (found,) = json.loads(looked("--json", tmp_path / "again.mp4")[1])
    assert found["watermark"]["same_file"] is False and found["watermark"]["known"]["file"] == str(marked)
    said = looked(tmp_path / "again.mp4")[1]
    assert f"the id of what was made on this machine, {_entry(marked)['time']}, as {marked}; this is another" in said


def _entry(path: Path) -> dict[str, str]:
    entries = json.loads(run("history", "--json").output)["entries"]
    (entry,) = [one for one in entries if one["file"] == str(path)]
    assert entry["sha256"] == sha256(path)
    return entry


def test_an_entry_of_older_versions_claims_nothing_of_the_file(elsewhere: Path, marked: Path) -> None:
    elsewhere.mkdir()
    name = json.loads(looked("--json", marked)[1])[0]["watermark"]["id"]
    row = {"id": name, "time": "2026-01-01T00:00:00+00:00", "file": "/x/old.mp4"}
    (elsewhere / "history.jsonl").write_text(json.dumps(row) + "\n")
    said = looked(marked)[1]
    assert "the id of what was made on this machine, 2026-01-01T00:00:00+00:00, as /x/old.mp4" in said
    assert "another file" not in said


def test_the_ledger_is_read_once(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere.mkdir()
    ledger, reads = elsewhere / "history.jsonl", []
    rows = [{"id": f"{n:016x}", "time": "t", "file": f"{n}.mp4", "sha256": ""} for n in range(1000)]
    ledger.write_text("".join(json.dumps(row) + "\n" for row in rows))
    read = history.entries
    monkeypatch.setattr(history, "entries", lambda: reads.append(1) or read())
    assert [history.find(f"{n:016x}").file for n in (0, 500, 999)] == ["0.mp4", "500.mp4", "999.mp4"]  # type: ignore[union-attr]
    assert history.find("f" * 16) is None and len(reads) == 1
    with ledger.open("a") as file:
        file.write(json.dumps({**rows[0], "id": "f" * 16, "file": "new.mp4"}) + "\n")
    assert history.find("f" * 16).file == "new.mp4" and len(reads) == 2  # type: ignore[union-attr]


# Consent and the rules of use


@pytest.mark.parametrize(
    ("text", "says"), [("  ", "is empty"), ("x" * 1001, "1001 characters"), ("a\x1b[31m", "control characters")]
)
def test_consent_texts_that_cannot_be_kept(tmp_path, tiny_model, monkeypatch, text, says) -> None:
    monkeypatch.setitem(registry.BACKENDS, "builtin", lambda device: PaintedFaces())
    portrait_file(tmp_path / "ann.png")
    options = ["-o", tmp_path / "o.png", "--model", tiny_model, "--consent", text]
    assert says in complaint(run("animate", tmp_path / "ann.png", tmp_path / "ann.png", *options), 2)
    assert not (tmp_path / "o.png").exists()


def said_without_terminal(*options: str) -> str:
    return run("animate", "nobody.jpg", "motion:nod", *options).stderr


def test_without_a_terminal_the_rules_are_shown_once(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REENACT_ACCEPT_USE")
    first, second = said_without_terminal(), said_without_terminal()
    assert "Use it only with pictures of people who agreed" in first and "nobody.jpg: no such file" in first
    assert second == "reenact: nobody.jpg: no such file; check the name\n"


def test_the_rules_can_be_accepted_beforehand(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "agreed" not in said_without_terminal(), "by the environment"
    assert not elsewhere.exists()
    monkeypatch.delenv("REENACT_ACCEPT_USE")
    assert "agreed" not in said_without_terminal("--accept-use")
    assert "agreed" not in said_without_terminal(), "and it is kept"


def on_a_terminal(answer: bytes | None) -> tuple[int, str]:
    """`reenact animate nobody.jpg motion:nod` with a terminal, and what is typed when it asks."""
    # What comes after the question is not wanted here, and takes seconds to load.
    code = (
        "import sys, types\n"
        "work = sys.modules['fewshot_reenact.pipelines.animate'] = types.ModuleType('work')\n"
        "work.animate = lambda *given, **options: sys.exit(70)\n"
        "from fewshot_reenact.cli import main\n"
        "main(['animate', 'nobody.jpg', 'motion:nod'])"
    )
    main, other = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", code], stdin=other, stdout=other, stderr=other) as process:
        os.close(other)
        said, end = b"", time.monotonic() + 60
        while time.monotonic() < end and select.select([main], [], [], 60)[0]:
            try:
                said += os.read(main, 4096)
            except OSError:  # how Linux says that the other side is closed
                break
            if b"[y/N]" in said and answer is not None:
                os.write(main, answer)
                answer = None
        os.close(main)
    return process.returncode, said.decode()


def test_on_a_terminal_the_rules_are_asked_for_once(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REENACT_ACCEPT_USE")
    code, said = on_a_terminal(b"n\n")
    assert code == 2 and "were not accepted" in said and not elsewhere.exists()
    code, said = on_a_terminal(b"y\n")
    assert code == 70
    code, said = on_a_terminal(None)
    assert code == 70 and "Do you accept" not in said
