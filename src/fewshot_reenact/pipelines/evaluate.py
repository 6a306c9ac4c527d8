"""`reenact evaluate`: methods on clips of talking heads, by the protocol of evaluation.protocol.

clip -> tracker -> choice of frames -> task (T portraits, the face wanted) -> method -> judge -> table, sheet
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fewshot_reenact._version import __version__
from fewshot_reenact.device import choose_device
from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.evaluation.clips import clip_files, person_in_clip
from fewshot_reenact.evaluation.metrics import Judge, point_errors, trembling
from fewshot_reenact.evaluation.protocol import (
    GROUP,
    HELD_OUT,
    SHOTS,
    EvaluationTask,
    Method,
    Scores,
    choose_frames,
    choose_groups,
    pair_people,
)
from fewshot_reenact.evaluation.sheet import Sheet
from fewshot_reenact.files import check_output, sha256
from fewshot_reenact.inputs.portrait import Portrait
from fewshot_reenact.landmarks.backend import LandmarkBackend
from fewshot_reenact.landmarks.registry import Landmarks, load_backend
from fewshot_reenact.landmarks.video import track_video
from fewshot_reenact.media.pictures import write_picture
from fewshot_reenact.media.reader import VideoReader, read_frames
from fewshot_reenact.models.checkpoint import DEFAULT_MODEL, load_model
from fewshot_reenact.models.teachers import TEACHER, load_teachers
from fewshot_reenact.motion.motion import Motion
from fewshot_reenact.motion.retarget import MotionMode, Retargeting
from fewshot_reenact.pipelines.methods import METHODS, QUICK, MethodName
from fewshot_reenact.progress import Count, Progress, stage
from fewshot_reenact.provenance import history
from fewshot_reenact.provenance.marks import standard_marks
from fewshot_reenact.rendering.dense_motion import dense_motion_at
from fewshot_reenact.rendering.plan import plan_motion


@dataclass
class Evaluation:
    """What was measured. scores: a row of metrics for each clip, T and method, and their means; see evaluation.metrics
    for the units. settings: how. skipped: clip -> why. warnings: lines that the user should see.
    """

    scores: Scores
    settings: dict[str, Any]
    skipped: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def report(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {
            "schema": "fewshot-reenact/evaluate/1",
            "version": __version__,
            **self.settings,
            "means": self.scores.means(),
            "rows": self.scores.rows,
            "skipped": self.skipped,
            "warnings": self.warnings,
        }


def evaluate(
    clips: str | Path,
    *,
    cross: bool = False,
    shots: Sequence[int] = SHOTS,
    methods: Sequence[MethodName] = QUICK,
    model: str | Path | None = None,
    perceptual: str | Path | None = None,
    identity: str | Path | None = None,
    learn_perceptual: str | Path | None = None,
    learn_identity: str | Path | None = None,
    every: int = 8,
    held_out: int = HELD_OUT,
    limit: int | None = None,
    seed: int = 0,
    smooth: float = 0.5,
    landmarks: Landmarks | LandmarkBackend = "builtin",
    device: str = "auto",
    sheet: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure methods on a folder of talking-head clips (or one clip).

    clips: a folder of videos, or one video. cross: each clip's person is moved by another's clip (relative motion)
    instead of the rest of their own (absolute). shots: numbers T of portraits. methods: what is compared: "copy" (the
    portrait unmoved), "warp" and "dense" (without networks; by the points, and with the driver's dense motion),
    "points" and "model" (with networks, likewise), "finetuned" (fitted to the person first). model: a safetensors file;
    None: the built-in one. perceptual, identity: feature networks by path; None: the small built-in one, for both.
    learn_perceptual, learn_identity: those with which `finetuned` learns (None: the built-in ones); they should not be
    the ones that measure. every: frames from one frame compared to the next. held_out: such frames a clip at most.
    limit: clips at most, one of each person first. seed: of the choice of portraits and, for `cross`, of drivers.
    smooth: 0 to 1, of the motion, as in `animate`. landmarks: "builtin", "fan", or a backend. device: "auto", "cpu",
    "cuda", "cuda:1", "mps". sheet: also write a picture sheet (.png), with all marks. overwrite: replace
    `sheet` if it exists. progress: see progress.Progress; the stage is "clips".

    Returns an Evaluation; clips that cannot be used are in its `skipped`. Raises UsageError, ModelError, and InputError
    when no clip can be used.

    Example:

        from fewshot_reenact import evaluate

        done = evaluate("clips", shots=[1], methods=["copy", "warp"], held_out=2)
        print(done.scores.table())
    """
    _check(shots, methods, every, held_out, limit, smooth)
    files = clip_files(Path(clips), limit)
    if sheet is not None:
        check_output(sheet, overwrite, files, (".png",))
    where, why = choose_device(device)
    networks = load_model(model, where)
    backend = load_backend(landmarks, str(where)) if isinstance(landmarks, str) else landmarks
    judge = Judge(backend, Path(perceptual or TEACHER), Path(identity or TEACHER), where)
    teachers = load_teachers(learn_perceptual, learn_identity, where)
    made = {name: METHODS[name](networks, where, teachers) for name in methods}
    titles = ["portrait", "driver" if cross else "truth", *methods]
    side = networks.dims.size if networks.dims.corrects_warp else None
    run = _Run(judge, made, sorted(set(shots)), seed, every, held_out, smooth, side, Sheet(titles))
    (run.cross if cross else run.own)(files, stage(progress, "clips"))
    if not run.scores.rows:
        reasons = "; ".join(f"{clip}: {reason}" for clip, reason in list(run.skipped.items())[:3])
        raise InputError(f"{clips}: no clip could be evaluated ({reasons})")
    warnings = _about_networks(cross, perceptual, identity, learns="finetuned" in methods)
    if sheet is not None:
        marks = standard_marks()  # faces that were animated are in it
        write_picture(sheet, run.sheet.picture(), overwrite, inputs=files, marks=marks)
        warnings += [*marks.notes, *history.record(marks.id, Path(sheet).absolute())]
        if run.sheet.left_out:
            warnings.append(f"{sheet}: {run.sheet.left_out} rows did not fit; the table counts them")
    settings = {
        "protocol": "cross" if cross else "self",
        "clips": str(clips),
        "shots": list(run.shots),
        "methods": list(methods),
        "model": str(model or "built-in"),
        "model_sha256": sha256(Path(model) if model else DEFAULT_MODEL),
        "perceptual": None if cross else str(perceptual or "built-in"),
        "identity": str(identity or "built-in"),
        "learn_perceptual": str(learn_perceptual or "built-in"),
        "learn_identity": str(learn_identity or "built-in"),
        **{"every": every, "held_out": held_out, "limit": limit, "seed": seed, "smooth": smooth},
        "landmarks": backend.name,
        "device": f"{where} ({why})",
    }
    return Evaluation(run.scores, settings, run.skipped, warnings)


