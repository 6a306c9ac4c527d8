"""The 52 blendshapes of face capture (ARKit's names) and the 83 points: from points to coefficients and back.

A coefficient says how far one movement of the face is made, 0 not at all, 1 as far as can be. From coefficients to
points: each is a displacement of the points of a solid head (`geometry.solid`), and they add up. From points to
coefficients: a linear map from a head's points in its own axes. Both are in `blendshapes.npz`, made by
scripts/build/fit_blendshapes.py; its card says which coefficients are none, for want of data.
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import numpy as np

from fewshot_reenact.geometry.solid import HeadPose, fit_track, head_shapes
from fewshot_reenact.geometry.topology import N_POINTS
from fewshot_reenact.motion.motion import Motion
from fewshot_reenact.weights import WEIGHTS, load_arrays

MODEL = WEIGHTS / "blendshapes.npz"
# In the order of Live Link Face's files. Left and right are the person's own, as in ARKit.
_OF_AN_EYE = ("EyeBlink", "EyeLookDown", "EyeLookIn", "EyeLookOut", "EyeLookUp", "EyeSquint", "EyeWide")
_OF_THE_MOUTH = ("Smile", "Frown", "Dimple", "Stretch")
NAMES: tuple[str, ...] = (
    *(f"{name}Left" for name in _OF_AN_EYE),
    *(f"{name}Right" for name in _OF_AN_EYE),
    *("JawForward", "JawRight", "JawLeft", "JawOpen", "MouthClose", "MouthFunnel", "MouthPucker"),
    *("MouthRight", "MouthLeft"),
    *(f"Mouth{name}{side}" for name in _OF_THE_MOUTH for side in ("Left", "Right")),
    *("MouthRollLower", "MouthRollUpper", "MouthShrugLower", "MouthShrugUpper"),
    *(f"Mouth{name}{side}" for name in ("Press", "LowerDown", "UpperUp") for side in ("Left", "Right")),
    *("BrowDownLeft", "BrowDownRight", "BrowInnerUp", "BrowOuterUpLeft", "BrowOuterUpRight", "CheekPuff"),
    *(f"{name}{side}" for name in ("CheekSquint", "NoseSneer") for side in ("Left", "Right")),
    "TongueOut",
)
# The picture in which a head stands that was made of coefficients: its sides, pixels an eye distance, and where the
# point between the eyes is when it looks ahead.
SIDE, SCALE, CENTRE = 512, 120.0, (255.5, 220.0)


@dataclass(frozen=True)
class Rig:
    """rest: (83, 3), the mean head with all coefficients 0, in its own axes, eye distances. shapes: (52, 83, 3), what
    a coefficient of 1 adds. weight: (249, 52) and bias: (52,), from a head's points to its coefficients. pivot: (3,),
    about which heads turn.
    """

    rest: np.ndarray
    shapes: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    pivot: np.ndarray

    def coefficients(self, solid: np.ndarray) -> np.ndarray:
        """(T, 83, 3) of any person -> (T, 52), 0..1."""
        return np.clip(solid.reshape(len(solid), -1) @ self.weight + self.bias, 0, 1)

    def solid(self, coefficients: np.ndarray) -> np.ndarray:
        """(T, 52) -> (T, 83, 3), of the mean person."""
        return self.rest + np.tensordot(coefficients, self.shapes, 1)


@cache
def rig() -> Rig:
    """The rig, read once. Raises ModelError: the file is missing or damaged."""
    data = load_arrays(MODEL, ("rest", "shapes", "weight", "bias", "pivot"))
    return Rig(*(array.astype(np.float64) for array in data.values()))


@dataclass(frozen=True)
class Performance:
    """What a face does in T frames. coefficients: (T, 52) by NAMES, rotation: (T, 3, 3) of the head, from its own axes
    to the picture's; NaN where no face was found.
    """

    coefficients: np.ndarray
    rotation: np.ndarray

    @classmethod
    def of(cls, motion: Motion) -> "Performance":
        """Measured from the points of a motion, each shot by itself."""
        coefficients = np.full((len(motion), len(NAMES)), np.nan)
        rotation = np.full((len(motion), 3, 3), np.nan)
        for first, end in motion.shots:
            found = first + np.flatnonzero(motion.found[first:end])
            if len(found):
                points = motion.points[found].astype(np.float64)
                pose = fit_track(points)
                rotation[found], coefficients[found] = pose.rotation, rig().coefficients(pose.lifted(points))
        return cls(coefficients, rotation)

    def points(self) -> np.ndarray:
        """(T, 83, 2) float32 pixels of a square of SIDE: the mean person doing this, NaN where there is no face."""
        own, shapes = rig(), head_shapes()
        found = np.isfinite(self.coefficients).all(1) & np.isfinite(self.rotation).all((1, 2))
        out = np.full((len(found), N_POINTS, 2), np.nan, np.float32)
        rotation = self.rotation[found]
        went = own.pivot - rotation @ own.pivot  # heads turn on necks, not between the eyes
        pose = HeadPose(
            rotation,
            np.full(len(rotation), SCALE),
            np.array(CENTRE) + SCALE * went[:, :2],
            np.zeros(len(shapes.identity)),
            np.zeros((len(rotation), len(shapes.expression))),
        )
        out[found] = pose.placed(own.solid(self.coefficients[found]))[..., :2]
        return out

    def motion(
        self, times: np.ndarray, pts: np.ndarray, time_base: Fraction, fps: Fraction, source: str, notes: list[str]
    ) -> Motion:
        """As a motion of the mean person; the times as a Motion has them."""
        points = self.points()
        found = np.isfinite(points).all((1, 2))
        return Motion(points, found, times, pts, time_base, fps, (SIDE, SIDE), source=source, notes=notes)
