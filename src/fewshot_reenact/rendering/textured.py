"""Portrait and head motion to pictures: the textured model at work, at the portrait's full resolution.

Flow and change are computed small; the flow is applied to the original picture, the person over the ground, and the
change pasted onto it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fewshot_reenact.errors import InputError, ModelError
from fewshot_reenact.geometry.face_frame import face_frame
from fewshot_reenact.geometry.shape import take_out
from fewshot_reenact.inputs.portrait import Portrait
from fewshot_reenact.models.dimensions import ModelDimensions
from fewshot_reenact.models.feather import feather
from fewshot_reenact.models.reenactor import FaceNetworks
from fewshot_reenact.motion.heads import HeadMotion, lift
from fewshot_reenact.rendering.composing import Composer, InferredFace, other_sides
from fewshot_reenact.rendering.faces import Faces, as_pictures
from fewshot_reenact.rendering.flow import one_after_the_other
from fewshot_reenact.rendering.layers import Layers
from fewshot_reenact.rendering.matte import with_matte
from fewshot_reenact.rendering.mixing import match_colour, nearest, portrait_state
from fewshot_reenact.rendering.solid.portrait import Frames, SolidPortrait, moving_box
from fewshot_reenact.rendering.threads import begun, own_thread
from fewshot_reenact.rendering.view import View

BATCH = 4  # frames through the networks at once: faster than one by one, and little memory


@dataclass(frozen=True)
class _Prepared:
    """A few poses before the networks. frames: (B, 2, 3), face frame -> picture. dense: (B, 2, S, S) or None."""

    heads: HeadMotion
    frames: np.ndarray
    warp: Frames
    dense: Tensor | None


class TexturedRenderer:
    """Renders a person from K portraits in any pose. The first portrait's picture is the one that moves.

    box: the part of that picture that may move, (x0, y0, x1, y1), see solid.portrait.moving_box. warp_only: leave the
    networks out. psi: a fine-tuned person's AdaIN scales and shifts, (1, style_length), in place of P e. layers: the
    first portrait's; None: found. Raises ModelError for a model of the paper's kind.
    """

    corrects_warp: ClassVar[bool] = True

    @classmethod
    def open(
        cls,
        model: FaceNetworks,
        portraits: list[Portrait],
        motion: HeadMotion | np.ndarray,
        *,
        device: torch.device | str = "cpu",
        warp_only: bool = False,
        psi: Tensor | None = None,
        layers: Future[Layers] | None = None,
    ) -> TexturedRenderer:
        """See renderer.open_renderer."""
        first = with_matte(portraits[0])[0] if layers is None else portraits[0]
        portraits = [first, *portraits[1:]]
        own = lift(first.points)
        box = moving_box(own, motion if isinstance(motion, HeadMotion) else HeadMotion.of(motion, own), first.size)
        made = None if layers is None else layers.result()
        return cls(model, portraits, box, device=device, warp_only=warp_only, psi=psi, layers=made)

    @staticmethod
    def notes(dims: ModelDimensions) -> list[str]:  # noqa: ARG004
        """Nothing that the user need know."""
        return []

    def in_portrait(self, made: np.ndarray) -> np.ndarray:
        """What `render` made: it is the first portrait's picture already."""
        return made

    def __init__(
        self,
        model: FaceNetworks,
        portraits: list[Portrait],
        box: tuple[int, int, int, int],
        *,
        device: torch.device | str = "cpu",
        warp_only: bool = False,
        psi: Tensor | None = None,
        layers: Layers | None = None,
    ):
        if not model.dims.corrects_warp:
            raise ModelError(f"a model of kind {model.dims.kind!r} has no warp to correct; see renderer.open_renderer")
        self.portraits, self.box = portraits, box
        self.faces = Faces(model, portraits, device=device, warp_only=warp_only, psi=psi)
        self.device, self.size, self.shown = self.faces.device, self.faces.size, self.faces.shown
        self.seconds = {"dense": 0.0, "warp": 0.0, "networks": 0.0, "compose": 0.0}
        self.edge = feather(self.shown, self.shown)
        self.frames, self.lifts = self.faces.frames, self.faces.lifts
        self.solids = [
            SolidPortrait(own, box if k == 0 else moving_box(own, None, p.size), box, self.size, p.matte)
            for k, (own, p) in enumerate(zip(self.lifts, portraits, strict=True))
        ]
        self.composer = Composer(portraits[0], self.lifts[0], box, self.size, self.shown, layers)
        shapes = [take_out(p.points[None]).shape for p in portraits]
        self.states = np.concatenate([portrait_state(s) for s in shapes])

    def render(
        self, motion: HeadMotion | np.ndarray, dense: Iterable[np.ndarray] | None = None
    ) -> Iterator[np.ndarray]:
        """A picture for each pose. motion: of T frames in the first portrait's picture, or its points (T, 83, 2) pixels
        -> T pictures (H, W, 3) uint8 RGB. dense: T shifts (2, S, S) of frame pixels, what the points miss of the motion
        (dense.DenseMotion).

        Four things go on at once, three of them on threads of their own: flow and dense motion of a few poses, the
        networks' work on those before them, a picture composed, and what is done with the picture before it.
        """
        if not len(motion):
            return
        heads = motion if isinstance(motion, HeadMotion) else HeadMotion.of(motion, self.lifts[0])
        shifts = None if dense is None else iter(dense)
        if len(heads) == 1:  # as of a camera: there is nothing to do meanwhile
            yield self._compose(self._infer(self._prepare(heads, shifts))[0])
            return
        batches = (heads[at : at + BATCH] for at in range(0, len(heads), BATCH))
        with own_thread() as before, own_thread() as ahead, own_thread() as drawing:
            prepared = begun(before.submit(self._prepare, batch, shifts) for batch in batches)
            inferred = begun(ahead.submit(lambda coming: self._infer(coming.result()), one) for one in prepared)
            faces = (face for some in inferred for face in some.result())
            for picture in begun(drawing.submit(self._compose, face) for face in faces):
                yield picture.result()

    @torch.inference_mode()
    def _prepare(self, heads: HeadMotion, shifts: Iterator[np.ndarray] | None) -> _Prepared:
        """A few poses, as far as they go without networks. shifts: the dense motion of all that come."""
        dense = None if shifts is None else self._next(shifts, len(heads))
        began = time.perf_counter()
        frames = face_frame(heads.points, self.size)
        warp = self.solids[0].warp(heads, frames)
        self.seconds["warp"] += time.perf_counter() - began
        return _Prepared(heads, frames, warp, dense)

    @torch.inference_mode()
    def _infer(self, prepared: _Prepared) -> list[InferredFace]:
        """Flow and change for a few poses at once, small."""
        heads, frames, warp = prepared.heads, prepared.frames, prepared.warp
        began = time.perf_counter()
        shown = face_frame(heads.points, self.shown)
        view = self.faces.view([0] * len(heads), warp)
        warped, change, shift = self._faces(heads, frames, view, warp.visible, prepared.dense)
        self.seconds["networks"] += time.perf_counter() - began
        shifts = [None] * len(heads) if shift is None else list(shift)
        face, box, covered = warp.face.numpy(), as_pictures(warp.box), warp.covered[:, 0].numpy()
        shut = warp.shut.numpy()
        mirrors = other_sides(warp, view)
        return [
            InferredFace(
                frames[i],
                shown[i],
                face[i],
                box[i],
                covered[i],
                shifts[i],
                warped[i],
                change[i],
                shut[i],
                warp.eyes_of(i),
                mirrors[i],
            )
            for i in range(len(heads))
        ]

    def _next(self, shifts: Iterator[np.ndarray], count: int) -> Tensor:
        """The dense motion of the next frames, (count, 2, S, S)."""
        began = time.perf_counter()
        taken = list(islice(shifts, count))
        self.seconds["dense"] += time.perf_counter() - began
        if len(taken) < count:
            raise InputError("the driver gave fewer frames when it was read again; is something changing the file?")
        return torch.from_numpy(np.stack(taken)).to(self.device)

    # ---- the networks' part, in the face's frame -------------------------------------------------------------------

    def _faces(
        self, heads: HeadMotion, frames: np.ndarray, view: View, visible: Tensor, dense: Tensor | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """What the networks see and make. Returns `warped`, `change` and `shift` of InferredFace for a batch."""
        points, first = heads.points, [0] * len(heads)
        drawn = self.faces.signed([self.faces.draw(p, f) for p, f in zip(points, frames, strict=True)])
        fine = view.displaced(dense)
        if len(self.portraits) > 1:
            # The picture under it is the first portrait's: what the others show instead is change.
            seen = self.faces.see(first, fine)
            change = (self._mixed(heads, frames, drawn, seen, dense) - seen) * self.edge.to(self.device)
            return as_pictures(seen) / 2 + 0.5, as_pictures(change) / 2, None if dense is None else as_pictures(dense)
        seen, change, shift = self.faces.through(
            first, fine, drawn, visible, self.faces.kept(heads, frames, self.lifts[:1])[:, 0]
        )
        shift = one_after_the_other(dense, shift)
        return as_pictures(seen) / 2 + 0.5, as_pictures(change) / 2, None if shift is None else as_pictures(shift)

    def _mixed(
        self, heads: HeadMotion, frames: np.ndarray, drawn: Tensor, first: Tensor, dense: Tensor | None
    ) -> Tensor:
        """Faces of the two portraits nearest in pose and expression, (B, 3, L, L), -1..1: the networks know one
        portrait at a time, so each goes through them alone. Where one portrait shows little the other shows.
        """
        states = portrait_state(take_out(heads.points).shape)
        distance = torch.from_numpy(np.abs(states[:, None] - self.states[None]).sum(2)).float()
        chosen, share = nearest(distance)
        own, rows = chosen.flatten().tolist(), np.repeat(np.arange(len(heads)), chosen.shape[1])
        warps = [
            self.solids[k].warp(heads[row : row + 1], frames[row : row + 1]) for k, row in zip(own, rows, strict=True)
        ]
        views = [self.faces.view([k], warp) for k, warp in zip(own, warps, strict=True)]
        visible = torch.cat([w.visible for w in warps])
        fine = View.joined(views).displaced(None if dense is None else dense[rows])
        kept = self.faces.kept(heads, frames, self.lifts)[rows, own]
        seen, change, _ = self.faces.through(own, fine, drawn[rows], visible, kept)
        faces = match_colour(seen + change, self.faces.see(own, fine), first[rows])

        known = F.interpolate(visible, size=(self.shown,) * 2, mode="bilinear", align_corners=True)
        score = share.clamp(min=1e-6).log()[:, :, None, None] + 0.5 * torch.log2(
            known.view(*chosen.shape, self.shown, self.shown).clamp(min=1e-3)
        )
        weight = score.softmax(1)
        return (faces.view(*chosen.shape, *faces.shape[1:]) * weight[:, :, None].to(self.device)).sum(1)

    def _compose(self, face: InferredFace) -> np.ndarray:
        began = time.perf_counter()
        picture = self.composer.compose(face)
        self.seconds["compose"] += time.perf_counter() - began
        return picture
