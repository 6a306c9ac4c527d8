"""Follows one face through a video: detects it where it must, refines from frame to frame where it can.

Who is followed: the largest face of the first frame that has one, or face N counted from left to right. The same person
is kept among several by place and size; a face known to be somebody else's is never taken over while a shot lasts.
After a cut nobody can be recognised by place, so the choice is made anew by the same rule. What happens while nobody is
seen (a black second, something held before the camera) is no cut if the picture afterwards is the one before.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fewshot_reenact.geometry.topology import N_POINTS
from fewshot_reenact.landmarks.backend import Face, LandmarkBackend
from fewshot_reenact.landmarks.cuts import CERTAIN, OTHER_FACE, Cut, CutDetector, Tiny, difference, tiny
from fewshot_reenact.landmarks.dissolves import Transition, TransitionDetector
from fewshot_reenact.landmarks.selection import LARGEST, Place, choose_face, parse_face
from fewshot_reenact.landmarks.whole import redness_of_lips

# Detection from scratch this often, in frames: it costs little at that rate, notices a face that slid off its person,
# and learns where the other people are before it matters.
VERIFY_EVERY = 30
_DOUBTS = 3
_LOOKS = 200  # frames whose faces are remembered, to be compared across a slow transition
_MUCH_LARGER = 1.5  # times the size of the face followed
# All distances are in sizes of the face (the root of its area). Two places this near are one face:
_SAME = 0.5
# A face that was lost is looked for this far away, and further with every frame it is missing.
_REACH, _REACH_GROWTH = 1.0, 0.1
# Somebody who stands this near to where they stood, and looks alike, has not been cut to:
_STANDING = 0.3
# A face that moves this far in one frame while the picture changes suddenly was cut to another place (a jump cut).
_JUMP = 0.12


def _patch(picture: np.ndarray, place: Place) -> Tiny:
    """A tiny copy of the face at that place."""
    low = np.clip(np.round(place.centre - 0.55 * place.size), 0, [picture.shape[1] - 2, picture.shape[0] - 2])
    high = np.maximum(np.round(place.centre + 0.55 * place.size), low + 2)
    (x0, y0), (x1, y1) = low.astype(int), high.astype(int)
    return tiny(picture[y0:y1, x0:x1])


Known = tuple[Place, Tiny]
"""Where somebody was seen, and a tiny copy of the face."""


def _other(picture: np.ndarray, face: Face) -> Known:
    place = Place.of(face)
    return place, _patch(picture, place)


@dataclass(frozen=True)
class TrackedFrame:
    """One frame's outcome.

    points: (83, 2) float32 pixels, the last known ones where no face was found (NaN before the first).
    confidence: 0..1, 0 where no face was found. cut: a new shot begins with this frame. spread: (83,), see `Face`; None
    where the backend does not tell or no face was found. redness: of the lips, see `whole.redness_of_lips`. slow: the
    slow transition that is over with this frame.
    """

    points: np.ndarray
    confidence: float
    found: bool
    cut: bool
    spread: np.ndarray | None = None
    redness: float = 0.0
    slow: Transition | None = None


class Tracker:
    """Follows one face; give it every frame in turn. barred: who is not followed, such as a picture on the wall."""

    def __init__(self, backend: LandmarkBackend, face: str | int = LARGEST, barred: Sequence[Known] = ()) -> None:
        self.backend = backend
        self.face = parse_face(face)
        self._counts: list[int] = []  # the two highest numbers of faces seen at once
        self._barred = list(barred)
        self._cuts, self._transitions = CutDetector(), TransitionDetector()
        self._points = np.full((N_POINTS, 2), np.nan, np.float32)
        self._place: Place | None = None  # of the face followed, when last seen; None before it is chosen
        self._others: list[Known] = []  # other people in this shot
        self._missing = 0  # frames since the face was seen
        self._broken = False  # whether the picture changed suddenly since
        self._elsewhere = False  # whether a slow transition led to another shot since
        self._seen: tuple[Tiny, Tiny] | None = None  # the picture and the face when it was last seen
        self._number = 0  # of the frame
        self._looks: deque[tuple[int, Tiny]] = deque(maxlen=_LOOKS)  # (number of the frame, the face)
        self._since_detection = 0
        self._larger = 0  # detections that found a much larger face than the one followed
        self._doubts = 0  # detections in a row that found others, but not the face followed

    def update(self, picture: np.ndarray) -> TrackedFrame:
        """The face in the next frame, (H, W, 3) uint8 RGB."""
        sudden, slow = self._cuts(picture), self._transitions(picture)
        self._number += 1
        cut = False
        if self._place is None:
            face = self._begin(picture)
        elif slow is not None:
            face = self._begin(picture)
            if self._other_shot(picture, face, slow):
                cut = self._elsewhere = True
            else:
                slow = None
        elif self._missing:
            face, cut = self._while_lost(picture, sudden)
        elif sudden is Cut.NO:
            face = self._follow(picture)
        else:
            face, cut = self._look_again(picture, sudden)
        if face is None:
            self._missing += 1
            self._doubts = 0
            return TrackedFrame(self._points, 0.0, False, False, slow=slow)
        self._missing, self._broken, self._elsewhere = 0, False, False
        self._points = np.asarray(face.points, np.float32)
        self._place = Place.of(face)
        assert self._cuts.now is not None
        self._seen = self._cuts.now, _patch(picture, self._place)
        self._looks.append((self._number, self._seen[1]))
        redness = 0.0 if face.spread is None else redness_of_lips(picture, self._points)
        confidence = float(np.clip(face.confidence, 0, 1))
        return TrackedFrame(self._points, confidence, True, cut, face.spread, redness, slow)

    @property
    def followed(self) -> Known | None:
        """Where the face followed was last seen; None before it was."""
        return None if self._place is None or self._seen is None else (self._place, self._seen[1])

    @property
    def larger_seen(self) -> bool:
        """Whether somebody else was much larger than the face followed, more than once."""
        return self._larger > 1

    @property
    def others_seen(self) -> bool:
        """Whether anybody else was ever seen."""
        return bool(self._counts) and self._counts[-1] > 1

    @property
    def most_faces(self) -> int:
        """How many faces are there at once; what is seen only once among several looks is not believed."""
        return max(self._counts[0], min(self._counts[-1], 1)) if self._counts else 0

    def _detect(self, picture: np.ndarray) -> list[Face]:
        faces = self.backend.detect(picture)
        self._counts = sorted([*self._counts, len(faces)])[-2:]
        self._since_detection = 0
        return faces

    def _refined(self, picture: np.ndarray, face: Face) -> Face:
        # As in every later frame: otherwise the first frame of a shot would stand out by the detector's own inaccuracy.
        return self.backend.refine(picture, face.points) or face

    def _begin(self, picture: np.ndarray) -> Face | None:
        """Chooses the face of a new shot."""
        return self._choose(picture, self._detect(picture))

    def _other_shot(self, picture: np.ndarray, face: Face | None, slow: Transition) -> bool:
        """Whether what seems a slow transition led to another face; somebody lively looks as before, a pan to none."""
        if face is None:
            return slow.sure
        before = [look for number, look in self._looks if number <= self._number - slow.begin]
        return not before or difference(before[-1], _patch(picture, Place.of(face))) >= OTHER_FACE

    def _follow(self, picture: np.ndarray) -> Face | None:
        """The face in the next frame of a shot."""
        face = self.backend.refine(picture, self._points)
        self._since_detection += 1
        if face is None:
            return self._find_again(picture)
        return self._verify(picture, face) if self._since_detection >= VERIFY_EVERY else face

    def _look_again(self, picture: np.ndarray, sudden: Cut) -> tuple[Face | None, bool]:
        """The picture changed suddenly: (face, whether it was a cut). It was none if the face is still where it was."""
        assert self._place is not None and self._seen is not None
        place = self._place
        faces = self._detect(picture)
        mine = [face for face in faces if not self._is_other(picture, face, _STANDING)]
        if mine:
            nearest = min(mine, key=lambda one: place.distance(Place.of(one)))
            away = place.distance(Place.of(nearest))
            # What changed may be what hangs or runs behind the speaker.
            same = away < _JUMP and (
                sudden is Cut.MAYBE or difference(self._seen[1], _patch(picture, Place.of(nearest))) < OTHER_FACE
            )
            # Others who stand where they stood tell that it is the same shot.
            if same or (len(mine) < len(faces) and away < _REACH):
                return self._refined(picture, nearest), False
        if not faces and sudden is Cut.MAYBE:
            return self.backend.refine(picture, self._points), False
        if len(mine) < len(faces) or not faces:
            self._broken = not faces
            return None, False
        return self._choose(picture, faces), True

    def _choose(self, picture: np.ndarray, faces: list[Face]) -> Face | None:
        free = [face for face in faces if all(at.distance(Place.of(face)) >= _SAME for at, _ in self._barred)]
        # Later shots may show fewer people than the one in which the number was given.
        chosen = choose_face(free, self.face, fewer=self._place is not None)
        if chosen is None:
            return None
        self._others = [_other(picture, face) for face in faces if face is not chosen]
        return self._refined(picture, chosen)

    def _while_lost(self, picture: np.ndarray, sudden: Cut) -> tuple[Face | None, bool]:
        """Nobody was there in the frame before: (face, whether a new shot began meanwhile)."""
        assert self._seen is not None and self._cuts.now is not None
        self._broken = self._broken or sudden is not Cut.NO
        if self._elsewhere or (self._broken and difference(self._seen[0], self._cuts.now) >= CERTAIN):
            face = self._begin(picture)
            return face, face is not None
        return self._find_again(picture), False

    def _find_again(self, picture: np.ndarray) -> Face | None:
        """The face after it was lost: the nearest that is not known to be somebody else's."""
        assert self._place is not None
        faces = self._detect(picture)
        mine = [face for face in faces if not self._is_other(picture, face)]
        if self._missing == 0 and self._others:
            # Others may have moved since they were last seen, but nobody comes into being as another vanishes.
            far = [face for face in mine if self._place.distance(Place.of(face)) > _REACH]
            self._others += [_other(picture, face) for face in far]
            mine = [face for face in mine if not any(face is one for one in far)]
        if not mine:
            return None
        nearest = min(mine, key=lambda one: self._place.distance(Place.of(one)))  # type: ignore[union-attr]
        if self._place.distance(Place.of(nearest)) > _REACH + _REACH_GROWTH * self._missing:
            return None
        return self._refined(picture, nearest)

    def _is_other(self, picture: np.ndarray, face: Face, near: float = _SAME) -> bool:
        """Whether this is somebody known to be another; remembers where they are now."""
        seen = _other(picture, face)
        for index, (place, patch) in enumerate(self._others):
            # Across a sudden change of the picture, place alone would take strangers for acquaintances.
            if place.distance(seen[0]) < near and (near == _SAME or difference(patch, seen[1]) < OTHER_FACE):
                self._others[index] = seen
                return True
        return False

    def _verify(self, picture: np.ndarray, face: Face) -> Face | None:
        """Compares the face that was followed with a detection; learns where the others are."""
        faces = self._detect(picture)
        place = Place.of(face)
        if not faces:
            return face  # turned away from the detector's taste; refining has its own say in whether it is a face
        nearest = min(faces, key=lambda one: place.distance(Place.of(one)))
        if place.distance(Place.of(nearest)) > _SAME:
            # One look may miss a face that is there: look again at once, and believe the third.
            self._doubts += 1
            self._since_detection = VERIFY_EVERY
            return face if self._doubts < _DOUBTS else None
        self._doubts = 0
        self._larger += any(Place.of(one).size > _MUCH_LARGER * place.size for one in faces)
        self._others = [_other(picture, one) for one in faces if one is not nearest]
        return face
