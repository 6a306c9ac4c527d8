"""Few-shot learning: the networks fitted to one person from a few frames (Zakharov et al. 2019, section 3.4).

psi' starts at P e and D's row at w0 + e, with e the mean embedding of all frames; both are parameters of their own from
then on and learn with G and D. E is left out. Steps are counted, not epochs: an epoch of one picture is one step.
"""

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from fewshot_reenact.geometry.affine import invert, transform, whole_frame
from fewshot_reenact.geometry.face_frame import face_frame
from fewshot_reenact.geometry.raster import raster
from fewshot_reenact.geometry.shape import take_out
from fewshot_reenact.geometry.topology import mirror
from fewshot_reenact.models.dimensions import ModelDimensions
from fewshot_reenact.models.discriminator import Discriminator
from fewshot_reenact.models.identity import unlikeness
from fewshot_reenact.models.losses import (
    PRESETS,
    LossWeights,
    content_loss,
    feature_matching,
    hinge_discriminator,
    hinge_generator,
    laplacian_l1,
    textured_loss,
)
from fewshot_reenact.models.reenactor import Reenactor
from fewshot_reenact.models.teachers import Teachers
from fewshot_reenact.rendering.flow import to_signed
from fewshot_reenact.rendering.mixing import portrait_state
from fewshot_reenact.rendering.paste import cut_face
from fewshot_reenact.training.adversary import shown
from fewshot_reenact.training.batch import Inputs, make_faces, make_inputs
from fewshot_reenact.training.config import DataConfig
from fewshot_reenact.training.data.clips import Clip, LoadedClips
from fewshot_reenact.training.data.episodes import Episodes, HeadEpisodes
from fewshot_reenact.training.faults import Diverged

_HELD_OUT_FROM = 2  # frames from which one is kept aside to choose the stopping point
_NEAR = 3  # portraits that a frame is learnt from, the nearest ones: the renderer takes the two nearest
_EVALUATE_EVERY = 10  # steps between evaluations on the held-out frame
_VIEWS = 4  # portraits from which the held-out frame is drawn


def usual_steps(frames: int, dims: ModelDimensions) -> int:
    """More frames can be looked at longer before they are learnt by heart: 31 steps for 2, 48 for 8, 82 for 32.

    From a single picture a model that paints ("paper") learns 26 steps; one that warps it ("textured") none: the warp
    carries all that the picture shows, and what is learnt from it and its mirror image is this one expression.
    """
    if frames == 1 and dims.corrects_warp:
        return 0
    return round(14 + 12 * min(frames, 32) ** 0.5)


def held_out(frames: int) -> int | None:
    """Which of so many frames is kept aside to choose the stopping point; None: too few."""
    return frames // 2 if frames >= _HELD_OUT_FROM else None


@dataclass(frozen=True)
class Settings:
    """How a person is learnt."""

    steps: int
    batch: int = 4
    rate: float = 1e-4
    rate_discriminator: float = 2e-4
    weights: LossWeights = PRESETS["person"]
    seed: int = 0


@dataclass
class Tuned:
    """The result.

    psi: (style_length,). row: (N,) or None. kept: the step whose weights these are. held_out: the held-out frame's loss
    by step, empty where there were too few frames; its first entry is the untuned model's.
    """

    model: Reenactor
    psi: Tensor
    row: Tensor | None
    kept: int
    losses: list[float] = field(default_factory=list)
    held_out: dict[int, float] = field(default_factory=dict)


class _Near(Episodes):
    """Episodes as the renderer will have them: a frame, from one of those nearest to it."""

    def _choose(self, rng: np.random.Generator, clip: Clip) -> tuple[int, list[int]]:
        states = portrait_state(take_out(clip.points).shape)
        target = int(rng.integers(len(states)))
        near = np.abs(states - states[target]).sum(1).argsort(kind="stable")
        near = near[near != target][:_NEAR]
        return target, [int(near[rng.integers(len(near))])]


class _NearHead(_Near, HeadEpisodes):
    pass


class _Held(Episodes):
    """Episodes whose target is always the last frame, from any of the others."""

    def _choose(self, rng: np.random.Generator, clip: Clip) -> tuple[int, list[int]]:
        last = len(clip.frames) - 1
        return last, [int(rng.integers(last))]


class _HeldHead(_Held, HeadEpisodes):
    pass


