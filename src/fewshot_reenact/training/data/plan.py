"""What episodes are made of, for many at once: which frames, mirrored or not, in which colours, with which errors of
their points. Numbers only; pictures are another matter (training.data.episodes, training.resident.pictures).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fewshot_reenact.geometry.affine import invert_each, transform_each
from fewshot_reenact.geometry.face_frame import face_frame
from fewshot_reenact.geometry.shape import openness, take_out, turn_of
from fewshot_reenact.geometry.topology import LEFT_EYE, MOUTH, N_POINTS, RIGHT_EYE, eye_distance, mirror
from fewshot_reenact.training.data.draws import NOISE_PARTS, Draws, draw

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fewshot_reenact.training.config import DataConfig
    from fewshot_reenact.training.data.order import ShardOrder

RARE_EYES = 0.6  # how often a rare target is one for its eyes
SAME = 0.3  # how often the portrait itself is one of the frames among which a reference is sought


def describe(points: np.ndarray) -> np.ndarray:
    """Pose and expression of faces (N, 83, 2) as numbers that can be subtracted, (N, 166) float32: points in the face's
    own frame, mouth and eyes counted more.
    """
    weight = np.full((N_POINTS, 1), 0.5)
    weight[MOUTH] = 1.5
    weight[LEFT_EYE] = weight[RIGHT_EYE] = 2.0
    return (_alone(points) * weight).reshape(len(points), -1).astype(np.float32)


def _alone(points: np.ndarray) -> np.ndarray:
    """Points (N, 83, 2) in the face's own frame of side 1."""
    points = np.asarray(points, np.float64)
    return transform_each(invert_each(face_frame(points, 1)), points)


@dataclass(frozen=True)
class FrameTable:
    """All frames of some clips, one after the other. points: (N, 83, 2) float32 pixels. poses: (N, 166), see
    `describe`. openness: (N, 3), of mouth and eyes. turns: (N, 2), the trace of yaw and pitch, see geometry.shape.
    """

    points: np.ndarray
    poses: np.ndarray
    openness: np.ndarray
    turns: np.ndarray

    @classmethod
    def of(cls, points: np.ndarray) -> FrameTable:
        """Measured from points."""
        turns = turn_of(take_out(points).shape).astype(np.float32)
        return cls(points, describe(points), openness(_alone(points)).astype(np.float32), turns)


@dataclass(frozen=True)
class EpisodePlan:
    """E episodes of F frames each: target, K portraits and, with data.dense, a reference.

    clips: (E,) their numbers. frames: (E, F) numbers within the clip. flip: (E,) bool, mirrored. tint: (E, 3, 256)
    uint8, what becomes of each level of each colour. labels: (E, F, 83, 2) float32 pixels of the picture as it is
    shown. dense: (E,) bool, whether the warp is corrected by dense motion.
    """

    clips: np.ndarray
    frames: np.ndarray
    flip: np.ndarray
    tint: np.ndarray
    labels: np.ndarray
    dense: np.ndarray
    drop: np.ndarray | None = None


class Planner:
    """Plans of episodes, each a function of (seed, index).

    people: who is in each clip; every person is as likely as any other. among: the numbers of the clips that are drawn
    from; None: all. order: says which clip each episode is of, instead of the draw.
    """

    def __init__(
        self,
        config: DataConfig,
        seed: int,
        people: Sequence[str],
        among: np.ndarray | None = None,
        order: ShardOrder | None = None,
    ) -> None:
        self.config, self.seed, self.order = config, seed, order
        of: dict[str, list[int]] = {}
        for number in range(len(people)) if among is None else among.tolist():
            of.setdefault(people[number], []).append(number)
        persons = [of[person] for person in sorted(of)]
        self._counts = np.array([len(numbers) for numbers in persons])
        self._first = np.cumsum(self._counts) - self._counts
        self._clips = np.concatenate(persons)

    def draw(self, indices: np.ndarray) -> tuple[Draws, np.ndarray]:
        """The episodes' random numbers, and the numbers of their clips, (E,)."""
        draws = draw(self.seed, np.asarray(indices), self.config.portraits, self.config.candidates)
        if self.order is not None:
            return draws, np.array([self.order.clip(index) for index in np.asarray(indices).tolist()])
        person = _below(draws["person"], len(self._counts))
        return draws, self._clips[self._first[person] + _below(draws["clip"], self._counts[person])]

    def plan(
        self, draws: Draws, clips: np.ndarray, table: FrameTable, first: np.ndarray, count: np.ndarray, side: int
    ) -> EpisodePlan:
        """first, count: (E,) where each episode's clip stands in the table, and how many frames it has. side: of the
        pictures, pixels.
        """
        portrait = self._portrait(draws, table, first, count)
        target = self._target(draws, table, first, count, portrait)
        frames = [target, portrait, *_further(draws.others, count, portrait, target)]
        if self.config.dense:
            frames.append(_reference(draws, table, first, count, portrait))
        chosen = np.stack(frames, 1)
        flip = draws["flip"] < self.config.mirrored
        points = table.points[first[:, None] + chosen]
        points = np.where(flip[:, None, None, None], mirror(points, side), points)
        # Whatever extracts the points when the model is used errs a little: so do the labels here.
        width = chosen.shape[1]  # without data.dense nobody needs the reference's errors
        labels = jitter(points, draws.points[:, :width], draws.parts[:, :width], self.config.point_noise)
        dense = draws["dense"] < self.config.dense
        return EpisodePlan(clips, chosen, flip, tints(draws.tint, self.config.colour), labels, dense)

    def _portrait(self, draws: Draws, table: FrameTable, first: np.ndarray, count: np.ndarray) -> np.ndarray:
        """Any frame of the clip. The arguments are those of `plan`, `table` and `first` for whoever is choosier."""
        del table, first
        return _below(draws["portrait"], count)

    def _target(
        self, draws: Draws, table: FrameTable, first: np.ndarray, count: np.ndarray, portrait: np.ndarray
    ) -> np.ndarray:
        """Another frame than the portrait; pairs that hardly differ teach little, so differing ones are likelier. Or,
        of some frames, the one whose eyes are most shut, or whose mouth is most open.
        """
        candidates = _others(draws.candidates, count, portrait)
        differ = _distance(table, first, candidates, portrait) + 1e-4
        share = np.cumsum(differ, 1)
        chosen = _pick(candidates, (share < draws["target"][:, None] * share[:, -1:]).sum(1))
        if self.config.turned:
            turned = _turned(draws.turned[:, 1:], table, first, count, portrait)
            chosen = np.where(draws.turned[:, 0] < self.config.turned, turned, chosen)
        if not self.config.rare:
            return chosen
        among = _others(draws.rarities, count, portrait)
        gaps = table.openness[first[:, None] + among]
        shut = draws["shut"] < RARE_EYES
        rarest = np.where(shut, gaps[..., 1:].sum(-1).argmin(1), gaps[..., 0].argmax(1))
        return np.where(draws["rare"] < self.config.rare, _pick(among, rarest), chosen)


