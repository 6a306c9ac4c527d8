"""All limits of `reenact check`, with the reason for each.

"Measured" means: on 99 stills (203 for sharpness) and the 18 portraits of the project's data, made smaller, blurred or
partly covered step by step, with the built-in landmarks; distances of points are in per cent of the distance of the
outer eye corners.
"""

from dataclasses import dataclass

from fewshot_reenact.checks.report import GOOD, POOR, UNUSABLE, USABLE


@dataclass(frozen=True)
class Limit:
    """Bounds of the verdicts. A value up to `good` is good, up to `usable` usable, up to `poor` poor, beyond unusable.

    poor: None where nothing of the kind makes a file unusable. least: the bounds are lower bounds instead.
    """

    good: float
    usable: float
    poor: float | None = None
    least: bool = False

    def __call__(self, value: float) -> str:
        """The verdict on a value."""
        sign = -1 if self.least else 1
        for bound, verdict in ((self.good, GOOD), (self.usable, USABLE)):
            if sign * value <= sign * bound:
                return verdict
        return POOR if self.poor is None or sign * value <= sign * self.poor else UNUSABLE


# Outer eye corners, pixels apart. The networks see a face about 60 pixels wide there. Measured: points of the same face
# made smaller move by 0.5 % at 60, 1.0 % at 40, 1.6 % at 30, 3.2 % at 18 and 6.5 % at 10 pixels.
FACE_SIZE = Limit(60, 35, 18, least=True)

# `measures.sharpness`. Measured medians: 0.42 for stills as they are, 0.33, 0.23, 0.15 and 0.12 blurred with a sigma of
# 1, 2, 4 and 8 % of the eye distance. At 8 % points move by 3.3 % and the first faces are lost.
SHARPNESS = Limit(0.28, 0.20, 0.11, least=True)

# Degrees off the front. Measured in the README: points of single pictures are off by 1.9 % up to 15 degrees of yaw,
# 3.2 % up to 30, 5.4 % beyond; a side that is not in the picture is the other side's mirror image, or a guess.
YAW = Limit(15, 25, 45)
PITCH = Limit(15, 22, 35)
# Turned in the picture's plane: everything works in upright frames, but the detector was trained up to 45 degrees.
ROLL = Limit(25, 40, 60)

# `measures.agreement`, the worst region. Measured: over 0.022 in 9 % of pictures of uncovered faces (bearded, turned
# ones among them), in 62 % with the mouth covered, 57 % with one eye, 81 % with dark glasses (half of these are
# not found at all), 100 % with one half of the face; over 0.05 in 1 %, and in 5, 10, 55 and 79 %.
AGREEMENT = Limit(0.022, 0.05)
# `measures.odd_colour`. Measured on 217 stills and portraits: over 21 in 5 % (a red beard, coloured light); with mouth
# and chin behind a rectangle of light blue in all, of white, grey or black in 61 %, of brown in 11 %; with dark glasses
# in 6 %. It sees what `agreement` misses, and misses hands, hair and glasses.
SKIN_COLOUR = Limit(21, 40)
# The confidence of the point network: over 0.997 in 95 % of pictures of uncovered faces, but also in half of those
# with the mouth covered, so alone it tells little of what covers a face.
CONFIDENCE = Limit(0.98, 0.80, least=True)

# Opening of the lids over the eye's width, mean of both eyes. Against MediaPipe's blink score in 1,876 pictures: 90 %
# of those under 0.08 are closed by its account, and 77 % of what it calls closed is under 0.08.
EYES = Limit(0.14, 0.08, least=True)
# Gap of the lips over the mouth's width. 5 % of those pictures are over 0.30. What the open mouth shows has to be
# squeezed when it closes; a closed one is opened by the networks, which is what they are trained for.
MOUTH = Limit(0.12, 0.30)
# Share of the points that lie outside the picture: what is cut off cannot be moved into it.
CUT_OFF = Limit(0.0, 0.06)
# Faces in the picture, or at once in the video: the largest is taken, which may be somebody else.
FACES = Limit(1, 1e9)

# Share of a video's frames with a face. The motion is held in the others; `animate` itself warns under a tenth.
FOUND = Limit(0.99, 0.90, 0.10, least=True)
# Degrees, the largest of 98 % of a driver's frames: the points' own error grows with the turn (see YAW).
DRIVER_YAW = Limit(25, 40)
DRIVER_PITCH = Limit(20, 30)
# Share of a driver's frames in which the head would turn, or go, farther than a portrait can show (motion.bounds).
BEYOND = Limit(0.0, 0.25)
# After each cut the motion starts from a reference of its own, so the portrait's head can jump.
CUTS = Limit(0, 1e9)
# Frames a second: below, lips and lids go from open to closed within one frame.
FPS = Limit(20, 12, least=True)
