#!/usr/bin/env python3
"""Self-reenactment on a folder of clips: each clip's first frame is animated with the rest of the clip, and compared
with it.

    scripts/measure/self_reenactment.py render ../shared/data/clips/val out/val # with the project's environment
    scripts/measure/self_reenactment.py score out/val --referee ../shared/referee # with the referee's (mediapipe,
    scikit-image)

`render` writes, for each clip, truth.mp4 (the rest of the clip, lossless), and what `animate --motion absolute` makes
of the first frame: `warp`, the plain warp by points; `dense`, the same with the driver's dense motion; `points`, the
networks without dense motion, as with a motion file; `model`, all of it. `still` is the portrait itself, repeated.
`score` prints a Markdown table of the means over clips and writes scores_every_N.json.
"""

import argparse
import json
import sys
from pathlib import Path

from tables import write

VARIANTS = ("still", "warp", "dense", "points", "model")
# Networks left out, dense motion used: what each variant of `animate` is.
MADE = {"warp": (True, False), "dense": (True, True), "points": (False, False), "model": (False, True)}
LOWER = ("mouth_pd", "mouth_l1", "pd", "l1", "expression", "pose_deg", "nme", "nme_mouth", "nme_eyes", "jitter", "lost")
HIGHER = ("csim", "ssim", "psnr")


def render(clips: Path, out: Path, model: Path | None, variants: list[str], only: str) -> None:
    from fractions import Fraction

    from fewshot_reenact import animate
    from fewshot_reenact.media.marks import PlainNote
    from fewshot_reenact.media.pictures import write_picture
    from fewshot_reenact.media.reader import VideoReader
    from fewshot_reenact.media.writer import VideoWriter

    def write(path: Path, frames: list, like: VideoReader) -> None:
        height, width = frames[0].picture.shape[:2]
        with VideoWriter(path, width, height, like.info.time_base, like.info.fps, overwrite=True, crf=0) as writer:
            for frame in frames:
                writer.write(frame.picture, frame.pts - frames[0].pts)

    for clip in sorted(clips.glob(only)):
        folder = out / clip.stem
        folder.mkdir(parents=True, exist_ok=True)
        with VideoReader(clip) as reader:
            frames = list(reader)
            if len(frames) < 3:
                continue
            if not (folder / "truth.mp4").exists():
                write_picture(folder / "portrait.png", frames[0].picture, overwrite=True)
                write(folder / "truth.mp4", frames[1:], reader)
            if "still" in variants:
                for frame in frames:
                    frame.picture[:] = frames[0].picture
                write(folder / "still.mp4", frames[1:], reader)
        for variant in [name for name in MADE if name in variants]:
            warp_only, dense = MADE[variant]
            made = animate(
                folder / "portrait.png", folder / "truth.mp4", folder / f"{variant}.mp4", motion="absolute",
                model=model, warp_only=warp_only, dense=dense, overwrite=True,
                marks=PlainNote(),  # the pixels are compared with the truth's: neither label nor watermark
            )  # fmt: skip
            print(clip.stem, variant, made.frames, Fraction(made.fps), made.seconds["all"], flush=True)


def score(out: Path, referee: Path, step: int, variants: list[str], into_docs: bool) -> None:
    sys.path.insert(0, str(referee))
    import referee as judge  # type: ignore[import-not-found]

    faces = judge.Faces()
    nets = (judge.Chain("vgg19_relu1_to_3"), judge.Chain("vgg19_distilled_relu1_to_5"))
    # Variants measured before, at the same step, stay: the truth and the warp need no second look.
    kept = out / f"scores_every_{step}.json"
    scores: dict[str, dict[str, dict[str, float]]] = json.loads(kept.read_text()) if kept.is_file() else {}
    for folder in sorted(path.parent for path in out.glob("*/truth.mp4")):
        truth = judge.read(str(folder / "truth.mp4"), step=step)
        for variant in variants:
            video = folder / f"{variant}.mp4"
            if video.is_file():
                frames = judge.read(str(video), step=step)
                scores.setdefault(variant, {})[folder.name] = judge.measure_self(truth, frames, faces, nets)
        print(folder.name, file=sys.stderr, flush=True)
    kept.write_text(json.dumps(scores, indent=1))
    print(table(scores, step))
    if into_docs:
        write("self-reenactment", table(scores, step))


def table(scores: dict[str, dict[str, dict[str, float]]], step: int) -> str:
    """Means over clips, and the model against the warp."""
    clips = set.intersection(*(set(by_clip) for by_clip in scores.values()))

    def mean(variant: str, key: str) -> float:
        values = [v for name in clips if (v := scores[variant][name].get(key)) is not None and v == v]
        return sum(values) / max(len(values), 1)

    names = list(scores)
    rows = [f"| {len(clips)} clips, every {step}. frame | {' | '.join(names)} | model / warp |"]
    rows.append("|---" * (len(names) + 2) + "|")
    for key in (*LOWER, *HIGHER):
        cells = [f"{mean(name, key):.4f}" for name in names]
        both = "model" in names and "warp" in names and key not in ("lost", "jitter", *HIGHER)
        change = f"{100 * (mean('model', key) / mean('warp', key) - 1):+.1f} %" if both else ""
        if {"model", "warp"} <= set(names) and not both:
            change = f"{mean('model', key) - mean('warp', key):+.4f}"
        rows.append(f"| {key} {'(higher is better)' if key in HIGHER else ''} | {' | '.join(cells)} | {change} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("render", help="animate every clip")
    one.add_argument("clips", type=Path)
    one.add_argument("out", type=Path)
    one.add_argument("--model", type=Path, help="safetensors; default: the built-in model")
    one.add_argument("--only", default="*.mp4", help="which clips, as a pattern")
    two = commands.add_parser("score", help="measure and print the table")
    two.add_argument("out", type=Path)
    two.add_argument("--referee", type=Path, required=True)
    two.add_argument("--step", type=int, default=1, help="every STEP-th frame")
    two.add_argument("--write", action="store_true", help="put the table into docs/results.md")
    for each in (one, two):
        each.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    a = parser.parse_args()
    if a.command == "render":
        render(a.clips, a.out, a.model, a.variants, a.only)
    else:
        score(a.out, a.referee, a.step, a.variants, a.write)


if __name__ == "__main__":
    main()