def _about_networks(cross: bool, perceptual: str | Path | None, identity: str | Path | None, learns: bool) -> list[str]:
    """What is to be known of the networks that measure. learns: whether a method learns with the built-in one."""
    lines = []
    if cross and perceptual is not None:
        lines.append("--perceptual compares with the truth, which --cross has none of: not used")
    own = [*(["perceptual distance"] if perceptual is None and not cross else []), *([] if identity else ["CSIM"])]
    if own:
        also = ", with which finetuned learns too: it is favoured" if learns else ""
        lines.append(f"{' and '.join(own)} by the small built-in network{also}; name others for figures that compare")
    return lines


@dataclass
class _Run:
    """One evaluation under way; the settings are those of `evaluate`. side: of the face frames of a model that corrects
    a warp, and so can be given dense motion; None for others.
    """

    judge: Judge
    methods: dict[MethodName, Method]
    shots: list[int]
    seed: int
    every: int
    held_out: int
    smooth: float
    side: int | None
    sheet: Sheet
    scores: Scores = field(default_factory=Scores)
    skipped: dict[str, str] = field(default_factory=dict)

    def own(self, files: Sequence[Path], progress: Count) -> None:
        """Self-reenactment: T frames of a clip are to become its held-out frames."""
        for done, file in enumerate(files):
            motion = self._motion(file)
            if motion is not None:
                choice = choose_frames(
                    motion, file.name, self.shots, seed=self.seed, every=self.every, held_out=self.held_out
                )
                pictures = read_frames(file, {*choice.portraits, *choice.middles})
                self._clip(file, motion, choice.portraits, pictures, file, motion, choice.middles, pictures, "absolute")
            progress(done + 1, len(files))

    def cross(self, files: Sequence[Path], progress: Count) -> None:
        """Each person is moved by somebody else; there is no truth, so only points and faces are compared."""
        motions: dict[str, tuple[Path, Motion]] = {}
        for done, file in enumerate(files):
            measured = self._motion(file)
            if measured is not None:
                motions[file.name] = file, measured
            progress(done + 1, 2 * len(files))
        people = [person_in_clip(file) for file, _ in motions.values()]
        drivers = pair_people(list(motions), people, self.seed)
        for done, (name, driver) in enumerate(drivers.items()):
            (file, motion), (driver_file, driving) = motions[name], motions[driver]
            choice = choose_frames(motion, name, self.shots, seed=self.seed, every=self.every)
            middles = choose_groups(driving, 0, self.every, self.held_out)
            pictures, shown = read_frames(file, set(choice.portraits)), read_frames(driver_file, set(middles))
            self._clip(file, motion, choice.portraits, pictures, driver_file, driving, middles, shown, "relative")
            progress(len(files) + done + 1, 2 * len(files))

    def _motion(self, file: Path) -> Motion | None:
        try:
            with VideoReader(file) as reader:
                return track_video(reader, self.judge.backend, whole=False)
        except InputError as error:
            self.skipped[file.name] = str(error)
            return None

    def _clip(
        self,
        file: Path,
        motion: Motion,
        chosen: Sequence[int],
        pictures: dict[int, np.ndarray],
        driver_file: Path,
        driving: Motion,
        middles: Sequence[int],
        shown: dict[int, np.ndarray],
        how: MotionMode,
    ) -> None:
        """One clip's portraits (frames `chosen`) under one motion (groups about `middles`), for every T and method."""
        if not middles or len(chosen) < min(self.shots):
            self.skipped[file.name] = f"{len(chosen)} portraits and {len(middles)} held-out frames with a face"
            return
        portraits = [Portrait(pictures[t], motion.points[t]) for t in chosen]
        own = how == "absolute"
        # Of an own clip the first half is the portraits': a reference from there would be one more of them.
        plan = plan_motion(
            driving, portraits[0], Retargeting(how), self.smooth, references_from=len(driving) // 2 if own else 0
        )
        reach = GROUP // 2
        groups = np.stack([np.arange(middle - reach, middle + reach + 1) for middle in middles])
        asked = groups.ravel()
        dense = None
        if self.side is not None:
            dense = dense_motion_at(driver_file, driving, plan, asked, self.side)
        # What each output should show: the truth's own points where there is a truth, else those it was asked for.
        wanted = driving.points[groups] if own else plan.moves[groups]
        truths = [shown[middle] for middle in middles] if own else None
        known = self.judge.face(portraits[0].picture, portraits[0].points)
        faces = [self.judge.face(shown[m], driving.points[m]) if own else known for m in middles]
        for shots in self.shots:
            if len(portraits) < shots:
                self.skipped[f"{file.name}, T = {shots}"] = f"{len(portraits)} portraits with a face"
                continue
            row = [portraits[0].picture, shown[middles[len(middles) // 2]]]
            for name, method in self.methods.items():
                outputs = iter(method(EvaluationTask(portraits[:shots], plan.moves[asked], dense)))
                frames = []
                for index, points in enumerate(wanted):
                    group = [next(outputs) for _ in range(GROUP)]
                    truth = truths[index] if truths else None
                    frames.append(self._frame(group, points, truth, faces[index]))
                    if index == len(middles) // 2:
                        row.append(group[reach])
                more = {} if own else {"driver": driving.source}
                self.scores.add(file.name, shots, name, frames, **more)
            self.sheet.add(f"{file.stem} T={shots}", row)

    def _frame(
        self, group: list[np.ndarray], wanted: np.ndarray, truth: np.ndarray | None, known: np.ndarray | None
    ) -> dict[str, float]:
        """The metrics of one group of outputs. wanted: (3, 83, 2). known: the embedding of the person's face."""
        middle = GROUP // 2
        found = self.judge.pictures(group[middle], truth, wanted[middle]) if truth is not None else {}
        seen = self.judge.look(group[middle], wanted[middle])
        found["lost"] = float(seen is None)
        if seen is None:
            return found
        found.update(point_errors(seen, wanted[middle]))
        face = self.judge.face(group[middle], seen)
        if face is not None and known is not None:
            found["csim"] = float(face @ known)
        beside = [self.judge.follow(group[at], seen) for at in (0, GROUP - 1)]
        if all(points is not None for points in beside):
            found["flicker"] = trembling(np.stack([beside[0], seen, beside[1]]), wanted)  # type: ignore[list-item]
        return found


def _check(
    shots: Sequence[int], methods: Sequence[str], every: int, held_out: int, limit: int | None, smooth: float
) -> None:
    if not shots or min(shots) < 1:
        raise UsageError(f"shots {', '.join(map(str, shots)) or '(none)'}: numbers of portraits, 1 or more, are wanted")
    for name in methods:
        if name not in METHODS:
            raise UsageError(f"method {name!r} is not known: choose from {', '.join(METHODS)}")
    if not methods or len(set(methods)) < len(methods):
        raise UsageError(f"methods {', '.join(methods) or '(none)'}: name each once")
    for name, value in (("every", every), ("held-out", held_out), ("limit", 1 if limit is None else limit)):
        if value < 1:
            raise UsageError(f"{name} {value}: 1 or more is wanted")
    if not 0 <= smooth <= 1:
        raise UsageError(f"smooth {smooth} is not between 0 and 1")
