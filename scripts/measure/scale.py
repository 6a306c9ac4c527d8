#!/usr/bin/env python3
"""Write the arithmetic of docs/scale.md from what was measured: its tables.

scripts/measure/scale.py
"""

import click

from tables import write

CLIPS, SECONDS = 1_000_000, 8
REAL_TIME = 1.7  # seconds of video that one core prepares in a second: between the two measured
KILOBYTES = (50, 61)  # a second of clip, both measured
VIDEOS_A_SHARD = 64
MACHINES, CORES = 100, 16
EPISODE = 1_776e9  # operations of an episode of the paper's size, counted
EPISODES = 75 * 1.09e6
PEAK, SHARE = 989e12, 0.30  # an H100 in bfloat16, and what is assumed to be had of it
PICTURES = 9  # an episode
WINDOW = 64  # data.shuffle_shards
LOADING = 0.066  # seconds of one core for an episode of nine 256-pixel frames from shards, measured


def data() -> str:
    core_hours = CLIPS * SECONDS / REAL_TIME / 3600
    sizes = [CLIPS * SECONDS * kilobytes * 1e3 / 1e9 for kilobytes in KILOBYTES]
    lines = [
        ("on disk", f"{sizes[0]:.0f} to {sizes[1]:.0f} GB in {CLIPS / VIDEOS_A_SHARD:,.0f} tar files"),
        ("processor time", f"{core_hours:,.0f} core hours"),
        ("that is, on 64 cores", f"{core_hours / 64:.0f} hours"),
        ("on 512 cores", f"{core_hours / 512:.1f} hours"),
    ]
    return "\n".join(["| | |", "|---|---|", *(f"| {what} | {value} |" for what, value in lines)])


def cluster() -> str:
    """The same million clips on 100 machines."""
    hours = CLIPS * SECONDS / REAL_TIME / 3600 / (MACHINES * CORES)
    shards = CLIPS / VIDEOS_A_SHARD
    task = VIDEOS_A_SHARD * SECONDS / REAL_TIME
    traffic = CLIPS * SECONDS * sum(KILOBYTES) / 2 * 1e3 * 8 / (hours * 3600) / 1e9
    notes = CLIPS / (hours * 3600)
    lines = [
        ("cores", f"{MACHINES * CORES:,}"),
        ("shards for each core, one task each", f"{shards / (MACHINES * CORES):.1f}"),
        ("one task", f"{task / 60:.1f} minutes"),
        ("all, if no core ever waits", f"{hours * 60:.0f} minutes"),
        ("all in whole rounds of tasks", f"{-(-shards // (MACHINES * CORES)) * task / 60:.0f} minutes"),
        ("written to the store", f"{traffic:.1f} Gbit/s"),
        ("notes of which video is in hand", f"{notes:,.0f} small writes a second"),
    ]
    return "\n".join(
        [f"| {MACHINES} machines of {CORES} cores | |", "|---|---|", *(f"| {a} | {b} |" for a, b in lines)]
    )


def compute() -> str:
    rate = PEAK * SHARE / EPISODE
    lines = ["| GPUs | hours | GPU hours | episodes a second | pictures a second | processor cores to load them |"]
    lines.append("|---:" * 6 + "|")
    for gpus in (1, 8, 32):
        hours = EPISODES / (rate * gpus) / 3600
        cells = [gpus, f"{hours:.1f}", f"{hours * gpus:.0f}", f"{rate * gpus:,.0f}", f"{rate * gpus * PICTURES:,.0f}"]
        lines.append("| " + " | ".join(map(str, [*cells, f"{rate * gpus * LOADING:,.0f}"])) + " |")
    return "\n".join(lines)


def reading() -> str:
    """The paper's schedule, by the ways of docs/scale.md to read its shards."""
    rate = PEAK * SHARE / EPISODE
    shards = 1.09e6 / VIDEOS_A_SHARD
    clip = SECONDS * sum(KILOBYTES) / 2 * 1e3
    total = 1.09e6 * clip / 1e9
    lines = ["| GPUs, machines | way | requests | a second | GB a second from the store | disk of a machine, GB |"]
    lines.append("|---|---|---:|---:|---:|---:|")
    for gpus, machines in ((8, 1), (32, 4)):
        episodes = rate * gpus
        flow, window = f"{episodes * clip / 1e9:.1f}", 3 * WINDOW * VIDEOS_A_SHARD * clip / 1e9
        rows = [
            ("a request a clip", EPISODES, f"{episodes:,.0f}", flow, "0"),
            (f"shuffle_shards: {WINDOW}", 75 * shards, f"{episodes / VIDEOS_A_SHARD:,.0f}", flow, f"{window:.1f}"),
            ("all shards in each cache", machines * shards, "none after an epoch", "0", f"{total:.0f}"),
        ]
        if machines > 1:
            cells = (
                "both: a machine's lanes in its cache",
                shards,
                "none after an epoch",
                "0",
                f"{total / machines:.0f}",
            )
            rows.append(cells)
        lines += [
            f"| {gpus}, {machines} | {way} | {requests:,.0f} | " + " | ".join(others) + " |"
            for way, requests, *others in rows
        ]
    return "\n".join(lines)


@click.command(help=__doc__.split("\n\n")[0])
def main() -> None:
    write("scale-data", data())
    write("scale-cluster", cluster())
    write("scale-reading", reading())
    page = write("scale-compute", compute())
    click.echo(f"{page}: all tables")


if __name__ == "__main__":
    main()
