"""Pictures and videos of one person -> a file of that person (few-shot learning; training.tuner learns)."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fewshot_reenact._version import __version__
from fewshot_reenact.device import choose_device
from fewshot_reenact.errors import InputError, ModelError, UsageError
from fewshot_reenact.files import as_paths, check_output
from fewshot_reenact.geometry.affine import invert, transform
from fewshot_reenact.geometry.face_frame import face_frame
from fewshot_reenact.inputs.person import SUFFIX, Person, save_person
from fewshot_reenact.inputs.portrait import Portrait, crop_portrait
from fewshot_reenact.inputs.portrait_files import PortraitSource
from fewshot_reenact.landmarks.backend import LandmarkBackend
from fewshot_reenact.landmarks.registry import Landmarks, load_backend
from fewshot_reenact.landmarks.selection import FaceChoice, choose_face, parse_face
from fewshot_reenact.media.pictures import is_picture, is_video
from fewshot_reenact.media.reader import VideoReader
from fewshot_reenact.models.backbones import load_content
from fewshot_reenact.models.checkpoint import load_losses, load_model, model_file
from fewshot_reenact.models.discriminator import DISCRIMINATOR, Discriminator, load_discriminator
from fewshot_reenact.models.losses import PRESETS, LossWeights
from fewshot_reenact.models.reenactor import Reenactor
from fewshot_reenact.models.teachers import Teachers, load_teachers
from fewshot_reenact.pipelines.options import LOSSES
from fewshot_reenact.progress import Count, Progress, stage
from fewshot_reenact.provenance.consent import check_consent, hash_of_statement
from fewshot_reenact.provenance.protect import refuse_protected
from fewshot_reenact.rendering.flow import to_signed
from fewshot_reenact.rendering.paste import cut_face
from fewshot_reenact.rendering.textured import TexturedRenderer
from fewshot_reenact.training.tuner import Settings, Tuned, Tuner, held_out, tune, usual_steps

_CROP = 256  # side of the crops that are learnt from, pixels: what the clips of meta-training have
_KEPT = 32  # portraits kept in the file; the two nearest to a pose show in it
_CANDIDATES = 4  # frames of a video measured for each one taken
_ALONE = (
    "the networks are kept as they are, and the file holds the picture: from a single one they would learn its one "
    "expression by heart; give more pictures, or a video (--steps N: learn anyway)"
)


@dataclass
class FineTuning:
    """What was made, and how. output: the person's file. frames: that were learnt from. steps: updates made. kept_step:
    after how many of them the networks are those in the file, 0 for the untuned ones. held_out: the held-out frame's
    loss by step; at 0 the untuned model's. discriminator: whether one took part. perceptual, identity: with which
    networks pictures were compared, files or "built-in". losses: how much each part of the loss counted, by name.
    device: where it ran, and why there. seconds: of the whole. warnings: lines that the user should see.
    """

    output: Path
    frames: int
    steps: int
    kept_step: int
    held_out: dict[int, float]
    discriminator: bool
    perceptual: str
    identity: str
    losses: dict[str, float]
    device: str
    seconds: float
    warnings: list[str] = field(default_factory=list)

    def report(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {
            "schema": "fewshot-reenact/finetune/1",
            "version": __version__,
            **asdict(self),
            "output": str(self.output),
        }


def finetune(
    inputs: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    model: str | Path | None = None,
    discriminator: str | Path | None = None,
    perceptual: str | Path | None = None,
    identity: str | Path | None = None,
    losses: str = "auto",
    weights: Mapping[str, float] | None = None,
    steps: int | None = None,
    take: int = 8,
    face: str | int = "largest",
    landmarks: Landmarks | LandmarkBackend = "builtin",
    device: str = "auto",
    consent: str | None = None,
    consent_file: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> FineTuning:
    """Fit the networks to one person and write a file that `animate` takes for PORTRAIT.

    inputs: pictures and videos, one or several; the first picture (or frame) is the one that will move. output: the
    person's file, .safetensors. take: frames of each video, as different from each other as can be. steps: updates;
    None: by the number of frames, none for a single one. model, discriminator: weights (.safetensors); None: the
    built-in model, and the discriminator.safetensors beside the model's file if there is one and its weight in the
    loss is not 0. perceptual, identity: self-describing networks (models.perceptual), of features and of faces, with
    which pictures are compared; None: the built-in ones; the paper's content terms, where they are weighed, take them
    for VGG19 and VGGFace. losses: what is learnt by: "trained" is what the model's file says that it was trained by,
    "person", "textured", "paper-v1" and
    "paper-v2" are presets (models.losses), "auto" is "person" for a model that corrects a warp and "trained" for one
    that paints, as in the paper. weights: other weights of parts of it, by the names of models.losses.LossWeights.
    face: "largest" or N from the left. landmarks: "builtin", "fan", or a backend. device: "auto", "cpu", "cuda",
    "cuda:1", "mps". consent: how the person agreed; kept in the file and in the manifest of every video made from it.
    consent_file: a statement of theirs; its SHA-256 is kept in the same way.
    overwrite: replace a file that exists. progress: see progress.Progress; the stages are "frames" and "steps".

    Returns a FineTuning. Raises UsageError, InputError, ModelError (see errors); then nothing is written.

    Example:

        from fewshot_reenact import finetune

        made = finetune(["me1.jpg", "me2.jpg"], "me.safetensors")
        print(made.kept_step, made.warnings)
    """
    began = time.perf_counter()
    files = as_paths(inputs)
    path = check_output(output, overwrite, files, (SUFFIX,))
    choice = parse_face(face)
    consent, statement = check_consent(consent), hash_of_statement(consent_file)
    where, why = choose_device(device)
    networks = load_model(model, where)
    loss_weights = choose_losses(networks, model, losses, weights)
    opponent = _opponent(networks, model, discriminator, loss_weights)
    teachers = load_teachers(perceptual, identity, where)
    content = {name: net.to(where) for name, net in load_content(loss_weights, perceptual, identity).items()}
    teachers = replace(teachers, content=content)
    backend = load_backend(landmarks, str(where)) if isinstance(landmarks, str) else landmarks

    frames, notes = _gather(files, backend, choice, take, stage(progress, "frames"))
    if steps is None:
        steps = usual_steps(len(frames), networks.dims)
        notes += [] if steps else [_ALONE]
    settings = Settings(steps, weights=loss_weights)
    person, tuned = fit(
        networks,
        frames,
        settings,
        discriminator=opponent,
        teachers=teachers,
        progress=stage(progress, "steps"),
    )
    if steps and tuned.kept == 0:
        notes.append("tuning did not help on the held-out frame: the networks are kept as they were")
    note = f"{len(frames)} frames, step {tuned.kept}"
    save_person(person, path, note=note, consent=consent, statement=statement, overwrite=overwrite)
    return FineTuning(
        output=path,
        frames=len(frames),
        steps=steps,
        kept_step=tuned.kept,
        held_out={step: round(loss, 5) for step, loss in tuned.held_out.items()},
        discriminator=opponent is not None,
        perceptual=str(perceptual or "built-in"),
        identity=str(identity or "built-in"),
        losses={name: value for name, value in asdict(loss_weights).items() if value},
        device=f"{where} ({why})",
        seconds=round(time.perf_counter() - began, 1),
        warnings=notes,
    )


def _opponent(
    networks: Reenactor, model: str | Path | None, discriminator: str | Path | None, weights: LossWeights
) -> Discriminator | None:
    """D: the one asked for, or that beside the model's file; None: there is none there, or nothing is to heed it.
    Raises ModelError.
    """
    beside = model_file(model).with_name(DISCRIMINATOR)
    if discriminator is None and (not beside.is_file() or not (weights.adversarial or weights.feature_matching)):
        return None
    path = Path(discriminator or beside)
    opponent = load_discriminator(path)
    if (ours := networks.dims.embedding) != opponent.dims.embedding:
        raise ModelError(
            f"{path}: has rows of {opponent.dims.embedding} numbers, the model's embeddings have {ours}; "
            "give the discriminator that was trained with this model"
        )
    return opponent.to(networks.feather.device)


def choose_losses(
    networks: Reenactor, model: str | Path | None, losses: str = "auto", weights: Mapping[str, float] | None = None
) -> LossWeights:
    """By what a person is learnt, see `finetune`. Raises UsageError: no such losses, or the model's file says none."""
    if losses not in LOSSES:
        raise UsageError(f"losses {losses!r} are none of {', '.join(LOSSES)}")
    warps = networks.dims.corrects_warp
    name = losses if losses != "auto" else "person" if warps else "trained"
    if name == "trained":
        chosen = load_losses(model)
        if chosen is None and losses == "trained":
            raise UsageError(f"{model or 'the built-in model'}: the file does not say by which losses it was trained")
        chosen = chosen or PRESETS["paper-v2"]
    else:
        chosen = PRESETS[name]
    known = [field.name for field in fields(LossWeights)]
    for part, value in (weights or {}).items():
        if part not in known:
            raise UsageError(f"{part}: no part of the loss; those there are: {', '.join(known)}")
        if not 0 <= value < float("inf"):
            raise UsageError(f"{part}: {value} is no weight: 0 or more")
    return replace(chosen, **(weights or {}))


