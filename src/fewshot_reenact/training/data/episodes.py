"""Episodes: K portraits and one target frame of one video, as the networks want them.

An episode is a function of (seed, index) alone: any process can make any of them, in any order, and a resumed run goes
on exactly where it stopped.
"""

from typing import TypeVar

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from fewshot_reenact.geometry.affine import invert, transform, whole_frame
from fewshot_reenact.geometry.face_frame import face_frame
from fewshot_reenact.geometry.raster import raster
from fewshot_reenact.geometry.shape import openness
from fewshot_reenact.geometry.topology import mirror
from fewshot_reenact.rendering.paste import cut_face
from fewshot_reenact.training.config import DataConfig
from fewshot_reenact.training.data.clips import Clip, Clips
from fewshot_reenact.training.data.draws import NOISE_PARTS, RARE_AMONG, REFERENCES
from fewshot_reenact.training.data.plan import (
    RARE_EYES,
    SAME,
    EpisodePlan,
    FrameTable,
    Planner,
    describe,
    jitter,
    tints,
)

T = TypeVar("T")


class Episodes(Dataset[dict[str, torch.Tensor]]):
    """Item `index` -> dict of arrays; see __getitem__."""

    def __init__(self, clips: Clips, config: DataConfig, size: int, raster_style: str, seed: int, length: int):
        self.clips, self.config, self.size, self.style = clips, config, size, raster_style
        self.seed, self.length = seed, length
        by_person: dict[str, list[int]] = {}
        for number, person in enumerate(clips.people):
            by_person.setdefault(person, []).append(number)
        self.by_person = [np.array(by_person[person]) for person in sorted(by_person)]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """Tensors of one episode; P is the clip's side, S the face frame's, K the number of portraits.

        portraits (K, 3, P, P) uint8 and portrait_points (K, 83, 2); driver_points (83, 2); driver_frame (2, 3), the
        target's face frame; sources and source_rasters (K, 3, S, S), driver_raster and target (3, S, S), all uint8;
        driver_face_points (83, 2) in the face frame; clip (), the number of the video that the clip is
        of. With data.dense also reference (3, P, P) uint8 with reference_points (83, 2), a frame of the clip like the
        portrait, and dense (), 1 or 0: whether this episode's warp is to be corrected with it.
        """
        number, pictures, labels = self._draw_frames(index)
        more = {}
        if self.config.dense:
            more = {
                "reference": _stack([pictures.pop()])[0],
                "reference_points": torch.from_numpy(labels.pop()),
                "dense": torch.tensor(float(self._is_dense(index))),
            }
        frame = face_frame(labels[0], self.size)
        frames = [face_frame(p, self.size) for p in labels[1:]]
        return {
            "portraits": _stack(pictures[1:]),
            "portrait_points": torch.from_numpy(np.stack(labels[1:])),
            "driver_points": torch.from_numpy(labels[0]),
            "driver_frame": torch.from_numpy(frame.astype(np.float32)),
            "target": _stack([self._cut(pictures[0], frame)])[0],
            "sources": _stack([self._cut(p, f) for p, f in zip(pictures[1:], frames, strict=True)]),
            "source_rasters": _stack([self._draw(p, f) for p, f in zip(labels[1:], frames, strict=True)]),
            "driver_raster": _stack([self._draw(labels[0], frame)])[0],
            "driver_face_points": torch.from_numpy(transform(invert(frame), labels[0]).astype(np.float32)),
            "clip": torch.tensor(self.clips.videos[number]),
            **more,
        }

    def _is_dense(self, index: int) -> bool:
        return bool(self._rng(index, 1).random() < self.config.dense)

    def _rng(self, index: int, stream: int = 0) -> np.random.Generator:
        """Each stream of an episode's random numbers is its own: what one of them is used for leaves the others be."""
        return np.random.default_rng([self.seed, index, stream] if stream else [self.seed, index])

    def _draw_frames(self, index: int) -> tuple[int, list[np.ndarray], list[np.ndarray]]:
        """The clip's number, and 1 + K pictures with the points labelled in them; the target comes first, and with
        data.dense a reference last.
        """
        rng = self._rng(index)
        numbers = _pick(rng, self.by_person)
        number = int(numbers[rng.integers(len(numbers))])
        clip = self.clips[number]
        target, portraits = self._choose(rng, clip)
        flip, tint = rng.random() < self.config.mirrored, self._tint(rng)
        reference = [self._refer(self._rng(index, 2), clip, portraits[0])] if self.config.dense else []
        chosen = [target, *portraits, *reference]
        pictures = [_shown(clip.frames[at], flip, tint) for at in chosen]
        side = pictures[0].shape[1]
        points = [mirror(clip.points[at], side) if flip else clip.points[at] for at in chosen]
        # Whatever extracts the points when the model is used errs a little: so do the labels here.
        return number, pictures, [self._jitter(rng, p) for p in points]

    def _choose(self, rng: np.random.Generator, clip: Clip) -> tuple[int, list[int]]:
        """A target and K portraits of the clip, as far as it has frames enough none of them twice."""
        count, first = len(clip.frames), int(rng.integers(len(clip.frames)))
        target = self._target(rng, clip, first)
        others = rng.permutation([at for at in range(count) if at not in (first, target)])
        others = np.resize(others if len(others) else np.array([first]), self.config.portraits - 1)
        return target, [first, *others.tolist()]

    def _target(self, rng: np.random.Generator, clip: Clip, portrait: int) -> int:
        """Another frame than the portrait; pairs that hardly differ teach little, so differing ones are likelier."""
        count = len(clip.frames)
        if self.config.rare and rng.random() < self.config.rare:
            return self._rarest(rng, clip, portrait)
        drawn = _others(rng, count, portrait, self.config.candidates)
        shape = describe(clip.points[[*drawn, portrait]])
        differ = np.abs(shape[:-1] - shape[-1]).mean(1) + 1e-4
        return int(rng.choice(drawn, p=differ / differ.sum()))

    def _rarest(self, rng: np.random.Generator, clip: Clip, portrait: int) -> int:
        """Of some frames the one whose eyes are most shut, or whose mouth is most open."""
        drawn = _others(rng, len(clip.frames), portrait, RARE_AMONG)
        gaps = openness(np.stack([transform(invert(face_frame(p, 1)), p) for p in clip.points[drawn]]))
        shut = rng.random() < RARE_EYES
        return int(drawn[gaps[:, 1:].sum(1).argmin() if shut else gaps[:, 0].argmax()])

    def _refer(self, rng: np.random.Generator, clip: Clip, portrait: int) -> int:
        """The frame of a few most similar to the portrait, at times the portrait itself: animate finds such a frame
        in any driver, nearer or farther.
        """
        drawn = rng.integers(len(clip.frames), size=REFERENCES)
        if rng.random() < SAME:
            drawn[0] = portrait
        shape = describe(clip.points[[*drawn, portrait]])
        return int(drawn[np.abs(shape[:-1] - shape[-1]).mean(1).argmin()])

    def _tint(self, rng: np.random.Generator) -> np.ndarray:
        return tints(rng.standard_normal((1, 5)), self.config.colour)[0]

    def _jitter(self, rng: np.random.Generator, points: np.ndarray) -> np.ndarray:
        single, parts = rng.standard_normal(points.shape), rng.standard_normal((len(NOISE_PARTS), 2))
        return jitter(points, single, parts, self.config.point_noise)

    def _cut(self, picture: np.ndarray, frame: np.ndarray) -> np.ndarray:
        return cut_face(picture, frame, self.size, averaged=False)

    def _draw(self, points: np.ndarray, frame: np.ndarray) -> np.ndarray:
        return raster(transform(invert(frame), points), self.size, self.style)


