"""What `animate` and `live` state in an output's manifest: the inputs by hash, the model, the options that matter."""

import hashlib
import os
import re
from dataclasses import replace
from pathlib import Path

from fewshot_reenact.errors import InputError, ModelError, UsageError
from fewshot_reenact.files import sha256
from fewshot_reenact.inputs.driver import DriverSource
from fewshot_reenact.inputs.person import consent_in
from fewshot_reenact.inputs.portrait_files import PortraitSource
from fewshot_reenact.media.picture_source import numbered_frames
from fewshot_reenact.models.checkpoint import DEFAULT_MODEL
from fewshot_reenact.pipelines.options import AnimateOptions
from fewshot_reenact.provenance.assertions import Ingredient, Origin
from fewshot_reenact.provenance.consent import check_consent, hash_of_statement
from fewshot_reenact.provenance.keys import Credentials, read_credentials, user_credentials
from fewshot_reenact.provenance.marks import SOURCE_TYPE, StandardMarks, standard_marks
from fewshot_reenact.provenance.watermark_key import fingerprint, read_watermark_key

_DEFAULT = DEFAULT_MODEL.name
# No file names and nothing about the machine: a manifest is read by whoever sees the video.
_STATED = ("label", "motion", "frame", "region", "strength", "warp_only", "dense", "compare")


def origin_of(
    portraits: PortraitSource,
    driver: DriverSource | None,
    options: AnimateOptions,
    model_sha256: str,
    live: bool = False,
) -> Origin:
    """What an output of `animate`, or a recording of `live`, is made from, and how. driver: None for a camera.

    Raises UsageError: a consent text that cannot be kept. InputError: inputs that cannot be read.
    """
    key, _ = _watermark_key(options)
    return Origin(
        source_type=SOURCE_TYPE,
        ingredients=_ingredients(portraits, driver, options, model_sha256),
        # The portrait's own picture with the head replaced in it; side by side or cut out it is a new one.
        edited=options.frame == "full" and not options.compare,
        consent=check_consent(options.consent),
        consent_file=hash_of_statement(options.consent_file),
        settings={name: getattr(options, name) for name in _STATED} | ({"live": True} if live else {}),
        provider=options.provider,
        watermark_key=None if key is None else fingerprint(key),
    )


def marks_for(
    origin: Origin, options: AnimateOptions, watermark: str | None = None, stamped: bool = False
) -> StandardMarks:
    """The marks of such an output. watermark: the id in frames that are there already; None: a new one. stamped: all
    frames carry it, and the label, before they are written; a session's do.

    Raises UsageError: half of a certificate and key. InputError: credentials that cannot be read.
    """
    key, notes = _watermark_key(options)
    marks = standard_marks(
        origin,
        credentials=_credentials(options),
        visible=options.label,
        thumbnails=options.embed_thumbnails,
        id=watermark,
        stamped=stamped,
        key=key,
    )
    marks.notes += notes
    return marks


def _watermark_key(options: AnimateOptions) -> tuple[bytes | None, list[str]]:
    """The user's own, None for the public one; and what they should know of its file."""
    return (None, []) if options.watermark_key is None else read_watermark_key(options.watermark_key)


def _credentials(options: AnimateOptions) -> Credentials | None:
    """What the user gave to sign with, or what is here; None for a key made here that nobody stamps."""
    if (options.sign_cert is None) != (options.sign_key is None):
        raise UsageError("--sign-cert and --sign-key go together: give both, or neither for a key made here")
    given = None
    if options.sign_cert is not None and options.sign_key is not None:
        given = read_credentials(options.sign_cert, options.sign_key)
    if options.timestamp is None:
        return given
    return replace(given or user_credentials(), timestamp=options.timestamp)


def _ingredients(
    portraits: PortraitSource, driver: DriverSource | None, options: AnimateOptions, model_sha256: str
) -> list[Ingredient]:
    if portraits.is_person:
        # A person's file from `reenact finetune` is portraits and networks in one.
        path = portraits.files[0]
        consent, statement = _consent_in(path)
        shown = [Ingredient("person", _hash(path), path, consent=consent, consent_file=statement)]
        networks = []
    else:
        shown = [Ingredient("portrait", _hash(path), path) for path in portraits.files]
        networks = [Ingredient("model", model_sha256, name=None if options.model else _DEFAULT)]
    # Its hash is known here all the same: what is kept of a half-done video is told by it.
    return [*shown, replace(_driver(driver), private=options.private_driver), *networks]


def _driver(driver: DriverSource | None) -> Ingredient:
    if driver is None:
        return Ingredient("driver", None, name="camera", live=True)
    if driver.path is None:
        return Ingredient("driver", None, name=driver.given)
    if driver.path.is_dir():  # no one file, in which marks could be looked for
        return Ingredient("driver", _hash_frames(driver.path), name="numbered frames")
    return Ingredient("driver", _hash(driver.path), driver.path)


def _consent_in(path: Path) -> tuple[str | None, str | None]:
    consent, statement = consent_in(path)
    try:
        if statement is not None and not re.fullmatch("[0-9a-f]{64}", statement):
            raise UsageError("what should be a statement's SHA-256 is none")
        return check_consent(consent), statement
    except UsageError as error:
        raise ModelError(f"{path}: damaged ({error})") from error


def _hash(path: str | Path) -> str:
    try:
        return sha256(Path(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the name") from error


def _hash_frames(folder: Path) -> str:
    """SHA-256 of the list of a folder's numbered frames, in their order, as `sha256sum` prints it."""
    lines = [b"%s  %s\n" % (_hash(path).encode(), os.fsencode(path.name)) for path in numbered_frames(folder)]
    return hashlib.sha256(b"".join(lines)).hexdigest()