def fit(
    model: Reenactor,
    frames: Sequence[Portrait],
    settings: Settings,
    *,
    discriminator: Discriminator | None = None,
    teachers: Teachers | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Person, Tuned]:
    """The person in these frames, pictures of any size, and how the learning went."""
    crops = [crop_portrait(frame, _CROP) for frame in frames]
    torch.manual_seed(settings.seed)
    tuner = Tuner(
        model,
        [crop.picture for crop in crops],
        [crop.points for crop in crops],
        settings,
        discriminator=discriminator,
        teachers=teachers,
    )
    evaluate_frame = evaluator_on_held_out(tuner, crops) if model.dims.corrects_warp else None
    tuned = tune(tuner, progress, evaluate_frame)
    # The first picture is the one that moves; of the others a crop is enough.
    portraits = [frames[0], *(crop_portrait(frame, 2 * _CROP) for frame in frames[1:_KEPT])]
    return Person(tuned.model, tuned.psi[None], portraits, tuned.row), tuned


def evaluator_on_held_out(tuner: Tuner, crops: Sequence[Portrait]) -> Callable[[Reenactor, Tensor], float] | None:
    """How good a person's networks are on the held-out frame as it will be rendered, from all the others. None: there
    are too few frames. crops: the frames, pictures of one size.
    """
    held = held_out(len(crops))
    if held is None:
        return None
    one, others = crops[held], [crop for i, crop in enumerate(crops) if i != held]
    size = tuner.model.dims.size
    theirs, frame = face_frame(one.points, size), face_frame(others[0].points, size)
    in_frame = transform(invert(theirs), one.points)
    pose = transform(frame, in_frame).astype(np.float32)  # the held-out face, where the first portrait's stands
    side = others[0].picture.shape[0]

    def signed(picture: np.ndarray, of: np.ndarray) -> Tensor:
        return to_signed(torch.from_numpy(cut_face(picture, of, size)).permute(2, 0, 1)[None]).to(tuner.device)

    truth, points = signed(one.picture, theirs), torch.from_numpy(in_frame[None]).float().to(tuner.device)

    @torch.no_grad()
    def evaluate_frame(model: Reenactor, psi: Tensor) -> float:
        renderer = TexturedRenderer(model, others, (0, 0, side, side), device=tuner.device, psi=psi[None])
        made = next(iter(renderer.render(pose[None])))
        return float(tuner.content(signed(made, frame), truth, points))

    return evaluate_frame