class Tuner:
    """One person's networks while they learn. `step` is one update."""

    def __init__(
        self,
        model: Reenactor,
        pictures: list[np.ndarray],
        points: list[np.ndarray],
        settings: Settings,
        *,
        discriminator: Discriminator | None = None,
        teachers: Teachers | None = None,
    ):
        """pictures: square crops about the head, (P, P, 3) uint8 RGB. points: (83, 2) in their pixels."""
        self.settings, self.teachers = settings, teachers or Teachers()
        self.device = model.feather.device
        self.model = copy.deepcopy(model).eval()
        self.model.requires_grad_(False)
        self.model.generator.requires_grad_(True)
        self.model.generator.project.requires_grad_(False)  # psi' takes its place
        held = held_out(len(pictures))
        order = [i for i in range(len(pictures)) if i != held]
        self.clip = _as_clip([pictures[i] for i in order], [points[i] for i in order])
        self.held = self._look_at(pictures, points, order, held) if held is not None else None
        with torch.no_grad():
            e = self.embed(pictures, points)
            self.psi = nn.Parameter(self.model.generator.style(e)[0].clone())
        self.model.generator.train()
        trained = [p for p in self.model.generator.parameters() if p.requires_grad]
        self.optimiser = torch.optim.Adam([self.psi, *trained], lr=settings.rate, betas=(0.5, 0.99))
        self.discriminator = copy.deepcopy(discriminator)
        self.row: nn.Parameter | None = None
        if self.discriminator is not None:
            self.discriminator.to(self.device).train().requires_grad_(True)
            self.row = nn.Parameter((self.discriminator.own_row().detach() + e[0]).clone())
            theirs = [self.row, *self.discriminator.parameters()]
            self.optimiser_d = torch.optim.Adam(theirs, lr=settings.rate_discriminator, betas=(0.0, 0.999))
        self.episodes = self._episodes(self.clip, settings.steps * settings.batch)
        self.at = 0

    def _episodes(self, clip: Clip, length: int, held: bool = False) -> Episodes:
        head = not self.model.dims.corrects_warp
        kind = {(False, False): _Near, (False, True): _Held, (True, False): _NearHead, (True, True): _HeldHead}
        # A held-out frame is looked at as it is; training sees what the extractor's errors and other light would make.
        data = DataConfig(clips=".", point_noise=0.0 if held else 0.004, colour=0.0 if held else 0.05)  # type: ignore[arg-type, call-arg]
        dims = self.model.dims
        return kind[head, held](LoadedClips([clip]), data, dims.size, dims.raster_style, self.settings.seed, length)

    def _batch(self, episodes: Episodes, indices: Iterable[int]) -> Inputs:
        items = [episodes[i] for i in indices]
        batch = {name: torch.stack([item[name] for item in items]) for name in items[0]}
        return make_inputs(batch, self.model.dims.size, self.device)

    def _look_at(self, pictures: list[np.ndarray], points: list[np.ndarray], order: list[int], held: int) -> Inputs:
        last = [*order, held]
        clip = _as_clip([pictures[i] for i in last], [points[i] for i in last])
        return self._batch(self._episodes(clip, _VIEWS, held=True), range(_VIEWS))

    def embed(self, pictures: list[np.ndarray], points: list[np.ndarray]) -> Tensor:
        """e: mean embedding of all frames, as they are, (1, N)."""
        size, style = self.model.dims.size, self.model.dims.raster_style
        seen, drawn = [], []
        for picture, where in zip(pictures, points, strict=True):
            if not self.model.dims.corrects_warp:
                frame = whole_frame(len(picture), size)
                seen.append(cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA))
            else:
                frame = face_frame(where, size)
                seen.append(cut_face(picture, frame, size, averaged=False))
            drawn.append(raster(transform(invert(frame), where), size, style))
        faces, rasters = (
            to_signed(torch.from_numpy(np.stack(stack)).permute(0, 3, 1, 2).to(self.device)) for stack in (seen, drawn)
        )
        return self.model.embed(faces[None], rasters[None])

    def faces(self, x: Inputs) -> Tensor:
        """The person's networks' pictures of some episodes, (B, 3, S, S)."""
        b = len(x.truth)
        nothing = self.psi.new_zeros(b, self.model.dims.embedding)  # psi' stands for it
        return make_faces(self.model, x, nothing, self.psi.expand(b, -1))[0]

    def content(self, face: Tensor, truth: Tensor, points: Tensor) -> Tensor:
        """The content loss: L1 about mouth and eyes, edges, and what the teachers see, each as it is weighed.

        face, truth: (B, 3, S, S) in -1..1. points: (B, 83, 2) in their pixels.
        """
        weights, teachers = self.settings.weights, self.teachers
        loss, _ = textured_loss(face, truth, points, teachers.perceptual, weights)
        loss = loss + content_loss(teachers.content, face, truth, points, weights)[0]
        if weights.likeness and teachers.identity is not None:
            loss = loss + weights.likeness * unlikeness(teachers.identity, face, truth, points)
        if weights.pyramid:
            loss = loss + weights.pyramid * laplacian_l1(face, truth)
        return loss

    @torch.no_grad()
    def held_out_loss(self) -> float:
        """The content loss on the frame that is kept aside."""
        assert self.held is not None
        return float(self.content(self.faces(self.held), self.held.truth, self.held.points))

    def step(self) -> float:
        """One update of G and psi', and of D and its row where there is a D. Returns the generator's loss."""
        first = self.at * self.settings.batch
        x = self._batch(self.episodes, range(first, first + self.settings.batch))
        face = self.faces(x)
        loss = self.content(face, x.truth, x.points)
        if self.discriminator is not None:
            loss = loss + self._adversarial_loss(face, x)
        if not torch.isfinite(loss):
            raise Diverged(f"fine-tuning: the loss is {loss.item()} at step {self.at}; nothing was written")
        left = 1 - self.at / self.settings.steps
        self._move(self.optimiser, loss, self.settings.rate * (0.1 + 0.9 * left))
        if self.discriminator is not None:
            real, fake = self._scores(x.truth, x)[0], self._scores(face.detach(), x)[0]
            rate = self.settings.rate_discriminator * (0.1 + 0.9 * left)
            self._move(self.optimiser_d, hinge_discriminator(real, fake), rate)
        self.at += 1
        return float(loss.detach())

    def _scores(self, pictures: Tensor, x: Inputs) -> tuple[Tensor, list[Tensor]]:
        assert self.discriminator is not None and self.row is not None
        # The row stands for W_i + w0; what D adds of w0 by itself is taken off again.
        row = (self.row - self.discriminator.own_row()).expand(len(pictures), -1)
        pictures, pose = (shown(one, self.discriminator.region) for one in (pictures, x.faces.driver_raster))
        return self.discriminator(pictures, pose, row)

    def _adversarial_loss(self, face: Tensor, x: Inputs) -> Tensor:
        scores, made = self._scores(face, x)
        with torch.no_grad():
            _, real = self._scores(x.truth, x)
        weights = self.settings.weights
        return weights.adversarial * hinge_generator(scores) + weights.feature_matching * feature_matching(made, real)

    @staticmethod
    def _move(optimiser: torch.optim.Optimizer, loss: Tensor, rate: float) -> None:
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_([p for group in optimiser.param_groups for p in group["params"]], 1.0)
        optimiser.step()


