"""`reenact push`: a model as a folder that is ready for the Hugging Face Hub: weights, card, hashes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewshot_reenact._version import __version__
from fewshot_reenact.errors import ModelError, UsageError
from fewshot_reenact.models.cards import model_head, without_head
from fewshot_reenact.models.checkpoint import DEFAULT_MODEL, load_losses, load_model, model_file
from fewshot_reenact.models.hub import MODEL, OnHub, is_on_hub, parse
from fewshot_reenact.pipelines.folders import check_folder, write_folder
from fewshot_reenact.pipelines.models import described
from fewshot_reenact.provenance.consent import RULES

CARD, SUMS = "README.md", "SHA256SUMS"
_OWN_LICENCE = "apache-2.0"
_UNSAID = "who published this model has not said. Do not take it for people who agreed."


@dataclass(frozen=True)
class Pushed:
    """What `push` wrote. folder, files: where. name: OWNER/NAME, or None. sha256: of the weights. upload: the command
    that sends the folder, once somebody decides to.
    """

    folder: Path
    files: list[Path]
    name: str | None
    sha256: str
    upload: str

    def report(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {
            "schema": "fewshot-reenact/push/1",
            "version": __version__,
            "folder": str(self.folder),
            "files": [str(path) for path in self.files],
            "name": self.name,
            "sha256": self.sha256,
            "upload": self.upload,
        }


def push(
    model: str | Path | None,
    folder: str | Path,
    *,
    name: str | None = None,
    licence: str | None = None,
    data: str | None = None,
    overwrite: bool = False,
) -> Pushed:
    """Write model.safetensors, a card with the Hub's head and SHA256SUMS into a folder, all or none. Nothing is sent.

    model: a safetensors file of `train`; None: the built-in model. name: OWNER/NAME, for the card. licence: as the Hub
    names it, as "cc-by-4.0"; None only for the built-in model, whose licence is known. data: a sentence on what it has
    learnt from. overwrite: replace files that exist.

    Returns a Pushed. Raises UsageError, ModelError (no model, or a person's networks).
    """
    own = model is None or (not is_on_hub(model) and model_file(model).absolute() == DEFAULT_MODEL)
    if licence is None and not own:
        raise UsageError("which licence is the model under? --license apache-2.0, or another name of the Hub's list")
    if licence is not None and not re.fullmatch(r"[a-z0-9][a-z0-9.+-]{0,40}", licence):
        raise UsageError(f"license {licence!r}: the Hub's name of one is wanted, as apache-2.0 or cc-by-4.0")
    on_hub = None if name is None else _named(name)
    where = Path(folder)
    check_folder(where, (MODEL, CARD, SUMS), overwrite, "-o")
    path = model_file(model)
    facts = described(path)
    if "/person/" in str(facts.get("format")):
        raise ModelError(f"{path}: holds one person's face; it is not for publishing. Give a model of `reenact train`")
    load_model(path)  # whole, and one of this tool's
    digest = str(facts["sha256"])
    told = _own_card() if own else _told(path, facts, data)
    card = _card(facts, on_hub, licence or _OWN_LICENCE, told)
    made = {MODEL: path.read_bytes(), CARD: card.encode(), SUMS: f"{digest}  {MODEL}\n".encode()}
    write_folder(where, made, overwrite, path)
    upload = f"hf upload {on_hub.repo if on_hub else 'OWNER/NAME'} {where}"
    return Pushed(where, [where / one for one in made], on_hub.repo if on_hub else None, digest, upload)


def _named(name: str) -> OnHub:
    found = parse(name if is_on_hub(name) else f"hf:{name}")
    if "@" in name:
        raise UsageError(f"{name}: a revision comes with the upload; write OWNER/NAME")
    return found


def _card(facts: dict[str, Any], on_hub: OnHub | None, licence: str, told: str) -> str:
    repo = on_hub.repo if on_hub else "OWNER/NAME"
    return f"""{model_head(licence)}
# {repo.split("/")[1]}

A model of fewshot-reenact, which animates a portrait with the movements of a driving video, after
[Zakharov et al. 2019](https://arxiv.org/abs/1905.08233). Networks of kind {facts.get("kind", "unknown")}, faces of
{facts.get("size", "unknown")} pixels, {facts["parameters"] / 1e6:.2f} M parameters, {facts["bytes"] / 1e6:.1f} MB.
The file is safetensors: numbers, no code. With fewshot-reenact and its extra `hub` installed:

    reenact animate portrait.jpg driver.mp4 --model hf:{repo}

{told}

## Use

{RULES.strip()}

What `reenact` makes with it is signed, watermarked and labelled as AI-generated.

SHA-256 of `{MODEL}`: `{facts["sha256"]}`
"""


def _own_card() -> str:
    """What the built-in model's card says, as a section."""
    text = without_head(DEFAULT_MODEL.with_suffix(".md").read_text("utf-8"))
    return "## The model\n\n" + "\n\n".join(part for part in text.strip().split("\n\n")[1:] if "SHA-256" not in part)


def _told(path: Path, facts: dict[str, Any], data: str | None) -> str:
    losses = load_losses(path)
    lines = [f"- **Data**: {' '.join((data or _UNSAID).split())}"]
    lines += [f"- **Made with** version {facts['version']}."] if facts.get("version") else []
    lines += [f"- **Note**: {' '.join(str(facts['note']).split())}"] if facts.get("note") else []
    lines += [f"- **Losses** by weight: `{losses.to_json()}`"] if losses is not None else []
    return "## The model\n\n" + "\n".join(lines)
