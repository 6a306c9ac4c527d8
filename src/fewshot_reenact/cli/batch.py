"""`reenact batch`: options, result lines and the exit code; the work is in `fewshot_reenact.pipelines.batch`."""

import contextlib
import json
from pathlib import Path
from typing import Any

import click

from fewshot_reenact.cli import animate_options, common
from fewshot_reenact.errors import InputError


@click.command(short_help="Animate many portraits with many drivers.")
@click.argument("jobs", metavar="JOBS", type=common.FILE)
@click.option(
    "-o", "--output", "folder", type=common.FILE, required=True, metavar="FOLDER", help="Where outputs are written."
)
@click.option(
    "--workers", type=click.IntRange(1, 64), default=1, show_default=True, metavar="N", help="Processes that work."
)
@click.option("--retry", is_flag=True, help="Try again what failed in an earlier call.")
@click.option("--model", type=common.FILE, metavar=common.MODEL, help="Other weights, where a job names none.")
@click.option("--no-label", is_flag=True, help='No visible "AI-generated", where a job says nothing of it.')
@animate_options.label_option
@animate_options.private_driver_option
@animate_options.watermark_key_option
@animate_options.provider_option
@animate_options.timestamp_option
@common.consent_option
@animate_options.consent_file_option
@common.accept_use_option
@common.landmarks_option
@common.device_option
@animate_options.runtime_option
@common.threads_option
def batch(
    jobs: Path,
    folder: Path,
    workers: int,
    retry: bool,
    no_label: bool,
    label: str | None,
    accept_use: bool,
    **options: Any,
) -> int:
    """Animate portraits with drivers, one job after another, with the networks loaded once.

    JOBS is a file of JSON lines or a CSV, a job a line, with portrait, driver and perhaps output and any option of
    animate; paths count from its folder. Or a folder with portraits/ and drivers/: each portrait with each driver.

    \b
    reenact batch jobs.jsonl -o videos/
    reenact batch jobs.csv -o videos/ --workers 2
    reenact batch people/ -o videos/ --retry

    Prints a line of JSON a job. A second call does what is missing. Exit code 3 when a job failed.
    """
    said = animate_options.chosen_label(no_label, label)
    common.agree_to_rules(accept_use)
    from fewshot_reenact.pipelines.batch import batch as run
    from fewshot_reenact.pipelines.jobs import read_jobs
    from fewshot_reenact.pipelines.options import AnimateOptions

    found = read_jobs(jobs, folder, AnimateOptions(label=said, **options))
    failed = []
    with (
        common.progress_bar("animating", "videos") as bar,
        contextlib.closing(
            run(found, folder, workers=workers, retry=retry, progress=lambda _, done, total: bar(done, total))
        ) as results,
    ):
        for result in results:
            common.say(json.dumps(result.report()))
            if result.status == "failed":
                failed.append(result)
    if not failed:
        return 0
    common.warn([f"{len(failed)} of {len(found)} jobs failed (--retry tries them again):"])
    common.warn([f"  {one.output}: {one.reason}" for one in failed])
    return InputError.exit_code
