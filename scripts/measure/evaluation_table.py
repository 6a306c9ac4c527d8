#!/usr/bin/env python3
"""The evaluation table of docs/results.md: measures the shipped model on clips and writes it between the markers.

    scripts/measure/evaluation_table.py ../shared/data/clips/val --nets ../shared/data/nets --limit 12 --every 24

Writes scores.json and sheet.png into --out, and replaces the table `evaluation`, with the hash of the weights and the
options. `--scores FILE` takes the rows of a file written before instead of measuring.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from tables import write

PERCEPTUAL, IDENTITY = "vgg19_distilled_relu1_to_5.safetensors", "faceid_metric.safetensors"


def measure(options: argparse.Namespace) -> dict[str, Any]:
    import torch
    from tqdm import tqdm

    from fewshot_reenact.pipelines.evaluate import evaluate

    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    nets, methods = options.nets, options.methods.split(",")
    with tqdm(unit="clip") as bar:
        done = evaluate(
            options.clips,
            shots=[int(shots) for shots in options.shots.split(",")],
            methods=methods,
            model=options.model,
            perceptual=nets / PERCEPTUAL,
            identity=nets / IDENTITY,
            every=options.every,
            limit=options.limit,
            sheet=options.out / "sheet.png",
            overwrite=True,
            progress=lambda stage, at, total: bar.update(at - bar.n),
        )
    report = done.report()
    (options.out / "scores.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return report


def text(report: dict[str, Any]) -> str:
    """Words and table for a report of `reenact evaluate`."""
    from fewshot_reenact.evaluation.protocol import Scores

    clips = len({row["clip"] for row in report["rows"]})
    lost = max(row.get("lost", 0.0) for row in report["means"])
    rows = [{k: v for k, v in row.items() if k != "lost" or lost} for row in report["rows"]]
    without = "" if lost else "; a face was found in every output"
    said = (
        f"Weights {report['model_sha256'][:8]} on {clips} clips of {Path(report['clips']).name}, a frame compared in "
        f"every {report['every']} or more{without}:"
    )
    return f"{said}\n\n{Scores(rows).table()}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, nargs="?")
    parser.add_argument("--nets", type=Path, help=f"folder of {PERCEPTUAL} and {IDENTITY}")
    parser.add_argument("--out", type=Path, default=Path("out/evaluation"))
    parser.add_argument("--scores", type=Path, help="rows measured before")
    parser.add_argument("--page", type=Path, help="the page with the markers; default: the one in docs/")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--methods", default="copy,warp,dense,model")
    parser.add_argument("--shots", default="1,8,32")
    parser.add_argument("--every", type=int, default=24)
    parser.add_argument("--limit", type=int, default=12)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    if options.scores is None and (options.clips is None or options.nets is None):
        parser.error("give CLIPS and --nets, or --scores")
    report = json.loads(options.scores.read_text(encoding="utf-8")) if options.scores else measure(options)
    write("evaluation", text(report), options.page)
    print(text(report))


if __name__ == "__main__":
    main()
