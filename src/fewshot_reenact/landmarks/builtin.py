"""The built-in backend: our own detector and point network, with weights in the package. Nothing is downloaded."""

from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from fewshot_reenact.geometry import align
from fewshot_reenact.geometry.affine import transform
from fewshot_reenact.landmarks.backend import Face
from fewshot_reenact.landmarks.detector import DetectorNet, find
from fewshot_reenact.landmarks.graphs import detector_graph, points_graph
from fewshot_reenact.landmarks.irises import IrisNet, place_irises
from fewshot_reenact.landmarks.lids import LidNet, place_lids
from fewshot_reenact.landmarks.network import PointNet, load_network
from fewshot_reenact.models.onnx_runtime import OnnxNetwork
from fewshot_reenact.weights import WEIGHTS

_LIKELY = 0.30  # detector score from which a place is looked at closely,
_POSSIBLE = 0.20  # and from which the best few are where nothing likely was a face
_FEW = 6
_SURE_FIRST = 0.20  # confidence at the first look, from the detector's rough place, that earns a second
_SURE_FOUND = 0.60  # confidence from which a newly found face counts
_SURE_KEPT = 0.35  # and from which one that is being followed does: losing it costs more
_BATCH = 16  # crops through the point network at once


class BuiltinLandmarks:
    """LandmarkBackend of our own networks. runtime: "torch", or "onnx" for ONNX Runtime, on the CPU.

    Raises ModelError when their weights are missing or damaged, MissingExtra.
    """

    name = "builtin"

    def __init__(self, device: str = "cpu", runtime: str = "torch"):
        self.device = torch.device(device)
        self.detector = load_network(DetectorNet, WEIGHTS / "detector.safetensors").to(self.device)
        self.network = load_network(PointNet, WEIGHTS / "landmarks.safetensors").to(self.device)
        self.irises = load_network(IrisNet, WEIGHTS / "irises.safetensors").to(self.device)
        self._detector: Callable[[Tensor], Tensor] = self.detector
        self._points: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]] = self.network.measure  # type: ignore[assignment]
        if runtime != "torch":
            self._detector = OnnxNetwork(detector_graph(self.detector))  # type: ignore[arg-type]
            self._points = OnnxNetwork(points_graph(self.network))  # type: ignore[arg-type]

    def detect(self, picture: np.ndarray) -> list[Face]:
        """Every face of a picture (H, W, 3) uint8 RGB, largest first."""
        threes, scores = find(self._detector, picture, _POSSIBLE, self.device)
        likely = scores >= _LIKELY
        return self._verify(picture, threes[likely]) or self._verify(picture, threes[~likely][:_FEW])

    def _verify(self, picture: np.ndarray, threes: np.ndarray) -> list[Face]:
        """The faces among candidates (N, 3, 2), largest first."""
        if not len(threes):
            return []
        points, first, _ = self._measure(picture, [align.crop_matrix(three) for three in threes])
        worth = first >= _SURE_FIRST
        if not worth.any():
            return []
        # A second look from where the points are: the detector's places are rough.
        points, second, spread = self._measure(picture, [align.crop_matrix(align.anchors(p)) for p in points[worth]])
        # Both looks must say so: what is a face only from one of two crops is none.
        confidence = np.minimum(first[worth], second)
        found = zip(points, confidence, spread, strict=True)
        faces = [self._face(picture, p, c, s) for p, c, s in found if c >= _SURE_FOUND]
        return sorted(_distinct(faces), key=lambda face: -_area(face))

    def refine(self, picture: np.ndarray, points: np.ndarray) -> Face | None:
        """The face that was at `points` (83, 2), or None when there is none any more."""
        if not np.isfinite(points).all():
            return None
        found, sure, spread = self._measure(picture, [align.crop_matrix(align.anchors(points))])
        return self._face(picture, found[0], float(sure[0]), spread[0]) if sure[0] >= _SURE_KEPT else None

    def look_closely(self, picture: np.ndarray, points: np.ndarray) -> np.ndarray:
        """See LooksClosely: lids and irises by networks that see the eyes alone."""
        return place_irises(self.irises, picture, place_lids(self.lids, picture, points))

    @cached_property
    def lids(self) -> nn.Module:
        """Seldom asked, so loaded when it is."""
        return load_network(LidNet, WEIGHTS / "lids.safetensors").to(self.device)

    def _face(self, picture: np.ndarray, points: np.ndarray, confidence: float, spread: np.ndarray) -> Face:
        points, inner = place_irises(self.irises, picture, points), points[:68]
        return Face(points, float(confidence), np.concatenate([inner.min(0), inner.max(0)]).astype(np.float32), spread)

    @torch.inference_mode()
    def _measure(self, picture: np.ndarray, matrices: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points (N, 83, 2) in picture pixels, confidences (N,) and spreads (N, 83) of the faces in these crops."""
        points, sure, spread = [], [], []
        for at in range(0, len(matrices), _BATCH):
            some = matrices[at : at + _BATCH]
            crops = torch.from_numpy(np.stack([align.cut(picture, m) for m in some])).to(self.device)
            x = (crops.permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
            inside, logit, apart = self._points(x)
            local = inside.double().cpu().numpy()
            points += [transform(m, p) for m, p in zip(some, local, strict=True)]
            sure.append(logit.sigmoid().cpu().numpy())
            spread.append(apart.cpu().numpy())
        return np.stack(points).astype(np.float32), np.concatenate(sure), np.concatenate(spread)


def _area(face: Face) -> float:
    x0, y0, x1, y1 = face.box
    return float((x1 - x0) * (y1 - y0))


def _distinct(faces: list[Face]) -> list[Face]:
    """Of faces whose boxes cover each other by half, the surest."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda one: -one.confidence):
        if all(_overlap(face.box, other.box) < 0.4 for other in kept):
            kept.append(face)
    return kept


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Area in common over the smaller area."""
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    common = float(np.prod(np.clip(high - low, 0, None)))
    smaller = min(float(np.prod(a[2:] - a[:2])), float(np.prod(b[2:] - b[:2])))
    return common / max(smaller, 1e-6)
