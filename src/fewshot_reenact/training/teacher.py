"""The small network with which fine-tuning compares pictures when it is given no other, distilled from a face network.

It imitates a face network on crops of faces: its maps of three sizes (their main components, which hold most of what
differs between two pictures) and the vector that it ends in. Plain convolutions, trained from nothing, written in the
format of models/perceptual.py; its own maps after each size are tapped.
"""

import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from tqdm import tqdm

from fewshot_reenact.models.identity import SIDE, alignment
from fewshot_reenact.models.perceptual import FeatureNet
from fewshot_reenact.models.teachers import TEACHER
from fewshot_reenact.training.config import StageConfig
from fewshot_reenact.training.landmarks.data import LandmarkSource, pack, read_packed
from fewshot_reenact.training.stage import learning_rate, run_stage
from fewshot_reenact.weights import save_weights

IMITATED = "faceid_train.safetensors"
FIRST_LEVEL = 1  # of its maps: the first is little but pixels
# Each convolution's channels, stride, and how many components of the next map that is imitated are read from it.
LAYERS = [(24, 2, 0), (48, 2, 0), (48, 1, 24), (96, 2, 0), (96, 1, 32), (160, 2, 0), (160, 1, 48)]
VECTOR = 128


class Student(nn.Module):
    """forward: (B, 3, 112, 112) RGB in 0..1 -> a map for each imitated one, and the vector, (B, 128) of length 1."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.heads, before = nn.ModuleList(), nn.ModuleDict(), 3
        for number, (channels, stride, components) in enumerate(LAYERS):
            conv = nn.Conv2d(before, channels, 3, stride, 1, bias=False)
            self.trunk.append(nn.Sequential(conv, nn.BatchNorm2d(channels)))
            if components:
                self.heads[str(number)] = nn.Conv2d(channels, components, 1)
            before = channels
        side = SIDE // math.prod(stride for _, stride, _ in LAYERS)
        self.vector = nn.Sequential(nn.Conv2d(before, before, side, groups=before), nn.Conv2d(before, VECTOR, 1))

    def forward(self, x: Tensor) -> list[Tensor]:
        """See the class."""
        x, maps = x * 2 - 1, []
        for number, layer in enumerate(self.trunk):
            x = F.relu(layer(x))
            if str(number) in self.heads:
                maps.append(self.heads[str(number)](x))
        return [*maps, F.normalize(self.vector(x).flatten(1), dim=1)]

    def write(self, path: Path, note: str) -> None:
        """As a FeatureNet's file, float16, normalisation folded into the convolutions, without the heads."""
        tensors, ops = {}, []

        def add(name: str, conv: nn.Conv2d, kernel: Tensor, bias: Tensor, act: str) -> None:
            tensors[f"{name}.weight"], tensors[f"{name}.bias"] = kernel.half().contiguous(), bias.half().contiguous()
            how = {"stride": conv.stride[0], "pad": conv.padding[0], "groups": conv.groups, "act": act}
            ops.append({"op": "conv", "name": name, **how})

        for number, layer in enumerate(self.trunk):
            conv, norm = _conv(layer[0]), layer[1]  # type: ignore[index]
            gain = norm.weight / (norm.running_var + norm.eps).sqrt()
            kernel, bias = conv.weight * gain[:, None, None, None], norm.bias - norm.running_mean * gain
            add(f"c{number}", conv, kernel, bias, "relu")
            if number == 0 or str(number) in self.heads:
                ops.append({"op": "tap"})
        for number, last in enumerate(map(_conv, self.vector)):
            assert last.bias is not None
            add(f"v{number}", last, last.weight, last.bias, "none")
        ops.append({"op": "flatten_normalise"})
        meta = {"ops": json.dumps(ops), "mean": "[0.5, 0.5, 0.5]", "std": "[0.5, 0.5, 0.5]", "note": note}
        save_weights(path, tensors, meta)


def _conv(module: nn.Module) -> nn.Conv2d:
    assert isinstance(module, nn.Conv2d)
    return module


