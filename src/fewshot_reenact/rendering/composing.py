"""The picture's part of rendering: what was inferred small, put onto the portrait at its full resolution."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from fewshot_reenact.geometry.face_frame import face_frame
from fewshot_reenact.inputs.portrait import Portrait
from fewshot_reenact.models.feather import feather, feather_on
from fewshot_reenact.motion.heads import Lift
from fewshot_reenact.rendering.eyelids import Closing
from fewshot_reenact.rendering.faces import as_pictures
from fewshot_reenact.rendering.head_flow import HeadFlow
from fewshot_reenact.rendering.layers import Layers, cut_out, show_other_side
from fewshot_reenact.rendering.paste import paste_change, soften_leaps
from fewshot_reenact.rendering.solid.portrait import Frames
from fewshot_reenact.rendering.spans import Spans
from fewshot_reenact.rendering.view import View

_LID = 8.0  # frame pixels by which a lid that comes down goes beyond it
_SLACK = 3.0  # frame pixels by which what is fine in a face's flow, as irises that turn, goes beyond the head's


@dataclass(frozen=True)
class InferredFace:
    """One pose, inferred.

    frame, shown: (2, 3), face frame -> picture, of the networks' side S and of the finished face's L, which is larger
    where refiners follow. face_flow: (S, S, 2) over the frame, portrait pixels, and box_offset: (rows, columns, 2) over
    the box. covered: (rows, columns), see rendering.solid. shift: (S, S, 2) frame pixels, how dense motion and networks
    correct the flow. warped, change: (L, L, 3) float32 on the 0..1 scale; warped is the portrait seen through the
    corrected flow. shut: (2,), how far the eyes are, see eyelids.Lids. eyes: face_flow about each of them, finer.
    """

    frame: np.ndarray
    shown: np.ndarray
    face_flow: np.ndarray
    box_offset: np.ndarray
    covered: np.ndarray
    shift: np.ndarray | None
    warped: np.ndarray
    change: np.ndarray
    shut: np.ndarray
    eyes: tuple[np.ndarray, np.ndarray] | None = None
    mirror: OtherSide | None = None


@dataclass(frozen=True)
class OtherSide:
    """The head's other side in one pose. offset: (rows, columns, 2) and share: (rows, columns), as those of
    InferredFace. tone: (S, S, 3) over the frame, 0..255 scale, what has to be added to it.
    """

    offset: np.ndarray
    share: np.ndarray
    tone: np.ndarray


def other_sides(warp: Frames, view: View) -> list[OtherSide | None]:
    """The other sides of a batch's heads, one for each of its frames; none where nothing of them is seen."""
    if warp.mirror is None or view.tone is None:
        return [None] * len(warp.box)
    # Beyond the face's frame the light is its own.
    tone = as_pictures(view.tone * feather_on(view.tone.shape[-1], view.tone.device)) * 127.5
    shares = warp.mirror.box_share[:, 0].numpy()
    return [OtherSide(*parts) for parts in zip(as_pictures(warp.mirror.box), shares, tone, strict=True)]


class Composer:
    """Draws poses onto a portrait. box: x0, y0, x1, y1, the part that may move. size, shown: sides S and L of the face
    frames. layers: the portrait's, where they are known.
    """

    def __init__(
        self,
        portrait: Portrait,
        lift: Lift,
        box: tuple[int, int, int, int],
        size: int,
        shown: int,
        layers: Layers | None = None,
    ):
        self.box = box
        self.flow = HeadFlow(box, portrait.size, feather(size, size)[0, 0].numpy())
        self.layers = layers or Layers.of(portrait.picture, portrait.matte, lift, portrait.ground)
        self.spans = Spans(self.layers.person[..., 3], box)
        self.points = portrait.points
        self.base = portrait.picture if portrait.ground is None else self.layers.whole()
        self.cut_out = portrait.cut_out
        self.edge = feather(shown, shown)[0, 0].numpy()
        scale = float(np.sqrt(np.linalg.det(face_frame(portrait.points, size)[:, :2])))
        self.magnified = scale * size / shown

    def compose(self, face: InferredFace) -> np.ndarray:
        """The portrait in that pose, (H, W, 3) uint8; cut out, (H, W, 4), straight colours and alpha."""
        picture = self.base.copy()
        x0, y0, x1, y1 = self.box
        spans = self.spans.of(face.box_offset, face.covered, self.flow.face(face.frame), self._corrected(face))
        closing = Closing.of(self.points, face.shut)
        flow = self.flow.full(face.frame, face.face_flow, face.box_offset, face.shift, spans, closing, face.eyes)
        covered = cv2.resize(face.covered, (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR)
        _, person = self.layers.seen(flow, covered, (x0, y0), spans, picture[y0:y1, x0:x1])
        if closing is not None:
            for side, part in self.flow.shut_eyes(face.frame, closing):
                soften_leaps(picture[y0:y1, x0:x1][part], flow[part], float(closing.shut[side]))
        if face.mirror is not None:
            other = face.mirror
            show_other_side(
                picture, self.layers.person, self.box, other.offset, other.share, other.tone, face.frame, person
            )
        # In the box alone, whatever the pose: the picture around it is promised to stay.
        inside = face.shown - np.array([[0, 0, x0], [0, 0, y0]])
        paste_change(picture[y0:y1, x0:x1], face.change, face.warped, self.edge, inside, self.magnified, person)
        if not self.cut_out:
            return picture
        share = self.layers.person[..., 3].astype(np.float32) / 255
        share[y0:y1, x0:x1] = person
        return cut_out(picture, share, self.layers.ground)

    @staticmethod
    def _corrected(face: InferredFace) -> float:
        """The farthest, in pixels, that the flow of the face is from that of the head."""
        most = _SLACK + (_LID if face.shut.any() else 0.0)
        most += 0.0 if face.shift is None else float(np.abs(face.shift).max())
        return most * float(np.linalg.norm(face.frame[:, :2], 2))
