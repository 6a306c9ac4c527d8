#!/usr/bin/env python3
"""Does fine-tuning help? T frames of the first half of each clip, held-out frames of its second half, with and without.

    scripts/measure_finetune.py render ../shared/data/clips/val out/tuned --clips v001_00 v005_00
    scripts/measure_finetune.py score out/tuned --referee ../shared/referee      # in the referee's environment

Both ways are rendered from the same T portraits, with the points that lie beside the clips. Give `render` the networks
that tuning may learn with (--perceptual, --identity); the referee measures with others.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

METRICS = ("pd", "csim", "mouth_pd", "l1", "nme", "expression")


def spread(count: int, first: int, end: int) -> list[int]:
    return [int(i) for i in np.linspace(first, end - 1, count).round()]


def render(options: argparse.Namespace) -> None:
    import torch

    from fewshot_reenact.finetune import fit
    from fewshot_reenact.models.checkpoint import load_model
    from fewshot_reenact.models.perceptual import FeatureNet
    from fewshot_reenact.painter import open_renderer
    from fewshot_reenact.renderer import Portrait
    from fewshot_reenact.training.finetune import Settings, Teachers, default_steps
    from fewshot_reenact.video.reader import VideoReader

    torch.set_num_threads(options.threads)
    base = load_model(options.model)
    teachers = Teachers(*(FeatureNet(path) if path else None for path in (options.perceptual, options.identity)))
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.clips:
        clip = options.folder / f"{name}.mp4"
        points = np.load(clip.with_suffix(".npz"))["points"].astype(np.float32)
        with VideoReader(clip) as reader:
            pictures = [frame.picture for frame in reader][: len(points)]
        half = len(pictures) // 2
        known, wanted = spread(options.frames, 0, half), spread(options.held_out, half, len(pictures))
        steps = options.steps if options.steps is not None else default_steps(len(known))
        people = [Portrait(pictures[i], points[i]) for i in known]
        began = time.process_time()
        person, tuned = fit(base, people, Settings(steps, rate=options.rate), teachers=teachers)
        spent = time.process_time() - began
        moves = points[wanted]
        made = {
            "untuned": list(open_renderer(base, people, moves).render(moves)),
            "tuned": list(open_renderer(person.model, person.portraits, moves, psi=person.psi).render(moves)),
        }
        np.savez(options.out / f"{name}.npz", truth=np.stack([pictures[i] for i in wanted]), **made)
        print(name, f"kept step {tuned.kept} of {steps}, {spent:.0f} s of processor time", tuned.held_out, flush=True)


def score(options: argparse.Namespace) -> None:
    sys.path.insert(0, str(options.referee))
    from referee import Faces, measure_self  # type: ignore[import-not-found]

    faces, rows = Faces(), {"untuned": [], "tuned": []}
    for path in sorted(options.out.glob("*.npz")):
        data = np.load(path)
        truth = [np.ascontiguousarray(frame[..., ::-1]) for frame in data["truth"]]
        for way in rows:
            made = [np.ascontiguousarray(frame[..., ::-1]) for frame in data[way]]
            rows[way].append(measure_self(truth, made, faces))
    for path, *pair in zip(sorted(options.out.glob("*.npz")), *rows.values(), strict=True):
        print(path.stem, " ".join(f"{m} {pair[0][m]:.4f} -> {pair[1][m]:.4f}" for m in ("pd", "csim")))
    means = {way: {m: float(np.mean([row[m] for row in rows[way]])) for m in METRICS} for way in rows}
    print(json.dumps({"clips": len(rows["tuned"]), **means}, indent=2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    modes = parser.add_subparsers(required=True)
    one = modes.add_parser("render")
    one.add_argument("folder", type=Path)
    one.add_argument("out", type=Path)
    one.add_argument("--clips", nargs="+", required=True)
    one.add_argument("--frames", type=int, default=8, help="T")
    one.add_argument("--held-out", type=int, default=8)
    one.add_argument("--steps", type=int)
    one.add_argument("--rate", type=float, default=1e-4)
    one.add_argument("--model", type=Path)
    one.add_argument("--perceptual", type=Path)
    one.add_argument("--identity", type=Path)
    one.add_argument("--threads", type=int, default=1)
    one.set_defaults(job=render)
    two = modes.add_parser("score")
    two.add_argument("out", type=Path)
    two.add_argument("--referee", type=Path, required=True)
    two.set_defaults(job=score)
    options = parser.parse_args()
    options.job(options)


if __name__ == "__main__":
    main()
