"""What `animate` states in its output's manifest: the inputs by hash, the model, the options that matter."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fewshot_reenact.errors import InputError, ModelError, UsageError
from fewshot_reenact.files import sha256
from fewshot_reenact.inputs.driver import driver_kind
from fewshot_reenact.inputs.person import consent_in, is_person
from fewshot_reenact.models.checkpoint import DEFAULT_MODEL
from fewshot_reenact.provenance.consent import check_consent
from fewshot_reenact.provenance.keys import Credentials, read_credentials
from fewshot_reenact.provenance.marks import SOURCE_TYPE, StandardMarks, standard_marks
from fewshot_reenact.provenance.sign import Ingredient, Origin

_DEFAULT = DEFAULT_MODEL.name
# No file names and nothing about the machine: a manifest is read by whoever sees the video.
_STATED = ("motion", "frame", "region", "strength", "warp_only", "dense", "compare")


def marks_for(
    portraits: Sequence[Path],
    driver: str | Path,
    settings: Mapping[str, Any],
    model_sha256: str,
) -> StandardMarks:
    """The marks of an output of `animate` called with `settings`.

    Raises UsageError: half of a certificate and key, a consent text that cannot be kept. InputError: credentials or
    inputs that cannot be read.
    """
    certificate, key = settings["sign_cert"], settings["sign_key"]
    if (certificate is None) != (key is None):
        raise UsageError("--sign-cert and --sign-key go together: give both, or neither for a key made here")
    credentials: Credentials | None = None if certificate is None else read_credentials(certificate, key)
    builtin = driver_kind(driver) == "builtin"
    model = settings["model"]
    ingredients = [
        # A person's file from `reenact finetune` is portraits and networks in one.
        *(
            Ingredient("person", _hash(path), path, consent=_consent_in(path))
            if is_person(path)
            else Ingredient("portrait", _hash(path), path)
            for path in portraits
        ),
        Ingredient("driver", None, name=str(driver)) if builtin else Ingredient("driver", _hash(driver), Path(driver)),
        *([] if is_person(portraits[0]) else [Ingredient("model", model_sha256, name=None if model else _DEFAULT)]),
    ]
    origin = Origin(
        source_type=SOURCE_TYPE,
        ingredients=ingredients,
        # The portrait's own picture with the head replaced in it; side by side or cut out it is a new one.
        edited=settings["frame"] == "full" and not settings["compare"],
        consent=check_consent(settings["consent"]),
        settings={"label": settings["label"], **{name: settings[name] for name in _STATED}},
    )
    return standard_marks(
        origin, credentials=credentials, visible=settings["label"], thumbnails=settings["embed_thumbnails"]
    )


def _consent_in(path: Path) -> str | None:
    try:
        return check_consent(consent_in(path))
    except UsageError as error:
        raise ModelError(f"{path}: damaged ({error})") from error


def _hash(path: str | Path) -> str:
    try:
        return sha256(Path(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the name") from error
