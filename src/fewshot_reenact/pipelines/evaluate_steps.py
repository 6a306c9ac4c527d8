"""What `reenact evaluate` does with each clip: it is tracked, every method makes its frames, and they are measured."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fewshot_reenact.errors import InputError
from fewshot_reenact.evaluation.clips import person_in_clip
from fewshot_reenact.evaluation.metrics import Judge, point_errors, trembling
from fewshot_reenact.evaluation.page import WorstFrames
from fewshot_reenact.evaluation.protocol import (
    GROUP,
    EvaluationTask,
    Method,
    Scores,
    choose_frames,
    choose_groups,
    pair_people,
)
from fewshot_reenact.evaluation.sets import FrameSets
from fewshot_reenact.evaluation.sheet import Sheet
from fewshot_reenact.evaluation.study import Study
from fewshot_reenact.inputs.portrait import Portrait
from fewshot_reenact.landmarks.video import track_video
from fewshot_reenact.media.reader import VideoReader, read_frames
from fewshot_reenact.motion.motion import Motion
from fewshot_reenact.motion.retarget import MotionMode, Retargeting
from fewshot_reenact.pipelines.methods import MethodName, motion_of
from fewshot_reenact.progress import Count
from fewshot_reenact.rendering.dense_motion import dense_motion_at
from fewshot_reenact.rendering.plan import plan_motion


@dataclass
class Run:
    """One evaluation under way; the settings are those of `evaluate`. side: of the face frames of a model that corrects
    a warp, and so can be given dense motion; None for others. sets, study, worst: collect frames where that is wanted.
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
    sets: FrameSets | None = None
    study: Study | None = None
    worst: WorstFrames | None = None
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
        person = person_in_clip(file) if self.study is not None else ""
        if self.study is not None and truths is not None:
            self.study.add_real(person, file.name, dict(zip(middles, truths, strict=True)))
        features = self.sets.features(truths) if self.sets is not None and truths is not None else None
        for shots in self.shots:
            if len(portraits) < shots:
                self.skipped[f"{file.name}, T = {shots}"] = f"{len(portraits)} portraits with a face"
                continue
            row = [portraits[0].picture, shown[middles[len(middles) // 2]]]
            for name, method in self.methods.items():
                outputs = iter(method(EvaluationTask(portraits[:shots], plan.moves[asked], dense)))
                frames, made = [], []
                for index, points in enumerate(wanted):
                    group = [next(outputs) for _ in range(GROUP)]
                    truth = truths[index] if truths else None
                    frames.append(self._frame(group, points, truth, faces[index]))
                    if index == len(middles) // 2:
                        row.append(group[reach])
                    if self.worst is not None:
                        beside = [portraits[0].picture, shown[middles[index]], group[reach]]
                        self.worst.add(file.name, shots, name, middles[index], frames[-1], beside)
                    if features is not None or self.study is not None:
                        made.append(group[reach])
                if features is not None and self.sets is not None:
                    self.sets.add(shots, name, self.sets.features(made), features)
                if self.study is not None and name != "copy":  # that one is a true frame
                    at = self.study.choose(file.name, shots, name, len(made))
                    self.study.add_made(person, file.name, shots, name, middles[at], made[at])
                more = {} if own else {"driver": driving.source}
                motion_from = motion_of(name, self.side is not None, not own)
                self.scores.add(file.name, shots, name, frames, **more, motion=motion_from)
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
