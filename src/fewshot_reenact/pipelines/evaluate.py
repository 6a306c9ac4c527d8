"""`reenact evaluate`: methods on clips of talking heads, by the protocol of evaluation.protocol.

clip -> tracker -> choice of frames -> task (T portraits, the face wanted) -> method -> judge -> table, sheet, page
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fewshot_reenact._version import __version__
from fewshot_reenact.device import choose_device
from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.evaluation.clips import clip_files
from fewshot_reenact.evaluation.metrics import Judge
from fewshot_reenact.evaluation.page import WorstFrames, report_page
from fewshot_reenact.evaluation.protocol import HELD_OUT, SHOTS, Scores
from fewshot_reenact.evaluation.sets import ENOUGH, FrameSets
from fewshot_reenact.evaluation.sheet import Sheet
from fewshot_reenact.evaluation.study import Study, check_folder
from fewshot_reenact.files import check_output, partial_file, sha256
from fewshot_reenact.landmarks.backend import LandmarkBackend
from fewshot_reenact.landmarks.registry import Landmarks, load_backend
from fewshot_reenact.media.marks import NOTE
from fewshot_reenact.media.pictures import write_picture
from fewshot_reenact.models.checkpoint import load_model, model_file
from fewshot_reenact.models.inception import load_inception
from fewshot_reenact.models.teachers import TEACHER, load_teachers
from fewshot_reenact.pipelines.evaluate_steps import Run
from fewshot_reenact.pipelines.methods import METHODS, QUICK, MethodName
from fewshot_reenact.progress import Progress, stage
from fewshot_reenact.provenance import history
from fewshot_reenact.provenance.marks import StandardMarks, standard_marks


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
    lpips: str | Path | None = None,
    fid: str | Path | None = None,
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
    html: str | Path | None = None,
    triplets: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure methods on a folder of talking-head clips (or one clip).

    clips: a folder of videos, or one video. cross: each clip's person is moved by another's clip (relative motion)
    instead of the rest of their own (absolute). shots: numbers T of portraits. methods: what is compared: "copy" (the
    portrait unmoved), "warp" and "dense" (without networks; by the points, and with the driver's dense motion),
    "points" and "model" (with networks, likewise), "finetuned" (fitted to the person first). model: a safetensors file;
    None: the built-in one. perceptual, identity: feature networks by path; None: the small built-in one, for both.
    lpips, fid: weights of the networks of LPIPS, and of FID and KID, by path, or "cache" for those that torch keeps;
    None: not measured. learn_perceptual, learn_identity: those with which `finetuned` learns (None: the built-in ones);
    they should not be the ones that measure. every: frames from one frame compared to the next. held_out: such frames a
    clip at most. limit: clips at most, one of each person first. seed: of the choice of portraits and, for `cross`, of
    drivers. smooth: 0 to 1, of the motion, as in `animate`. landmarks: "builtin", "fan", or a backend. device: "auto",
    "cpu", "cuda", "cuda:1", "mps". sheet: also write a picture sheet (.png), with all marks. html: also write a page
    with means, figures of each clip and the worst frames. triplets: also make a folder with the paper's user study, see
    evaluation.study. overwrite: replace `sheet`, `html` and the study if they exist. progress: see progress.Progress;
    the stage is "clips".

    Returns an Evaluation; clips that cannot be used are in its `skipped`. Raises UsageError, ModelError, and InputError
    when no clip can be used.

    Example:

        from fewshot_reenact import evaluate

        done = evaluate("clips", shots=[1], methods=["copy", "warp"], held_out=2)
        print(done.scores.table())
    """
    _check(shots, methods, every, held_out, limit, smooth)
    if cross and triplets is not None:
        raise UsageError("--triplets wants true frames beside made ones of the same moment: leave out --cross")
    files = clip_files(Path(clips), limit)
    for output, suffix in ((sheet, ".png"), (html, ".html")):
        if output is not None:
            check_output(output, overwrite, files, (suffix,))
    if triplets is not None:
        check_folder(Path(triplets), overwrite)
    where, why = choose_device(device)
    networks = load_model(model, where)
    backend = load_backend(landmarks, str(where)) if isinstance(landmarks, str) else landmarks
    judge = Judge(backend, Path(perceptual or TEACHER), Path(identity or TEACHER), where, None if cross else lpips)
    sets = FrameSets(load_inception(fid), where) if fid is not None and not cross else None
    teachers = load_teachers(learn_perceptual, learn_identity, where)
    made = {name: METHODS[name](networks, where, teachers) for name in methods}
    beside = "driver" if cross else "truth"
    side = networks.dims.size if networks.dims.corrects_warp else None
    run = Run(
        judge, made, sorted(set(shots)), seed, every, held_out, smooth, side, Sheet(["portrait", beside, *methods])
    )
    run.sets = sets
    run.study = Study(seed) if triplets is not None else None
    run.worst = WorstFrames(("portrait", beside)) if html is not None else None
    (run.cross if cross else run.own)(files, stage(progress, "clips"))
    if not run.scores.rows:
        reasons = "; ".join(f"{clip}: {reason}" for clip, reason in list(run.skipped.items())[:3])
        raise InputError(f"{clips}: no clip could be evaluated ({reasons})")
    warnings = _about_networks(cross, perceptual, identity, learns="finetuned" in methods)
    if sets is not None:
        run.scores.of_sets = sets.distances()
        warnings += _about_sets(sets)
    if cross:
        for name, given in (("--lpips", lpips), ("--fid", fid)):
            if given is not None:
                warnings.append(f"{name} compares with the truth, which --cross has none of: not used")
    if sheet is not None:
        marks = standard_marks()  # faces that were animated are in it
        write_picture(sheet, run.sheet.picture(), overwrite, inputs=files, marks=marks)
        warnings += [*marks.notes, *history.record(marks.id, Path(sheet).absolute())]
        if run.sheet.left_out:
            warnings.append(f"{sheet}: {run.sheet.left_out} rows did not fit; the table counts them")
    if run.study is not None:
        warnings += _write_study(run.study, Path(str(triplets)))
    settings = {
        "protocol": "cross" if cross else "self",
        "clips": str(clips),
        "shots": list(run.shots),
        "methods": list(methods),
        "model": str(model or "built-in"),
        "model_sha256": sha256(model_file(model)),
        "perceptual": None if cross else str(perceptual or "built-in"),
        "identity": str(identity or "built-in"),
        "lpips": str(lpips) + f" ({judge.lpips.net})" if judge.lpips is not None else None,
        "fid": str(fid) if sets is not None else None,
        "learn_perceptual": str(learn_perceptual or "built-in"),
        "learn_identity": str(learn_identity or "built-in"),
        **{"every": every, "held_out": held_out, "limit": limit, "seed": seed, "smooth": smooth},
        "landmarks": backend.name,
        "device": f"{where} ({why})",
    }
    done = Evaluation(run.scores, settings, run.skipped, warnings)
    if html is not None and run.worst is not None:
        _write_page(done, run.worst, Path(html), overwrite, files)
    return done


