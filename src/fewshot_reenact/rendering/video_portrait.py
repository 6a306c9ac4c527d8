"""A portrait's video and what its head is to do, to pictures: each frame of the video is the portrait of its output.

The person is shown to the networks once a shot, so colours do not jump from frame to frame. Where the head does not
turn, its face changes in place (`rendering.in_place`) and what is around it is the frame's own, to the bit. Where it
turns, the whole head is warped over a ground that is painted in behind it (`rendering.composing`).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import count, islice

import numpy as np
import torch
from torch import Tensor

from fewshot_reenact.geometry.face_frame import face_frame
from fewshot_reenact.inputs.portrait import Portrait
from fewshot_reenact.models.reenactor import FaceNetworks
from fewshot_reenact.motion.heads import HeadMotion
from fewshot_reenact.rendering.composing import Composer, InferredFace, other_sides
from fewshot_reenact.rendering.faces import Faces, as_pictures
from fewshot_reenact.rendering.in_place import InPlace
from fewshot_reenact.rendering.solid.portrait import Frames, SolidPortrait
from fewshot_reenact.rendering.textured import BATCH
from fewshot_reenact.rendering.threads import begun, own_thread
from fewshot_reenact.rendering.video_frames import HeadCut, cuts
from fewshot_reenact.rendering.video_ground import layers_of, with_grounds
from fewshot_reenact.rendering.video_plan import VideoPlan
from fewshot_reenact.rendering.view import View


@dataclass(frozen=True)
class _Made:
    """A frame, inferred; face: None where nothing of it changes. in_place: where its head does not turn."""

    cut: HeadCut
    face: InferredFace | None = None
    in_place: InPlace | None = None


def embed_person(model: FaceNetworks, portraits: list[Portrait], device: torch.device | str) -> Tensor:
    """The networks' embedding of a person from some frames of a video, (1, N)."""
    return Faces(model, portraits, device=device).embedding


class VideoRenderer:
    """Renders a plan. embeddings: of the person in each shot of the video, (1, N) each, None where a shot shows nobody.
    warp_only: leave the networks out. seconds: spent so far, by stage.
    """

    def __init__(
        self,
        model: FaceNetworks,
        plan: VideoPlan,
        embeddings: Sequence[Tensor | None],
        *,
        device: torch.device | str = "cpu",
        warp_only: bool = False,
    ) -> None:
        self.model, self.plan, self.embeddings = model, plan, embeddings
        self.device, self.warp_only = torch.device(device), warp_only
        self.size = model.dims.size
        self.seconds = {"frames": 0.0, "warp": 0.0, "networks": 0.0, "compose": 0.0}

    def render(self, pictures: Iterable[np.ndarray], first: int = 0) -> Iterator[np.ndarray]:
        """The output's frames from `first` on, (H, W, 3) uint8 RGB. pictures: the video's, one for each, from
        `video_frames.lookback(first)` on.

        Four things go on at once, as in TexturedRenderer.render; here the first is that a few frames are cut out.
        """
        frames = cuts(self.plan, pictures, first, self.plan.moves)
        frames = with_grounds(frames) if self.plan.moves else frames
        with own_thread() as cutting, own_thread() as ahead, own_thread() as drawing:
            cut = begun(cutting.submit(self._next, frames) for _ in count())
            inferred = begun(ahead.submit(self._infer, one) for one in cut)
            made = (one for some in iter(lambda: next(inferred).result(), []) for one in some)
            for picture in begun(drawing.submit(self._compose, one) for one in made):
                yield picture.result()

    def _next(self, frames: Iterator[HeadCut]) -> list[HeadCut]:
        """The next few frames; none at the end."""
        began = time.perf_counter()
        batch = list(islice(frames, BATCH))
        self.seconds["frames"] += time.perf_counter() - began
        return batch

    @torch.inference_mode()
    def _infer(self, coming: Future[list[HeadCut]]) -> list[_Made]:
        batch = coming.result()
        shown = [cut for cut in batch if cut.share > 0]
        made = iter(self._faces(shown)) if shown else iter(())
        return [next(made) if cut.share > 0 else _Made(cut) for cut in batch]

    def _faces(self, batch: list[HeadCut]) -> list[_Made]:
        embedding = torch.cat([self._embedding(cut.shot) for cut in batch])
        faces = Faces(
            self.model,
            [cut.portrait for cut in batch],
            lifts=[cut.own for cut in batch],
            embedding=embedding,
            device=self.device,
            warp_only=self.warp_only,
        )
        began = time.perf_counter()
        heads = HeadMotion.joined([cut.head for cut in batch])
        points = heads.points
        frames, shown = face_frame(points, faces.size), face_frame(points, faces.shown)
        still = [None if self.plan.moves else InPlace.of(cut, faces.size) for cut in batch]
        warps = [
            self._turned(cut, frames[i : i + 1]) if place is None else place.frames
            for i, (cut, place) in enumerate(zip(batch, still, strict=True))
        ]
        self.seconds["warp"] += time.perf_counter() - began
        began = time.perf_counter()
        views = [faces.view([i], warp) for i, warp in enumerate(warps)]
        drawn = faces.signed([faces.draw(p, f) for p, f in zip(points, frames, strict=True)])
        kept = torch.cat([faces.kept(cut.head, frames[i : i + 1], [cut.own])[:, 0] for i, cut in enumerate(batch)])
        visible = torch.cat([warp.visible for warp in warps])
        seen, change, shift = faces.through(range(len(batch)), View.joined(views), drawn, visible, kept)
        warped, colour = as_pictures(seen) / 2 + 0.5, as_pictures(change) / 2
        shifts = [None] * len(batch) if shift is None else list(as_pictures(shift))
        self.seconds["networks"] += time.perf_counter() - began
        return [
            _Made(
                cut,
                InferredFace(
                    frames[i],
                    shown[i],
                    warps[i].face[0].numpy(),
                    as_pictures(warps[i].box)[0],
                    warps[i].covered[0, 0].numpy(),
                    shifts[i],
                    warped[i],
                    colour[i],
                    warps[i].shut[0].numpy(),
                    warps[i].eyes_of(0),
                    other_sides(warps[i], views[i])[0],
                ),
                still[i],
            )
            for i, cut in enumerate(batch)
        ]

    def _embedding(self, shot: int) -> Tensor:
        found = self.embeddings[shot]
        if found is None:
            raise ValueError(f"shot {shot} shows nobody")
        return found

    def _turned(self, cut: HeadCut, frames: np.ndarray) -> Frames:
        return SolidPortrait(cut.own, cut.box, cut.box, self.size, cut.portrait.matte).warp(cut.head, frames)

    def _compose(self, made: _Made) -> np.ndarray:
        began = time.perf_counter()
        cut, face = made.cut, made.face
        if face is None:
            return cut.picture
        if made.in_place is not None:
            part = made.in_place.compose(cut, face, self.plan.region)
        else:
            composer = Composer(cut.portrait, cut.own, cut.box, self.size, face.warped.shape[0], layers_of(cut))
            part = composer.compose(face)
        picture = cut.put_back(part)
        self.seconds["compose"] += time.perf_counter() - began
        return picture
