"""How far a head that turns goes beyond the outline that it has: what its other side may add to it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from fewshot_reenact.rendering.solid.splat import Grid

_RADIUS = 1.3  # eye distances, of a head
_SOFT = 0.12  # eye distances over which it ends


@dataclass(frozen=True)
class Outline:
    """Of B heads as they have turned: their faces, and how far beyond these and what the portraits show of them there
    may be something of them. faces: (B, 1, rows, columns) over a grid, 1 within the points' hull. reach: (B,) places.
    soft: the same for its edge.
    """

    faces: Tensor
    reach: np.ndarray
    soft: np.ndarray

    @classmethod
    def of(cls, points: np.ndarray, back: Tensor, scale: np.ndarray, onto: Grid) -> Outline:
        """points: (B, 83, 2) pixels of the output. back: (B,) radians by which the heads show a side that was hidden.
        scale: (B,) pixels an eye distance.
        """
        rows, columns = onto.shape
        places = (points - onto.origin.numpy()) / onto.step.numpy()
        faces = np.zeros((len(points), rows, columns), np.uint8)
        for face, at in zip(faces, places, strict=True):
            cv2.fillConvexPoly(face, cv2.convexHull(np.round(at).astype(np.int32)), 1)
        cell = scale / float(onto.step.mean())  # places an eye distance
        # A ball's outline stays where it is; that of half of it goes inwards, and leaves so much between.
        goes = _RADIUS * (1 - np.cos(back.clamp(0, np.pi / 2).numpy()))
        return cls(torch.from_numpy(faces)[:, None].float(), goes * cell, _SOFT * cell)

    def within(self, own: Tensor) -> Tensor:
        """Where something of the heads may be, 0..1. own: (B, 1, rows, columns), how much of a place the portraits show
        as the person's.
        """
        known = (torch.maximum(own, self.faces) < 0.5)[:, 0].byte().numpy()
        near = [
            np.clip((reach + soft - cv2.distanceTransform(one, cv2.DIST_L2, 3)) / soft, 0, 1)
            for one, reach, soft in zip(known, self.reach, self.soft, strict=True)
        ]
        return torch.from_numpy(np.stack(near).astype(np.float32))[:, None]