def _write_page(done: Evaluation, worst: WorstFrames, path: Path, overwrite: bool, inputs: Sequence[Path]) -> None:
    """Its pictures carry label and watermark; a page cannot be signed as a picture is."""
    marks = standard_marks()
    with partial_file(path, overwrite, inputs) as partial:
        partial.write_text(report_page(done.report(), worst, marks.label, NOTE), encoding="utf-8")
    done.warnings += history.record(marks.id, path.absolute())


def _write_study(study: Study, folder: Path) -> list[str]:
    """What its user should know."""
    notes: dict[str, None] = {}
    unreadable = 0

    def marked(marks: StandardMarks, path: Path) -> None:
        nonlocal unreadable
        lines = [*marks.notes, *history.record(marks.id, path.absolute())]
        unreadable += any("watermark" in line for line in lines)
        notes.update(dict.fromkeys(line for line in lines if "watermark" not in line))

    count = study.write(folder, lambda: standard_marks(visible=False), marked)
    lines = [
        *notes,
        f"{folder}: {count} triplets; the made pictures carry no visible label, which would give the answer",
    ]
    if unreadable:
        lines.append(f"{folder}: {unreadable} made pictures are too small for a watermark that can be read back")
    if study.left_out:
        lines.append(
            f"{folder}: {study.left_out} made frames were left out: the clips hold too few true frames of a person"
        )
    return lines


def _about_sets(sets: FrameSets) -> list[str]:
    lines = []
    if not sets.net.standard:
        lines.append("FID and KID by other weights than published figures rest on: compare them among themselves only")
    if 0 < sets.fewest < ENOUGH:
        lines.append(
            f"FID of {sets.fewest} frames is far above that of many, for every method: compare within this table; "
            "KID has no such bias"
        )
    return lines


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
