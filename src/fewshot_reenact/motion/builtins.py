"""Built-in motions: `motion:talk`, `motion:nod`, ... so that a portrait can be tried without a video.

Points of one mean face, nobody's own, measured by `scripts/build/make_motions.py`; each begins and ends at rest and
can be repeated.
"""

from fractions import Fraction
from functools import cache

import numpy as np

from fewshot_reenact.errors import ModelError, UsageError
from fewshot_reenact.motion.motion import Motion
from fewshot_reenact.weights import WEIGHTS

PREFIX = "motion:"
NAMES = ("talk", "nod", "smile", "surprise", "blink")
FPS = 25
SIDE = 512  # pixels of the square picture that the points lie in
UNITS = 32  # stored in 32nds of a pixel
FILE = WEIGHTS / "motions.npz"


def is_builtin_motion(name: object) -> bool:
    """Whether this names a built-in motion rather than a file: it begins with `motion:`."""
    return str(name).startswith(PREFIX)


def load_builtin_motion(name: str) -> Motion:
    """The motion `talk` or `motion:talk`, 25 frames a second in a picture of 512 x 512 pixels.

    Raises UsageError for an unknown name, ModelError when the package's file is missing or damaged.
    """
    name = name.removeprefix(PREFIX)
    if name not in NAMES:
        known = ", ".join(PREFIX + one for one in NAMES)
        raise UsageError(f"there is no built-in motion {name!r}: choose one of {known}")
    points = _points(name).astype(np.float32) / UNITS
    frames = np.arange(len(points))
    return Motion(
        points=points,
        confidence=np.ones(len(points)),
        times=frames / FPS,
        pts=frames,
        time_base=Fraction(1, FPS),
        fps=Fraction(FPS),
        size=(SIDE, SIDE),
        source=PREFIX + name,
    )


@cache
def _points(name: str) -> np.ndarray:
    try:
        with np.load(FILE, allow_pickle=False) as data:
            return data[name]
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise ModelError(f"{FILE}: the built-in motions are missing or damaged; install the package again") from error
