#!/usr/bin/env python3
"""Gives the command line changed files, each in a process of its own with limits of memory and time, and counts how it
ended.

    tests/fuzz/forked.py --count 300 --seed 1 --keep out/fuzz

An input is a function of (seed, number), so that one is found again: --only NUMBER. A process is forked from one that
has loaded everything and computed nothing. Right are exit codes 0, 2, 3 and 4 (1 of verify), one line of complaint, no
half-written file, and a signature that holds on what was made.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import resource
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "helpers")]
os.environ.update({"OMP_NUM_THREADS": "1", "REENACT_ACCEPT_USE": "1", "COLUMNS": "200"})

import numpy as np  # noqa: E402

MEMORY = 3 << 30  # bytes that an input may take beside what is loaded
SECONDS = 30  # of processor time; of wall-clock time it has eight times as much, for machines with other work
RIGHT = {0, 2, 3, 4}
# Of the inputs, by kind: what strangers send is likelier than what lies in one's own folders.
SHARES = {
    "pictures": 12, "videos": 10, "motion files": 13, "models and persons": 10, "signed files": 8, "configs": 4,
    "keys and ledgers": 4, "shards": 3, "clips": 1, "run folders": 2, "feature networks": 1,
}  # fmt: skip


_told_to_stop: list[int] = []  # by Ctrl-C, which ends with the table of what was tried


@dataclass
class Input:
    """One changed file and the command that reads it."""

    number: int
    kind: str
    path: str
    command: list[str]
    data: bytes


@dataclass
class Tally:
    """What came of all inputs."""

    ends: Counter[tuple[str, str]] = field(default_factory=Counter)  # by kind and exit
    seconds: Counter[str] = field(default_factory=Counter)  # of processor time, by kind
    wrong: list[str] = field(default_factory=list)


def make_input(seeds: list[dict], folder: Path, seed: int, number: int) -> Input:
    """The input of that number: chance decides the kind, by SHARES, the file and what becomes of it."""
    from mutations import mutate

    rng = np.random.default_rng([seed, number])
    kinds = sorted({one["kind"] for one in seeds})
    shares = np.array([SHARES[kind] for kind in kinds], float)
    kind = kinds[int(rng.choice(len(kinds), p=shares / shares.sum()))]
    of_kind = [one for one in seeds if one["kind"] == kind]
    chosen = of_kind[int(rng.integers(len(of_kind)))]
    data = (folder / chosen["path"]).read_bytes()
    suffix = Path(chosen["path"]).suffix
    others = [(folder / one["path"]).read_bytes() for one in of_kind if Path(one["path"]).suffix == suffix]
    command = chosen["commands"][int(rng.integers(len(chosen["commands"])))]
    changed = mutate(data, suffix, others, rng)
    return Input(number, chosen["kind"], chosen["path"], [command, "whole" * chosen["whole"]], changed)


def lay_out(one: Input, seeds: Path, work: Path) -> tuple[list[str], Path]:
    """Puts the input into an empty folder. Returns the arguments of the command line, and the config folder."""
    command, whole = one.command
    config, place = work / "config", work / "in"
    if whole:
        top = Path(one.path).parts[0]
        shutil.copytree(seeds / top, place)
        file = place / Path(one.path).relative_to(top)
    else:
        place.mkdir()
        file = place / Path(one.path).name
    file.write_bytes(one.data)
    if one.path.startswith("home/"):
        config = place
    names = {"FILE": str(file), "DIR": str(place), "PORTRAIT": str(seeds / "portrait.png")}
    words = [names.get(word, word.replace("SEEDS", str(seeds))) for word in shlex.split(command)]
    return words, config


def in_a_process(one: Input, seeds: Path, work: Path) -> tuple[str, str, float]:
    """Runs an input. Returns how it ended, as text, what it said, and the seconds of processor time."""
    words, config = lay_out(one, seeds, work)
    said = work / "said.txt"
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            _child(words, config, work, said)
        os._exit(98)
    waited, before = 0.0, time.monotonic()
    while True:
        done, status, used = os.wait4(child, os.WNOHANG)
        if done:
            break
        now = time.monotonic()
        waited, before = waited + min(now - before, 1.0), now  # a machine that was suspended does not count
        if waited > 8 * SECONDS:
            os.kill(child, signal.SIGKILL)
            used = os.wait4(child, 0)[2]
            return "hangs", said.read_text("utf-8", "replace"), used.ru_utime + used.ru_stime
        time.sleep(0.002)
    text = said.read_text("utf-8", "replace") if said.exists() else ""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        ended = "hangs" if number == signal.SIGXCPU else f"signal {number}"
    else:
        ended = str(os.WEXITSTATUS(status))
    return ended, text, used.ru_utime + used.ru_stime


def _child(words: list[str], config: Path, work: Path, said: Path) -> None:
    """Never returns."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 5))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    out = os.open(said, os.O_CREAT | os.O_WRONLY, 0o600)
    os.dup2(out, 1)
    os.dup2(out, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", 1), os.fdopen(2, "w", 1)
    os.chdir(work)
    os.environ["REENACT_CONFIG"] = str(config)
    from fewshot_reenact.cli import main

    code = 97
    try:
        main(words)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 97
    made = [path for path in work.glob("o.*") if path.suffix in (".mp4", ".mov")]
    if code == 0 and made:
        from fewshot_reenact.provenance.verify import read_signature

        signature = read_signature(made[0])
        code = 0 if signature is not None and signature.holds else 96
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def what_is_wrong(one: Input, ended: str, said: str, work: Path) -> str | None:
    """In words, or None."""
    right = {str(code) for code in (RIGHT | {1} if one.command[0].startswith("verify") else RIGHT)}
    if "Traceback" in said or "internal error" in said:
        line = next(line for line in said.splitlines() if "Traceback" in line or "internal error" in line)
        return f"{ended}: {line[:300]}"
    if ended not in right:
        names = {"96": "a signature that does not hold", "97": "no exit code", "98": "an exception got out"}
        last = said.strip().splitlines()[-1][:200] if said.strip() else ""
        return f"{names.get(ended, ended)}: {last}"
    if left := [path.name for path in work.rglob("*.partial")]:
        return f"half-written: {left}"
    if re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", said):
        return "control codes reach the terminal"
    return None


def unchanged(seeds: list[dict], folder: Path, work: Path) -> list[str]:
    """The commands that do not even take their good file: what is changed in it then proves nothing."""
    refused = []
    for seed in seeds:
        data = (folder / seed["path"]).read_bytes()
        for command in seed["commands"]:
            work.mkdir()
            one = Input(-1, seed["kind"], seed["path"], [command, "whole" * seed["whole"]], data)
            ended, said, _ = in_a_process(one, folder, work)
            if ended != "0" and not (command.endswith("--dry-run") and "clips" in said):
                refused.append(f"{seed['path']}: {command}: {ended}: {said.strip()[-300:]}")
            shutil.rmtree(work, ignore_errors=True)
    return refused


def load_everything() -> None:
    """So that no process has to; computes nothing, since threads do not survive a fork."""
    import cv2
    import torch

    from fake_face import PaintedFaces
    from fewshot_reenact.landmarks import registry

    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    for name in ("animate", "extract", "check", "finetune", "train", "prepare", "verify", "history"):
        __import__(f"fewshot_reenact.cli.{name}")
    for name in (
        "pipelines.animate",
        "pipelines.extract",
        "pipelines.finetune",
        "checks.files",
        "training.loop",
        "training.trainers",
    ):
        __import__(f"fewshot_reenact.{name}")
    __import__("fewshot_reenact.training.data.prepare")
    __import__("fewshot_reenact.provenance.verify")
    registry.BACKENDS["builtin"] = lambda device: PaintedFaces()


def make_seeds_apart(folder: Path) -> None:
    """In a process of its own: making them computes."""
    child = os.fork()
    if child == 0:
        try:
            os.environ["REENACT_CONFIG"] = str(folder / ".config")
            from seeds import make_seeds

            said = os.open(folder / "making.txt", os.O_CREAT | os.O_WRONLY, 0o600)
            os.dup2(said, 1)
            make_seeds(folder)
            os._exit(0)
        except BaseException as error:
            sys.stderr.write(f"seeds: {type(error).__name__}: {error}\n")
            os._exit(1)
    if os.waitpid(child, 0)[1]:
        raise SystemExit("the seeds could not be made")


def run(
    count: int, seed: int, first: int = 0, keep: Path | None = None, tell: bool = False, check: bool = False
) -> Tally:
    """Try that many inputs, from number `first` on. keep: a folder for the inputs that ended wrong. check: the good
    files first, which every command must take.
    """
    load_everything()
    tally, begin = Tally(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="reenact-fuzz-") as name:
        folder = Path(name) / "seeds"
        folder.mkdir()
        make_seeds_apart(folder)
        seeds = json.loads((folder / "seeds.json").read_text())
        if check:
            tally.wrong += [f"unchanged: {line}" for line in unchanged(seeds, folder, Path(name) / "work")]
        for number in range(first, first + count):
            if _told_to_stop:
                break
            one = make_input(seeds, folder, seed, number)
            work = Path(name) / "work"
            work.mkdir()
            ended, said, used = in_a_process(one, folder, work)
            tally.seconds[one.kind] += used
            tally.ends[one.kind, ended] += 1
            wrong = what_is_wrong(one, ended, said, work)
            if wrong is not None:
                tally.wrong.append(f"{number} ({one.path}: {one.command[0]}): {wrong}")
                if tell:
                    sys.stdout.write(f"WRONG {tally.wrong[-1]}\n")
                    sys.stdout.flush()
                if keep is not None:
                    keep.mkdir(parents=True, exist_ok=True)
                    (keep / f"{number:06d}-{Path(one.path).name}").write_bytes(one.data)
                    (keep / f"{number:06d}.txt").write_text(f"{one.command[0]}\n{ended}\n{said}")
            shutil.rmtree(work, ignore_errors=True)
            if tell and (number - first + 1) % 250 == 0:
                took = time.monotonic() - begin
                sys.stdout.write(f"{number - first + 1} of {count}, {took:.0f} s, {len(tally.wrong)} wrong\n")
                sys.stdout.flush()
    return tally


def table(tally: Tally, seconds: float, seed: int) -> str:
    """Lines for docs/reliability.md: how the inputs of each kind ended."""
    codes = sorted({ended for _, ended in tally.ends}, key=lambda ended: (len(ended), ended))
    lines = [f"| kind | {' | '.join(codes)} | s |", "|---" * (len(codes) + 2) + "|"]
    for kind in sorted({kind for kind, _ in tally.ends}):
        counts = " | ".join(str(tally.ends[kind, code]) for code in codes)
        lines.append(f"| {kind} | {counts} | {tally.seconds[kind]:.0f} |")
    total = f"{sum(tally.ends.values())} inputs of seed {seed}, {len(tally.wrong)} ended wrong; {seconds:.0f} s"
    return "\n".join([total, "", *lines])


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--only", type=int, help="one input, by its number")
    parser.add_argument("--keep", type=Path, help="a folder for the inputs that ended wrong, with what was said")
    parser.add_argument("--check", action="store_true", help="try the good files first")
    parser.add_argument("--quiet", action="store_true", help="say only what was wrong, and the table")
    given = parser.parse_args()
    first, count = (given.first, given.count) if given.only is None else (given.only, 1)
    signal.signal(signal.SIGINT, lambda number, _frame: _told_to_stop.append(number))
    keep, begin = given.keep and given.keep.resolve(), time.monotonic()
    tally = run(count, given.seed, first, keep, tell=not given.quiet, check=given.check)
    sys.stdout.write(table(tally, time.monotonic() - begin, given.seed) + "\n")
    for line in tally.wrong:
        sys.stdout.write(f"WRONG {line}\n")
    return 1 if tally.wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
