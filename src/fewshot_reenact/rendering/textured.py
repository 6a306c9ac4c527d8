"""Portrait and points to pictures: the textured model at work, at the portrait's full resolution.

Flow and change are computed small, in the face's own frame; the flow is applied to the original picture and the change
pasted onto it.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fewshot_reenact.errors import InputError, ModelError
from fewshot_reenact.geometry.affine import chain, invert, transform
from fewshot_reenact.geometry.face_frame import face_frame
from fewshot_reenact.geometry.head_crop import head_box
from fewshot_reenact.geometry.raster import raster
from fewshot_reenact.geometry.shape import take_out
from fewshot_reenact.inputs.portrait import Portrait
from fewshot_reenact.models.dimensions import ModelDimensions
from fewshot_reenact.models.feather import feather
from fewshot_reenact.models.reenactor import FaceInputs, Reenactor
from fewshot_reenact.rendering.flow import (
    FLOW_SIZE,
    apply_affine,
    displace,
    displace_flow,
    enlarge,
    enlarge_flow,
    to_signed,
)
from fewshot_reenact.rendering.head_flow import BOX_GRID, HeadFlow
from fewshot_reenact.rendering.mixing import match_colour, nearest, portrait_state, stretch
from fewshot_reenact.rendering.paste import cut_face, paste_change, sample_picture
from fewshot_reenact.rendering.tone import Tone
from fewshot_reenact.rendering.warp import fit_warp, grid, sample

BATCH = 4  # frames through the networks at once: faster than one by one, and little memory


@dataclass(frozen=True)
class _Face:
    """One pose, inferred.

    frame, shown: (2, 3), face frame -> picture, of the networks' side S and of the finished face's L, which is larger
    where refiners follow. face_flow: (g, g, 2) over the frame and box_flow: (G, G, 2) over the box, both portrait
    pixels. shift: (S, S, 2) frame pixels, how dense motion and networks correct the flow. warped, change: (L, L, 3)
    float32 on the 0..1 scale; warped is the portrait seen through the corrected flow.
    """

    frame: np.ndarray
    shown: np.ndarray
    face_flow: np.ndarray
    box_flow: np.ndarray
    shift: np.ndarray | None
    warped: np.ndarray
    change: np.ndarray


class TexturedRenderer:
    """Renders a person from K portraits in any pose. The first portrait's picture is the one that moves.

    box: the part of that picture that may move, (x0, y0, x1, y1), see geometry.head_crop.head_box. warp_only: leave the
    networks out. psi: a fine-tuned person's AdaIN scales and shifts, (1, style_length), in place of P e. Raises
    ModelError for a model of the paper's kind.
    """

    corrects_warp: ClassVar[bool] = True

    @classmethod
    def open(
        cls,
        model: Reenactor,
        portraits: list[Portrait],
        motion: np.ndarray,
        *,
        device: torch.device | str = "cpu",
        warp_only: bool = False,
        psi: Tensor | None = None,
    ) -> "TexturedRenderer":
        """See renderer.open_renderer."""
        first = portraits[0]
        size = (first.picture.shape[1], first.picture.shape[0])
        box = head_box(np.concatenate([first.points[None], motion]), size)
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
        model: Reenactor,
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
        self.seconds = {"dense": 0.0, "networks": 0.0, "compose": 0.0}
        self.feather = model.feather[0, 0].cpu().numpy()
        self.edge = feather(self.shown, self.shown)
        self.frames = [face_frame(p.points, self.size) for p in portraits]
        self.flow = HeadFlow(box, (portraits[0].picture.shape[1], portraits[0].picture.shape[0]), self.feather)
        self.face_grid = grid(FLOW_SIZE, self.size)[None]
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

    def render(self, motion: np.ndarray, dense: Iterable[np.ndarray] | None = None) -> Iterator[np.ndarray]:
        """A picture for each pose. motion: (T, 83, 2) pixels of the first portrait -> T pictures (H, W, 3) uint8 RGB.
        dense: T shifts (2, S, S) of frame pixels, what the points miss of the motion (dense.DenseMotion).

        The networks work on the next few poses, on a thread of their own, while these are composed.
        """
        starts = range(0, len(motion), BATCH)
        shifts = None if dense is None else iter(dense)
        with ThreadPoolExecutor(1) as ahead:
            waiting = [ahead.submit(self._infer, motion[at : at + BATCH], shifts) for at in starts[:1]]
            for at in starts[1:]:
                done = waiting.pop().result()
                waiting.append(ahead.submit(self._infer, motion[at : at + BATCH], shifts))
                yield from map(self._compose, done)
            for last in waiting:
                yield from map(self._compose, last.result())

    @torch.inference_mode()
    def _infer(self, motion: np.ndarray, dense_shifts: Iterator[np.ndarray] | None = None) -> list["_Face"]:
        """Flow and change for a few poses at once, small."""
        began = time.perf_counter()
        dense = None if dense_shifts is None else self._next(dense_shifts, len(motion))
        self.seconds["dense"] += time.perf_counter() - began
        began = time.perf_counter()
        frames = [face_frame(points, self.size) for points in motion]
        shown = [face_frame(points, self.shown) for points in motion]
        driver = torch.from_numpy(np.ascontiguousarray(motion, np.float32))
        matrices = torch.from_numpy(np.stack(frames)).float()
        own = torch.from_numpy(self.portraits[0].points).float().expand_as(driver)
        edges = torch.tensor(self.box).float() - torch.tensor([0, 0, 1, 1])
        spline = fit_warp(driver, own, edges.expand(len(driver), 4))
        face_flow = spline(apply_affine(matrices, self.face_grid)).view(-1, FLOW_SIZE, FLOW_SIZE, 2)
        box_flow = spline(torch.from_numpy(self.flow.grid).view(1, -1, 2)).view(-1, BOX_GRID, BOX_GRID, 2)
        warped, change, shift = self._faces(motion, frames, matrices, face_flow, dense)
        self.seconds["networks"] += time.perf_counter() - began
        shifts = [None] * len(motion) if shift is None else list(shift)
        flows = zip(face_flow.numpy(), box_flow.numpy(), strict=True)
        return [
            _Face(frames[i], shown[i], face, box, shifts[i], warped[i], change[i])
            for i, (face, box) in enumerate(flows)
        ]

    def _next(self, shifts: Iterator[np.ndarray], count: int) -> Tensor:
        """The dense motion of the next frames, (count, 2, S, S)."""
        taken = list(islice(shifts, count))
        if len(taken) < count:
            raise InputError("the driver gave fewer frames when it was read again; is something changing the file?")
        return torch.from_numpy(np.stack(taken)).to(self.device)

    # ---- the networks' part, in the face's frame -------------------------------------------------------------------

    def _faces(
        self, motion: np.ndarray, frames: list[np.ndarray], matrices: Tensor, flow: Tensor, dense: Tensor | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """What the networks see and make. Returns `warped`, `change` and `shift` of _Face for a batch."""
        drawn = self._signed([self._draw(p, f) for p, f in zip(motion, frames, strict=True)])
        fine = _displaced(enlarge_flow(flow, matrices, self.size).to(self.device), dense)
        if len(self.portraits) > 1:
            # The picture under it is the first portrait's: what the others show instead is change.
            first = self._see([0] * len(motion), fine)
            change = (self._mixed(motion, frames, drawn, first, dense) - first) * self.edge.to(self.device)
            return _pictures(first) / 2 + 0.5, _pictures(change) / 2, None if dense is None else _pictures(dense)
        seen, change, shift = self._through([0] * len(motion), fine, drawn)
        shift = _one_after_the_other(dense, shift)
        return _pictures(seen) / 2 + 0.5, _pictures(change) / 2, None if shift is None else _pictures(shift)

    def _through(self, own: Sequence[int], flow: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Faces from one portrait each, its number in `own`. Returns the portraits seen through the corrected flow and
        the change of colour, (B, 3, L, L), and how the flow was corrected.
        """
        b, numbers = len(own), list(own)
        warped = self._warp(own, flow)
        if self.warp_only:
            return warped, torch.zeros_like(warped), None
        psi = None if self.psi is None else self.psi.expand(b, -1)
        embedding = self.embedding.expand(b, -1)
        made = self.model(FaceInputs(warped, self.sources[numbers], self.rasters[numbers], drawn), embedding, psi)
        seen = self._see(own, flow if made.shift is None else displace_flow(flow.to(self.device), made.shift))
        face = seen + enlarge(made.colour, self.shown)
        large = FaceInputs(face, self.large[numbers], self.large_rasters[numbers], enlarge(drawn, self.shown))
        change = self.tone.keep(self.model.refine(large, embedding) - seen, seen, numbers)
        return seen, change, made.shift

    def _mixed(
        self, motion: np.ndarray, frames: list[np.ndarray], drawn: Tensor, first: Tensor, dense: Tensor | None
    ) -> Tensor:
        """Faces of the two portraits nearest in pose and expression, (B, 3, L, L), -1..1: the networks know one
        portrait at a time, so each goes through them alone. Where a warp stretches one portrait the other shows.
        """
        states = portrait_state(take_out(motion).shape)
        distance = torch.from_numpy(np.abs(states[:, None] - self.states[None]).sum(2)).float()
        chosen, share = nearest(distance)
        own, rows = chosen.flatten().tolist(), torch.arange(len(motion)).repeat_interleave(chosen.shape[1])
        # Poses as each portrait's picture would have them: the same place in its own face frame.
        onto = [chain(self.frames[k], invert(self.frames[0])) for k in own]
        theirs = np.stack([transform(m, motion[row]) for m, row in zip(onto, rows, strict=True)])
        matrices = np.stack([chain(m, frames[row]) for m, row in zip(onto, rows, strict=True)])
        pictures = [self.portraits[k].picture for k in own]
        boxes = torch.tensor([[0, 0, picture.shape[1] - 1, picture.shape[0] - 1] for picture in pictures])
        points = torch.from_numpy(np.stack([self.portraits[k].points for k in own])).float()
        spline = fit_warp(torch.from_numpy(theirs).float(), points, boxes.float())
        matrix = torch.from_numpy(matrices).float()
        flow = spline(apply_affine(matrix, self.face_grid)).view(-1, FLOW_SIZE, FLOW_SIZE, 2)
        fine = _displaced(enlarge_flow(flow, matrix, self.size), None if dense is None else dense[rows])
        seen, change, _ = self._through(own, fine, drawn[rows])
        faces = match_colour(seen + change, self._see(own, fine), first[rows])

        cells = ((self.size - 1) / (FLOW_SIZE - 1)) ** 2  # frame pixels in a cell of the flow's grid
        kept = stretch(flow, torch.from_numpy(np.stack([self.frames[k] for k in own])), cells)
        score = share.clamp(min=1e-6).log()[:, :, None, None] - kept.view(*chosen.shape, FLOW_SIZE, FLOW_SIZE)
        weight = F.interpolate(score, size=(self.shown,) * 2, mode="bilinear", align_corners=True).softmax(1)
        return (faces.view(*chosen.shape, *faces.shape[1:]) * weight[:, :, None].to(self.device)).sum(1)

    def _see(self, own: Sequence[int], flow: Tensor) -> Tensor:
        """The same at the side of the finished face, (B, 3, L, L)."""
        return self._warp(own, enlarge(flow.permute(0, 3, 1, 2), self.shown).permute(0, 2, 3, 1))

    def _warp(self, own: Sequence[int], flow: Tensor) -> Tensor:
        """Portraits, by their numbers, seen through flows (B, s, s, 2) in their pixels -> (B, 3, s, s) in -1..1."""
        made = flow.new_empty(len(own), 3, *flow.shape[1:3], device=self.device)
        for k in sorted(set(own)):
            rows = [row for row, number in enumerate(own) if number == k]
            picture, scale = self.pictures[k]
            where = (flow[rows].to(self.device) + 0.5) * scale.to(self.device) - 0.5
            made[rows] = sample(picture.expand(len(rows), -1, -1, -1), where)
        return made

    # ---- the picture's part, at full resolution -------------------------------------------------------------------

    def _compose(self, face: "_Face") -> np.ndarray:
        began = time.perf_counter()
        picture = self.portraits[0].picture.copy()
        x0, y0, x1, y1 = self.box
        flow = self.flow.full(face.frame, face.face_flow, face.box_flow, face.shift)
        picture[y0:y1, x0:x1] = sample_picture(self.portraits[0].picture, flow)
        magnified = float(np.sqrt(np.linalg.det(self.frames[0][:, :2]))) * self.size / self.shown
        # In the box alone, whatever the pose: the picture around it is promised to stay.
        inside = face.shown - np.array([[0, 0, x0], [0, 0, y0]])
        paste_change(picture[y0:y1, x0:x1], face.change, face.warped, self.edge[0, 0].numpy(), inside, magnified)
        self.seconds["compose"] += time.perf_counter() - began
        return picture


def _displaced(flow: Tensor, shift: Tensor | None) -> Tensor:
    return flow if shift is None else displace_flow(flow, shift.to(flow.device))


def _one_after_the_other(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    """The one shift (B, 2, S, S) that does what correcting a flow by `first` and the result by `second` does."""
    if first is None or second is None:
        return second if first is None else first
    return second + displace(first, second)


def _pictures(x: Tensor) -> np.ndarray:
    """(B, 3, S, S) -> contiguous (B, S, S, 3) numpy."""
    return np.ascontiguousarray(x.permute(0, 2, 3, 1).float().cpu().numpy())
