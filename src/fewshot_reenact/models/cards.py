"""The head that Hugging Face's Hub reads from a model's card: licence, task, tags, as YAML between two lines."""

from __future__ import annotations

from collections.abc import Sequence

import yaml

LIBRARY = "fewshot-reenact"
# The card's name -> the Hub's task, if it has one, and tags.
_BUILT_IN: dict[str, tuple[str | None, tuple[str, ...]]] = {
    "README": ("keypoint-detection", ("face-landmarks", "face-detection")),
    "blendshapes": (None, ("blendshapes", "face-landmarks")),
    "detector": ("object-detection", ("face-detection",)),
    "discriminator": (None, ("talking-head", "few-shot-learning", "discriminator")),
    "face_teacher": ("image-feature-extraction", ("perceptual-loss", "faces")),
    "forehead": (None, ("face-landmarks",)),
    "head_shape": (None, ("head-model", "face-landmarks")),
    "irises": ("keypoint-detection", ("gaze",)),
    "landmarks": ("keypoint-detection", ("face-landmarks",)),
    "lids": ("keypoint-detection", ("face-landmarks",)),
    "matte": ("image-segmentation", ("matting", "portrait")),
    "motions": (None, ("motion", "face-landmarks")),
    "shape_basis": (None, ("head-model", "face-landmarks")),
    "textured": ("image-to-video", ("talking-head", "reenactment", "portrait-animation", "few-shot-learning")),
}


def card_head(task: str | None, tags: Sequence[str], licence: str = "apache-2.0") -> str:
    """The head, from --- to ---. task: as the Hub names it, or None. licence: as the Hub names it."""
    head = {"license": licence, "library_name": LIBRARY, **({"pipeline_tag": task} if task else {}), "tags": [*tags]}
    return f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---\n"


def built_in_head(name: str) -> str:
    """The head of a built-in weight's card, by the card's name without suffix."""
    return card_head(*_BUILT_IN[name])


def model_head(licence: str) -> str:
    """The head of a model that animates portraits."""
    return card_head(*_BUILT_IN["textured"], licence)


def without_head(card: str) -> str:
    """A card's text below its head."""
    return card.split("\n---\n", 1)[1].lstrip("\n") if card.startswith("---\n") and "\n---\n" in card[4:] else card
