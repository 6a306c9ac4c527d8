"""Logs of OpenSeeFace: the packets that its tracker sends by UDP, one after the other in a file (NAME.osf).

A packet of 1,785 bytes, little-endian, is one face in one frame; those of one frame have the same time:

    float64      time, seconds                       int32        which face
    2 float32    width, height of the picture        2 float32    how open right and left eye are
    uint8        whether the 3-D fit succeeded       float32      its error
    4 float32    rotation, a quaternion              3 float32    rotation, three angles
    3 float32    translation                         68 float32   confidence of each point
    68 x 2       float32, points, x and y, pixels    70 x 3       float32, points in space
    14 float32   features

Read are the time, the face, the picture's size, the points and their confidences. Points 0 to 47 are those of iBUG; 48
to 52 and 53 to 57 the outer lip without its corners, above and below; 58 to 62 the inner lip from corner to corner,
above; 63 to 65 below; 66 and 67 the pupils. What our 83 points have besides is put where the fitted head has it.
"""

from pathlib import Path
from typing import Literal

import numpy as np

from fewshot_reenact.errors import InputError
from fewshot_reenact.geometry.solid import completed
from fewshot_reenact.geometry.topology import LEFT_OUTER_CORNER, N_POINTS, RIGHT_OUTER_CORNER, eye_distance
from fewshot_reenact.motion.clock import clock_of
from fewshot_reenact.motion.limits import MAX_FILE, MAX_FRAMES, MAX_SIDE, SMALLEST_FACE
from fewshot_reenact.motion.motion import Motion

PACKET = np.dtype(
    [
        ("time", "<f8"),
        ("face", "<i4"),
        ("size", "<f4", 2),
        ("eyes", "<f4", 2),
        ("success", "u1"),
        ("error", "<f4"),
        ("quaternion", "<f4", 4),
        ("euler", "<f4", 3),
        ("translation", "<f4", 3),
        ("confidence", "<f4", 68),
        ("points", "<f4", (68, 2)),
        ("solid", "<f4", (70, 3)),
        ("features", "<f4", 14),
    ]
)
# OURS[i] is which of our points a packet's point i is.
OURS = np.array([*range(48), *range(49, 54), *range(55, 60), 48, 61, 62, 63, 54, 65, 66, 67, 81, 82])
_LATEST = 2**42  # seconds; what is later is no time


def read_openseeface(path: Path, face: int | Literal["largest"], option: str) -> Motion:
    """The motion of one face. face: the largest, or the Nth from the left, beginning with 1; option: how the user says
    so. Raises InputError: not such a log, a damaged one, or no such face in it.
    """
    packets = _packets(path)
    moments = np.unique(packets["time"])
    chosen = packets[packets["face"] == _choose(packets, face, option)]
    times, first = np.unique(chosen["time"], return_index=True)
    chosen = chosen[first]
    at = np.searchsorted(moments, times)
    points = np.full((len(moments), N_POINTS, 2), np.nan)
    points[at[:, None], OURS] = chosen["points"]
    confidence = np.zeros(len(moments), np.float32)
    confidence[at] = np.clip(chosen["confidence"], 0, 1).mean(1)
    width, height = (int(side) for side in packets["size"][0])
    points[at] = completed(points[at])
    if not (np.abs(points[at]) < 20 * max(width, height)).all():
        raise InputError("points lie far outside the picture")
    times, pts, time_base, fps = clock_of(moments - moments[0])
    return Motion(points, confidence, times, pts, time_base, fps, (width, height), source=path.name)


def _packets(path: Path) -> np.ndarray:
    """Every packet, looked at. Raises InputError."""
    size = path.stat().st_size
    if not size or size % PACKET.itemsize:
        raise InputError(
            f"it has {size:,} bytes, which is no whole number of OpenSeeFace's packets of {PACKET.itemsize:,} bytes"
        )
    if size > MAX_FILE or size > MAX_FRAMES * PACKET.itemsize:
        raise InputError(f"it is larger than {MAX_FILE >> 30} GB; cut it in parts")
    packets = np.frombuffer(path.read_bytes(), PACKET)
    times = packets["time"]
    if not (np.isfinite(times) & (np.abs(times) < _LATEST)).all() or (np.diff(times) < 0).any():
        raise InputError("its times are no times that increase from packet to packet; is it a log of OpenSeeFace?")
    sides = packets["size"]
    if not ((sides >= 1) & (sides <= MAX_SIDE)).all() or (sides != sides[0]).any():
        raise InputError(f"the picture's size should be 1 to {MAX_SIDE} pixels, and the same in every packet")
    points, confidence = packets["points"], packets["confidence"]
    if not np.isfinite(points).all() or not np.isfinite(confidence).all():
        raise InputError("points or confidences of it are no numbers")
    if not (np.abs(points) < 20 * sides[0].max()).all():
        raise InputError("points lie far outside the picture")
    corners = np.full((len(points), N_POINTS, 2), np.nan)
    corners[:, OURS] = points
    if not (eye_distance(corners) >= SMALLEST_FACE).all():
        raise InputError(f"a face of it is under {SMALLEST_FACE:g} pixel wide; nothing can be measured on it")
    return packets


def _choose(packets: np.ndarray, face: int | Literal["largest"], option: str) -> int:
    """The number that the log gives to the face that is meant."""
    faces = np.unique(packets["face"])
    of = [packets["points"][packets["face"] == one] for one in faces]
    if face == "largest":
        # Over its frames together: one that is large for a moment is not the one that drives.
        corners = [LEFT_OUTER_CORNER, RIGHT_OUTER_CORNER]  # the same in both
        sizes = [np.linalg.norm(np.diff(points[:, corners], axis=1), axis=-1).sum() for points in of]
        return int(faces[int(np.argmax(sizes))])
    if face > len(faces):
        raise InputError(
            f"face {face} was asked for, but there {'are' if len(faces) > 1 else 'is'} only {len(faces)} in the log: "
            f"choose {option} {'1' if len(faces) == 1 else f'1 to {len(faces)}'}"
        )
    order = np.argsort([float(np.median(points[..., 0])) for points in of])
    return int(faces[order[face - 1]])
