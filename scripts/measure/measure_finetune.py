#!/usr/bin/env python3
"""Does fine-tuning help? T frames of the first half of each clip, held-out frames of its second half, with and without.

    scripts/measure/measure_finetune.py all ../shared/data/clips/val out/tuned --referee ../shared/referee \\
      --python REFEREES

Both ways are rendered from the same T portraits, with the points that lie beside the clips, as `reenact finetune` and
`reenact animate` would without further options. Then the referee measures, in the environment that the python
REFEREES belongs to, and the table `finetune` of docs/finetuning.md is replaced. Pictures that are there, of the same
weights and settings, are not rendered again, so a run that was stopped goes on.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from tables import write

METRICS = ("pd", "csim", "mouth_pd", "l1", "nme", "expression")
# One clip of each of six people; the settings were chosen on other people (docs/training-log.md).
# One of each person, without v013 and v019, on whom the settings were chosen.
CLIPS = " ".join(f"v{number:03d}_00" for number in range(1, 22) if number not in (13, 19))


def spread(count: int, first: int, end: int) -> list[int]:
    return [int(i) for i in np.linspace(first, end - 1, count).round()]


def render(options: argparse.Namespace) -> None:
    """OUT/T008_v001_00.npz and so on: truth, untuned and tuned pictures, and in `how` weights, settings and time."""
    from dataclasses import replace

    import torch

    from fewshot_reenact.files import sha256
    from fewshot_reenact.inputs.portrait import Portrait
    from fewshot_reenact.media.reader import read_frames
    from fewshot_reenact.models.checkpoint import DEFAULT_MODEL, load_model
    from fewshot_reenact.models.discriminator import DISCRIMINATOR, load_discriminator
    from fewshot_reenact.models.losses import PRESETS
    from fewshot_reenact.models.teachers import load_teachers
    from fewshot_reenact.pipelines.finetune import fit
    from fewshot_reenact.rendering.renderer import open_renderer
    from fewshot_reenact.training.tuner import Settings, usual_steps

    torch.set_num_threads(options.threads)
    base = load_model(options.model)
    teachers = load_teachers(options.perceptual, options.identity)
    opponent, weights = None, PRESETS["person"]
    if options.discriminator:
        trained = PRESETS["textured"]
        weights = replace(weights, adversarial=trained.adversarial, feature_matching=trained.feature_matching)
        opponent = load_discriminator((options.model or DEFAULT_MODEL).with_name(DISCRIMINATOR))
    said = {
        "weights": sha256(options.model or DEFAULT_MODEL)[:8],
        "held_out": options.held_out,
        "perceptual": options.perceptual.stem if options.perceptual else "built-in",
        "identity": options.identity.stem if options.identity else "built-in",
        "discriminator": opponent is not None,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    for count, name in ((count, name) for count in options.shots for name in options.clips):
        path = options.out / f"T{count:03d}_{name}.npz"
        steps = options.steps if options.steps is not None else usual_steps(count, base.dims)
        asked = {**said, "shots": count, "steps": steps, "rate": options.rate}
        if path.is_file() and asked.items() <= json.loads(str(np.load(path)["how"])).items():
            continue
        clip = options.folder / f"{name}.mp4"
        points = np.load(clip.with_suffix(".npz"))["points"].astype(np.float32)
        half = len(points) // 2
        known, wanted = spread(count, 0, half), spread(options.held_out, half, len(points))
        pictures = read_frames(clip, {*known, *wanted})
        people = [Portrait(pictures[i], points[i]) for i in known]
        began = time.process_time()
        settings = Settings(steps, rate=options.rate, weights=weights)
        person, tuned = fit(base, people, settings, teachers=teachers, discriminator=opponent)
        spent = time.process_time() - began
        moves = points[wanted]
        made = {
            "untuned": list(open_renderer(base, people, moves).render(moves)),
            "tuned": list(open_renderer(person.model, person.portraits, moves, psi=person.psi).render(moves)),
        }
        how = {**asked, "kept": tuned.kept, "seconds": round(spent, 1)}
        np.savez(path, truth=np.stack([pictures[i] for i in wanted]), how=json.dumps(how), **made)
        print(path.name, json.dumps(how), tuned.held_out, flush=True)


def score(options: argparse.Namespace) -> None:
    """OUT/scores.json: a row for each file, by the referee."""
    sys.path.insert(0, str(options.referee))
    from referee import Faces, measure_self  # type: ignore[import-not-found]

    faces, rows = Faces(), []
    for path in sorted(options.out.glob("T*.npz")):
        data = np.load(path)
        truth = [np.ascontiguousarray(frame[..., ::-1]) for frame in data["truth"]]
        row: dict[str, Any] = {"clip": path.stem.partition("_")[2], **json.loads(str(data["how"]))}
        for way in ("untuned", "tuned"):
            found = measure_self(truth, [np.ascontiguousarray(frame[..., ::-1]) for frame in data[way]], faces)
            row[way] = {name: float(found[name]) for name in METRICS}
        rows.append(row)
        print(path.stem, " ".join(f"{m} {row['untuned'][m]:.4f} -> {row['tuned'][m]:.4f}" for m in METRICS), flush=True)
    (options.out / "scores.json").write_text(json.dumps(rows, indent=1) + "\n")


def text(rows: list[dict[str, Any]]) -> str:
    """Words and table for docs/finetuning.md."""
    one = rows[0]
    lines = [
        f"Weights {one['weights']}; features {one['perceptual']}, likeness {one['identity']}, "
        f"{'with' if one['discriminator'] else 'without'} the discriminator; {one['held_out']} held-out frames a clip:",
        "",
        "| T | whole pictures | clips | pd ↓ | csim ↑ | mouth_pd ↓ | L1 ↓ | nme ↓ | expression ↓ |",
        "|---:|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for shots in sorted({row["shots"] for row in rows}):
        some = [row for row in rows if row["shots"] == shots]
        learnt = sum(row["kept"] > 0 for row in some)
        spent = np.mean([row["seconds"] for row in some])
        tuned = (
            f"tuned ({learnt} of {len(some)} changed, {spent:.0f} s)" if some[0]["steps"] else "tuned: kept as it is"
        )
        for way, name in (("untuned", "untuned"), ("tuned", tuned)):
            means = {metric: np.mean([row[way][metric] for row in some]) for metric in METRICS}
            figures = " | ".join(f"{means[m]:.2f}" if m == "l1" else f"{means[m]:.4f}" for m in METRICS)
            lines.append(f"| {shots} | {name} | {len(some)} | {figures} |")
    return "\n".join(lines) + "\n"


def table(options: argparse.Namespace) -> None:
    rows = json.loads((options.out / "scores.json").read_text())
    write("finetune", text(rows), options.page)
    print(text(rows))


def everything(options: argparse.Namespace) -> None:
    render(options)
    command = [str(options.python), __file__, "score", str(options.out), "--referee", str(options.referee)]
    subprocess.run(command, check=True)
    table(options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    modes = parser.add_subparsers(required=True)
    jobs = {"render": render, "score": score, "table": table, "all": everything}
    made = {name: modes.add_parser(name) for name in jobs}
    for name, mode in made.items():
        mode.set_defaults(job=jobs[name])
        if name in ("render", "all"):
            mode.add_argument("folder", type=Path)
        mode.add_argument("out", type=Path)
    for name in ("score", "all"):
        made[name].add_argument("--referee", type=Path, required=True)
    for name in ("table", "all"):
        made[name].add_argument("--page", type=Path, help="the page with the markers; default: the one in docs/")
    made["all"].add_argument("--python", type=Path, required=True, help="of the referee's environment")
    for name in ("render", "all"):
        mode = made[name]
        mode.add_argument("--clips", type=str.split, default=CLIPS.split())
        mode.add_argument("--shots", type=lambda text: [int(n) for n in text.split(",")], default=[1, 8, 32])
        mode.add_argument("--held-out", type=int, default=6)
        mode.add_argument("--steps", type=int)
        mode.add_argument("--rate", type=float, default=1e-4)
        mode.add_argument("--model", type=Path)
        mode.add_argument("--discriminator", action="store_true", help="with the one beside the model's file")
        mode.add_argument("--perceptual", type=Path)
        mode.add_argument("--identity", type=Path)
        mode.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    options.job(options)


if __name__ == "__main__":
    main()
