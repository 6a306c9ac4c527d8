"""What is measured of an output: against the true picture, against the points wanted, against the person's face.

Landmarks, pose and expression are measured by the same extractor that drives the renderer: they tell whether what was
asked for came out, as the extractor sees it, and an error that it makes in both pictures stays unseen. The perceptual
and the face networks come from files that the user names; without them their columns are left out.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from fewshot_reenact.errors import MissingExtra, ModelError
from fewshot_reenact.geometry.rotation import angle_between
from fewshot_reenact.geometry.shape import take_out, turn_of, turned
from fewshot_reenact.geometry.solid import fit_head
from fewshot_reenact.geometry.topology import MOUTH, REGIONS, eye_distance
from fewshot_reenact.landmarks.backend import LandmarkBackend
from fewshot_reenact.models.identity import SIDE, alignment
from fewshot_reenact.models.lpips import load_lpips
from fewshot_reenact.models.perceptual import FeatureNet, relative_l1

_MOUTH = list(range(MOUTH.start, MOUTH.stop))
_EYES = [*REGIONS["left_eye"], *REGIONS["right_eye"]]
_EXPRESSIVE = [*_MOUTH, *_EYES, *REGIONS["left_brow"], *REGIONS["right_brow"]]
_MOUTH_SIDE = 96


@dataclass(frozen=True)
class Metric:
    """title: in the table, with the unit. higher: whether more is better. scale: of the number as it is shown."""

    title: str
    higher: bool = False
    scale: float = 1.0
    decimals: int = 3


METRICS: dict[str, Metric] = {
    "ssim": Metric("SSIM", higher=True),
    "psnr": Metric("PSNR, dB", higher=True, decimals=2),
    "perceptual": Metric("perceptual"),
    "perceptual_mouth": Metric("perceptual, mouth"),
    "lpips": Metric("LPIPS"),
    "fid": Metric("FID", decimals=1),
    "kid": Metric("KID x 1000", scale=1000, decimals=1),
    "csim": Metric("CSIM", higher=True),
    "landmarks": Metric("landmarks, %", scale=100, decimals=2),
    "landmarks_mouth": Metric("mouth, %", scale=100, decimals=2),
    "landmarks_eyes": Metric("eyes, %", scale=100, decimals=2),
    "pose": Metric("pose, degrees", decimals=2),
    "expression": Metric("expression, %", scale=100, decimals=2),
    "flicker": Metric("flicker, %", scale=100, decimals=2),
    "lost": Metric("no face, %", scale=100, decimals=1),
}


class Judge:
    """Measures pictures, (H, W, 3) uint8 RGB.

    perceptual, identity: feature networks (models.perceptual) by path, or None. lpips: AlexNet or VGG16 by path,
    "cache", or None. Raises ModelError when one of them is missing or damaged, UsageError without torchmetrics.
    """

    def __init__(
        self,
        backend: LandmarkBackend,
        perceptual: Path | None = None,
        identity: Path | None = None,
        device: torch.device | str = "cpu",
        lpips: str | Path | None = None,
    ):
        self.backend, self.device = backend, torch.device(device)
        self.perceptual = self._network(perceptual, "--perceptual", maps_only=True)
        self.identity = self._network(identity, "--identity")
        try:
            from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure
        except ImportError as error:
            raise MissingExtra("torchmetrics is needed", "evaluate") from error
        self.lpips = None if lpips is None else load_lpips(lpips).to(self.device)
        self._psnr: Any = peak_signal_noise_ratio
        self._ssim: Any = structural_similarity_index_measure

    def _network(self, path: Path | None, option: str, maps_only: bool = False) -> FeatureNet | None:
        if path is None:
            return None
        if not path.is_file():
            raise ModelError(f"{path}: no such network; give another with {option}, or leave the option out")
        return FeatureNet(path, maps_only=maps_only).to(self.device)

    @torch.inference_mode()
    def pictures(self, output: np.ndarray, truth: np.ndarray, points: np.ndarray) -> dict[str, float]:
        """Distances of two pictures of one size. points: (83, 2), the truth's face, for where the mouth is."""
        a, b = self._tensor(output), self._tensor(truth)
        found = {
            "ssim": float(self._ssim(a, b, data_range=1.0)),
            # Equal pictures would be infinitely good and spoil the mean: 60 dB is below what 8 bits can show.
            "psnr": min(60.0, float(self._psnr(a, b, data_range=1.0))),
        }
        if self.perceptual is not None:
            box = _mouth_square(points, truth.shape)
            found["perceptual"] = float(relative_l1(self.perceptual, a, b))
            found["perceptual_mouth"] = float(
                relative_l1(self.perceptual, *(self._tensor(_resized(one[box])) for one in (output, truth)))
            )
        if self.lpips is not None:
            found["lpips"] = float(self.lpips(a, b))
        return found

    def look(self, picture: np.ndarray, near: np.ndarray) -> np.ndarray | None:
        """The points (83, 2) of the face that is where a face should be, `near`; None when there is none."""
        reach = float(eye_distance(near))
        faces = self.backend.detect(picture)
        apart = [float(np.linalg.norm(face.points.mean(0) - near.mean(0))) for face in faces]
        if not apart or min(apart) > reach:
            return None
        face = faces[int(np.argmin(apart))]
        return (self.backend.refine(picture, face.points) or face).points

    def follow(self, picture: np.ndarray, points: np.ndarray) -> np.ndarray | None:
        """The points in the frame beside one in which they are known."""
        face = self.backend.refine(picture, points)
        return None if face is None else face.points

    @torch.inference_mode()
    def face(self, picture: np.ndarray, points: np.ndarray) -> np.ndarray | None:
        """The embedding of a face, of length 1; None without a network for it."""
        if self.identity is None:
            return None
        cut = cv2.warpAffine(picture, alignment(points), (SIDE, SIDE), flags=cv2.INTER_LINEAR)
        return self.identity(self._tensor(cut))[-1][0].cpu().numpy()

    def _tensor(self, picture: np.ndarray) -> Tensor:
        """uint8 -> (1, 3, H, W) in 0..1."""
        plain = torch.from_numpy(np.ascontiguousarray(picture)).to(self.device)
        return plain.permute(2, 0, 1)[None].float() / 255


