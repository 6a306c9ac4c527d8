"""The marks that `animate` puts into its output: label, keys, signed manifest."""

import base64
import datetime
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from animate_samples import WALK, complaint, film, names_in, portrait_file, run
from fake_face import PaintedFaces
from fewshot_reenact import animate
from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.files import sha256
from fewshot_reenact.landmarks import registry
from fewshot_reenact.media.marks import PlainNote
from fewshot_reenact.media.pictures import write_picture
from fewshot_reenact.provenance import keys
from fewshot_reenact.provenance.label import Label
from mark_samples import actions, manifests, sign_as, statement


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A config folder that does not exist yet."""
    path = tmp_path / "config"
    monkeypatch.setenv("REENACT_CONFIG", str(path))
    return path


def make(path: Path, tiny_model: Path, **options: object) -> Path:
    """A picture: a pose of two painted faces."""
    for name in ("ann.png", "pose.png"):
        if not (path / name).exists():
            portrait_file(path / name)
    return animate(  # type: ignore[arg-type]
        path / "ann.png", path / "pose.png", path / "out.png", model=tiny_model, landmarks=PaintedFaces(), **options
    ).output


# The label


@pytest.mark.parametrize(("height", "width"), [(16, 16), (48, 64), (120, 160), (512, 512), (1080, 1920)])
@pytest.mark.parametrize("shade", [0, 128, 255])
def test_the_label_is_legible_at_any_size_on_any_ground(height: int, width: int, shade: int) -> None:
    before = np.full((height, width, 3), shade, np.uint8)
    after = Label(height, width).draw(before)
    assert (before == shade).all(), "the argument stays as it was"
    rows, columns = np.nonzero((after != before).any(-1))
    assert rows.min() >= height // 2 or height < 32, "it is at the bottom"
    assert rows.max() >= height - 1 - height // 10 and columns.max() >= width - 1 - width // 10, "in the right corner"
    plate = after[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].astype(int)
    assert plate.max() > 225 and np.ptp(plate) > 110, "white letters that stand out"
    assert plate.shape[0] >= 10 and plate.shape[1] >= 10


def test_the_label_grows_with_the_picture() -> None:
    def size(height: int, width: int) -> int:
        return int((Label(height, width).draw(np.zeros((height, width, 3), np.uint8)) > 0).any((0, 2)).sum())

    assert size(48, 64) < size(240, 320) <= size(480, 640) < size(1080, 1920)


# Keys


def test_a_key_is_made_once_and_only_its_owner_may_read_it(folder: Path) -> None:
    first = keys.user_credentials()
    assert first.own and not first.notes
    assert stat.S_IMODE((folder / keys.KEY).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert keys.user_credentials() == first


def test_a_key_that_others_may_read_is_closed_to_them(folder: Path) -> None:
    keys.user_credentials()
    (folder / keys.KEY).chmod(0o644)
    assert "could be read by others" in keys.user_credentials().notes[0]
    assert stat.S_IMODE((folder / keys.KEY).stat().st_mode) == 0o600
    assert not keys.user_credentials().notes


@pytest.mark.parametrize("keep", [0, 300])
def test_a_damaged_key_is_replaced_and_that_is_said(folder: Path, keep: int) -> None:
    before = keys.user_credentials()
    (folder / keys.KEY).write_bytes((folder / keys.KEY).read_bytes()[:keep])
    after = keys.user_credentials()
    assert "a new signing key has been made" in after.notes[0]
    assert after.key != before.key and keys.user_credentials().key == after.key


@pytest.mark.parametrize("year", [1970, 2077])
def test_a_clock_that_is_wrong_once_leaves_no_trace(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_model: Path, year: int
) -> None:
    """Signed with a key of its own then, and with the kept one before and after."""
    before = keys.user_credentials()
    wrong = datetime.datetime(year, 1, 2, tzinfo=datetime.timezone.utc)
    with monkeypatch.context() as patch:
        patch.setattr(keys, "_now", lambda: wrong)
        made = keys.user_credentials()
        assert made.key != before.key and f"clock says {year}-01-02" in made.notes[0]
    assert keys.user_credentials() == before


def test_the_certificate_does_not_tell_when_its_key_was_made(folder: Path) -> None:
    for pem in keys.x509.load_pem_x509_certificates(keys.user_credentials().chain):
        assert (pem.not_valid_before_utc, pem.not_valid_after_utc) == (keys._BEGIN, keys._END)


def test_first_runs_at_once_have_one_key(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four that all saw that there is no key, and all made one before any was kept."""
    barrier = threading.Barrier(4, timeout=30)
    make = keys.make_credentials

    def together() -> keys.Credentials:
        made = make()
        barrier.wait()
        return made

    monkeypatch.setattr(keys, "make_credentials", together)
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: keys.user_credentials(), range(4)))
    assert len({one.key for one in made}) == 1 and keys.user_credentials().key == made[0].key


