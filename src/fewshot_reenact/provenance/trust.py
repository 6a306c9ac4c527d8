"""Whose signatures count as known on this machine: this user's own, now and before, and certificates they chose."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from fewshot_reenact.config_folder import config_folder, write_private
from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.files import partial_file
from fewshot_reenact.provenance import keys
from fewshot_reenact.provenance.chains import certificates_in, is_authority
from fewshot_reenact.provenance.sign import printable

FORMER, TRUSTED = "former-authorities.pem", "trusted-authorities.pem"


@dataclass(frozen=True)
class Known:
    """An authority whose signatures count here. fingerprint: SHA-256 of its certificate, in hexadecimal. name: as it
    calls itself. whose: "own", "former" (own, before a rotation) or "trusted" (another's).
    """

    fingerprint: str
    name: str
    whose: str


def known() -> list[Known]:
    """All of them, this user's own first. None is made."""
    found = [("own", one) for one in _certificates(keys.own_authority() or "")[-1:]]
    found += [("former", one) for one in _kept(FORMER)] + [("trusted", one) for one in _kept(TRUSTED)]
    return [Known(_print(one), printable(one.subject.rfc4514_string()), whose) for whose, one in found]


def anchors() -> str:
    """Their certificates as PEM, one after another; empty where there are none."""
    kept = [*_kept(FORMER), *_kept(TRUSTED)]
    return (keys.own_authority() or "") + "".join(map(_pem, kept))


def rotate() -> str:
    """A new signing key in place of the old one, which is gone; what it signed is still known here. Returns the new
    authority's fingerprint. Raises UsageError where nothing can be kept.
    """
    old = keys.own_authority()
    try:
        if old is not None:
            _keep(FORMER, [*_kept(FORMER), *_certificates(old)])
        made = keys.make_credentials()
        write_private(config_folder() / keys.KEY, made.key + made.chain)
    except OSError as error:
        raise UsageError(f"{config_folder()}: the new key cannot be kept there ({error.strerror})") from error
    return _print(_certificates(made.chain.decode())[-1])


def export(path: Path, overwrite: bool = False) -> str:
    """Writes the certificate by which others know this user's outputs, and returns its fingerprint. The key is made if
    there is none; no secret is in it. Raises UsageError.
    """
    keys.user_credentials()
    own = keys.own_authority()
    if own is None:
        raise UsageError(f"{config_folder()}: no key can be kept there, so there is no certificate to give away")
    with partial_file(path, overwrite) as partial:
        partial.write_text(own, encoding="ascii")
    return _print(_certificates(own)[0])


def trust(path: Path) -> list[Known]:
    """From now on the authorities in a PEM file count as known. Returns them. Raises InputError, UsageError."""
    given = _certificates(read_pem(path), path)
    for one in given:
        if not is_authority(one):
            raise InputError(f"{path}: has a certificate of no authority; ask for what `keys --export` writes")
    there = {_print(one) for one in _kept(TRUSTED)}
    _keep_or_say(TRUSTED, [*_kept(TRUSTED), *(one for one in given if _print(one) not in there)])
    return [Known(_print(one), printable(one.subject.rfc4514_string()), "trusted") for one in given]


def distrust(fingerprint: str) -> int:
    """Takes those trusted before away whose fingerprint begins so; returns how many. Raises UsageError: none does."""
    wanted = fingerprint.strip().lower().replace(":", "")
    stay = [one for one in _kept(TRUSTED) if not _print(one).startswith(wanted) or len(wanted) < 8]
    gone = len(_kept(TRUSTED)) - len(stay)
    if not gone:
        raise UsageError(f"{fingerprint}: no trusted certificate has this fingerprint (8 digits of it at least)")
    _keep_or_say(TRUSTED, stay)
    return gone


def read_pem(path: str | Path) -> str:
    """The text of a file of certificates. Raises InputError: it has none."""
    try:
        given = Path(path).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as certificates; give a PEM file") from error
    if "BEGIN CERTIFICATE" not in given:
        raise InputError(f"{path}: has no certificate in it; give a PEM file")
    return given


def _certificates(pem: str, path: Path | None = None) -> list[x509.Certificate]:
    try:
        return certificates_in(pem.encode()) if pem else []
    except ValueError as error:
        if path is None:
            return []
        raise InputError(f"{path}: has a damaged certificate in it") from error


def _kept(name: str) -> list[x509.Certificate]:
    try:
        return _certificates((config_folder() / name).read_text("ascii"))
    except (OSError, UnicodeDecodeError):
        return []


def _keep(name: str, certificates: list[x509.Certificate]) -> None:
    write_private(config_folder() / name, "".join(map(_pem, certificates)).encode())


def _keep_or_say(name: str, certificates: list[x509.Certificate]) -> None:
    try:
        _keep(name, certificates)
    except OSError as error:
        raise UsageError(f"{config_folder()}: cannot be written ({error.strerror})") from error


def _pem(one: x509.Certificate) -> str:
    return one.public_bytes(Encoding.PEM).decode()


def _print(one: x509.Certificate) -> str:
    return one.fingerprint(hashes.SHA256()).hex()
