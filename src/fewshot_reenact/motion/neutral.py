"""A portrait's smile and open mouth taken out of it, so that motion begins from a face at rest.

How far a portrait smiles, opens its mouth or draws its lips is measured as blendshapes (`motion.blendshapes`), and what
they add is taken from mouth, jaw and nose; then the lips are closed. Eyes and brows stay as they are, and so do whose
face it is and how it is turned. A single picture does not quite tell a smile from a wide mouth: of a broad smile about
a quarter stays (docs/motion.md). The expression modes of the solid head alone, tried first, left more than half.
"""

from dataclasses import replace

import numpy as np

from fewshot_reenact.geometry.topology import LIP_PAIRS, N_POINTS, REGIONS
from fewshot_reenact.motion.blendshapes import NAMES, rig
from fewshot_reenact.motion.gaps import LIP_FOLLOWERS, fit_gaps
from fewshot_reenact.motion.heads import HeadMotion, Lift

_PARTS = ("mouth", "jaw", "nose")
_CLOSED = "EyeBlink"
_TURNED = 25.0  # degrees away from the viewer that weigh as much as a whole smile
# What a face at rest does not do. The teacher of the blendshapes sees some of the others in any face.
_NOT_AT_REST = ("JawOpen", "MouthFunnel", "MouthSmile", "MouthStretch", "MouthDimple", "MouthLowerDown", "MouthUpperUp")


def at_rest(portrait: Lift) -> Lift:
    """The same head without what its mouth does, where it is in the portrait's picture."""
    measured = rig().coefficients(portrait.solid[None])[0]
    taken = np.where([name.startswith(_NOT_AT_REST) for name in NAMES], measured, 0)
    gain = np.zeros((N_POINTS, 1))
    for part in _PARTS:
        gain[REGIONS[part]] = 1
    solid = portrait.solid - gain * np.tensordot(taken, rig().shapes, 1)
    closed = np.zeros((1, len(LIP_PAIRS)))
    return replace(portrait, solid=fit_gaps(solid[None], LIP_PAIRS, closed, LIP_FOLLOWERS)[0])


def unrest(track: HeadMotion) -> np.ndarray:
    """How far each of T frames is from a face at rest that looks at the viewer, (T,), 0 for one that is."""
    moved = rig().coefficients(track.solid)
    counted = [k for k, name in enumerate(NAMES) if name.startswith((*_NOT_AT_REST, _CLOSED))]
    away = np.degrees(np.arccos(np.clip(track.pose.rotation[..., 2, 2], -1, 1)))
    return np.asarray(moved[:, counted].sum(1) + away / _TURNED)
