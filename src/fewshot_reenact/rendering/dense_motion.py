"""What a driver's video shows of its motion besides 83 points: a shift over the face frame for each frame.

For each shot, the frame in which the driver looks most as the portrait does is the reference. Warped by its points onto
another frame it should equal that one; what it lacks is measured there (rendering.registration) and given to the
portrait.
Read while the output is rendered, a frame at a time: memory does not grow with the video. A motion file and the
built-in motions hold points alone, so they have none.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from fewshot_reenact.geometry.affine import chain, transform
from fewshot_reenact.geometry.face_frame import face_frame, part_box
from fewshot_reenact.geometry.head_crop import cut_square, room_about, square_about
from fewshot_reenact.inputs.driver import Driver
from fewshot_reenact.media.reader import read_frames
from fewshot_reenact.models.feather import feather
from fewshot_reenact.motion.motion import Motion
from fewshot_reenact.motion.retarget import Retargeting
from fewshot_reenact.rendering.flow import face_flow, picture_box, to_signed
from fewshot_reenact.rendering.paste import cut_face
from fewshot_reenact.rendering.plan import Plan
from fewshot_reenact.rendering.registration import dense_motion
from fewshot_reenact.rendering.textured import BATCH

_CROP = 256  # side of what is kept of a reference, pixels: as the clips that the networks learn from
_RETURN = 4  # frames over which the dense motion fades in and out beside frames without a face
_SOFT = 0.08  # of the side: how softly the part that moves ends, where a region was asked for

Pictures = Callable[[], Iterator[tuple[int, np.ndarray]]]
"""Frames by number, ascending, (H, W, 3) uint8 RGB; called once for the references and once for all."""


@dataclass(frozen=True)
class Reference:
    """A frame to compare with: (1, 3, C, C) in -1..1, its points (1, 83, 2) there, and the (2, 3) matrix from the
    video's pixels to its own.
    """

    picture: Tensor
    points: Tensor
    onto: np.ndarray


class ShiftMeter:
    """Measures what points miss between two frames of a driver. side: S of the face frames. part: the region that
    moves, see motion.retarget.
    """

    def __init__(self, side: int, part: str = "all"):
        self.side = side
        self.mask = (feather(side, side) * _part_mask(part, side))[0, 0].numpy()

    @staticmethod
    def reference(picture: np.ndarray, points: np.ndarray) -> Reference:
        """A frame to compare others with: (H, W, 3) uint8 RGB and its points, (83, 2) pixels."""
        square = square_about(points[None], (picture.shape[1], picture.shape[0]))
        crop, onto = cut_square(picture, square, _CROP)
        own = torch.from_numpy(transform(onto, points)).float()
        return Reference(_signed(crop), own[None], onto)

    def measure(self, reference: Reference, picture: np.ndarray, points: np.ndarray) -> np.ndarray:
        """The shift of a frame, (2, S, S) float32 in face-frame pixels. points: (83, 2), as it is rendered."""
        return self.measure_all([reference], [picture], points[None])[0]

    @torch.inference_mode()
    def measure_all(
        self, references: Sequence[Reference], pictures: Sequence[np.ndarray], points: np.ndarray
    ) -> np.ndarray:
        """The same for B frames at once, each with its reference, which costs less: points (B, 83, 2) -> (B, 2, S,
        S).
        """
        frames = face_frame(points, self.side)
        poses = [transform(one.onto, own) for one, own in zip(references, points, strict=True)]
        # As the renderer's does, the box holds both faces, wherever the head went.
        whole = [picture_box(one.picture, 1).view(2, 2) for one in references]
        corners = torch.stack([torch.cat([box, _corners(pose)]) for box, pose in zip(whole, poses, strict=True)])
        boxes = torch.cat([corners.amin(1), corners.amax(1)], 1)
        matrices = np.stack([chain(one.onto, frame) for one, frame in zip(references, frames, strict=True)])
        own = torch.cat([one.points for one in references])
        there = torch.from_numpy(np.stack(poses)).float()
        flow = face_flow(there, own, torch.from_numpy(matrices).float(), boxes, self.side)
        faces = torch.cat([_signed(cut_face(one, f, self.side)) for one, f in zip(pictures, frames, strict=True)])
        kept = torch.cat([one.picture for one in references])
        return dense_motion(kept, flow, faces).numpy() * self.mask  # type: ignore[no-any-return]


class DenseMotion:
    """Iterable once: for each frame that `pictures` gives, in order, a shift (2, S, S) float32 in face-frame pixels.

    points: (T, 83, 2), the driver's, as they are rendered (smoothed). references: (T,), the number of each frame's
    reference, among those that `pictures` gives. weight: (T,), 0..1, how much of it counts. side: S. part: the region
    that moves, see motion.retarget. first: frames before this one are passed over.
    """

    def __init__(
        self,
        points: np.ndarray,
        references: np.ndarray,
        weight: np.ndarray,
        pictures: Pictures,
        side: int,
        part: str = "all",
        first: int = 0,
    ):
        self.first = first
        self.points, self.references, self.weight = points, references, weight
        self.pictures, self.side, self.meter = pictures, side, ShiftMeter(side, part)

    def __iter__(self) -> Iterator[np.ndarray]:
        kept = self._references()
        coming = ((number, picture) for number, picture in self.pictures() if number >= self.first)
        while some := list(islice(coming, BATCH)):
            yield from self._shifts(kept, some)

    def _shifts(self, kept: dict[int, Reference], some: list[tuple[int, np.ndarray]]) -> np.ndarray:
        """Of a few frames, (N, 2, S, S)."""
        shifts = np.zeros((len(some), 2, self.side, self.side), np.float32)
        shown = [k for k, (number, _) in enumerate(some) if self.weight[number] > 0]
        if shown:
            numbers = [some[k][0] for k in shown]
            references = [kept[int(self.references[number])] for number in numbers]
            made = self.meter.measure_all(references, [some[k][1] for k in shown], self.points[numbers])
            shifts[shown] = made * self.weight[numbers][:, None, None, None]
        return shifts

    def _references(self) -> dict[int, Reference]:
        wanted = {int(number) for number in self.references[self.first :][self.weight[self.first :] > 0]}
        kept: dict[int, Reference] = {}
        for number, picture in self.pictures() if wanted else ():
            if number in wanted:
                kept[number] = self.meter.reference(picture, self.points[number])
            if len(kept) == len(wanted):
                break
        return kept


def dense_motion_of(driver: Driver, plan: Plan, how: Retargeting, side: int, first: int = 0) -> DenseMotion | None:
    """The dense motion of a driver's video for `animate`, from a frame on; None for a driver that has no pictures, or
    one alone.
    """
    if not driver.source.is_video or len(driver.motion) < 2 or how.region == "pose":
        return None
    weight = presence(driver.motion) * plan.alike * how.strength
    return DenseMotion(plan.steady, plan.nearest, weight, driver.source.frames, side, how.region, first)


def dense_motion_at(path: Path, motion: Motion, plan: Plan, frames: np.ndarray, side: int) -> np.ndarray:
    """The same for single frames of a video: (N,) numbers -> (N, 2, S, S)."""
    wanted = np.isin(np.arange(len(motion)), frames)
    needed = sorted({*frames.tolist(), *plan.nearest[frames].tolist()})
    pictures = read_frames(path, needed)
    weight = presence(motion) * plan.alike * wanted
    made = DenseMotion(plan.steady, plan.nearest, weight, lambda: ((n, pictures[n]) for n in needed), side)
    shifts = dict(zip(needed, made, strict=True))
    return np.stack([shifts[number] for number in frames.tolist()])


def presence(motion: Motion) -> np.ndarray:
    """(T,): 1 where the face is seen, 0 where it is not, rising over the frames between."""
    seen = motion.found.astype(np.float32)
    window = np.ones(2 * _RETURN + 1, np.float32) / (2 * _RETURN + 1)
    return seen * np.clip(2 * np.convolve(np.pad(seen, _RETURN, mode="edge"), window, "valid") - 1, 0, 1)


def _part_mask(part: str, side: int) -> Tensor:
    """(1, 1, side, side): which places of the face frame belong to a region."""
    names = {"lips": ("mouth",), "eyes": ("eyes",)}.get(part)
    if names is None:
        return torch.ones(1, 1, side, side)
    mask = np.zeros((side, side), np.float32)
    for name in names:
        x0, y0, x1, y1 = part_box(name, side)
        mask[y0:y1, x0:x1] = 1
    return torch.from_numpy(cv2.GaussianBlur(mask, (0, 0), _SOFT * side / 2))[None, None]


def _corners(points: np.ndarray) -> Tensor:
    """(2, 2): the least and the greatest x and y of a head with these points."""
    x0, y0, x1, y1 = room_about(points)
    return torch.tensor([[x0, y0], [x1, y1]], dtype=torch.float32)


def _signed(picture: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 -> (1, 3, H, W) in -1..1."""
    return to_signed(torch.from_numpy(picture).permute(2, 0, 1)[None])
