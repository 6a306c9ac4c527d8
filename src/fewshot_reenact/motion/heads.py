"""A portrait lifted to a solid, and that solid in motion: what renderers are given."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fewshot_reenact.geometry.solid import HeadPose, fit_head, fit_track

_OF_FRAMES = ("rotation", "scale", "translation", "expression")  # what a pose has of each frame; the identity is one


@dataclass(frozen=True)
class Lift:
    """A portrait as a solid. pose: where its head is in its picture. solid: (83, 3), its points in the head's own axes,
    eye distances; `pose.placed(solid)` shows them exactly where they are in the picture.
    """

    pose: HeadPose
    solid: np.ndarray

    @property
    def points(self) -> np.ndarray:
        """(83, 2) float32 pixels."""
        return self.pose.placed(self.solid)[:, :2].astype(np.float32)


def lift(points: np.ndarray) -> Lift:
    """points: (83, 2) pixels of the portrait."""
    pose = fit_head(points)
    return Lift(pose, pose.lifted(np.asarray(points, np.float64)))


@dataclass(frozen=True)
class HeadMotion:
    """One head in T frames, in its driver's picture or in a portrait's. pose: how it is turned, how large and where it
    is. solid: (T, 83, 3), its points in the head's own axes, eye distances: the person, with the expression of each
    frame.
    """

    pose: HeadPose
    solid: np.ndarray

    @classmethod
    def of(cls, points: np.ndarray, portrait: Lift | None = None) -> HeadMotion:
        """The motion of one person whose points are there: (T, 83, 2) pixels, no NaN. portrait: who it is; None:
        whoever the points show.
        """
        pose = fit_track(points, None if portrait is None else portrait.pose.identity)
        return cls(pose, pose.lifted(np.asarray(points, np.float64)))

    def __len__(self) -> int:
        return len(self.solid)

    def __getitem__(self, frames: slice | np.ndarray) -> HeadMotion:
        own = self.pose
        pose = replace(own, **{name: getattr(own, name)[frames] for name in _OF_FRAMES})
        return HeadMotion(pose, self.solid[frames])

    def pose_of(self, frame: int) -> HeadPose:
        """The pose in one frame."""
        return replace(self.pose, **{name: getattr(self.pose, name)[frame] for name in _OF_FRAMES})

    @property
    def points(self) -> np.ndarray:
        """(T, 83, 2) float32 pixels."""
        return self.pose.placed(self.solid)[..., :2].astype(np.float32)

    @classmethod
    def joined(cls, parts: list[HeadMotion]) -> HeadMotion:
        """Motions of one person, one after the other."""
        all_of = {name: np.concatenate([getattr(part.pose, name) for part in parts]) for name in _OF_FRAMES}
        return cls(replace(parts[0].pose, **all_of), np.concatenate([part.solid for part in parts]))


def points_of(motion: HeadMotion | np.ndarray) -> np.ndarray:
    """(T, 83, 2) pixels, of a motion or already that."""
    return motion.points if isinstance(motion, HeadMotion) else motion
