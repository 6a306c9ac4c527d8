#!/usr/bin/env python3
"""Train for some minutes on a machine with a GPU that is lent for a quarter of an hour. docs/training.md tells how.

    scripts/build/gpu_slot.py pack --config configs/slot.yaml --held-out run/clips_val run/slot      # here
    python3 scripts/build/gpu_slot.py run --minutes 9 --out "$OUT" /tmp/slot run/slot/part-01        # there
    scripts/build/gpu_slot.py merge CAME run/meta5                                                   # here

`run` needs torch, opencv-python-headless, numpy and safetensors, and nothing else that has to be installed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))  # there it is not installed

from fewshot_reenact.errors import ReenactError, UsageError

if TYPE_CHECKING:
    import torch

    from fewshot_reenact.training.slot.opening import Packed


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
    pack.add_argument("--second", action="store_true", help="to be trained after FILMS, on what that makes")
    pack.add_argument("--part-mb", type=float, default=40, help="MB of a part at most (default 40)")
    pack.add_argument("--crf", type=int, default=21, help="x264's quality of the films (default 21)")
    run = verbs.add_parser("run", help="train there")
    train = verbs.add_parser("train", help="what `run` does in a process of its own, and begins again where it breaks")
    beside = verbs.add_parser("compile", help="what that does in one more while it trains")
    beside.add_argument("--ready", type=Path, required=True, help="written when it is done")
    train.add_argument("--keep", type=Path, help="folder for the whole state, gone on from where there is one")
    train.add_argument("--uncompiled", action="store_true")
    for verb in (run, train, beside):
        verb.add_argument("parts", type=Path, nargs="+", metavar="PART", help="parts, or folders that hold some")
        verb.add_argument("--films", type=Path, action="append", default=[], metavar="PART", help="has the films")
        verb.add_argument("--model", type=Path, help="whose faces are refined, where none was packed")
        verb.add_argument("--batch", type=int, help="episodes a step (default: the config's)")
        verb.add_argument("--device", default=None, help="default: cuda where there is one")
    for verb in (run, train):
        verb.add_argument("--minutes", type=float, required=True, help="in all, unpacking and writing included")
        verb.add_argument("--out", type=Path, required=True, help="where the pieces and report.json go")
        verb.add_argument("--state-mb", type=float, default=58, help="MiB of the state that comes back (default 58)")
        verb.add_argument("--save-model", type=Path, metavar="FILE", help="gets the generator's averaged weights")
        verb.add_argument("--timed", type=int, default=50, help="steps whose speed is reported")
        verb.add_argument("--looks", type=int, default=512, help="held-out episodes for the figures")
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
    how = {
        "begin": given.run,
        "films": given.films,
        "second": given.second,
        "part": int(given.part_mb * 1e6),
        "crf": given.crf,
    }
    pack(config, given.out, held_out=given.held_out, **how)


def _run(given: argparse.Namespace) -> None:
    import tempfile

    from fewshot_reenact.training.slot.supervise import supervise

    with tempfile.TemporaryDirectory(prefix="reenact-") as keep:

        def words(minutes: float, compiled: bool) -> list[str]:
            own = ["-u", __file__, "train", "--minutes", minutes, "--out", given.out, "--keep", keep]
            own += ["--state-mb", given.state_mb, "--timed", given.timed, "--looks", given.looks]
            own += ["--save-model", given.save_model] if given.save_model else []
            own += [] if compiled else ["--uncompiled"]
            return [str(word) for word in (*own, *_inputs(given))]

        supervise(words, given.out, given.minutes)


def _inputs(given: argparse.Namespace) -> list[object]:
    """What all three verbs are given, as words again."""
    words: list[object] = [word for part in given.films for word in ("--films", part)]
    for name in ("model", "batch", "device"):
        value = getattr(given, name)
        words += [] if value is None else [f"--{name}", value]
    return [*words, *given.parts]


def _train(given: argparse.Namespace) -> None:
    from fewshot_reenact.training.slot.run import run

    def beside(ready: Path) -> list[str]:
        return [str(word) for word in (__file__, "compile", "--ready", ready, *_inputs(given))]

    run(
        _packed(given),
        given.out,
        minutes=given.minutes,
        device=_device(given),
        timed=given.timed,
        looks=given.looks,
        most=int(given.state_mb * 2**20),
        ahead=None if given.uncompiled else beside,
        save_model_to=given.save_model,
        keep=given.keep,
    )


def _compile(given: argparse.Namespace) -> None:
    from fewshot_reenact.training.slot.run import compile_beside

    compile_beside(_packed(given), _device(given), given.ready)


def _packed(given: argparse.Namespace) -> Packed:
    from fewshot_reenact.training.slot.opening import Packed

    return Packed(given.parts, given.films, given.model, given.batch)


def _device(given: argparse.Namespace) -> torch.device:
    import torch

    return torch.device(given.device or ("cuda" if torch.cuda.is_available() else "cpu"))


def _merge(given: argparse.Namespace) -> None:
    from fewshot_reenact.training.slot.merge import merge

    sys.stdout.write(f"{given.run}: at step {merge(given.came, given.run)}\n")


if __name__ == "__main__":
    sys.exit(main())