def test_where_nothing_can_be_kept_the_file_has_a_key_of_its_own(tmp_path, monkeypatch, tiny_model) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("REENACT_CONFIG", str(tmp_path / "file" / "config"))
    made = animate(
        portrait_file(tmp_path / "ann.png"), "motion:blink", tmp_path / "o.mp4", end=0.1, model=tiny_model,
        landmarks=PaintedFaces(),
    )  # fmt: skip
    assert any("cannot be kept there" in line for line in made.warnings)
    assert any("history could not be written" in line for line in made.warnings)
    assert manifests(made.output)[2] == "Valid"


def pem(key: object, password: bytes | None = None) -> bytes:
    how = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how)  # type: ignore[attr-defined]


def test_given_credentials_sign(tmp_path: Path, folder: Path, tiny_model: Path) -> None:
    given = keys.make_credentials()
    (tmp_path / "c.pem").write_bytes(given.chain)
    (tmp_path / "k.pem").write_bytes(given.key)
    (tmp_path / "k.pem").chmod(0o640)
    portrait_file(tmp_path / "ann.png")
    made = animate(
        tmp_path / "ann.png", tmp_path / "ann.png", tmp_path / "out.png", model=tiny_model, landmarks=PaintedFaces(),
        sign_cert=tmp_path / "c.pem", sign_key=tmp_path / "k.pem",
    )  # fmt: skip
    assert made.marks["signature"] == "given certificate" and any("chmod 600" in line for line in made.warnings)
    assert manifests(made.output)[2] == "Valid"
    assert not (folder / keys.KEY).exists(), "no key is made where one is given"


def of_version(number: int, chain: bytes) -> bytes:
    """The first certificate of a chain with another version than X.509 knows."""
    data = x509.load_pem_x509_certificate(chain).public_bytes(Encoding.DER)
    version = bytes([0xA0, 3, 2, 1])
    at = data.index(version) + len(version)
    text = base64.encodebytes(data[:at] + bytes([number]) + data[at + 1 :])
    return b"-----BEGIN CERTIFICATE-----\n" + text + b"-----END CERTIFICATE-----\n"


