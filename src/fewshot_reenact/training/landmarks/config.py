"""The configuration of landmark training: one YAML file a stage, checked."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from fewshot_reenact.geometry.topology import N_POINTS
from fewshot_reenact.training.config import StageConfig


class LandmarkConfig(StageConfig):
    """configs/landmarks_points.yaml and its siblings. Ranges of points are [first, one past the last]."""

    trainer: Literal["landmarks"]
    part: Literal["points", "detector", "irises", "lids"] = Field(
        description="the 83-point network, the face detector, where irises stand in their eyes, or lids, seen alone"
    )
    data: Path = Field(description="a folder with stills/stills.npz and clips/train, as training.landmarks.data packs")
    held_out: Path = Field(description="a list of stills that are not learnt from, beside the config file")
    packed: Path | None = Field(
        None, description="a folder for the packed data, which stages may share; null: packed/ in the run folder"
    )
    start: Path | None = Field(None, description="weights to begin with")
    batch: int = Field(ge=1, description="crops or scenes a step, those of pairs among them")
    pairs: int = Field(0, ge=0, description="pairs of frames a step whose points must agree")
    pairs_packed: int = Field(6000, ge=1, description="pairs that are looked for once")
    agreement: float = Field(3.0, ge=0, description="weight of their agreement")
    apart: list[tuple[int, int]] = Field([], description="points that need not agree")
    lids: float = Field(0.0, ge=0, description="weight of how far each eye is open")
    only: tuple[int, int] | None = Field(None, description="the only points whose votes change")


_POINTS_ONLY = ("pairs", "apart", "lids", "only")


def check_together(config: LandmarkConfig) -> None:
    """What no field can know by itself. Raises ValueError naming the key."""
    if config.part != "points":
        for key in _POINTS_ONLY:
            if getattr(config, key):
                raise ValueError(f"{key}: is for part: points; {config.part} has no such thing")
    if 2 * config.pairs > config.batch:
        raise ValueError(f"pairs: {config.pairs} pairs are {2 * config.pairs} crops, and batch is {config.batch}")
    ranges = [("apart", one) for one in config.apart] + ([("only", config.only)] if config.only else [])
    for key, (first, end) in ranges:
        if not 0 <= first < end <= N_POINTS:
            raise ValueError(
                f"{key}: [{first}, {end}] is no range of points: [first, one past the last], 0..{N_POINTS}"
            )