class HeadEpisodes(Episodes):
    """For the paper's model: the clip's whole square, S x S, instead of the face's frame, and no warp.

    Items hold sources and source_rasters (K, 3, S, S), driver_raster and target (3, S, S), all uint8;
    driver_face_points (83, 2) in pixels of the target; clip ().
    """

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        number, pictures, labels = self._draw_frames(index)
        side = len(pictures[0])
        frame = whole_frame(side, self.size)
        how = cv2.INTER_AREA if self.size < side else cv2.INTER_LINEAR
        small = [cv2.resize(picture, (self.size, self.size), interpolation=how) for picture in pictures]
        rasters = [self._draw(p, frame) for p in labels]
        return {
            "sources": _stack(small[1:]),
            "source_rasters": _stack(rasters[1:]),
            "driver_raster": _stack(rasters[:1])[0],
            "target": _stack(small[:1])[0],
            "driver_face_points": torch.from_numpy(transform(invert(frame), labels[0]).astype(np.float32)),
            "clip": torch.tensor(self.clips.videos[number]),
        }


class PlannedEpisodes(Episodes):
    """Episodes whose random numbers are those of training.data.draws: the same for the same (seed, index) as where
    training has all clips on its device, and makes them by the batch.
    """

    def __init__(
        self,
        clips: Clips,
        config: DataConfig,
        size: int,
        raster_style: str,
        seed: int,
        length: int,
        planner: Planner | None = None,
    ):
        super().__init__(clips, config, size, raster_style, seed, length)
        self._planner = planner or Planner(config, seed, clips.people)
        self.order = self._planner.order
        self._sides: dict[int, int] = {}

    def _is_dense(self, index: int) -> bool:
        draws, _ = self._planner.draw(np.array([index]))
        return bool(draws["dense"][0] < self.config.dense)

    def _draw_frames(self, index: int) -> tuple[int, list[np.ndarray], list[np.ndarray]]:
        number, plan = self._plan(index)
        clip = self.clips[number]
        pictures = [_shown(clip.frames[at], bool(plan.flip[0]), plan.tint[0]) for at in plan.frames[0]]
        return number, pictures, list(plan.labels[0])

    def _plan(self, index: int) -> tuple[int, EpisodePlan]:
        """The number of an episode's clip, and all that is known of the episode without pictures."""
        draws, numbers = self._planner.draw(np.array([index]))
        number = int(numbers[0])
        clip = self.clips[number]
        if number not in self._sides:
            self._sides[number] = decode(clip.frames[0]).shape[1]
        table, count = FrameTable.of(clip.points), np.array([len(clip.frames)])
        return number, self._planner.plan(draws, numbers, table, np.zeros(1, np.int64), count, self._sides[number])


