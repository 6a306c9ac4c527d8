"""The configuration of the matte network's training: one YAML file, checked."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from fewshot_reenact.training.config import StageConfig


class MatteConfig(StageConfig):
    """configs/matte.yaml."""

    trainer: Literal["matte"]
    packed: Path = Field(description="the folder of scripts/build/label_mattes.py: pictures with the teacher's mattes")
    batch: int = Field(16, ge=1)
    rate: float = Field(2e-3, gt=0)
    altered: float = Field(0.6, ge=0, le=1, description="share of pictures in other light, grey, blurred or painted")
    grounds: float = Field(0.35, ge=0, le=1, description="share of people before another picture's ground")
