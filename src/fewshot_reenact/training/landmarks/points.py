"""Training of the point network: its batches, its loss and its score on what is held out."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewshot_reenact.geometry.align import CROP
from fewshot_reenact.geometry.topology import LEFT_LIDS, LIP_PAIRS, RIGHT_LIDS
from fewshot_reenact.landmarks.network import PointNet
from fewshot_reenact.training.landmarks.config import LandmarkConfig
from fewshot_reenact.training.landmarks.data import read_packed, to_tensor
from fewshot_reenact.training.landmarks.pairs import Pairs

GAPS = torch.tensor([*LIP_PAIRS, *LEFT_LIDS, *RIGHT_LIDS])
LIDS = torch.tensor([LEFT_LIDS, RIGHT_LIDS])  # (eyes, pairs, upper and lower)


def point_weights() -> Tensor:
    """How much each point counts, (83,), 1 in the mean."""
    w = torch.ones(83)
    w[:17] = 0.5  # the teacher's jaw is loose
    w[36:48], w[48:68], w[81:83] = 2.0, 2.0, 2.0
    w[68:79] = 0.5
    return w / w.mean()


def wing(x: Tensor, width: float = 6.0, bend: float = 1.0) -> Tensor:
    """Wing loss (Feng et al. 2018): logarithmic for small errors, so that they keep mattering. x in crop pixels."""
    flat = width - width * float(np.log(1 + width / bend))
    return torch.where(x < width, width * torch.log1p(x / bend), x - flat)


def ballot(votes: Tensor, want: Tensor) -> Tensor:
    """Cross-entropy of the votes' weights against the four cells nearest to each point: so they gather soon.

    votes: (B, 83, cells), want: (B, 83, 2) in crop pixels -> (B, 83).
    """
    side = round(votes.shape[-1] ** 0.5)
    stride = CROP / side
    at = ((want - (stride - 1) / 2) / stride).clamp(0, side - 1.001)
    low = at.floor()
    part = at - low
    log = votes.log_softmax(-1)
    loss = torch.zeros(votes.shape[:2])
    for dy in (0, 1):
        for dx in (0, 1):
            share = (part[..., 0] if dx else 1 - part[..., 0]) * (part[..., 1] if dy else 1 - part[..., 1])
            cell = ((low[..., 1] + dy) * side + low[..., 0] + dx).long()
            loss = loss - share * log.gather(-1, cell[..., None])[..., 0]
    return loss


def miss(points: Tensor, pairs: dict[str, Tensor]) -> Tensor:
    """How far the points of frame a are from those of frame b carried there. (2, P, 83, 2) crop pixels -> (P, 83)."""
    moved = (pairs["bend"] @ (points[1] - pairs["there"])[..., None])[..., 0]
    return (points[0] - pairs["here"] - moved).norm(dim=-1)


def opening(points: Tensor) -> Tensor:
    """How far each eye is open: the mean gap of its lids. (B, 83, 2) crop pixels -> (B, 2)."""
    return (points[:, LIDS[..., 0]] - points[:, LIDS[..., 1]]).norm(dim=-1).mean(-1)


class PointTask:
    """Single crops, and with `pairs: N` in the settings N pairs of frames a step whose points must agree."""

    network = PointNet

    def __init__(self, packed: Path, train: bool, seed: int, settings: LandmarkConfig):
        self.source = read_packed(packed, train, seed)
        self.settings = settings
        self.pairs = Pairs(self.source, packed) if settings.pairs else None
        self.weights = point_weights()
        self.agreed = self.weights.clone()
        for first, end in settings.apart:
            self.agreed[first:end] = 0

    def batch(self) -> dict[str, Tensor]:
        """x (B, 3, 128, 128), points (B, 83, 2), real (B,): pairs stand first, all first frames before all second
        ones; with pairs also their here, there, bend, weight, see training.landmarks.pairs.Match.
        """
        matched, columns = [], {}
        if self.pairs is not None:
            drawn = [self.pairs.draw() for _ in range(self.settings.pairs)]
            matched = [(*crops[k], True) for k in (0, 1) for crops, _ in drawn]
            columns = {
                name: torch.from_numpy(np.stack([getattr(m, name) for _, m in drawn])).float()
                for name in ("here", "there", "bend", "weight")
            }
        single = [self.source.crop() for _ in range(self.settings.batch - len(matched))]
        crops, points, real = zip(*matched, *single, strict=True)
        return columns | {
            "x": to_tensor(list(crops)),
            "points": torch.from_numpy(np.stack(points)),
            "real": torch.tensor(real),
        }

    def loss(self, net: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """The loss of a batch, and numbers for the log."""
        got, sure, votes = net.look(batch["x"])  # type: ignore[operator]
        want, real, weights = batch["points"], batch["real"].float(), self.weights
        error = (got - want).norm(dim=-1)
        place = (wing(error) * weights).mean(1)
        gaps = (got[:, GAPS[:, 0]] - got[:, GAPS[:, 1]]) - (want[:, GAPS[:, 0]] - want[:, GAPS[:, 1]])
        shape = wing(gaps.norm(dim=-1)).mean(1)
        with torch.no_grad():
            nme = error.mean(1) / (want[:, 45] - want[:, 36]).norm(dim=-1)
            # Sure means: a face, with points nearer than an eighth of the eye distance in the mean.
            right = real * (nme < 0.12).float()
        doubt = F.binary_cross_entropy_with_logits(sure, right)
        n = real.sum().clamp(min=1)
        single = place + 0.7 * shape + 1.5 * (ballot(votes, want) * weights).mean(1)
        if lids := self.settings.lids:
            # Closed lids lie on each other, whatever else is wrong with them: a blink is the gap, not the places.
            single = single + lids * wing((opening(got) - opening(want)).abs()).mean(1)
        loss = (single * real).sum() / n + 2.0 * doubt
        numbers = {"nme": float((nme * real).sum() / n), "doubt": float(doubt.detach())}
        if "here" in batch:
            count = len(batch["here"])
            apart = miss(got[: 2 * count].unflatten(0, (2, count)), batch)
            trust = batch["weight"] * self.agreed
            loss = loss + self.settings.agreement * (wing(apart) * trust).sum() / trust.sum().clamp(min=1)
            numbers["apart"] = float((apart.detach() * batch["weight"]).sum() / batch["weight"].sum().clamp(min=1))
        return loss, numbers

    @torch.no_grad()
    def score(self, net: nn.Module) -> dict[str, float]:
        """In eye distances, on the same 512 crops each time; `apart`: pairs, in crop pixels."""
        self.source.rng = np.random.default_rng(1)
        rows = []
        for _ in range(max(1, 512 // self.settings.batch)):
            batch = self.batch()
            got, sure = net(batch["x"])
            want, real = batch["points"], batch["real"]
            error = (got - want).norm(dim=-1) / (want[:, 45] - want[:, 36]).norm(dim=-1)[:, None]
            e = error[real]
            row = {"all": e, "eyes": e[:, 36:48], "mouth": e[:, 48:68], "iris": e[:, 81:]}
            row["face_known"] = ((sure > 0) == real).float()
            if "here" in batch:
                count = len(batch["here"])
                apart, weight = miss(got[: 2 * count].unflatten(0, (2, count)), batch), batch["weight"]
                row["apart"] = (apart * weight).sum() / weight.sum()
            rows.append({name: float(value.mean()) for name, value in row.items()})
        return {name: round(float(np.mean([row[name] for row in rows])), 4) for name in rows[0]}