class PlannedHeadEpisodes(PlannedEpisodes, HeadEpisodes):
    """The same for the paper's model."""


def _others(rng: np.random.Generator, count: int, but: int, size: int) -> np.ndarray:
    """Numbers below `count`, of any but one, drawn with replacement; of one frame that one."""
    drawn = rng.integers(max(1, count - 1), size=size)
    return drawn + (drawn >= but) if count > 1 else drawn


def _pick(rng: np.random.Generator, things: list[T]) -> T:
    return things[int(rng.integers(len(things)))]


def _shown(picture: np.ndarray, flip: bool, tint: np.ndarray) -> np.ndarray:
    """A clip's frame as an episode shows it. tint: (3, 256) uint8, what becomes of each level of each colour."""
    seen = decode(picture)
    if flip:
        seen = seen[:, ::-1]
    return np.ascontiguousarray(tint[np.arange(3), seen])


def decode(picture: np.ndarray) -> np.ndarray:
    """A clip's frame -> (H, W, 3) uint8 RGB."""
    if picture.ndim == 3:
        return picture
    bgr = cv2.imdecode(picture, cv2.IMREAD_COLOR)
    assert bgr is not None  # it was encoded here
    return bgr[..., ::-1]


def _stack(pictures: list[np.ndarray]) -> torch.Tensor:
    """K pictures (H, W, 3) -> (K, 3, H, W)."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()
