"""`reenact keys`: whose signatures are known here, and watermark keys of one's own."""

import json
import stat
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from animate_samples import names_in, portrait_file, run
from fake_face import PaintedFaces
from fewshot_reenact import Session, animate
from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.landmarks import registry
from fewshot_reenact.pipelines.options import AnimateOptions
from fewshot_reenact.provenance import keys, trust, watermark_key
from fewshot_reenact.provenance.detector import detect
from fewshot_reenact.provenance.mark_pattern import PUBLIC_KEY
from fewshot_reenact.provenance.watermark import Watermarker
from mark_samples import manifests, sign_as


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A config folder that does not exist yet."""
    monkeypatch.setenv("REENACT_CONFIG", str(tmp_path / "config"))
    return tmp_path / "config"


def state(path: Path) -> str:
    return json.loads(run("verify", "--json", path).stdout)[0]["signature"]["state"]


def signed_here(path: Path) -> Path:
    return sign_as(portrait_file(path), "fewshot-reenact", by=keys.user_credentials())


def listed() -> list[dict]:
    return json.loads(run("keys", "--json").stdout)


# Signing keys


def test_before_the_first_output_there_is_none_and_none_is_made(folder: Path) -> None:
    told = run("keys")
    assert told.exit_code == 0 and told.stdout == "" and "no key yet" in told.stderr and not folder.exists()
    assert listed() == []


@pytest.mark.usefixtures("signature_only")
def test_after_a_rotation_old_outputs_are_still_known(folder: Path, tmp_path: Path) -> None:
    before = signed_here(tmp_path / "a.png")
    (first,) = listed()
    assert first["whose"] == "own" and state(before) == "trusted"
    told = run("keys", "--rotate")
    assert told.exit_code == 0
    after = signed_here(tmp_path / "b.png")
    now = listed()
    assert [one["whose"] for one in now] == ["own", "former"] and now[1]["fingerprint"] == first["fingerprint"]
    assert now[0]["fingerprint"] in told.stdout and now[0]["fingerprint"] != first["fingerprint"]
    assert state(before) == state(after) == "trusted"
    serials = [manifests(path)[1]["signature_info"]["cert_serial_number"] for path in (before, after)]
    assert serials[0] != serials[1], "two outputs that do not show one maker"
    assert stat.S_IMODE((folder / keys.KEY).stat().st_mode) == 0o600
    run("keys", "--rotate")
    assert state(before) == "trusted" and len(listed()) == 3


@pytest.mark.usefixtures("signature_only")
def test_a_certificate_given_away_makes_outputs_known_elsewhere(folder, tmp_path, monkeypatch) -> None:
    output, certificate = signed_here(tmp_path / "a.png"), tmp_path / "mine.pem"
    told = run("keys", "--export", certificate)
    assert told.exit_code == 0 and listed()[0]["fingerprint"] in told.stdout
    assert b"PRIVATE" not in certificate.read_bytes()
    monkeypatch.setenv("REENACT_CONFIG", str(tmp_path / "elsewhere"))
    assert state(output) == "valid"
    assert run("keys", "--trust", certificate).exit_code == 0 and run("keys", "--trust", certificate).exit_code == 0
    (known,) = listed()
    assert known["whose"] == "trusted" and state(output) == "trusted"
    assert f"trusted  {known['fingerprint']}" in run("keys").stdout
    assert "8 digits" in run("keys", "--distrust", known["fingerprint"][:7]).stderr
    assert run("keys", "--distrust", known["fingerprint"][:8].upper()).exit_code == 0
    assert state(output) == "valid" and listed() == []
    assert run("keys", "--distrust", known["fingerprint"]).exit_code == 2


def test_the_certificate_can_be_had_before_the_first_output(folder: Path, tmp_path: Path) -> None:
    assert run("keys", "--export", tmp_path / "mine.pem").exit_code == 0
    assert keys.own_authority() == (tmp_path / "mine.pem").read_text()
    told = run("keys", "--export", tmp_path / "mine.pem")
    assert told.exit_code == 2 and "exists" in told.stderr
    assert run("keys", "--export", tmp_path / "mine.pem", "--overwrite").exit_code == 0


def test_what_cannot_be_trusted(folder: Path, tmp_path: Path) -> None:
    made = keys.make_credentials()
    begin = b"-----BEGIN CERTIFICATE-----"
    leaf = begin + made.chain.split(begin)[1]
    for name, data, says in [
        ("leaf.pem", leaf, "no authority"),
        ("junk.pem", b"junk", "no certificate"),
        ("cut.pem", begin + b"\nAAAA\n-----END CERTIFICATE-----\n", "damaged"),
        ("odd.pem", b"\xff", "cannot be read"),
    ]:
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=says):
            trust.trust(tmp_path / name)
    assert run("keys", "--trust", tmp_path / "nowhere.pem").exit_code == 3
    assert trust.known() == []


def test_one_thing_at_a_time(folder: Path) -> None:
    told = run("keys", "--rotate", "--export", "a.pem")
    assert told.exit_code == 2 and "one thing at a time" in told.output and not folder.exists()


def test_where_nothing_can_be_kept_the_key_is_not_rotated(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("REENACT_CONFIG", str(tmp_path / "file" / "config"))
    with pytest.raises(UsageError, match="cannot be kept"):
        trust.rotate()
    with pytest.raises(UsageError, match="no certificate to give away"):
        trust.export(tmp_path / "mine.pem")
    assert names_in(tmp_path) == ["file"]


# Watermark keys


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A watermark key in a file, the same in every run: one in a hundred hides its mark beneath a second one."""
    monkeypatch.setattr(watermark_key.secrets, "token_bytes", np.random.default_rng(5).bytes)
    told = run("keys", "--new-watermark-key", tmp_path / "school.key")
    assert told.exit_code == 0, told.stderr
    return tmp_path / "school.key"