def _turned(
    uniform: np.ndarray, table: FrameTable, first: np.ndarray, count: np.ndarray, portrait: np.ndarray
) -> np.ndarray:
    """Of some frames the one that is turned away from the portrait by a share of the most, every share as likely."""
    among = _others(uniform[:, 1:], count, portrait)
    away = np.linalg.norm(table.turns[first[:, None] + among] - table.turns[first + portrait][:, None], axis=-1)
    return _pick(among, np.abs(away - uniform[:, :1] * away.max(1, keepdims=True)).argmin(1))


def _reference(
    draws: Draws, table: FrameTable, first: np.ndarray, count: np.ndarray, portrait: np.ndarray
) -> np.ndarray:
    """The frame of a few that is most similar to the portrait, at times the portrait itself: animate finds such a frame
    in any driver, nearer or farther.
    """
    drawn = _below(draws.references, count[:, None])
    drawn[:, 0] = np.where(draws["same"] < SAME, portrait, drawn[:, 0])
    return _pick(drawn, _distance(table, first, drawn, portrait).argmin(1))


def _distance(table: FrameTable, first: np.ndarray, frames: np.ndarray, portrait: np.ndarray) -> np.ndarray:
    """How unlike in pose and expression frames (E, n) are to the portrait (E,): (E, n)."""
    like = table.poses[first + portrait]
    return np.abs(table.poses[first[:, None] + frames] - like[:, None]).mean(-1)


def _below(uniform: np.ndarray, count: np.ndarray | int) -> np.ndarray:
    """Whole numbers below `count`, each as likely."""
    return np.minimum((uniform * count).astype(np.int64), np.asarray(count) - 1)


def _others(uniform: np.ndarray, count: np.ndarray, but: np.ndarray) -> np.ndarray:
    """Numbers (E, n) below `count`, of any but one; of one frame that one."""
    drawn = _below(uniform, np.maximum(count - 1, 1)[:, None])
    return drawn + ((drawn >= but[:, None]) & (count > 1)[:, None])


def _further(uniform: np.ndarray, count: np.ndarray, portrait: np.ndarray, target: np.ndarray) -> list[np.ndarray]:
    """More portraits, as far as the clip has frames enough none of them twice, and none the target."""
    found: list[np.ndarray] = []
    used = np.sort(np.stack([portrait, target], 1), 1)
    distinct = np.where(portrait == target, 1, 2)
    spare = count - distinct
    for k in range(uniform.shape[1]):
        new = _below(uniform[:, k], np.maximum(spare - k, 1))
        for taken in used.T:
            new = new + (new >= taken)
        again = found[0] if found else portrait
        for before in range(1, len(found)):  # short clips: the same ones, in the same order
            again = np.where(k % np.maximum(spare, 1) == before, found[before], again)
        new = np.where(spare > k, new, again)
        found.append(new)
        used = np.sort(np.concatenate([used, np.where(spare > k, new, np.iinfo(np.int64).max)[:, None]], 1), 1)
    return found


def _pick(values: np.ndarray, at: np.ndarray) -> np.ndarray:
    return np.take_along_axis(values, at[:, None], 1)[:, 0]


def tints(normal: np.ndarray, strength: float) -> np.ndarray:
    """Random gain, gamma and colour cast as lookup tables: (E, 5) -> (E, 3, 256) uint8."""
    cast, gain, gamma = strength * normal[:, :3], strength * normal[:, 3:4], strength * normal[:, 4:]
    level = (np.arange(256) / 255.0) ** np.exp(gamma)
    seen = level[:, None] * np.exp(cast * 0.35 + gain)[:, :, None]
    return np.clip(np.round(seen * 255), 0, 255).astype(np.uint8)


def jitter(points: np.ndarray, single: np.ndarray, parts: np.ndarray, strength: float) -> np.ndarray:
    """What an extractor's errors look like: each part a little displaced as a whole, each point a little on its own.

    points: (..., 83, 2). single, parts: (..., 83, 2) and (..., 7, 2), normal. strength: in eye distances.
    """
    scale = strength * eye_distance(points).astype(np.float64)[..., None, None]
    noise = 0.5 * scale * single
    for number, part in enumerate(NOISE_PARTS):
        noise[..., part, :] += scale * parts[..., number, None, :]
    noise[..., :17, :] *= 2  # the jaw is known least
    return (points + noise).astype(np.float32)
