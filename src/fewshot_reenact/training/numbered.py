"""Episodes that also say which video they are of, and those of the paper's model, which sees the whole crop."""

import cv2
import numpy as np
import torch

from fewshot_reenact.landmarks.topology import mirror
from fewshot_reenact.training.config import DataConfig
from fewshot_reenact.training.episodes import Clip, Episodes, _decode, _pick, _stack


class NumberedEpisodes(Episodes):
    """As Episodes, with `clip` (), the number of the episode's video: its row in W."""

    def __init__(self, clips: list[Clip], config: DataConfig, size: int, raster_style: str, seed: int, length: int):
        super().__init__(clips, config, size, raster_style, seed, length)
        self.numbers = {clip.name: number for number, clip in enumerate(clips)}

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        rng = np.random.default_rng([self.seed, index])  # the draw that Episodes begins with
        clip = _pick(rng, _pick(rng, self.by_person))
        return {**super().__getitem__(index), "clip": torch.tensor(self.numbers[clip.name])}


class HeadEpisodes(NumberedEpisodes):
    """For the paper's model: the clip's whole square, S x S, instead of the face's frame, and no warp.

    Items hold sources and source_rasters (K, 3, S, S), driver_raster and target (3, S, S), all uint8;
    driver_face_points (83, 2) in pixels of the target; clip ().
    """

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        rng = np.random.default_rng([self.seed, index])
        clip = _pick(rng, _pick(rng, self.by_person))
        target, portraits = self._choose(rng, clip)
        flip, tint = rng.random() < 0.5, self._tint(rng)
        pictures, rasters, points = [], [], []
        for at in [target, *portraits]:
            picture, p = _decode(clip.frames[at]), clip.points[at]
            if flip:
                picture, p = picture[:, ::-1], mirror(p, picture.shape[1])
            frame = whole_frame(picture.shape[1], self.size)
            told = self._jitter(rng, p)
            tinted = np.ascontiguousarray(tint[np.arange(3), picture])
            how = cv2.INTER_AREA if self.size < len(picture) else cv2.INTER_LINEAR
            pictures.append(cv2.resize(tinted, (self.size, self.size), interpolation=how))
            rasters.append(self._draw(told, frame))
            points.append(told / frame[0, 0] + (0.5 / frame[0, 0] - 0.5))
        return {
            "sources": _stack(pictures[1:]),
            "source_rasters": _stack(rasters[1:]),
            "driver_raster": _stack(rasters[:1])[0],
            "target": _stack(pictures[:1])[0],
            "driver_face_points": torch.from_numpy(points[0].astype(np.float32)),
            "clip": torch.tensor(self.numbers[clip.name]),
        }


def whole_frame(side: int, size: int) -> np.ndarray:
    """The (2, 3) matrix from pixels of a square resized to size x size to pixels of the square itself."""
    scale = side / size
    return np.array([[scale, 0, (scale - 1) / 2], [0, scale, (scale - 1) / 2]])
