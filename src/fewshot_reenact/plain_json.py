"""JSON that others may have written: what it is made of is looked at before it is used."""

import json
from typing import Any


def read_json(text: str | bytes) -> Any:
    """What it says. Raises ValueError, also for what is nested too deeply to be read."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def read_object(text: str | bytes) -> dict[str, Any]:
    """The same of a JSON object. Raises ValueError, also for anything else."""
    value = read_json(text)
    if not isinstance(value, dict):
        raise ValueError("no JSON object")
    return value
