#!/usr/bin/env python3
"""Write the README's table of what to expect from the tables in docs/.

scripts/measure/summary.py
"""

import click

from tables import cell, write


def table() -> str:
    """Six rows, each a figure that another table holds."""

    def pair(row: str) -> str:
        return f"{cell('self-reenactment', row, 'model')}, the warp's {cell('self-reenactment', row, 'warp')}"

    crf = cell("watermark", "CRF 28", "256 px")
    rate, peak = cell("speed", "end to end", "frames a second"), cell("memory", "600", "peak, MiB")
    lines = [
        ("speed, 512 pixels, two CPU cores", f"{rate} frames a second", "results"),
        ("peak memory, a driver of ten minutes", f"{peak} MiB", "results"),
        ("likeness to the person (csim), self-reenactment", pair("csim"), "results"),
        ("distance of the mouth (mouth_pd), self-reenactment", pair("mouth_pd"), "results"),
        ("error of the points, of the eye distance", f"{cell('landmark-errors', 'tracked', 'all 83')} %", "landmarks"),
        ("watermark of 256-pixel videos found after re-encoding (CRF 28)", crf, "watermark"),
    ]
    text = [f"| {what} | {value} | [{page}.md](docs/{page}.md) |" for what, value, page in lines]
    return "\n".join(["| what | measured | table |", "|---|---|---|", *text])


@click.command(help=__doc__.split("\n\n")[0])
def main() -> None:
    page = write("expect", table())
    click.echo(f"{page}: what to expect")


if __name__ == "__main__":
    main()
