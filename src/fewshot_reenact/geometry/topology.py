"""The 83 points: which is which, which mirror which, how they join up.

Coordinates everywhere are (x, y) in pixels of the picture, origin at the top left corner, x to the right, y down;
pixel centres are at integers (OpenCV's convention), so the picture spans -0.5 .. width - 0.5.
"Left" and "right" in names mean left and right in the picture, not of the person.
"""

import numpy as np

_FAR_OUT, _LEAST_SPREAD = 3.0, 0.5  # sides of the picture; pixels across the points' narrower direction
_ANY_SIDE = 4096.0
N_POINTS = 83

JAW = slice(0, 17)  # from the left ear over the chin to the right ear
LEFT_BROW = slice(17, 22)
RIGHT_BROW = slice(22, 27)
NOSE_BRIDGE = slice(27, 31)
CHIN, NOSE_ROOT = 8, 27
NOSE_BASE = slice(31, 36)
LEFT_EYE = slice(36, 42)  # outer corner, two upper, inner corner, two lower
RIGHT_EYE = slice(42, 48)  # inner corner, two upper, outer corner, two lower
OUTER_LIP = slice(48, 60)
INNER_LIP = slice(60, 68)
FOREHEAD = slice(68, 79)  # left temple to right temple along the hairline
MID_FOREHEAD = 79
GLABELLA = 80
LEFT_IRIS = 81  # of the eye with points 36-41
RIGHT_IRIS = 82  # of the eye with points 42-47

MOUTH = slice(48, 68)
LEFT_OUTER_CORNER, RIGHT_OUTER_CORNER = 36, 45
LIP_PAIRS = ((61, 67), (62, 66), (63, 65))  # inner lip, upper and lower
LEFT_LIDS = ((37, 41), (38, 40))
RIGHT_LIDS = ((43, 47), (44, 46))

REGIONS: dict[str, list[int]] = {
    "jaw": list(range(0, 17)),
    "left_brow": list(range(17, 22)),
    "right_brow": list(range(22, 27)),
    "nose": list(range(27, 36)),
    "left_eye": [*range(36, 42), LEFT_IRIS],
    "right_eye": [*range(42, 48), RIGHT_IRIS],
    "mouth": list(range(48, 68)),
    "forehead": [*range(68, 79), MID_FOREHEAD, GLABELLA],
}

# FLIP[i] is the point that point i becomes when the picture is mirrored.
FLIP = np.array(
    [
        *range(16, -1, -1),  # jaw
        *range(26, 16, -1),  # brows
        *(27, 28, 29, 30, 35, 34, 33, 32, 31),  # nose
        *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),  # eyes
        *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55),  # outer lip
        *(64, 63, 62, 61, 60, 67, 66, 65),  # inner lip
        *range(78, 67, -1),  # forehead
        *(79, 80, 82, 81),
    ]
)


def eye_distance(points: np.ndarray) -> np.ndarray:
    """Distance of the outer eye corners in pixels, the yardstick of every landmark error. (..., 83, 2) -> (...)."""
    return np.linalg.norm(points[..., RIGHT_OUTER_CORNER, :] - points[..., LEFT_OUTER_CORNER, :], axis=-1)


def no_faces(points: np.ndarray, side: float = _ANY_SIDE) -> np.ndarray:
    """Which points cannot be a face's in a picture of that longer side (by default a large one's), as damaged files
    have them: not finite, far outside, or all in one place or on one line, where no warp can be fitted. (..., 83, 2)
    pixels -> (...) bool.
    """
    inside = (np.isfinite(points) & (np.abs(points - side / 2) < _FAR_OUT * side)).all((-1, -2))
    known = np.where(inside[..., None, None], points, 0.0).astype(np.float64)
    away = known - known.mean(-2, keepdims=True)
    spread = np.linalg.eigvalsh(away.swapaxes(-1, -2) @ away / points.shape[-2])[..., 0]
    return np.asarray(~inside | (spread < _LEAST_SPREAD**2))


def lid_gap(points: np.ndarray, lids: tuple[tuple[int, int], ...]) -> np.ndarray:
    """How far apart the lids of one eye are, or of both. (..., 83, 2) -> (...)."""
    return np.mean([np.linalg.norm(points[..., a, :] - points[..., b, :], axis=-1) for a, b in lids], 0)


def mirror(points: np.ndarray, width: float) -> np.ndarray:
    """Points of the mirrored picture. (..., 83, 2), width of the picture in pixels -> (..., 83, 2)."""
    out = points[..., FLIP, :].copy()
    out[..., 0] = width - 1 - out[..., 0]
    return out
