"""The rim of a matte: too wide, a halo of the old ground would go along; too narrow, something of the person stays."""

import cv2
import numpy as np

# Eye distances within a matte's edge in which it may be too wide; by how much, grey levels in all, the person's colours
# have to differ from the ground's to tell, and to tell surely; what is as near to all or none is that.
_RIM, _APART, _HAZE = 0.06, (30.0, 90.0), 0.08
_OTHER = (20.0, 45.0)  # grey levels from which, and at which wholly, a colour is no mixture of the two
_GAP = 0.9  # eye distances, the side of a square as large as the largest gap
_FOREIGN = (45.0, 90.0)  # grey levels in all by which what is in a gap differs from the ground, to be the person's
_FINE = 4.0  # pixels of a blur's spread that are as good as any more


def refine_rim(
    picture: np.ndarray, matte: np.ndarray, ground: np.ndarray, zone: np.ndarray, scale: float
) -> np.ndarray:
    """A matte, (H, W) float32, less at its rim where the picture has the ground's colours and not the person's: a matte
    that is a little too wide would carry a halo of the old ground along.

    ground: (H, W, 3) uint8, painted in where `zone`, (H, W) bool, says so. scale: pixels an eye distance.
    """
    reach = max(1, round(_RIM * scale))
    within = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1,) * 2)
    sure = cv2.erode(np.round(255 * matte).astype(np.uint8), within).astype(np.float32) / 255
    coloured = cv2.multiply(picture, cv2.merge([sure] * 3), dtype=cv2.CV_32F)
    near = smoothed(cv2.merge([*cv2.split(coloured), sure]), 1.5 * reach)
    zones = cv2.blur(zone.astype(np.float32), (2 * reach + 1,) * 2)
    rim = (sure < 1) & (near[..., 3] > 0.02) & (zones > 0)

    # A thin line of all pixels, and as many beside it as the share is smoothed over.
    at = np.nonzero(cv2.dilate(rim.astype(np.uint8), np.ones((7, 7), np.uint8)))
    own, colours = picture[at] - ground[at].astype(np.float32), near[at]
    apart = colours[:, :3] / np.maximum(colours[:, 3:], 1e-6) - ground[at]
    distance2 = (apart * apart).sum(1)
    shares = np.zeros_like(matte)
    shares[at] = (own * apart).sum(1) / np.maximum(distance2, 1)
    share = (cv2.GaussianBlur(shares, (0, 0), 0.8)[at] - _HAZE) / (1 - 2 * _HAZE)
    told = np.clip((np.sqrt(distance2) - _APART[0]) / (_APART[1] - _APART[0]), 0, 1)
    # What is neither's nor a mixture of both, a dark brim between a white hat and the sky, is the person's.
    other = np.linalg.norm(own - np.clip(share, 0, 1)[:, None] * apart, axis=1)
    told *= np.clip((_OTHER[1] - other) / (_OTHER[1] - _OTHER[0]), 0, 1)
    told *= (1 - sure[at]) * rim[at] * zones[at]
    refined = matte.astype(np.float32)
    refined[at] += told * (np.clip(share, 0, refined[at]) - refined[at])
    return refined


def smoothed(values: np.ndarray, spread: float) -> np.ndarray:
    """A Gaussian blur of (H, W, C) float32; a wide one is made of fewer pixels."""
    h, w = values.shape[:2]
    shrink = max(1, int(spread / _FINE))
    size = (max(1, round(w / shrink)), max(1, round(h / shrink)))
    small = cv2.resize(values, size, interpolation=cv2.INTER_AREA) if shrink > 1 else values
    soft = cv2.GaussianBlur(small, (0, 0), spread / shrink)
    return cv2.resize(soft, (w, h), interpolation=cv2.INTER_LINEAR) if shrink > 1 else soft


def gaps_of(matte: np.ndarray, scale: float) -> np.ndarray:
    """(H, W) bool: small places that a matte leaves out and that the person surrounds: ground is seen between neck and
    hair, or a matte has missed an earring.
    """
    count, part, about, _ = cv2.connectedComponentsWithStats((matte < 0.5).astype(np.uint8), connectivity=4)
    h, w = matte.shape
    left, top = about[:, cv2.CC_STAT_LEFT], about[:, cv2.CC_STAT_TOP]
    right, bottom = left + about[:, cv2.CC_STAT_WIDTH], top + about[:, cv2.CC_STAT_HEIGHT]
    within = (left > 0) & (top > 0) & (right < w) & (bottom < h)
    small = about[:, cv2.CC_STAT_AREA] < (_GAP * scale) ** 2
    return (within & small & (np.arange(count) > 0))[part]


def foreign_to(picture: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """How much of each pixel of a picture is surely not the ground, (H, W) float32, both (H, W, 3) uint8."""
    apart = np.linalg.norm(cv2.blur(picture, (3, 3)).astype(np.float32) - cv2.blur(ground, (3, 3)), axis=2)
    return ((apart - _FOREIGN[0]) / (_FOREIGN[1] - _FOREIGN[0])).clip(0, 1).astype(np.float32)