def _gather(
    inputs: Sequence[Path], backend: LandmarkBackend, face: FaceChoice, take: int, tell: Count
) -> tuple[list[Portrait], list[str]]:
    """All the frames to learn from, in the order given, and what the user should know."""
    frames: list[Portrait] = []
    notes: list[str] = []
    for number, path in enumerate(inputs):
        tell(number, len(inputs))
        if not path.is_file():
            raise InputError(f"{path}: no such file; check the name")
        refuse_protected(path, "train")
        if is_picture(path):
            found, said = PortraitSource([path], face).load(backend)
            frames, notes = frames + found, notes + said
        elif is_video(path):
            frames += _frames_of(path, backend, face, take)
        else:
            raise InputError(f"{path}: is neither a picture nor a video")
    tell(len(inputs), len(inputs))
    return frames, notes


def _frames_of(path: Path, backend: LandmarkBackend, face: FaceChoice, take: int) -> list[Portrait]:
    """Frames of a video that differ from each other: of evenly spaced ones, each time the one farthest from all taken
    so far.
    """
    found: list[Portrait] = []
    with VideoReader(path) as reader:
        every = max(1, (reader.info.frames or 0) // (_CANDIDATES * take))
        for frame in reader:
            if frame.index % every or len(found) >= 2 * _CANDIDATES * take:
                continue
            one = choose_face(backend.detect(frame.picture), face)
            if one is not None:
                one = backend.refine(frame.picture, one.points) or one
                found.append(Portrait(frame.picture, np.asarray(one.points, np.float32)))
    if not found:
        raise InputError(f"{path}: no face was found in it")
    poses = np.stack([transform(invert(face_frame(p.points, 1)), p.points).ravel() for p in found])
    taken = [int(np.linalg.norm(poses - poses.mean(0), axis=1).argmin())]  # the one nearest to rest comes first
    while len(taken) < min(take, len(found)):
        nearest = np.linalg.norm(poses[:, None] - poses[None, taken], axis=2).min(1)
        taken.append(int(nearest.argmax()))
    return [found[i] for i in taken]
