"""Distances of two sets of pictures, by their features: FID (Heusel et al. 2017) and KID (Binkowski et al. 2018).

Both ask whether made frames are spread as true ones are, not whether each is like its own truth.
"""

import numpy as np
import torch
from torch import Tensor

from fewshot_reenact.models.inception import Inception

ENOUGH = 10_000  # frames from which on FID's bias is small beside the differences that matter (Binkowski et al.)
_BATCH = 16


class FrameSets:
    """Features of frames, by whom they were made; and how far each set is from the truth's.

    Frames go in as (H, W, 3) uint8 RGB of any size. All frames of a set are kept as 8 kB each.
    """

    def __init__(self, net: Inception, device: torch.device):
        self.net, self.device = net.to(device), device
        self._sets: dict[tuple[int, str], list[tuple[Tensor, Tensor]]] = {}

    @torch.inference_mode()
    def features(self, frames: list[np.ndarray]) -> Tensor:
        """(N, 2048) float32, on the CPU. The frames are of one size."""
        found = []
        for begin in range(0, len(frames), _BATCH):
            some = torch.from_numpy(np.stack(frames[begin : begin + _BATCH])).to(self.device)
            found.append(self.net(some.permute(0, 3, 1, 2).float() / 255).cpu())
        return torch.cat(found)

    def add(self, shots: int, method: str, made: Tensor, truth: Tensor) -> None:
        """One clip's: features of what a method made of T pictures, and of the true frames, (N, 2048) each."""
        self._sets.setdefault((shots, method), []).append((made, truth))

    @property
    def fewest(self) -> int:
        """Frames in the smallest set; 0 without any."""
        return min((sum(len(made) for made, _ in pairs) for pairs in self._sets.values()), default=0)

    def distances(self) -> dict[tuple[int, str], dict[str, float]]:
        """(T, method) -> "fid" and "kid". Empty for sets of fewer than two frames, which have no spread."""
        found = {}
        for key, pairs in self._sets.items():
            made, truth = (torch.cat(side).double() for side in zip(*pairs, strict=True))
            found[key] = {"fid": frechet(made, truth), "kid": kernel(made, truth)} if len(made) > 1 else {}
        return found


def frechet(a: Tensor, b: Tensor) -> float:
    """Frechet distance of two normal distributions fitted to samples (N, D) and (M, D) float64, two or more each.

    The trace of the root of the covariances' product is the sum of the singular values of the centred samples' product:
    exact, without the root of a matrix that has no full rank when there are fewer frames than features.
    """
    spread = [(x - x.mean(0)) / (len(x) - 1) ** 0.5 for x in (a, b)]
    shared = spread[0] @ spread[1].T if min(len(a), len(b)) < a.shape[1] else _roots_product(*spread)
    between = (a.mean(0) - b.mean(0)).square().sum()
    total = between + sum(x.square().sum() for x in spread) - 2 * torch.linalg.svdvals(shared).sum()
    return max(0.0, float(total))


def _roots_product(a: Tensor, b: Tensor) -> Tensor:
    """A matrix (D, D) with the singular values of a b^T, for many samples."""
    return torch.linalg.qr(a).R @ torch.linalg.qr(b).R.T


def kernel(a: Tensor, b: Tensor) -> float:
    """Squared maximum mean discrepancy under (x y / D + 1)^3, its unbiased estimate by all pairs, so it may be below 0.

    It is what the mean over random subsets, as others report it, estimates.
    """

    def k(x: Tensor, y: Tensor) -> Tensor:
        return (x @ y.T / x.shape[1] + 1) ** 3

    def within(x: Tensor) -> Tensor:
        every = k(x, x)
        return (every.sum() - every.trace()) / (len(x) * (len(x) - 1))

    return float(within(a) + within(b) - 2 * k(a, b).mean())