def test_credentials_that_cannot_be_used(tmp_path: Path) -> None:
    given = keys.make_credentials()
    files = {
        "c.pem": given.chain,
        "k.pem": given.key,
        "junk": b"junk",
        "other.pem": keys.make_credentials().key,
        "locked.pem": pem(load_pem_private_key(given.key, None), b"secret"),
        "rsa.pem": pem(rsa.generate_private_key(65537, 2048)),
        "version.pem": of_version(5, given.chain),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    for certificate, key, says in [
        ("nowhere", "k.pem", "nowhere: cannot be read"),
        ("c.pem", "nowhere", "nowhere: cannot be read"),
        ("junk", "k.pem", "no PEM certificate"),
        ("version.pem", "k.pem", "no PEM certificate"),
        ("c.pem", "junk", "no PEM private key"),
        ("c.pem", "other.pem", "does not belong to"),
        ("c.pem", "locked.pem", "locked with a password"),
        ("c.pem", "rsa.pem", "does not belong to"),
    ]:
        with pytest.raises(InputError, match=says):
            keys.read_credentials(tmp_path / certificate, tmp_path / key)


def test_credentials_are_checked_before_the_work(tmp_path: Path, tiny_model: Path) -> None:
    """A leaf that signed itself: C2PA refuses it, and that is said before anything is rendered."""
    leaf = ec.generate_private_key(ec.SECP256R1())
    name = keys._name("nobody")
    alone = keys._certificate(name, name, leaf, (keys._BEGIN, keys._END)).sign(leaf, keys.hashes.SHA256())
    (tmp_path / "c.pem").write_bytes(alone.public_bytes(Encoding.PEM))
    (tmp_path / "k.pem").write_bytes(pem(leaf))
    with pytest.raises(InputError, match="cannot be used for C2PA"):
        make(tmp_path, tiny_model, sign_cert=tmp_path / "c.pem", sign_key=tmp_path / "k.pem")
    with pytest.raises(UsageError, match="go together"):
        make(tmp_path, tiny_model, sign_cert=tmp_path / "c.pem")
    assert "out.png" not in names_in(tmp_path)


# The manifest


def test_the_manifest_names_tool_inputs_and_model_by_hash(marked: Path, tiny_model: Path) -> None:
    _, active, state = manifests(marked)
    assert state == "Valid"
    assert active["claim_generator_info"][0]["name"] == "fewshot-reenact"
    opened, edited, watermarked = actions(active)
    assert (opened["action"], edited["action"]) == ("c2pa.opened", "c2pa.edited")
    assert watermarked["action"] == "c2pa.watermarked.bound"
    assert edited["digitalSourceType"].endswith("/compositeWithTrainedAlgorithmicMedia")
    by_role = {one["role"]: one["sha256"] for one in statement(active)["inputs"]}
    assert by_role == {
        "portrait": sha256(marked.parent / "ann.png"),
        "driver": sha256(marked.parent / "walk.mp4"),
        "model": sha256(tiny_model),
    }
    stated = {one["title"]: one["instance_id"] for one in active["ingredients"]}
    assert stated == {role: f"urn:sha256:{digest}" for role, digest in by_role.items()}
    assert [one["relationship"] for one in active["ingredients"]] == ["parentOf", "inputTo", "inputTo"]
    assert statement(active)["consent"] == "Ann said yes"
    data = marked.read_bytes()
    assert b"ann.png" not in data and b"walk.mp4" not in data, "names of files may be names of people"
    assert not any("thumbnail" in one for one in active["ingredients"])


@pytest.mark.parametrize("options", [{"frame": "crop", "size": 256}, {"compare": True}])
def test_a_new_picture_is_created_not_edited(tmp_path: Path, tiny_model: Path, options: dict) -> None:
    _, active, state = manifests(make(tmp_path, tiny_model, **options))
    assert state == "Valid" and [one["action"] for one in actions(active)] == ["c2pa.created", "c2pa.watermarked.bound"]
    assert {one["relationship"] for one in active["ingredients"]} == {"inputTo"}


def test_thumbnails_only_when_asked_for(tmp_path: Path, tiny_model: Path) -> None:
    _, active, _ = manifests(make(tmp_path, tiny_model, embed_thumbnails=True))
    assert ["thumbnail" in one for one in active["ingredients"] if one["title"] == "portrait"] == [True]


@pytest.mark.parametrize("suffix", [".mov", ".m4v"])
def test_other_containers_are_signed_too(tmp_path: Path, tiny_model: Path, suffix: str) -> None:
    portrait_file(tmp_path / "ann.png")
    output = tmp_path / f"o{suffix}"
    animate(tmp_path / "ann.png", "motion:blink", output, end=0.1, model=tiny_model, landmarks=PaintedFaces())
    assert manifests(output)[2] == "Valid"


def test_marks_of_inputs_are_kept_as_ingredients(tmp_path: Path, tiny_model: Path) -> None:
    sign_as(portrait_file(tmp_path / "ann.png"), "Camera")
    every, active, state = manifests(make(tmp_path, tiny_model))
    assert state == "Valid" and len(every) == 2
    tools = {one["claim_generator_info"][0]["name"] for one in every.values()}
    assert tools == {"Camera", "fewshot-reenact"}
    kept = next(one for one in active["ingredients"] if one["title"] == "portrait")
    assert kept["active_manifest"] in every


def test_a_failed_signature_leaves_no_output(tmp_path, tiny_model, monkeypatch) -> None:
    import c2pa

    portrait_file(tmp_path / "ann.png"), film(tmp_path / "walk.mp4", WALK)
    before, real = names_in(tmp_path), c2pa.Builder.sign

    def refuse(builder: object, signer: object, kind: str, source: object, target: object) -> object:
        # The trial before the work succeeds; then, say, the certificate runs out.
        if kind == "video/mp4":
            raise c2pa.C2paError.Signature("no")
        return real(builder, signer, kind, source, target)

    monkeypatch.setattr(c2pa.Builder, "sign", refuse)
    monkeypatch.setitem(registry.BACKENDS, "builtin", lambda device: PaintedFaces())
    told = run("animate", tmp_path / "ann.png", tmp_path / "walk.mp4", "-o", tmp_path / "o.mp4", "--model", tiny_model)
    assert "could not be signed" in complaint(told, 2)
    assert names_in(tmp_path) == before


def test_label_that_fails_leaves_no_picture(tmp_path: Path) -> None:
    class Bad(PlainNote):
        def label(self, picture: np.ndarray, seconds: float = 0.0) -> np.ndarray:
            raise RuntimeError("no label")

    with pytest.raises(RuntimeError, match="no label"):
        write_picture(tmp_path / "b.png", np.zeros((32, 32, 3), np.uint8), marks=Bad())
    assert names_in(tmp_path) == []


def test_marks_for_measuring_replace_all(tmp_path: Path, tiny_model: Path) -> None:
    output = make(tmp_path, tiny_model, marks=PlainNote())
    with pytest.raises(Exception, match="ManifestNotFound"):
        manifests(output)
    assert output.is_file()
