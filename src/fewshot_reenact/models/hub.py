"""Models on the Hugging Face Hub: `hf:OWNER/NAME[@REV]` is a file in its cache, downloaded when it is first asked for.

Who names such a model asks for it, and is told before it is fetched; nothing is fetched for any other name. Once it is
there, the net is not asked again: a branch stays where it was; another revision is another file.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from fewshot_reenact.errors import MissingExtra, ModelError, UsageError, brief
from fewshot_reenact.files import sha256

PREFIX, MODEL = "hf:", "model.safetensors"
EXTRA = "hub"
_NAME = re.compile(r"hf:([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@([\w./-]+))?", re.ASCII)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OnHub:
    """A model there. repo: OWNER/NAME. revision: a branch, tag or commit."""

    repo: str
    revision: str = "main"

    def __str__(self) -> str:
        return f"{PREFIX}{self.repo}@{self.revision}"


@dataclass(frozen=True)
class Downloaded:
    """A file in the cache. sha256: by which the Hub keeps it; None: it does not say."""

    model: OnHub
    path: Path
    sha256: str | None


def is_on_hub(model: str | Path) -> bool:
    """Whether this names a model on the Hub."""
    return str(model).startswith(PREFIX)


def parse(model: str | Path) -> OnHub:
    """What `hf:OWNER/NAME[@REV]` names. Raises UsageError."""
    text = model.as_posix() if isinstance(model, Path) else model
    found = _NAME.fullmatch(text)
    if found is None or ".." in text:
        raise UsageError(f"{text}: is no model on the Hub: write hf:OWNER/NAME, or hf:OWNER/NAME@REVISION")
    return OnHub(found[1], found[2] or "main")


def fetch(model: str | Path) -> Path:
    """The file of a model on the Hub, in the Hub's cache. Where it is not there, its size and SHA-256 are said and it
    is downloaded; what arrives must have that SHA-256.

    Raises UsageError: no such name, MissingExtra; ModelError: it cannot be had.
    """
    wanted = parse(model)
    hub = _library(str(wanted))
    # Not hf_hub_download(local_files_only=True), which asks the Hub for a list of its own before it looks.
    kept = hub.try_to_load_from_cache(wanted.repo, MODEL, revision=wanted.revision)
    if isinstance(kept, str):
        return Path(kept)
    try:
        size, digest, commit = _described(hub, wanted)
        said = f", {size / 1e6:.1f} MB" if size else ""
        stated = f"SHA-256 {digest}" if digest else "no SHA-256 is stated"
        _log.warning("%s (commit %s): downloading %s%s, %s", wanted, commit[:12], MODEL, said, stated)
        path = Path(hub.hf_hub_download(wanted.repo, MODEL, revision=wanted.revision))
    except Exception as error:
        # What the library raises for a net that fails differs from version to version.
        raise ModelError(f"{wanted}: {_reason(error)}") from error
    found = sha256(path)
    if digest is not None and found != digest:
        raise ModelError(f"{path}: its SHA-256 is {found}, the Hub states {digest}; delete the file and try again")
    _log.warning("%s: SHA-256 %s, kept as %s", wanted, found, path)
    return path


def downloaded() -> list[Downloaded]:
    """The models of the Hub's cache whose file has this name; none where the extra is not installed."""
    try:
        hub = _library("")
    except MissingExtra:
        return []
    try:
        info = hub.scan_cache_dir()
    except Exception as error:  # there is no cache yet, or it cannot be read: see `fetch`
        _log.debug("the Hub's cache: %s", error)
        return []
    return sorted(_files(info), key=lambda one: str(one.model))


def _files(info: Any) -> Iterator[Downloaded]:
    for repo in info.repos:
        for revision in repo.revisions if repo.repo_type == "model" else ():
            for file in revision.files:
                if file.file_name == MODEL:
                    blob = Path(file.blob_path).name  # large files are kept by their SHA-256
                    stated = blob if re.fullmatch(r"[0-9a-f]{64}", blob) else None
                    names = sorted(revision.refs) or [revision.commit_hash]
                    yield Downloaded(OnHub(repo.repo_id, names[0]), Path(file.file_path), stated)


def _library(what: str) -> Any:
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read when it is imported: it asks for the model alone
    try:
        return import_module("huggingface_hub")
    except ImportError as error:
        raise MissingExtra(f"{what}: huggingface_hub is not installed", EXTRA) from error


def _described(hub: Any, wanted: OnHub) -> tuple[int | None, str | None, str]:
    """(bytes, SHA-256, commit) of the file, as the Hub states them."""
    info = hub.model_info(wanted.repo, revision=wanted.revision, files_metadata=True)
    for one in info.siblings or ():
        if one.rfilename == MODEL:
            lfs = one.lfs or {}
            digest = lfs.get("sha256") if isinstance(lfs, dict) else getattr(lfs, "sha256", None)
            return one.size, digest, str(info.sha)
    raise ModelError(f"holds no {MODEL}; is it a model of this tool?")


def _reason(error: Exception) -> str:
    if isinstance(error, ModelError):
        return str(error)
    known = {
        "RepositoryNotFoundError": "there is no such model on the Hub, or it is private: check the name, or log in by "
        "`hf auth login`",
        "RevisionNotFoundError": "has no such revision; check what stands behind @",
        "GatedRepoError": "is given only to who has asked for it: ask on its page, then log in by `hf auth login`",
        "OfflineModeIsEnabled": "is not downloaded yet, and HF_HUB_OFFLINE is set; unset it",
    }
    other = f"cannot be downloaded ({brief(error)}); try again later, or download it and give the file's name"
    return known.get(type(error).__name__, other)
