#!/usr/bin/env python3
"""Does fine-tuning help? T frames of the first half of each clip, held-out frames of its second half, with and without.

    scripts/measure_finetune.py render ../shared/data/clips/val out/tuned --clips v001_00 v005_00
    scripts/measure_finetune.py score out/tuned --referee ../shared/referee      # in the referee's environment

Both ways get the same T portraits and the clips' own points; only the networks' weights and psi differ.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

METRICS = ("pd", "csim", "mouth_pd", "l1", "nme", "expression")


def spread(count: int, first: int, end: int) -> list[int]:
    return [int(i) for i in np.linspace(first, end - 1, count).round()]


def render(options: argparse.Namespace) -> None:
    import torch

    from fewshot_reenact.faces.crop import head_box
    from fewshot_reenact.models.checkpoint import load_model
    from fewshot_reenact.models.perceptual import FeatureNet
    from fewshot_reenact.renderer import Portrait, Renderer
    from fewshot_reenact.training.finetune import Settings, Tuner, default_steps, tune
    from fewshot_reenact.video.reader import VideoReader

    torch.set_num_threads(options.threads)
    base, net = load_model(options.model), FeatureNet(options.perceptual) if options.perceptual else None
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.clips:
        clip = options.folder / f"{name}.mp4"
        points = np.load(clip.with_suffix(".npz"))["points"].astype(np.float32)
        with VideoReader(clip) as reader:
            pictures = [frame.picture for frame in reader][: len(points)]
        half = len(pictures) // 2
        known, wanted = spread(options.frames, 0, half), spread(options.held_out, half, len(pictures))
        steps = options.steps if options.steps is not None else default_steps(len(known))
        settings = Settings(steps, rate=options.rate)
        tuner = Tuner(base, [pictures[i] for i in known], [points[i] for i in known], settings, perceptual=net)
        tuned = tune(tuner)
        people = [Portrait(pictures[i], points[i]) for i in known]
        size = (pictures[0].shape[1], pictures[0].shape[0])
        box = head_box(points[[known[0], *wanted]], size)
        made = {
            "untuned": list(Renderer(base, people, box).render(points[wanted])),
            "tuned": list(Renderer(tuned.model, people, box, psi=tuned.psi[None]).render(points[wanted])),
        }
        np.savez(options.out / f"{name}.npz", truth=np.stack([pictures[i] for i in wanted]), **made)
        print(name, f"kept step {tuned.kept} of {steps}", tuned.held_out, flush=True)


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
    one.add_argument("--rate", type=float, default=2e-4)
    one.add_argument("--model", type=Path)
    one.add_argument("--perceptual", type=Path)
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
