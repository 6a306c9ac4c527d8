"""Certificates as files hold them, damaged ones too."""

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm


def certificates_in(pem: bytes) -> list[x509.Certificate]:
    """All of a PEM file, one after another. Raises ValueError for one that cannot be read, whatever is wrong with it:
    the library has an exception of its own for some versions.
    """
    try:
        return x509.load_pem_x509_certificates(pem)
    except (x509.InvalidVersion, TypeError, OverflowError, UnsupportedAlgorithm) as error:
        raise ValueError(str(error)) from error


def is_authority(one: x509.Certificate) -> bool:
    """Whether it may sign others; no for one whose extensions cannot be read."""
    try:
        return one.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (
        x509.ExtensionNotFound,
        x509.DuplicateExtension,
        x509.UnsupportedGeneralNameType,
        ValueError,
        TypeError,
        OverflowError,
    ):
        return False
