#!/usr/bin/env python3
"""How long `extract` and `animate` take on a machine that is idle and on one with other work, by how threads wait.

    scripts/measure/busy.py --write                     # otherwise idle machine: it makes the other work itself
    scripts/measure/busy.py --seconds 2 --repeat 3

The other work is an endless loop for each processor. Each run is a process of its own; wall-clock and processor time
are those of the median run.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click

import fewshot_reenact
import tables

ASSETS = Path(fewshot_reenact.__file__).parent / "assets"
WAYS: dict[str, tuple[dict[str, str], list[str]]] = {
    "threads that wait spin (OMP_WAIT_POLICY=active)": ({"OMP_WAIT_POLICY": "active"}, []),
    "torch's own default": ({"OMP_WAIT_POLICY": ""}, []),
    "threads that wait sleep (passive, the default here)": ({"OMP_WAIT_POLICY": "passive"}, []),
    "passive, --threads 1": ({"OMP_WAIT_POLICY": "passive"}, ["--threads", "1"]),
}


@contextlib.contextmanager
def other_work(loops: int) -> Iterator[None]:
    """So many endless loops, as long as it is entered."""
    # They end with this process, however it ends.
    endless = f"import os\nwhile os.getppid() == {os.getpid()}: pass"
    running = [subprocess.Popen([sys.executable, "-c", endless]) for _ in range(loops)]
    try:
        yield
    finally:
        for one in running:
            one.kill()
            one.wait()


def timed(arguments: list[str], environment: dict[str, str], folder: Path) -> tuple[float, float]:
    """Seconds on the clock and of processor time of one `reenact`, in a process of its own."""
    kept = {key: value for key, value in os.environ.items() if key not in ("OMP_WAIT_POLICY", "OMP_NUM_THREADS")}
    child = "import sys; from fewshot_reenact.cli import main; main(sys.argv[1:])"
    if environment.get("OMP_WAIT_POLICY") == "":  # what the package sets is taken away again, before torch is loaded
        environment = {}
        child = "import os, fewshot_reenact; del os.environ['OMP_WAIT_POLICY']; " + child
    before, begin = os.times(), time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", child, *arguments],
        env={**kept, **environment, "REENACT_ACCEPT_USE": "1", "REENACT_CONFIG": str(folder / "config")},
        capture_output=True,
        text=True,
        check=False,
    )
    took, after = time.monotonic() - begin, os.times()
    if done.returncode:
        raise SystemExit(done.stderr)
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return took, used


@click.command(help=__doc__)
@click.option("--seconds", default=2.0, show_default=True, help="Of the bundled driver.")
@click.option("--repeat", default=3, show_default=True)
@click.option("--write", is_flag=True, help="Put the table into docs/results.md, between its markers.")
def main(seconds: float, repeat: int, write: bool) -> None:
    processors = os.cpu_count() or 1
    driver, portrait = str(ASSETS / "driver.mp4"), str(ASSETS / "grace_hopper.jpg")
    click.echo(f"{processors} processors, load average before: {os.getloadavg()[0]:.2f}")
    rows = []
    with tempfile.TemporaryDirectory(prefix="reenact-busy-") as name:
        folder = Path(name)
        commands = {
            "extract": ["extract", driver, "--end", str(seconds), "-o", str(folder / "o.npz"), "--overwrite"],
            "animate": ["animate", portrait, driver, "--end", str(seconds), "-o", str(folder / "o.mp4"), "--overwrite"],
        }
        timed(commands["animate"], {}, folder)  # files come into memory, the key is made
        for way, (environment, more) in WAYS.items():
            cells = []
            for loops in (0, processors):
                with other_work(loops):
                    for arguments in commands.values():
                        runs = sorted(timed([*arguments, *more], environment, folder) for _ in range(repeat))
                        took, used = runs[len(runs) // 2]
                        cells.append(f"{took:.1f} ({used:.1f})")
            rows.append(f"| {way} | {' | '.join(cells)} |")
            click.echo(rows[-1])
    head = [
        f"Seconds on the clock, in brackets of processor time, for {seconds:g} seconds of video, median of {repeat}; "
        f"busy: an endless loop on each of {processors} processors.",
        "",
        "| | extract, idle | animate, idle | extract, busy | animate, busy |",
        "|---" * 5 + "|",
    ]
    lines = "\n".join([*head, *rows])
    click.echo(lines)
    if write:
        click.echo(tables.write("busy", lines))


if __name__ == "__main__":
    main()
