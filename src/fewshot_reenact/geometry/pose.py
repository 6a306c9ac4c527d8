"""How a head is turned, in degrees, from its 83 points.

Weak perspective and two ratios, fitted to 1,556 pictures (every seventh still, every 15th frame of a sixth of
clips/train) whose head rotation MediaPipe's face landmarker gives. Mean distance from it in 320 frames of clips/val,
left out of the fit: yaw 1.2, pitch 2.0, roll 0.8 degrees.
"""

import numpy as np

from fewshot_reenact.geometry.topology import LEFT_EYE, LEFT_OUTER_CORNER, RIGHT_EYE, RIGHT_OUTER_CORNER

_NOSE_TIP, _CHIN, _INNER_UPPER_LIP, _INNER_LOWER_LIP = 30, 8, 62, 66
_YAW = 1.50  # tan(yaw) a share of the outer eye distance by which the nose tip stands off the middle
_LEVEL, _PITCH = 35.0, 121.0  # pitch = level - this * (nose tip below the eyes) / (chin below the eyes)
_JAW = 0.25  # share of the lips' gap by which an opened mouth seems to lower the chin; fitted too


def head_pose(points: np.ndarray) -> np.ndarray:
    """(..., 83, 2) pixels -> (..., 3) degrees: yaw, pitch, roll.

    Positive yaw: towards the right side of the picture. Positive pitch: upwards. Positive roll: clockwise in the
    picture.
    """
    points = np.asarray(points, np.float64)
    across = points[..., RIGHT_OUTER_CORNER, :] - points[..., LEFT_OUTER_CORNER, :]
    length = np.maximum(np.linalg.norm(across, axis=-1), 1e-6)
    right = across / length[..., None]
    down = np.stack([-right[..., 1], right[..., 0]], -1)
    middle = (points[..., LEFT_OUTER_CORNER, :] + points[..., RIGHT_OUTER_CORNER, :]) / 2
    eyes = (points[..., LEFT_EYE, :].mean(-2) + points[..., RIGHT_EYE, :].mean(-2)) / 2

    def along(index: int, origin: np.ndarray, axis: np.ndarray) -> np.ndarray:
        return ((points[..., index, :] - origin) * axis).sum(-1)

    yaw = np.degrees(np.arctan(_YAW * along(_NOSE_TIP, middle, right) / length))
    gap = np.maximum(along(_INNER_LOWER_LIP, eyes, down) - along(_INNER_UPPER_LIP, eyes, down), 0)
    chin = np.maximum(along(_CHIN, eyes, down) - _JAW * gap, 0.1 * length)
    pitch = _LEVEL - _PITCH * along(_NOSE_TIP, eyes, down) / chin
    roll = np.degrees(np.arctan2(across[..., 1], across[..., 0]))
    return np.stack([yaw, pitch, roll], -1)
