"""The networks at work in the face's own frame: portraits seen through a warp, and what is changed of them."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from fewshot_reenact.errors import ModelError
from fewshot_reenact.geometry.affine import invert, transform
from fewshot_reenact.geometry.face_frame import face_frame
from fewshot_reenact.geometry.raster import raster
from fewshot_reenact.geometry.rotation import views_apart
from fewshot_reenact.inputs.portrait import Portrait
from fewshot_reenact.models.reenactor import FaceInputs, FaceNetworks
from fewshot_reenact.motion.heads import HeadMotion, Lift, lift
from fewshot_reenact.rendering.flow import enlarge, to_signed
from fewshot_reenact.rendering.paste import cut_face
from fewshot_reenact.rendering.restraint import taken
from fewshot_reenact.rendering.solid.portrait import Frames
from fewshot_reenact.rendering.tone import Tone
from fewshot_reenact.rendering.view import View, match_light
from fewshot_reenact.rendering.warp import sample


class Faces:
    """K portraits as the networks know them. lifts: their heads; None: found from their points. embedding: (1, N), of
    the person, where it is known; None: found from all K. warp_only, psi: see textured.TexturedRenderer.
    """

    @torch.inference_mode()
    def __init__(
        self,
        model: FaceNetworks,
        portraits: list[Portrait],
        *,
        lifts: list[Lift] | None = None,
        embedding: Tensor | None = None,
        device: torch.device | str = "cpu",
        warp_only: bool = False,
        psi: Tensor | None = None,
    ):
        self.model, self.portraits = model, portraits
        self.device, self.warp_only, self.psi = torch.device(device), warp_only, psi
        self.size, self.shown = model.dims.size, model.dims.size if warp_only else model.dims.shown
        self.lifts = [lift(p.points) for p in portraits] if lifts is None else lifts
        self.frames = [face_frame(p.points, self.size) for p in portraits]
        self._prepare(embedding)

    def _prepare(self, embedding: Tensor | None) -> None:
        """What stays the same for all frames: the portraits' own faces, their landmark pictures, their embedding."""
        cut = [cut_face(p.picture, f, self.size) for p, f in zip(self.portraits, self.frames, strict=True)]
        drawn = [self.draw(p.points, f) for p, f in zip(self.portraits, self.frames, strict=True)]
        self.sources, self.rasters = self.signed(cut), self.signed(drawn)
        self.embedding = self.model.embed(self.sources[None], self.rasters[None]) if embedding is None else embedding
        large = [face_frame(p.points, self.shown) for p in self.portraits]
        self.large = self.signed(
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
            self.pictures.append((self.signed([picture]), scale))

    def signed(self, pictures: list[np.ndarray]) -> Tensor:
        """uint8 pictures -> (B, 3, H, W) in -1..1 on the device."""
        return to_signed(torch.from_numpy(np.stack(pictures)).to(self.device).permute(0, 3, 1, 2))

    def draw(self, points: np.ndarray, frame: np.ndarray) -> np.ndarray:
        """The landmark picture of a face, (83, 2) pixels, in its frame, (2, 3): (S, S, 3) uint8."""
        return raster(transform(invert(frame), points), self.size, self.model.dims.raster_style)

    def view(self, own: Sequence[int], warp: Frames) -> View:
        """How the portraits, by their numbers, are seen in the face frames of a warp."""
        flow = warp.face.to(self.device)
        if warp.mirror is None:
            return View(flow)
        other, share = warp.mirror.face.to(self.device), warp.mirror.face_share.to(self.device)
        tone = match_light(self._warp(own, flow), self._warp(own, other), warp.visible.to(self.device))
        return View(flow, other, share, tone)

    def through(
        self, own: Sequence[int], view: View, drawn: Tensor, visible: Tensor, kept: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Faces from one portrait each, its number in `own`. visible: see FaceInputs. kept: see `restraint.taken`.
        Returns the portraits seen through the corrected flow and the change of colour, (B, 3, L, L), and how the flow
        was corrected. Raises ModelError: what the networks make is no number.
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
        if made.shift is not None:  # sampling at what is no number gives some colour or other
            expect_numbers(made.shift)
        seen = self.see(own, view.displaced(made.shift))
        face = seen + enlarge(made.colour, self.shown)
        own_face, own_raster = self.large[numbers], self.large_rasters[numbers]
        known = enlarge(visible, self.shown)
        large = FaceInputs(face, own_face, own_raster, enlarge(drawn, self.shown), known)
        change = expect_numbers(self.tone.keep(self.model.refine(large, embedding) - seen, seen, numbers))
        return seen, change * kept.to(self.device), made.shift

    def kept(self, heads: HeadMotion, frames: np.ndarray, lifts: Sequence[Lift]) -> Tensor:
        """How much of the change of colour is taken of each of K portraits, (B, K, 1, L, L)."""
        inside = np.stack([transform(invert(f), p) for f, p in zip(frames, heads.points, strict=True)])
        points = torch.from_numpy(inside.astype(np.float32)) * (self.shown / self.size)
        away = [
            torch.from_numpy(views_apart(heads.pose.rotation, own.pose.rotation).astype(np.float32)) for own in lifts
        ]
        return torch.stack([taken(points, one, self.shown) for one in away], 1)

    def see(self, own: Sequence[int], view: View) -> Tensor:
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


def expect_numbers(made: Tensor) -> Tensor:
    """What networks made, as it is. Raises ModelError: some of it is no number, as of damaged weights."""
    if not bool(made.isfinite().all()):
        raise ModelError("what the model's networks paint is no number: its weights are damaged; use another --model")
    return made


def as_pictures(x: Tensor) -> np.ndarray:
    """(B, 3, S, S) -> contiguous (B, S, S, 3) numpy."""
    return np.ascontiguousarray(x.permute(0, 2, 3, 1).float().cpu().numpy())
