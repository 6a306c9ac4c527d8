"""`reenact models`: which weights are here, whether they are what their cards say, and where they lie."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from fewshot_reenact.errors import ModelError
from fewshot_reenact.files import sha256
from fewshot_reenact.models.cards import without_head
from fewshot_reenact.models.checkpoint import FORMAT, model_file
from fewshot_reenact.models.hub import Downloaded, downloaded
from fewshot_reenact.plain_json import read_object
from fewshot_reenact.weights import WEIGHTS, is_pointer, open_weights

OK = "ok"
_SUFFIXES = (".safetensors", ".npz")


def built_in(folder: Path | None = None) -> list[dict[str, Any]]:
    """The weights that come with the package. folder: where they are; None: the package's.

    name, path, bytes, sha256; state: "ok", or what is wrong and what to do; about: what the card says first.
    """
    folder = folder or WEIGHTS
    return [_built_in(path) for path in sorted(folder.iterdir()) if path.suffix in _SUFFIXES] if folder.is_dir() else []


def from_hub() -> list[dict[str, Any]]:
    """The same of the models of this tool that were downloaded."""
    return [row for one in downloaded() if (row := _from_hub(one)) is not None]


def described(model: str | Path) -> dict[str, Any]:
    """The same of one model, that is fetched if it is on the Hub, and what the file says of itself: kind, size of its
    face, parameters, note, version. Raises ModelError, UsageError.
    """
    path = model_file(model)
    with open_weights(path, "no such file; check the name", "damaged or not weights ({reason})") as file:
        meta, count = file.meta, sum(tensor.numel() for tensor in file.tensors().values())
    dimensions = _dimensions(meta)
    own = {key: dimensions[key] for key in ("kind", "size") if isinstance(dimensions.get(key), str | int)}
    said = {key: meta[key] for key in ("format", "version", "note") if meta.get(key)}
    row = {"name": str(model), "path": str(path.absolute()), "bytes": path.stat().st_size, "sha256": sha256(path)}
    state = OK if meta.get("format") else "says nothing of itself: not written by this tool"
    return {**row, "state": state, "about": said.get("note", ""), **said, **own, "parameters": count}


def in_words(rows: list[dict[str, Any]]) -> list[str]:
    """A line a model, and where those of one folder lie."""
    lines, place = [], ""
    for row in rows:
        folder = str(Path(row["path"]).parent)
        if folder != place:
            place = folder
            lines.append(f"{folder}:")
        more = "; ".join(filter(None, (row["state"], row["about"])))
        lines.append(f"  {row['name']}, {row['bytes'] / 2**20:.2f} MiB, SHA-256 {row['sha256'][:12]}, {more}")
    return lines


def _built_in(path: Path) -> dict[str, Any]:
    """One file of weights, and whether it is what its model card (same name, .md or .json) says."""
    digest = sha256(path)
    cards = [card.read_text("utf-8") for end in (".md", ".json") if (card := path.with_suffix(end)).is_file()]
    stated = [found for card in cards for found in re.findall(r"\b[0-9a-f]{64}\b", card)]
    if is_pointer(path):
        state = "a Git-LFS pointer instead of the weights: run `git lfs pull`"
    elif not stated:
        state = "no model card states its SHA-256"
    else:
        state = OK if digest in stated else "differs from its model card: install the package again"
    about = _first_sentence(cards[0]) if cards else ""
    return {
        "name": path.name,
        "path": str(path),
        "bytes": path.stat().st_size,
        "sha256": digest,
        "state": state,
        "about": about,
    }


def _from_hub(one: Downloaded) -> dict[str, Any] | None:
    """None: a model of another tool's."""
    try:
        with open_weights(one.path, "no such file") as file:
            if file.meta.get("format") != FORMAT:
                return None
    except ModelError:
        pass  # it may be one of ours that is damaged, which its SHA-256 tells
    digest = sha256(one.path)
    state = "the Hub states no SHA-256" if one.sha256 is None else OK
    if one.sha256 not in (None, digest):
        state = "differs from what the Hub states: delete the file and use it again, to download it anew"
    size = one.path.stat().st_size
    row = {"name": str(one.model), "path": str(one.path), "bytes": size, "sha256": digest}
    return {**row, "state": state, "about": ""}


def _first_sentence(card: str) -> str:
    """Of the first paragraph below the title: up to its first full stop or semicolon, without Markdown's marks."""
    paragraphs = [part for part in without_head(card).split("\n\n") if part.strip() and not part.startswith("#")]
    words = " ".join(paragraphs[0].split()) if paragraphs else ""
    plain = re.sub(r" \(`[^)]*\)|`", "", words)
    return re.split(r"[.;:] |[.;:]$", plain)[0][:120]


def _dimensions(meta: dict[str, str]) -> dict[str, Any]:
    try:
        return read_object(meta.get("dimensions", "{}"))
    except ValueError:
        return {}
