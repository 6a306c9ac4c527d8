"""The certificates that outputs are signed with: one's own from an authority, or a pair made here on first use.

C2PA asks for a chain: a leaf that signs itself is refused. So a small authority signs the leaf and its key is thrown
away at once. What stays in the config folder is the leaf's key and the chain. Nobody has checked who the owner is, and
the certificate says so; no name of a user or machine is in it.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fewshot_reenact.config_folder import config_folder, open_to_others, write_private
from fewshot_reenact.errors import InputError
from fewshot_reenact.provenance.chains import certificates_in

KEY = "signing-key.pem"  # the key and then its chain: in one file, so that they always belong together
OWNER = "fewshot-reenact user (self-made key, identity not checked)"
# The same for everybody, so that a certificate does not tell when its key was made, nor depends on that day's clock.
# Without a time stamp from a server a signature can be checked only until its certificate ends: so it lasts long.
_BEGIN = datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc)
_END = datetime.datetime(2049, 12, 31, tzinfo=datetime.timezone.utc)
_SPARE = datetime.timedelta(days=3650)
_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}


@dataclass(frozen=True)
class Credentials:
    """A leaf's private key and the certificates from the leaf up, as PEM, and the signature algorithm as C2PA calls it.

    notes: what the user should know about them. timestamp: the address of an authority that stamps each signature with
    the time (RFC 3161); None: nobody is asked.
    """

    chain: bytes
    key: bytes
    algorithm: str
    own: bool
    notes: tuple[str, ...] = ()
    timestamp: str | None = None


def user_credentials() -> Credentials:
    """This user's key pair, made on first use. Where the folder cannot be written, one for this run alone."""
    folder = config_folder()
    key = folder / KEY
    notes = []
    try:
        if not _BEGIN < _now() < _END:
            made = make_credentials(around=_now())
            note = f"this machine's clock says {_now():%Y-%m-%d}; set it. This file has a signing key of its own"
            return Credentials(made.chain, made.key, made.algorithm, True, (note,))
        damaged = key.is_file()
        if damaged:
            if open_to_others(key):
                key.chmod(0o600)
                notes.append(
                    f"{key}: could be read by others on this machine and was closed to them; "
                    "if somebody may have copied it, delete it and a new one is made"
                )
            kept = _kept(key, notes)
            if _fits(kept):
                return kept
            notes.append(f"{key}: was damaged or out of date; a new signing key has been made")
        made = make_credentials()
        if not write_private(key, made.key + made.chain, replace=damaged):
            # Another first run was quicker: one key for both.
            kept = _kept(key, notes)
            if _fits(kept):
                return kept
        return Credentials(made.chain, made.key, made.algorithm, True, tuple(notes))
    except OSError as error:
        made = make_credentials()
        reason = f"{folder}: the signing key cannot be kept there ({error.strerror}); this file has one of its own"
        return Credentials(made.chain, made.key, made.algorithm, True, (*notes, reason))


def _kept(key: Path, notes: list[str]) -> Credentials:
    private, begin, chain = key.read_bytes().partition(_CERTIFICATE)
    return Credentials(begin + chain, private, "es256", True, tuple(notes))


def make_credentials(around: datetime.datetime | None = None) -> Credentials:
    """An authority and a leaf of it, P-256, as the C2PA certificate profile wants them.

    around: a time within their validity, for a clock that is outside of everybody's.
    """
    valid = (_BEGIN, _END) if around is None else (around - datetime.timedelta(days=1), around + _SPARE)
    authority, leaf = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = _name("fewshot-reenact user authority")
    above = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())
    root = (
        _certificate(issuer, issuer, authority, valid)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
        .sign(authority, hashes.SHA256())
    )
    end = (
        _certificate(_name("fewshot-reenact user key"), issuer, leaf, valid)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage("digital_signature"), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        .add_extension(above, critical=False)
        .sign(authority, hashes.SHA256())
    )
    key = leaf.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Credentials(end.public_bytes(Encoding.PEM) + root.public_bytes(Encoding.PEM), key, "es256", True)


def read_credentials(certificate: str | Path, key: str | Path) -> Credentials:
    """Credentials from files: PEM, the leaf first; a private key without a password.

    Raises InputError: missing, not PEM, encrypted, of another certificate, of a kind that C2PA does not know.
    """
    chain, private = (_read(path) for path in (certificate, key))
    try:
        leaf = certificates_in(chain)[0]
        certified = _public(leaf.public_key())
    except (ValueError, TypeError, OverflowError, IndexError, UnsupportedAlgorithm) as error:
        raise InputError(f"{certificate}: is no PEM certificate; give the chain as PEM, the leaf first") from error
    try:
        loaded = load_pem_private_key(private, None)
    except TypeError as error:
        raise InputError(f"{key}: is locked with a password; give a private key without one") from error
    except (ValueError, OverflowError, UnsupportedAlgorithm) as error:
        raise InputError(f"{key}: is no PEM private key") from error
    if _public(loaded.public_key()) != certified:
        raise InputError(f"{key}: does not belong to the first certificate in {certificate}")
    algorithm = None
    if isinstance(loaded, ec.EllipticCurvePrivateKey):
        algorithm = _CURVES.get(loaded.curve.name)
    elif isinstance(loaded, rsa.RSAPrivateKey):
        algorithm = "ps256"
    elif isinstance(loaded, ed25519.Ed25519PrivateKey):
        algorithm = "ed25519"
    if algorithm is None:
        raise InputError(f"{key}: C2PA knows no such key; it takes P-256, P-384, P-521, RSA or Ed25519")
    pem = loaded.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())  # the one form that the library reads
    notes = (f"{key}: others on this machine may read this key; chmod 600 it",) if open_to_others(Path(key)) else ()
    return Credentials(chain, pem, algorithm, False, notes)


def own_authority() -> str | None:
    """The certificate of this user's own authority as PEM, to tell outputs of this installation; None without one."""
    try:
        _, begin, chain = (config_folder() / KEY).read_bytes().partition(_CERTIFICATE)
        return certificates_in(begin + chain)[-1].public_bytes(Encoding.PEM).decode()
    except (OSError, ValueError):
        return None


def _fits(made: Credentials) -> bool:
    """Whether key and chain belong together and the leaf is still valid."""
    try:
        leaf = certificates_in(made.chain)[0]
        certified = _public(leaf.public_key())
        public = load_pem_private_key(made.key, None).public_key()
    except (ValueError, TypeError, OverflowError, IndexError, UnsupportedAlgorithm):
        return False
    inside = leaf.not_valid_before_utc <= _now() < leaf.not_valid_after_utc
    return inside and _public(public) == certified


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)


def _read(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the name") from error


def _public(key) -> bytes:  # type: ignore[no-untyped-def]  # any of the library's public keys
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _name(common: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, OWNER), x509.NameAttribute(NameOID.COMMON_NAME, common)]
    )


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    valid: tuple[datetime.datetime, datetime.datetime],
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(valid[0])
        .not_valid_after(valid[1])
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*allowed: str) -> x509.KeyUsage:
    names = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{name: name in allowed for name in names})
