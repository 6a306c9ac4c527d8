"""Portrait and head motion to pictures: the textured model at work, at the portrait's full resolution.

Flow and change are computed small; the flow is applied to the original picture, the person over the ground, and the
change pasted onto it.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import ClassVar

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fewshot_reenact.errors import InputError, ModelError
from fewshot_reenact.geometry.affine import invert, transform
from fewshot_reenact.geometry.face_frame import face_frame
from fewshot_reenact.geometry.raster import raster
from fewshot_reenact.geometry.rotation import views_apart
from fewshot_reenact.geometry.shape import take_out
from fewshot_reenact.inputs.portrait import Portrait
from fewshot_reenact.models.dimensions import ModelDimensions
from fewshot_reenact.models.feather import feather
from fewshot_reenact.models.reenactor import FaceInputs, FaceNetworks
from fewshot_reenact.motion.heads import HeadMotion, Lift, lift
from fewshot_reenact.rendering.composing import Composer, InferredFace, OtherSide
from fewshot_reenact.rendering.flow import enlarge, one_after_the_other, to_signed
from fewshot_reenact.rendering.matte import with_matte
from fewshot_reenact.rendering.mixing import match_colour, nearest, portrait_state
from fewshot_reenact.rendering.paste import cut_face
from fewshot_reenact.rendering.restraint import taken
from fewshot_reenact.rendering.solid.portrait import Frames, SolidPortrait, moving_box
from fewshot_reenact.rendering.tone import Tone
from fewshot_reenact.rendering.view import View, match_light
from fewshot_reenact.rendering.warp import sample

BATCH = 4  # frames through the networks at once: faster than one by one, and little memory


class TexturedRenderer:
    """Renders a person from K portraits in any pose. The first portrait's picture is the one that moves.

    box: the part of that picture that may move, (x0, y0, x1, y1), see solid.portrait.moving_box. warp_only: leave the
    networks out. psi: a fine-tuned person's AdaIN scales and shifts, (1, style_length), in place of P e. Raises
    ModelError for a model of the paper's kind.
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
    ) -> "TexturedRenderer":
        """See renderer.open_renderer."""
        first, _ = with_matte(portraits[0])
        portraits = [first, *portraits[1:]]
        own = lift(first.points)
        box = moving_box(own, motion if isinstance(motion, HeadMotion) else HeadMotion.of(motion, own), first.size)
        return cls(model, portraits, box, device=device, warp_only=warp_only, psi=psi)

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
    ):
        if not model.dims.corrects_warp:
            raise ModelError(f"a model of kind {model.dims.kind!r} has no warp to correct; see renderer.open_renderer")
        self.model, self.portraits, self.box = model, portraits, box
        self.device, self.warp_only, self.psi = torch.device(device), warp_only, psi
        self.size, self.shown = model.dims.size, model.dims.size if warp_only else model.dims.shown
        self.seconds = {"dense": 0.0, "warp": 0.0, "networks": 0.0, "compose": 0.0}
        self.edge = feather(self.shown, self.shown)
        self.frames = [face_frame(p.points, self.size) for p in portraits]
        self.lifts = [lift(p.points) for p in portraits]
        self.solids = [
            SolidPortrait(own, box if k == 0 else moving_box(own, None, p.size), box, self.size)
            for k, (own, p) in enumerate(zip(self.lifts, portraits, strict=True))
        ]
        self.composer = Composer(portraits[0], self.lifts[0], box, self.size, self.shown)
        shapes = [take_out(p.points[None]).shape for p in portraits]
        self.states = np.concatenate([portrait_state(s) for s in shapes])
        self._prepare()

    @torch.inference_mode()
    def _prepare(self) -> None:
        """What stays the same for all frames: the portraits' own faces, their landmark pictures, their embedding."""
        cut = [cut_face(p.picture, f, self.size) for p, f in zip(self.portraits, self.frames, strict=True)]
        drawn = [self._draw(p.points, f) for p, f in zip(self.portraits, self.frames, strict=True)]
        self.sources, self.rasters = self._signed(cut), self._signed(drawn)
        self.embedding = self.model.embed(self.sources[None], self.rasters[None])
        large = [face_frame(p.points, self.shown) for p in self.portraits]
        self.large = self._signed(
            [cut_face(p.picture, f, self.shown) for p, f in zip(self.portraits, large, strict=True)]
        )
        self.large_rasters = enlarge(self.rasters, self.shown)
        self.tone = Tone(self.large)
        # What the networks sample from: as large as they can use, no larger, so that fine patterns do not alias.
        self.pictures = []
        for portrait, frame in zip(self.portraits, self.frames, strict=True):
            shrink = min(1.0, 1.25 / float(np.sqrt(np.linalg.det(frame[:, :2]))))
            h, w = portrait.picture.shape[:2]
            small = (max(2, round(w * shrink)), max(2, round(h * shrink)))
            picture = (
                cv2.resize(portrait.picture, small, interpolation=cv2.INTER_AREA) if shrink < 1 else portrait.picture
            )
            scale = torch.tensor([picture.shape[1] / w, picture.shape[0] / h], dtype=torch.float32)
            self.pictures.append((self._signed([picture]), scale))

    def _signed(self, pictures: list[np.ndarray]) -> Tensor:
        """uint8 pictures -> (B, 3, H, W) in -1..1 on the device."""
        return to_signed(torch.from_numpy(np.stack(pictures)).to(self.device).permute(0, 3, 1, 2))

    def _draw(self, points: np.ndarray, frame: np.ndarray) -> np.ndarray:
        return raster(transform(invert(frame), points), self.size, self.model.dims.raster_style)

    def render(
        self, motion: HeadMotion | np.ndarray, dense: Iterable[np.ndarray] | None = None
    ) -> Iterator[np.ndarray]:
        """A picture for each pose. motion: of T frames in the first portrait's picture, or its points (T, 83, 2) pixels
        -> T pictures (H, W, 3) uint8 RGB. dense: T shifts (2, S, S) of frame pixels, what the points miss of the motion
        (dense.DenseMotion).

        The networks work on the next few poses, on a thread of their own, while these are composed.
        """
        if not len(motion):
            return
        heads = motion if isinstance(motion, HeadMotion) else HeadMotion.of(motion, self.lifts[0])
        starts = range(0, len(heads), BATCH)
        shifts = None if dense is None else iter(dense)
        with ThreadPoolExecutor(1) as ahead:
            waiting = [ahead.submit(self._infer, heads[at : at + BATCH], shifts) for at in starts[:1]]
            for at in starts[1:]:
                done = waiting.pop().result()
                waiting.append(ahead.submit(self._infer, heads[at : at + BATCH], shifts))
                yield from map(self._compose, done)
            for last in waiting:
                yield from map(self._compose, last.result())

    @torch.inference_mode()
    def _infer(self, heads: HeadMotion, dense_shifts: Iterator[np.ndarray] | None = None) -> list[InferredFace]:
        """Flow and change for a few poses at once, small."""
        began = time.perf_counter()
        dense = None if dense_shifts is None else self._next(dense_shifts, len(heads))
        self.seconds["dense"] += time.perf_counter() - began
        began = time.perf_counter()
        points = heads.points
        frames, shown = face_frame(points, self.size), face_frame(points, self.shown)
        warp = self.solids[0].warp(heads, frames)
        self.seconds["warp"] += time.perf_counter() - began
        began = time.perf_counter()
        view = self._view([0] * len(heads), warp)
        warped, change, shift = self._faces(heads, frames, view, warp.visible, dense)
        self.seconds["networks"] += time.perf_counter() - began
        shifts = [None] * len(heads) if shift is None else list(shift)
        face, box, covered = warp.face.numpy(), _pictures(warp.box), warp.covered[:, 0].numpy()
        mirrors: list[OtherSide | None] = [None] * len(heads)
        if warp.mirror is not None and view.tone is not None:
            away, share = _pictures(warp.mirror.box), warp.mirror.box_share[:, 0].numpy()
            tone = _pictures(view.tone) * 127.5
            mirrors = [OtherSide(*parts) for parts in zip(away, share, tone, strict=True)]
        return [
            InferredFace(frames[i], shown[i], face[i], box[i], covered[i], shifts[i], warped[i], change[i], mirrors[i])
            for i in range(len(heads))
        ]

    def _next(self, shifts: Iterator[np.ndarray], count: int) -> Tensor:
        """The dense motion of the next frames, (count, 2, S, S)."""
        taken = list(islice(shifts, count))
        if len(taken) < count:
            raise InputError("the driver gave fewer frames when it was read again; is something changing the file?")
        return torch.from_numpy(np.stack(taken)).to(self.device)

    # ---- the networks' part, in the face's frame -------------------------------------------------------------------

    def _faces(
        self, heads: HeadMotion, frames: np.ndarray, view: View, visible: Tensor, dense: Tensor | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """What the networks see and make. Returns `warped`, `change` and `shift` of InferredFace for a batch."""
        points, first = heads.points, [0] * len(heads)
        drawn = self._signed([self._draw(p, f) for p, f in zip(points, frames, strict=True)])
        fine = view.displaced(dense)
        if len(self.portraits) > 1:
            # The picture under it is the first portrait's: what the others show instead is change.
            seen = self._see(first, fine)
            change = (self._mixed(heads, frames, drawn, seen, dense) - seen) * self.edge.to(self.device)
            return _pictures(seen) / 2 + 0.5, _pictures(change) / 2, None if dense is None else _pictures(dense)
        seen, change, shift = self._through(
            first, fine, drawn, visible, self._kept(heads, frames, self.lifts[:1])[:, 0]
        )
        shift = one_after_the_other(dense, shift)
        return _pictures(seen) / 2 + 0.5, _pictures(change) / 2, None if shift is None else _pictures(shift)

    def _view(self, own: Sequence[int], warp: Frames) -> View:
        """How the portraits, by their numbers, are seen in the face frames of a warp."""
        flow = warp.face.to(self.device)
        if warp.mirror is None:
            return View(flow)
        other, share = warp.mirror.face.to(self.device), warp.mirror.face_share.to(self.device)
        tone = match_light(self._warp(own, flow), self._warp(own, other), warp.visible.to(self.device))
        return View(flow, other, share, tone)

    def _through(
        self, own: Sequence[int], view: View, drawn: Tensor, visible: Tensor, kept: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Faces from one portrait each, its number in `own`. visible: see FaceInputs. kept: see `restraint.taken`.
        Returns the portraits seen through the corrected flow and the change of colour, (B, 3, L, L), and how the flow
        was corrected.
        """
        b, numbers = len(own), list(own)
        warped = self._sampled(own, view)
        if self.warp_only:
            return warped, torch.zeros_like(warped), None
        psi = None if self.psi is None else self.psi.expand(b, -1)
        embedding = self.embedding.expand(b, -1)
        visible = visible.to(self.device)
        inputs = FaceInputs(warped, self.sources[numbers], self.rasters[numbers], drawn, visible)
        made = self.model(inputs, embedding, psi)
        seen = self._see(own, view.displaced(made.shift))
        face = seen + enlarge(made.colour, self.shown)
        own_face, own_raster = self.large[numbers], self.large_rasters[numbers]
        known = enlarge(visible, self.shown)
        large = FaceInputs(face, own_face, own_raster, enlarge(drawn, self.shown), known)
        change = self.tone.keep(self.model.refine(large, embedding) - seen, seen, numbers)
        return seen, change * kept.to(self.device), made.shift

    def _kept(self, heads: HeadMotion, frames: np.ndarray, lifts: Sequence[Lift]) -> Tensor:
        """How much of the change of colour is taken of each of K portraits, (B, K, 1, L, L)."""
        inside = np.stack([transform(invert(f), p) for f, p in zip(frames, heads.points, strict=True)])
        points = torch.from_numpy(inside.astype(np.float32)) * (self.shown / self.size)
        away = [
            torch.from_numpy(views_apart(heads.pose.rotation, own.pose.rotation).astype(np.float32)) for own in lifts
        ]
        return torch.stack([taken(points, one, self.shown) for one in away], 1)

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
        views = [self._view([k], warp) for k, warp in zip(own, warps, strict=True)]
        visible = torch.cat([w.visible for w in warps])
        fine = View.joined(views).displaced(None if dense is None else dense[rows])
        kept = self._kept(heads, frames, self.lifts)[rows, own]
        seen, change, _ = self._through(own, fine, drawn[rows], visible, kept)
        faces = match_colour(seen + change, self._see(own, fine), first[rows])

        known = F.interpolate(visible, size=(self.shown,) * 2, mode="bilinear", align_corners=True)
        score = share.clamp(min=1e-6).log()[:, :, None, None] + 0.5 * torch.log2(
            known.view(*chosen.shape, self.shown, self.shown).clamp(min=1e-3)
        )
        weight = score.softmax(1)
        return (faces.view(*chosen.shape, *faces.shape[1:]) * weight[:, :, None].to(self.device)).sum(1)

    def _see(self, own: Sequence[int], view: View) -> Tensor:
        """Portraits, by their numbers, at the side of the finished face, (B, 3, L, L)."""
        return self._sampled(own, view.enlarged(self.shown))

    def _sampled(self, own: Sequence[int], view: View) -> Tensor:
        seen = self._warp(own, view.flow)
        return seen if view.other is None else view.mixed(seen, self._warp(own, view.other))

    def _warp(self, own: Sequence[int], flow: Tensor) -> Tensor:
        """Portraits, by their numbers, seen through flows (B, s, s, 2) in their pixels -> (B, 3, s, s) in -1..1."""
        made = flow.new_empty(len(own), 3, *flow.shape[1:3], device=self.device)
        for k in sorted(set(own)):
            rows = [row for row, number in enumerate(own) if number == k]
            picture, scale = self.pictures[k]
            where = (flow[rows].to(self.device) + 0.5) * scale.to(self.device) - 0.5
            made[rows] = sample(picture.expand(len(rows), -1, -1, -1), where)
        return made

    def _compose(self, face: InferredFace) -> np.ndarray:
        began = time.perf_counter()
        picture = self.composer.compose(face)
        self.seconds["compose"] += time.perf_counter() - began
        return picture


def _pictures(x: Tensor) -> np.ndarray:
    """(B, 3, S, S) -> contiguous (B, S, S, 3) numpy."""
    return np.ascontiguousarray(x.permute(0, 2, 3, 1).float().cpu().numpy())
