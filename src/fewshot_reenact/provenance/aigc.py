"""The implicit label of China's GB 45438-2025: what a file's metadata say under the key `AIGC`.

The seven elements are those of the standard's appendix E. What a file says there is nobody's proof.
"""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any, Literal
from xml.sax.saxutils import escape

from fewshot_reenact.errors import UsageError
from fewshot_reenact.plain_json import read_json
from fewshot_reenact.provenance import xmp

# Whether, and how, a picture says visibly that it is generated.
Visible = bool | Literal["cn"]
CHINA: Literal["cn"] = "cn"
NAMESPACE = "http://www.tc260.org.cn/ns/AIGC/1.0/"
_ELEMENTS = (
    "Label",
    "ContentProducer",
    "ProduceID",
    "ReservedCode1",
    "ContentPropagator",
    "PropagateID",
    "ReservedCode2",
)
_LARGEST = 8192  # characters; what is longer is no such label
_NOT_ALLOWED = re.compile(r'[\s"\\]')
MEANINGS = {"1": "generated", "2": "possibly generated", "3": "suspected to be generated"}


def check_provider(provider: str | None) -> None:
    """Raises UsageError for a name that the standard's values have no characters for."""
    if provider is not None and _NOT_ALLOWED.search(provider):
        raise UsageError(
            f"--provider {provider}: under --label cn it is a code or a name without spaces, quotes and backslashes"
        )


def label(provider: str, id: str) -> str:
    """The label of something generated here, as JSON. Who produces is first to pass it on (note 1 of appendix E)."""
    elements = dict.fromkeys(_ELEMENTS, "")
    elements |= {"Label": "1", "ContentProducer": provider, "ProduceID": id}
    elements |= {"ContentPropagator": provider, "PropagateID": id}
    return json.dumps(elements, ensure_ascii=False, separators=(",", ":"))


def property_of(text: str) -> str:
    """The label as a property of an XMP packet."""
    return f'<TC260:AIGC xmlns:TC260="{NAMESPACE}">{escape(text)}</TC260:AIGC>'


def read(path: Path, tags: dict[str, Any]) -> dict[str, str] | None:
    """The label that a file carries, by whomever: in XMP, or under AIGC in its tags. None without one. OSError."""
    packet = (xmp.extract(path) or b"").decode("utf-8", "replace")
    found = re.search(r"<\w+:AIGC\b[^>]*>(.*?)</\w+:AIGC>|\b\w+:AIGC=\"([^\"]*)\"", packet, re.DOTALL)
    texts = [html.unescape(found.group(1) or found.group(2) or "")] if found else []
    texts += [str(value) for name, value in tags.items() if name.lower() == "aigc"]
    return next((one for one in map(_parsed, texts) if one), None)


def _parsed(text: str) -> dict[str, str] | None:
    if len(text) > _LARGEST:
        return None
    try:
        said = read_json(text)
    except ValueError:
        return None
    said = said.get("AIGC", said) if isinstance(said, dict) else None
    if not isinstance(said, dict) or "Label" not in said:
        return None
    return {name: str(said[name]) for name in _ELEMENTS if name in said}
