"""Painted eyes that look to the side."""

import cv2
import numpy as np

from fewshot_reenact.geometry.topology import LEFT_EYE, LEFT_IRIS, RIGHT_EYE, RIGHT_IRIS
from painted_clips import face_points

SIZE = 240
AXES = ((LEFT_IRIS, LEFT_EYE), (RIGHT_IRIS, RIGHT_EYE))


def looking(aside: float, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Eyes that look aside by so many of their widths: a picture, and points whose irises stand in the middle."""
    points = face_points(SIZE).astype(np.float32) * scale
    picture = np.full((round(SIZE * scale), round(SIZE * scale), 3), (205, 160, 140), np.uint8)
    white = np.zeros(picture.shape[:2], np.uint8)
    for iris, eye in AXES:
        a, b = points[eye.start], points[eye.start + 3]
        points[iris] = (a + b) / 2
        cv2.fillPoly(white, [np.round(points[eye] * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    eyes = np.full_like(picture, (235, 232, 228))
    for iris, eye in AXES:
        a, b = points[eye.start], points[eye.start + 3]
        centre = np.round((points[iris] + aside * (b - a)) * 16).astype(int).tolist()
        radius = float(np.linalg.norm(b - a))
        cv2.circle(eyes, centre, round(0.19 * radius * 16), (80, 55, 40), -1, cv2.LINE_AA, 4)
        cv2.circle(eyes, centre, round(0.08 * radius * 16), (10, 8, 8), -1, cv2.LINE_AA, 4)
    picture = np.where(white[..., None] > 127, eyes, picture)
    for _, eye in AXES:
        cv2.polylines(picture, [np.round(points[eye] * 16).astype(np.int32)], True, (70, 45, 40), 1, cv2.LINE_AA, 4)
    return cv2.GaussianBlur(picture, (0, 0), 0.7), points
