"""The configuration of landmark training: one YAML file a stage, checked."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from fewshot_reenact.training.config import Strict


class LandmarkConfig(Strict):
    """configs/landmarks_points.yaml and its siblings. Ranges of points are [first, one past the last]."""

    trainer: Literal["landmarks"]
    part: Literal["points", "detector"] = Field(description="the 83-point network, or the face detector")
    data: Path = Field(description="a folder with stills/stills.npz and clips/train, as training.landmarks.data packs")
    held_out: Path = Field(description="a list of stills that are not learnt from, beside the config file")
    start: Path | None = Field(None, description="weights to begin with")
    seed: int = 0
    batch: int = Field(ge=1, description="crops or scenes a step, those of pairs among them")
    steps: int = Field(ge=1)
    minutes: float | None = Field(
        None, gt=0, description="the rate falls over these or over the steps, what ends first"
    )
    rate: float = Field(gt=0)
    ema: float = Field(0.998, ge=0, lt=1, description="decay of the averaged weights that are shipped")
    log_every: int = Field(50, ge=1)
    save_every: int = Field(400, ge=1)
    pairs: int = Field(0, ge=0, description="pairs of frames a step whose points must agree")
    pairs_packed: int = Field(6000, ge=1, description="pairs that are looked for once")
    agreement: float = Field(3.0, ge=0, description="weight of their agreement")
    apart: list[tuple[int, int]] = Field([], description="points that need not agree")
    lids: float = Field(0.0, ge=0, description="weight of how far each eye is open")
    only: tuple[int, int] | None = Field(None, description="the only points whose votes change")