def scene() -> np.ndarray:
    noise = np.random.default_rng(0).integers(60, 200, (30, 40, 3), np.uint8)
    return np.kron(noise, np.ones((16, 16, 1), np.uint8))


def test_a_mark_is_found_under_its_key_alone(key: Path) -> None:
    mine, theirs = watermark_key.read_watermark_key(key)[0], bytes(32)
    stamped = Watermarker(0xABCDEF, mine).stamp(scene())
    assert detect([stamped]) is None and detect([stamped], keys=(theirs,)) is None
    found = detect([stamped], keys=(theirs, mine, PUBLIC_KEY))
    assert found is not None and found.payload == 0xABCDEF and found.key == mine and found.confidence > 0.999999
    public = detect([Watermarker(7).stamp(scene())], keys=(mine, PUBLIC_KEY))
    assert public is not None and public.key == PUBLIC_KEY


def test_a_public_mark_over_it_does_not_hide_it(key: Path) -> None:
    mine = watermark_key.read_watermark_key(key)[0]
    both = Watermarker(7).stamp(Watermarker(0xABCDEF, mine).stamp(scene()))
    own, public = detect([both], keys=(mine,)), detect([both])
    assert own is not None and own.payload == 0xABCDEF and public is not None and public.payload == 7


def test_an_output_under_a_key_of_ones_own(tmp_path: Path, tiny_model: Path, key: Path, monkeypatch) -> None:
    monkeypatch.setitem(registry.BACKENDS, "builtin", lambda device: PaintedFaces())
    portrait = portrait_file(tmp_path / "ann.png", scale=4)
    command = [portrait, portrait, "-o", tmp_path / "o.png", "--model", tiny_model, "--watermark-key", key]
    assert run("animate", *command).exit_code == 0
    print_ = watermark_key.fingerprint(watermark_key.read_watermark_key(key)[0])
    _, active, _ = manifests(tmp_path / "o.png")
    binding = next(one["data"] for one in active["assertions"] if one["label"] == "c2pa.soft-binding")
    assert binding["alg_params"] == f"key {print_}"
    secret = watermark_key.read_watermark_key(key)[0].hex()
    assert secret.encode() not in (tmp_path / "o.png").read_bytes()
    without = json.loads(run("verify", "--json", tmp_path / "o.png").stdout)[0]
    assert without["watermark"] is None and without["signature"]["state"] == "trusted"
    told = run("verify", tmp_path / "o.png", "--watermark-key", key)
    assert f"under the key {print_}, which is not public" in told.stdout and "made on this machine" in told.stdout
    assert secret not in told.stdout


@pytest.mark.slow
def test_forging_needs_the_key(tmp_path: Path, key: Path) -> None:
    """A picture that somebody without the key marks is found as what it is: under the public key, or not at all."""
    mine, other = watermark_key.read_watermark_key(key)[0], tmp_path / "other.key"
    assert run("keys", "--new-watermark-key", other).exit_code == 0
    for name, stamper in [("public.png", Watermarker(7)), ("ours.png", Watermarker(7, mine))]:
        Image.fromarray(stamper.stamp(scene())).save(tmp_path / name)

    def found(name: str, by: Path) -> dict:
        return json.loads(run("verify", "--json", tmp_path / name, "--watermark-key", by).stdout)[0]["watermark"]

    assert found("ours.png", key)["key"] == watermark_key.fingerprint(mine) and found("ours.png", other) is None
    assert found("public.png", key)["key"] is None


def test_sessions_and_other_outputs(tmp_path: Path, tiny_model: Path, key: Path) -> None:
    portrait = portrait_file(tmp_path / "ann.png", scale=4)
    mine = watermark_key.read_watermark_key(key)[0]
    with Session(portrait, AnimateOptions(model=tiny_model, landmarks=PaintedFaces(), watermark_key=key)) as session:
        found = detect([session.frame(portrait)], keys=(mine,))
        assert found is not None and session.watermark.startswith(found.id)
    key.chmod(0o644)
    made = animate(
        portrait, "motion:blink", tmp_path / "o.mp4", end=0.2, model=tiny_model, landmarks=PaintedFaces(),
        watermark_key=key,
    )  # fmt: skip
    assert any("others on this machine may read this key" in line for line in made.warnings)
    assert made.marks["watermark_key"] == watermark_key.fingerprint(mine)
    with pytest.raises(UsageError, match="is an input"):
        animate(
            portrait, portrait, tmp_path / "p.png", model=tiny_model, landmarks=PaintedFaces(), watermark_key=key,
            report=key, overwrite=True,
        )  # fmt: skip


def test_files_that_are_no_key(tmp_path: Path, key: Path) -> None:
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    before = key.read_bytes()
    told = run("keys", "--new-watermark-key", key, "--overwrite")
    assert told.exit_code == 2 and "never written over" in told.stderr and key.read_bytes() == before
    assert run("keys", "--new-watermark-key", tmp_path / "no" / "such.key").exit_code == 2
    for data in (b"", before[:-10], before.upper(), b"\xff" * 500):
        (tmp_path / "bad.key").write_bytes(data)
        with pytest.raises(InputError, match="is no watermark key"):
            watermark_key.read_watermark_key(tmp_path / "bad.key")
    told = run("verify", portrait_file(tmp_path / "a.png"), "--watermark-key", tmp_path / "nowhere.key")
    assert told.exit_code == 3 and "nowhere.key: cannot be read" in told.stderr