def point_errors(seen: np.ndarray, wanted: np.ndarray) -> dict[str, float]:
    """How far one face's points are from those wanted, each (83, 2) pixels of one picture.

    landmarks, landmarks_mouth, landmarks_eyes: mean distance in eye distances of the wanted face. pose: degrees, the
    length of the difference of yaw, pitch and roll. expression: mean distance of the points of mouth, eyes and brows in
    the face's own frame, with the part that turning the head makes taken out, in eye distances.
    """
    apart = np.linalg.norm(np.asarray(seen, np.float64) - wanted, axis=1) / float(eye_distance(wanted))
    shape = take_out(np.stack([seen, wanted])).shape
    own = shape - turned(turn_of(shape))
    return {
        "landmarks": float(apart.mean()),
        "landmarks_mouth": float(apart[_MOUTH].mean()),
        "landmarks_eyes": float(apart[_EYES].mean()),
        "pose": float(angle_between(fit_head(seen).rotation, fit_head(wanted).rotation)),
        "expression": float(np.linalg.norm(own[0] - own[1], axis=1)[_EXPRESSIVE].mean()),
    }


def trembling(seen: np.ndarray, wanted: np.ndarray) -> float:
    """Flicker: what trembles in the points of three consecutive frames and should not, in eye distances.

    seen, wanted: (3, 83, 2). The mean second difference of their difference: steady errors do not count, and quick
    movements that were wanted do not either. The extractor's own trembling does, in the truth as in the output.
    """
    before, now, after = np.asarray(seen, np.float64) - wanted
    return float(np.linalg.norm(before - 2 * now + after, axis=1).mean() / eye_distance(wanted[1]))


def _mouth_square(points: np.ndarray, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """A square about the mouth, inside the picture, at least 12 pixels large where the picture allows."""
    mouth = points[_MOUTH]
    reach = max(12.0, 0.8 * float(np.ptp(mouth[:, 0])))
    middle = np.clip(mouth.mean(0), reach / 2, np.array([shape[1], shape[0]]) - reach / 2)
    x0, y0 = np.maximum(middle - reach, 0).astype(int)
    x1, y1 = np.minimum(middle + reach, [shape[1], shape[0]]).astype(int)
    return slice(y0, max(y1, y0 + 1)), slice(x0, max(x1, x0 + 1))


def _resized(picture: np.ndarray) -> np.ndarray:
    return cv2.resize(picture, (_MOUTH_SIDE, _MOUTH_SIDE), interpolation=cv2.INTER_LINEAR)