class TeacherTask:
    """Pictures, and what the network that is imitated says of them."""

    def __init__(self, nets: Path, source: LandmarkSource):
        self.source, self.rng = source, source.rng
        self.imitated = FeatureNet(nets / IMITATED)
        self.counts = [components for _, _, components in LAYERS if components]

    def pictures(self, count: int) -> Tensor:
        """(count, 3, 112, 112) RGB in 0..1: faces as `unlikeness` aligns them, a little displaced and spoilt."""
        return torch.from_numpy(np.stack([self._picture() for _ in range(count)])).permute(0, 3, 1, 2).float() / 255

    def _picture(self) -> np.ndarray:
        rng = self.rng
        picture, points = self.source.draw()
        frame = cv2.invertAffineTransform(alignment(points))
        turn, grow = rng.normal(0, 0.04), math.exp(rng.normal(0, 0.05))
        linear = grow * np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
        middle = np.full(2, (SIDE - 1) / 2)
        move = middle - linear @ middle + rng.normal(0, 0.02 * SIDE, 2)
        there = np.indices((SIDE, SIDE))[::-1].reshape(2, -1).T @ linear.T + move
        there = there @ frame[:, :2].T + frame[:, 2]
        if rng.random() < 0.5:  # what a wrong warp does to a face
            bend = rng.normal(0, 1, (8, 8, 2)).astype(np.float32) * rng.uniform(0, 0.02) * SIDE
            there = there + cv2.resize(bend, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC).reshape(-1, 2)
        where = there.reshape(SIDE, SIDE, 2).astype(np.float32)
        seen: Any = cv2.remap(picture, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
        face = seen.astype(np.float32)
        if rng.random() < 0.3:  # and what a network that is not sure does
            face = cv2.GaussianBlur(face, (0, 0), rng.uniform(0.5, 2.0))
        if rng.random() < 0.3:
            face += rng.normal(0, rng.uniform(1, 8), face.shape).astype(np.float32)
        return np.clip(face * np.exp(rng.normal(0, 0.1, 3)) + rng.normal(0, 8), 0, 255).astype(np.uint8)

    @torch.no_grad()
    def find_components(self, count: int = 96) -> None:
        """The main components of each map, in which `wanted` gives it, with an overall variance of 1."""
        self.turns = []
        for level, kept in zip(self._maps(self.imitated(self.pictures(count))), self.counts, strict=True):
            rows = level.permute(0, 2, 3, 1).reshape(-1, level.shape[1])
            mean = rows.mean(0)
            values, vectors = torch.linalg.eigh(torch.cov((rows - mean).T))
            self.turns.append((mean, vectors[:, -kept:] / values[-kept:].mean().sqrt()))
            share = float(values[-kept:].sum() / values.sum())
            tqdm.write(f"{kept} of {level.shape[1]} components: {share:.3f} of the variance")

    def _maps(self, taps: list[Tensor]) -> list[Tensor]:
        return taps[FIRST_LEVEL : FIRST_LEVEL + len(self.counts)]

    @torch.no_grad()
    def wanted(self, x: Tensor) -> list[Tensor]:
        """What the student should answer."""
        taps = self.imitated(x)
        found = zip(self._maps(taps), self.turns, strict=True)
        maps = [torch.einsum("bchw,ck->bkhw", tap - mean[:, None, None], turn) for tap, (mean, turn) in found]
        return [*maps, taps[-1]]

    @staticmethod
    def errors(made: list[Tensor], wanted: list[Tensor]) -> dict[str, Tensor]:
        """Mean absolute error of each map, and 1 - cosine of the vector."""
        maps = zip(made[:-1], wanted[:-1], strict=True)
        found = {f"map {number}": (got - want).abs().mean() for number, (got, want) in enumerate(maps)}
        return {**found, "1 - cosine": 1 - (made[-1] * wanted[-1]).sum(1).mean()}


class TeacherConfig(StageConfig):
    """The minutes end the training, not the steps."""

    data: Path = Field(description="a folder with nets/, stills/ and clips/train")
    minutes: float | None = Field(20.0, gt=0)
    batch: int = Field(24, ge=1)
    steps: int = Field(1_000_000, ge=1)
    rate: float = Field(2e-3, gt=0)


_FIXED = ("data", "seed", "batch")


def distil(config: TeacherConfig, folder: Path, packed: Path, held_out: frozenset[str]) -> int:
    """Train, or go on training, in `folder`, on what training.landmarks.data.pack packs there, with the networks in
    DATA/nets. Writes face_teacher.safetensors, with the figures in its note. Returns the step reached.

    Raises InputError, UsageError: as pack and run_stage do; ModelError: the network that is imitated is missing.
    """
    FeatureNet(config.data / "nets" / IMITATED)  # before anything that takes long
    return run_stage(
        lambda stop: pack(config.data, packed, held_out, stop=stop),
        lambda: _TeacherStage(config, packed),
        config,
        _FIXED,
        folder,
    )


class _TeacherStage:
    """The student while it learns; see training.stage.Stage."""

    signature = f"face teacher {LAYERS} {VECTOR}"

    def __init__(self, config: TeacherConfig, packed: Path):
        torch.manual_seed(config.seed)
        self.config, self.step, self.spent = config, 0, 0.0
        nets = config.data / "nets"
        self.task, held = (TeacherTask(nets, read_packed(packed, *way)) for way in ((True, config.seed), (False, 1)))
        self.task.find_components()
        self.shown = held.pictures(96)
        self.student = Student().train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimiser = torch.optim.AdamW(self.student.parameters(), lr=config.rate, weight_decay=1e-4)

    def learn(self) -> dict[str, float]:
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.config, self.step, self.spent, rise=50, least=0.02)
        self.task.rng = self.task.source.rng = np.random.default_rng([self.config.seed, self.step])
        x = self.task.pictures(self.config.batch)
        self.optimiser.zero_grad(set_to_none=True)
        errors = self.task.errors(self.student.train()(x), self.task.wanted(x))
        loss = torch.stack(list(errors.values())).sum() + errors["1 - cosine"]
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.student.parameters(), 5.0)
        self.optimiser.step()
        self.step += 1
        return {"loss": float(loss.detach()), **{name: float(error.detach()) for name, error in errors.items()}}

    @torch.no_grad()
    def score(self) -> dict[str, float]:
        found = self.task.errors(self.student.eval()(self.shown), self.task.wanted(self.shown))
        return {name: round(float(error), 4) for name, error in found.items()}

    def state(self) -> dict[str, Any]:
        kept = {"student": self.student.state_dict(), "optimiser": self.optimiser.state_dict()}
        return {**kept, "turns": self.task.turns}

    def restore(self, state: dict[str, Any]) -> None:
        self.student.load_state_dict(state["student"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.task.turns = state["turns"]
        self.step, self.spent = int(state["step"]), float(state["spent"])

    def export(self, folder: Path, figures: dict[str, float]) -> None:
        about = {"steps": self.step, "batch": self.config.batch, "minutes": round(self.spent / 60, 1)}
        self.student.write(folder / TEACHER.name, json.dumps({**about, "held_out": figures}))
