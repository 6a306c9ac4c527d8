"""The guided filter: a coarse mask takes the edges of the picture that it belongs to.

He, Sun, Tang 2013, "Guided Image Filtering": in each window the mask is a linear function of the picture.
"""

import cv2
import numpy as np


def guided_filter(guide: np.ndarray, mask: np.ndarray, radius: int, softness: float) -> np.ndarray:
    """guide: (H, W) float32 in 0..1, the picture's brightness. mask: (H, W) float32. radius: of the windows, pixels.
    softness: variance of the guide below which an edge counts as none. Returns (H, W) float32.
    """
    size = (2 * radius + 1, 2 * radius + 1)

    def mean(values: np.ndarray) -> np.ndarray:
        return cv2.blur(values, size, borderType=cv2.BORDER_REFLECT)

    middle, level = mean(guide), mean(mask)
    slope = (mean(guide * mask) - middle * level) / (mean(guide * guide) - middle * middle + softness)
    return mean(slope) * guide + mean(level - slope * middle)
