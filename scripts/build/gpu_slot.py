#!/usr/bin/env python3
"""Train for some minutes on a machine with a GPU that is lent for a quarter of an hour. docs/training.md tells how.

    scripts/build/gpu_slot.py pack --config configs/slot.yaml --held-out run/clips_val run/slot      # here
    python3 scripts/build/gpu_slot.py run --minutes 9 --out "$OUT" /tmp/slot run/slot/part-01        # there
    scripts/build/gpu_slot.py merge CAME run/meta5                                                   # here

`run` needs torch, opencv-python-headless, numpy and safetensors, and nothing else that has to be installed.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))  # there it is not installed

from fewshot_reenact.errors import ReenactError, UsageError


def main() -> int:
    """Parse the command line, do it. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    pack = verbs.add_parser("pack", help="make parts that can travel")
    pack.add_argument("out", type=Path, metavar="OUT", help="a new folder")
    pack.add_argument("--config", type=Path, required=True)
    pack.add_argument("--held-out", type=Path, required=True, help="clips of people who are not learnt from")
    pack.add_argument("--run", type=Path, help="go on from this run folder's newest checkpoint")
    pack.add_argument("--films", type=Path, help="an earlier pack of the same clips: its films are taken as they are")
    pack.add_argument("--part-mb", type=float, default=40, help="MB of a part at most (default 40)")
    pack.add_argument("--crf", type=int, default=21, help="x264's quality of the films (default 21)")
    run = verbs.add_parser("run", help="train there")
    run.add_argument("parts", type=Path, nargs="+", metavar="PART", help="parts, or folders that hold some")
    run.add_argument("--minutes", type=float, required=True, help="in all, unpacking and writing included")
    run.add_argument("--out", type=Path, required=True, help="where the pieces and report.json go")
    run.add_argument("--device", default=None, help="default: cuda where there is one")
    run.add_argument("--timed", type=int, default=50, help="steps whose speed is reported")
    run.add_argument("--looks", type=int, default=512, help="held-out episodes for the figures")
    merge = verbs.add_parser("merge", help="put what came back into a run folder")
    merge.add_argument("came", type=Path, metavar="CAME")
    merge.add_argument("run", type=Path, metavar="RUN")
    given = parser.parse_args()
    try:
        globals()[f"_{given.verb}"](given)
    except ReenactError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


def _pack(given: argparse.Namespace) -> None:
    from fewshot_reenact.training.config import TrainConfig
    from fewshot_reenact.training.refiner.config import RefinerConfig
    from fewshot_reenact.training.slot.pack import pack
    from fewshot_reenact.training.trainers import load_any

    config, _ = load_any(given.config)
    if not isinstance(config, TrainConfig | RefinerConfig):
        raise UsageError(f"{given.config}: trainer: a slot trains meta or refiner")
    how = {"begin": given.run, "films": given.films, "part": int(given.part_mb * 1e6), "crf": given.crf}
    pack(config, given.out, held_out=given.held_out, **how)


def _run(given: argparse.Namespace) -> None:
    import torch

    from fewshot_reenact.training.slot.run import run

    device = torch.device(given.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    run(given.parts, given.out, minutes=given.minutes, device=device, timed=given.timed, looks=given.looks)


def _merge(given: argparse.Namespace) -> None:
    from fewshot_reenact.training.slot.merge import merge

    sys.stdout.write(f"{given.run}: at step {merge(given.came, given.run)}\n")


if __name__ == "__main__":
    sys.exit(main())