def tune(
    tuner: Tuner,
    progress: Callable[[int, int], None] | None = None,
    evaluate: Callable[[Reenactor, Tensor], float] | None = None,
) -> Tuned:
    """All the steps, keeping the weights with which the held-out frame was best (the last ones where there is none).

    evaluate: what says how good networks and psi' are on it; None: Tuner.held_out_loss.
    """
    steps = tuner.settings.steps
    losses: list[float] = []
    scores: dict[int, float] = {}
    best = None
    for done in range(steps + 1):
        if tuner.held is not None and (done % _EVALUATE_EVERY == 0 or done == steps):
            scores[done] = evaluate(tuner.model, tuner.psi.detach()) if evaluate else tuner.held_out_loss()
            if scores[done] <= min(scores.values()):
                best = done, copy.deepcopy(tuner.model.state_dict()), tuner.psi.detach().clone()
        if done < steps:
            losses.append(tuner.step())
        if progress is not None:
            progress(done, steps)
    kept, psi = steps, tuner.psi.detach()
    if best is not None:
        kept, weights, psi = best
        tuner.model.load_state_dict(weights)
    row = None if tuner.row is None else tuner.row.detach()
    return Tuned(tuner.model.eval().requires_grad_(False), psi, row, kept, losses, scores)


def _as_clip(pictures: list[np.ndarray], points: list[np.ndarray]) -> Clip:
    """Frames as a clip of training. A single picture is joined by its mirror image, or there were no pair."""
    frames, where = list(pictures), [np.asarray(p, np.float32) for p in points]
    if len(frames) == 1:
        frames.append(np.ascontiguousarray(frames[0][:, ::-1]))
        where.append(mirror(where[0], frames[0].shape[1]))
    return Clip("person", "person", frames, np.stack(where).astype(np.float32))
