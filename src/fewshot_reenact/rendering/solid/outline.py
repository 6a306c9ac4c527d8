"""How far a head that turns goes beyond the outline that it has: what its other side may add to it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from fewshot_reenact.geometry.topology import LEFT_EYE, MOUTH, RIGHT_EYE
from fewshot_reenact.rendering.solid.splat import Grid

_RADIUS = 1.3  # eye distances, of a head
_SOFT = 0.12  # eye distances over which it ends
_ABOUT = 2.2  # eye distances from between the eyes, up to which what is above them is of the head


@dataclass(frozen=True)
class Outline:
    """Of B heads as they have turned: their faces, and how far beyond these and what the portraits show of them there
    may be something of them. faces: B points' hulls, (M, 2) int32, places of a grid. above: (B, rows, columns), which
    places are so near above the eyes that what the portraits show there is skull and hair. reach: (B,) places. soft:
    the same for its edge.
    """

    faces: list[np.ndarray]
    above: np.ndarray
    reach: np.ndarray
    soft: np.ndarray

    @classmethod
    def of(cls, points: np.ndarray, back: Tensor, scale: np.ndarray, onto: Grid) -> Outline:
        """points: (B, 83, 2) pixels of the output. back: (B,) radians by which the heads show a side that was hidden.
        scale: (B,) pixels an eye distance.
        """
        faces = [
            cv2.convexHull(np.round(at).astype(np.int32))[:, 0] for at in onto.cells(torch.from_numpy(points)).numpy()
        ]
        eyes = (points[:, LEFT_EYE].mean(1) + points[:, RIGHT_EYE].mean(1)) / 2
        up = eyes - points[:, MOUTH].mean(1)
        away = onto.map().numpy() - eyes[:, None, None]
        near = np.linalg.norm(away, axis=-1) < _ABOUT * scale[:, None, None]
        above = near & (np.einsum("brck,bk->brc", away, up) > 0)
        cell = scale / float(onto.step.mean())  # places an eye distance
        # A ball's outline stays where it is; that of half of it goes inwards, and leaves so much between.
        goes = _RADIUS * (1 - np.cos(back.clamp(0, np.pi / 2).numpy()))
        return cls(faces, above, goes * cell, _SOFT * cell)

    def within(self, own: Tensor) -> Tensor:
        """Where something of the heads may be, 0..1. own: (B, 1, rows, columns), how much of a place the portraits show
        as the person's.
        """
        shown = (own > 0.5)[:, 0].numpy()
        near = [
            np.clip((reach + soft - cv2.distanceTransform(1 - self._head(row, mine), cv2.DIST_L2, 3)) / soft, 0, 1)
            for row, (mine, reach, soft) in enumerate(zip(shown, self.reach, self.soft, strict=True))
        ]
        return torch.from_numpy(np.stack(near).astype(np.float32))[:, None]

    def _head(self, row: int, shown: np.ndarray) -> np.ndarray:
        """1 where a head surely is. Between face and hair a skull has no bay: they have one hull."""
        head = shown.astype(np.uint8)
        down, across = np.nonzero(shown & self.above[row])
        hair = np.stack([across, down], 1).astype(np.int32)
        cv2.fillConvexPoly(head, cv2.convexHull(np.concatenate([self.faces[row], hair])), 1)
        return head
